"""Yang & Littwin 2023, Tensor Programs IVb (arXiv 2308.01814): adaptive optimizers."""

from __future__ import annotations

import pytest

import tensorprog as tp
from tests.literature.scalings import assert_maximal, layers

P = tp.Parametrization.from_layers


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("how", ["adam", "signsgd"])
@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_mup_for_adam(depth: int, how: str, loss: str) -> None:
    p = P(layers((0, 0, 1), depth), layers((0, "1/2", 0), depth), layers((0, 1, 0), depth))
    assert_maximal(tp.derive(tp.mlp(depth), p, optimizer=how, loss=loss))


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_ntp_for_adam(depth: int, loss: str) -> None:
    """The operator NTK limit: a (0, 1/2, 1/2), b 0, c (1/2, 1, 1/2) is a kernel; the logits move by Theta(1)."""
    p = P(layers((0, "1/2", "1/2"), depth), layers((0, 0, 0), depth), layers(("1/2", 1, "1/2"), depth))
    d = tp.derive(tp.mlp(depth), p, optimizer="adam", loss=loss)
    assert (d.regime, d.learning) == (tp.Regime.STABLE, tp.Learning.KERNEL)
    for t in (1, 2, 4):
        sites = d.steps[t].sites
        assert str(d.steps[t].logit_update) == "0"
        assert {str(s.feature) for s in sites.values() if s.feature is not None} == {"-1/2"}
        assert str(sites["readout"].propagating) == "0"


def test_features_need_faster_hidden_layers() -> None:
    """NTP's shape with rates n^(1/2) larger is no kernel any more."""
    faster = P([0, "1/2", "1/2"], [0, 0, 0], [0, "1/2", 0])
    assert tp.derive(tp.mlp(2), faster, optimizer="adam").learning is tp.Learning.FEATURE
