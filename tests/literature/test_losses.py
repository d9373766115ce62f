"""Losses: a bounded derivative behaves like cross-entropy, one that grows with the logits like MSE."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest

import tensorprog as tp
from tensorprog.losses import LOSSES, Loss

L1 = Loss("l1", 0, lambda f, y: f, "|f - y|: chi is a sign")
LABEL_SMOOTHING = Loss("label-smoothing", 0, lambda f, y: f, "Szegedy et al. 2016: softmax minus a bounded target")
FOCAL = Loss("focal", 0, lambda f, y: f, "Lin et al. 2017 (arXiv 1708.02002)")
Z_LOSS = Loss("z-loss", 1, lambda f, y: f, "Chowdhery et al. 2022: the gradient of log^2 Z grows with the logits")

BOUNDED = [*(x for x in LOSSES.values() if not x.degree), L1, LABEL_SMOOTHING, FOCAL]
GROWING = [*(x for x in LOSSES.values() if x.degree), Z_LOSS]


def name(x: object) -> str:
    return x.name if isinstance(x, Loss) else str(x)


def regimes(depth: int, loss: Loss | str) -> list[tuple[str, str]]:
    family = tp.derive(tp.mlp(depth), "sp", optimizer="sgd", loss=loss, lr_exponent="r", steps=1)
    return [(str(region), str(regime)) for region, regime in family.regimes()]


def test_the_registry_has_both_kinds() -> None:
    assert {x.name for x in LOSSES.values() if not x.degree} == {"ce", "huber", "softmax-mse", "logistic", "hinge"}
    assert {x.name for x in LOSSES.values() if x.degree} == {"mse"}


@pytest.mark.parametrize("loss", BOUNDED, ids=name)
def test_bounded_losses_have_a_controlled_regime(loss: Loss) -> None:
    """SP, SGD, three regimes with their exact boundaries: stable up to n^-1, controlled up to n^(-1/2)."""
    expected = [("r <= -1", "stable"), ("-1 < r <= -1/2", "controlled_divergence"), ("-1/2 < r", "catastrophic")]
    assert regimes(2, loss) == expected
    rates = tp.max_stable_lr(tp.mlp(2), "sp", optimizer="sgd", loss=loss)
    assert (str(rates.exponent), str(rates.bounded_logits_exponent)) == ("-1/2", "-1")


@pytest.mark.parametrize("loss", GROWING, ids=name)
def test_growing_losses_have_none(loss: Loss) -> None:
    """What diverges in the logits feeds back: every alpha < 1 is catastrophic."""
    assert regimes(2, loss) == [("r <= -1", "stable"), ("-1 < r", "catastrophic")]
    rates = tp.max_stable_lr(tp.mlp(2), "sp", optimizer="sgd", loss=loss)
    assert (str(rates.exponent), str(rates.bounded_logits_exponent)) == ("-1", "-1")
    assert rates.stable.attained


def test_one_hidden_layer() -> None:
    """SP under cross-entropy is controlled up to n^0; under MSE nothing changes."""
    expected = [("r <= -1", "stable"), ("-1 < r <= 0", "controlled_divergence"), ("0 < r", "catastrophic")]
    assert regimes(1, "ce") == expected
    assert regimes(1, "mse") == [("r <= -1", "stable"), ("-1 < r", "catastrophic")]


@pytest.mark.parametrize("depth", [3, 4, 6])
def test_boundaries_do_not_depend_on_depth(depth: int) -> None:
    """The same regimes at the boundaries and right beside them."""

    def regime(loss: str, r: Fraction) -> str:
        return str(tp.derive(tp.mlp(depth), "sp", optimizer="sgd", loss=loss, lr_exponent=r).regime)

    gap, edges = Fraction(1, 64), (Fraction(-1), Fraction(-1, 2))
    points = [e + k * gap for e in edges for k in (-1, 0, 1)]
    controlled = "controlled_divergence"
    assert [regime("ce", r) for r in points] == ["stable"] * 2 + [controlled] * 3 + ["catastrophic"]
    assert [regime("mse", r) for r in points] == ["stable"] * 2 + ["catastrophic"] * 4


@pytest.mark.slow
def test_boundaries_of_a_deeper_net_in_symbols() -> None:
    assert regimes(3, "ce") == regimes(2, "ce")


@pytest.mark.parametrize("how", ["sgd", "adam", "signsgd", "muon"])
@pytest.mark.parametrize("r", ["-3/2", "-1", "-3/4", "-1/2"])
def test_bounded_losses_agree_in_every_exponent(how: str, r: str) -> None:
    """All exponents of all steps are those of cross-entropy."""
    found = [tp.derive(tp.mlp(2), "sp", optimizer=how, loss=loss, lr_exponent=r).to_dict()["steps"] for loss in BOUNDED]
    assert all(steps == found[0] for steps in found)


@pytest.mark.parametrize("how", ["adam", "signsgd", "muon"])
@pytest.mark.parametrize("r", ["-3/2", "-1", "-1/2"])
def test_scale_free_optimizers_do_not_see_the_loss(how: str, r: str) -> None:
    """The regime and every update under MSE are those under cross-entropy; only the loss derivative differs."""
    ce, mse = (tp.derive(tp.mlp(2), "sp", optimizer=how, loss=loss, lr_exponent=r) for loss in ("ce", "mse"))
    assert ce.regime is mse.regime
    for a, b in zip(ce.steps, mse.steps, strict=True):
        assert a.sites == b.sites
        if b.step:
            assert b.loss_gradient == max(b.logits, tp.Exponent(0))


def test_the_loss_value_is_said_to_diverge() -> None:
    d = tp.derive(tp.mlp(2), "sp", optimizer="adam", loss="mse", lr_exponent="-1")
    assert d.regime is tp.Regime.CONTROLLED_DIVERGENCE
    assert any("loss value diverges" in str(reason) for reason in d.reasons)


def test_growth_under_mse_is_geometric() -> None:
    """SP, SGD, MSE, just above n^-1: chi feeds the logits and the logits chi; no rise is below the last."""
    d = tp.derive(tp.mlp(2), "sp", optimizer="sgd", loss="mse", lr_exponent="-7/8", steps=6)
    logits = [s.logits for s in d.steps]
    assert d.regime is tp.Regime.CATASTROPHIC
    rises = [b - a for a, b in pairwise(logits[2:])]
    assert all(r > 0 for r in rises)
    assert rises == sorted(rises)
