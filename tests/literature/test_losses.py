"""Losses: a bounded derivative behaves like cross-entropy, one that grows with the logits like MSE."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest

import tensorprog as tp
from tensorprog.errors import SettingError
from tensorprog.losses import LOSSES, Loss, SoftCapped, Temperature, ZLoss, loss

LOG_COSH = Loss("log-cosh", 0, lambda f, y: f, "chi = tanh(f - y)")
OWN = Loss("squared-error", 1, lambda f, y: f, "an entry of one's own")

BOUNDED = [
    *(x for x in LOSSES.values() if not x.degree),
    LOG_COSH,
    SoftCapped(),
    SoftCapped("mse"),
    SoftCapped("z-loss"),
    Temperature(),
    ZLoss("-oo"),
]
GROWING = [*(x for x in LOSSES.values() if x.degree), OWN, Temperature("mse")]


def name(x: object) -> str:
    return str(x)


def regimes(depth: int, loss: Loss | str) -> list[tuple[str, str]]:
    family = tp.derive(tp.mlp(depth), "sp", optimizer="sgd", loss=loss, lr_exponent="r", steps=1)
    return [(str(region), str(regime)) for region, regime in family.regimes()]


def test_the_registry_has_both_kinds() -> None:
    bounded = "ce huber softmax-mse logistic hinge label-smoothing focal l1"
    assert {x.name for x in LOSSES.values() if not x.degree} == set(bounded.split())
    assert {x.name for x in LOSSES.values() if x.degree} == {"mse", "squared-hinge", "z-loss"}


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


SCALE_FREE = ["adam", "signsgd", "muon", "lion", "rmsprop", "adagrad", "adafactor", "lars", "lamb", "soap", "shampoo"]


@pytest.mark.parametrize("how", [*SCALE_FREE, "normalised-gd"])
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


# -- losses with a scale of their own


def found(loss: Loss | str, **options: object) -> list[tuple[str, str]]:
    family = tp.derive(tp.mlp(2), "sp", optimizer="sgd", loss=loss, steps=1, **options)
    return [(str(region), str(regime)) for region, regime in family.regimes()]


def test_z_loss_ends_controlled_divergence() -> None:
    """SP, SGD, cross-entropy at n^(-1/2): logits n^(1/2), which a coefficient n^k feeds back for every k > -1/2."""
    ce = tp.derive(tp.mlp(2), "sp", optimizer="sgd", loss="ce", lr_exponent="-1/2")
    z = tp.derive(tp.mlp(2), "sp", optimizer="sgd", loss="z-loss", lr_exponent="-1/2")
    assert (ce.regime, z.regime) == (tp.Regime.CONTROLLED_DIVERGENCE, tp.Regime.CATASTROPHIC)
    assert any("feeds them" in str(reason) or "a later layer reads it" in str(reason) for reason in z.reasons)
    assert found(ZLoss("k"), lr_exponent="-1/2", assume=["k <= 1"]) == [
        ("k <= -1/2", "controlled_divergence"),
        ("-1/2 < k <= 1", "catastrophic"),
    ]


@pytest.mark.parametrize(
    ("k", "stable"), [(-2, "-1/2"), ("-1/2", "-1/2"), ("-1/4", "-3/4"), (0, "-1"), ("1/4", "-5/4")]
)
def test_largest_rate_under_a_z_loss(k: object, stable: str) -> None:
    """-1/2 - (k + 1/2) once the penalty counts: at r the logits are n^(1 + r), and n^k times that must stay bounded."""
    rates = tp.max_stable_lr(tp.mlp(2), "sp", optimizer="sgd", loss=loss("z-loss", coefficient_exponent=k))
    assert (str(rates.exponent), rates.stable.attained) == (stable, True)


def test_z_loss_does_not_stop_adam() -> None:
    """The scale of the loss derivative is no news to an optimizer that divides by it."""
    rates = tp.max_stable_lr(tp.mlp(2), "sp", optimizer="adam", loss="z-loss")
    assert rates.exponent == -1
    d = tp.derive(tp.mlp(2), "sp", optimizer="adam", loss="z-loss", lr_exponent=-1)
    assert d.regime is tp.Regime.CONTROLLED_DIVERGENCE
    assert str(d.steps[2].loss_gradient) == "1/2"


@pytest.mark.parametrize("tau", [Fraction(-1), Fraction(-1, 2), Fraction(1, 3)])
@pytest.mark.parametrize("base", ["ce", "mse"])
def test_temperature_is_a_multiplier_of_the_readout(tau: Fraction, base: str) -> None:
    """n^tau f before the loss is the readout's multiplier a = -tau: every site agrees, the logits differ by n^tau."""
    b, c = [0, "1/2", "1/2"], ["1/2", "1/2", "1/2"]
    plain = tp.Parametrization.from_layers([0, 0, 0], b, c)
    inside = tp.Parametrization.from_layers([0, 0, -tau], b, c)
    one = tp.derive(tp.mlp(2), plain, optimizer="sgd", loss=Temperature(base, tau))
    two = tp.derive(tp.mlp(2), inside, optimizer="sgd", loss=base)
    for x, y in zip(one.steps, two.steps, strict=True):
        assert x.logits + tau == y.logits
        for site in ("input", "hidden.1"):
            assert x.sites[site] == y.sites[site]


def test_soft_capping_bounds_any_loss() -> None:
    """Logits above the cap n^k are seen as n^k: MSE becomes as bounded as cross-entropy for k = 0."""
    assert found(SoftCapped("mse"), lr_exponent="r", assume=["r <= 0"]) == [
        ("r <= -1", "stable"),
        ("-1 < r <= -1/2", "controlled_divergence"),
        ("-1/2 < r <= 0", "catastrophic"),
    ]
    (_, lowest), *_ = found(SoftCapped("mse", "k"), lr_exponent="-1/2", assume=["k >= -1", "k <= 1"])
    assert lowest == "controlled_divergence"
    for k, stable in (("1/4", "-3/4"), (1, "-1")):
        rates = tp.max_stable_lr(tp.mlp(2), "sp", optimizer="sgd", loss=SoftCapped("mse", k))
        assert str(rates.exponent) == stable


def test_losses_take_their_own_options_and_pass_on_the_others() -> None:
    nested = loss("temperature", base_loss="z-loss", coefficient_exponent="-1/2", inverse_temperature_exponent="1/2")
    assert str(nested) == ("temperature(base_loss=z-loss(coefficient_exponent=-1/2), inverse_temperature_exponent=1/2)")
    d = tp.derive(tp.mlp(2), "sp", loss=nested).to_dict()["setting"]
    assert (d["loss"], d["loss_options"]["inverse_temperature_exponent"]) == ("temperature", "1/2")
    with pytest.raises(SettingError, match="loss ce: got 'coefficient'; its options are: none"):
        loss("ce", coefficient=1.0)
    with pytest.raises(SettingError, match="loss z-loss, coefficient: got 0; needs a positive number"):
        loss("z-loss", coefficient=0)
    with pytest.raises(SettingError, match="a loss that is made takes no options"):
        loss(ZLoss(), coefficient=1.0)
