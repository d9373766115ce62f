"""Blake et al. 2024, u-muP (arXiv 2407.17465): the part for MLPs."""

from __future__ import annotations

import pytest

import tensorprog as tp
from tensorprog.layers import dense, rms_norm
from tests.literature.scalings import assert_maximal, layers

P = tp.Parametrization.from_layers


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_unit_scaled_mup(depth: int) -> None:
    """Multipliers fan_in^(-1/2) hidden and 1/fan_in output, unit init: Adam's hidden rate is fan_in^(-1/2), output 1.

    muP for Adam, shifted by 1/2 in the hidden layers.
    """
    p = P(layers((0, "1/2", 1), depth), layers((0, 0, 0), depth), layers((0, "1/2", 0), depth))
    assert_maximal(tp.derive(tp.mlp(depth), p, optimizer="adam"))


def test_unit_scaled_biases() -> None:
    p = tp.Parametrization.from_roles(
        a={"input": 0, "hidden": "1/2", "readout": 1},
        b={"input": 0, "hidden": 0, "readout": 0},
        c={"input": 0, "hidden": "1/2", "readout": 0, "vector": 0},
    )
    assert_maximal(tp.derive(tp.mlp(2, bias=True), p, optimizer="adam"))


def test_unit_scaled_gains() -> None:
    """Rate 1 for gains as well: they are input-like."""
    b = tp.Builder()
    x = dense(b, "input", b.data("x"), b.width, "relu")
    for i in (1, 2):
        x = dense(b, f"hidden.{i}", rms_norm(b, f"norm.{i}", x), b.width, "relu")
    network = b.build(dense(b, "readout", rms_norm(b, "norm", x), b.finite("classes")), "normalised mlp")
    p = tp.Parametrization.from_roles(
        a={"hidden": "1/2", "readout": 1},
        b={"input": 0, "hidden": 0, "readout": 0},
        c={"input": 0, "hidden": "1/2", "readout": 0, "vector": 0},
    )
    d = tp.derive(network, p, optimizer="adam")
    assert_maximal(d)
    gains = {name: s for name, s in d.steps[1].sites.items() if name.endswith("gain")}
    assert len(gains) == 3
    assert {str(s.effective) for s in gains.values()} == {"0"}
