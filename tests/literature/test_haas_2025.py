"""Haas, Bordt, von Luxburg, Vankadara 2025 (arXiv 2505.22491): regimes, updates, suprema."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

import tensorprog as tp


def derive(depth: int, parametrization: str, optimizer: str, loss: str, r: str, **options: Any) -> tp.Derivation:
    d = tp.derive(tp.mlp(depth), parametrization, optimizer=optimizer, loss=loss, lr_exponent=r, **options)
    assert isinstance(d, tp.Derivation)
    return d


def column(d: tp.Derivation, quantity: str, step: int) -> list[str]:
    found = (getattr(s, quantity) for s in d.steps[step].sites.values())
    return [str(e) for e in found if e is not None]


PARAMETRIZATIONS = {
    # b, c for SGD, c for Adam
    "sp": ("0 1/2 1/2", "0 0 0", "0 0 0"),
    "sp-stable": ("0 1/2 1/2", "1 1 1", "1 1 1"),
    "ntp": ("0 1/2 1/2", "0 1 1", "0 1 1"),
    "mup": ("0 1/2 1", "-1 0 1", "0 1 1"),
    "sp-full-align": ("0 1/2 1/2", "-1/2 1/2 1", "0 1 1"),
}


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_parametrizations(name: str) -> None:
    b, sgd, adam = PARAMETRIZATIONS[name]
    for optimizer, c in (("sgd", sgd), ("adam", adam)):
        exponents = derive(2, name, optimizer, "ce", "0").setting.exponents().values()
        assert {str(abc.a) for abc in exponents} == {"0"}
        assert " ".join(str(abc.b) for abc in exponents) == b
        assert " ".join(str(abc.c) for abc in exponents) == c


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_alignment(depth: int) -> None:
    """p = 1 for every weight; q = 1/2 in hidden layers and 1 in the readout, for updates with entries n^-c."""
    for r in ("-1", "-3/2", "-2"):
        sites = derive(depth, "sp", "adam", "ce", r).steps[1].sites
        entries, initial = tp.Exponent(Fraction(r)), tp.Exponent(Fraction(-1, 2))
        feature = None
        for name, site in sites.items():
            if site.role != "input":
                assert str(site.effective - entries) == "1"
                assert str(site.propagating - initial - feature) == ("1" if name == "readout" else "1/2")
            feature = site.feature


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize(
    ("r", "ce", "mse"),
    [
        ("-3/2", ("stable", "trivial"), ("stable", "trivial")),
        ("-1", ("stable", "kernel"), ("stable", "kernel")),
        ("-3/4", ("controlled_divergence", "kernel"), "catastrophic"),
        ("-5/8", ("controlled_divergence", "kernel"), "catastrophic"),
        ("-1/2", ("controlled_divergence", "feature"), "catastrophic"),
        ("-3/8", "catastrophic", "catastrophic"),
        ("0", "catastrophic", "catastrophic"),
    ],
)
def test_regimes_of_sp_with_sgd(depth: int, r: str, ce: object, mse: object) -> None:
    """Stable up to n^-1; with cross-entropy controlled divergence up to n^(-1/2); with MSE no middle."""
    for loss, expected in (("ce", ce), ("mse", mse)):
        d = derive(depth, "sp", "sgd", loss, r)
        got = d.regime.value if isinstance(expected, str) else (d.regime.value, d.learning.value)
        assert got == expected


@pytest.mark.parametrize(("r", "logits"), [("-1", "0"), ("-3/4", "1/4"), ("-1/2", "1/2")])
def test_logits_of_controlled_divergence(r: str, logits: str) -> None:
    """Logits n^(1 - alpha)."""
    assert str(derive(2, "sp", "sgd", "ce", r).steps[1].logits) == logits


@pytest.mark.parametrize(
    ("r", "input_change", "hidden_change"), [("-1/2", "-1", "0"), ("-3/4", "-5/4", "-1/4"), ("-1", "-3/2", "-1/2")]
)
def test_feature_changes(r: str, input_change: str, hidden_change: str) -> None:
    """Input n^(-1/2 - alpha), hidden n^(1/2 - alpha), at every step."""
    d = derive(3, "sp", "sgd", "ce", r)
    for step in (1, 2, 4):
        assert column(d, "feature", step) == [input_change, hidden_change, hidden_change]


@pytest.mark.parametrize(
    ("optimizer", "depth", "r", "step", "expected"),
    [
        ("sgd", 2, "-1/2", 1, ["-1", "0", "1/2"]),
        ("sgd", 1, "0", 1, ["-1/2", "1"]),
        ("sgd", 1, "0", 2, ["0", "1"]),
        ("adam", 2, "-1", 1, ["-1", "0", "0"]),
        ("adam", 1, "0", 1, ["0", "1"]),
    ],
)
def test_effective_updates(optimizer: str, depth: int, r: str, step: int, expected: list[str]) -> None:
    assert column(derive(depth, "sp", optimizer, "ce", r), "effective", step) == expected


@pytest.mark.parametrize(
    ("optimizer", "r", "first", "published"),
    [("sgd", "0", ["-1/2", "1/2", "3/2"], "1"), ("adam", "-1/2", ["-1/2", "1/2", "1"], "1/2")],
)
def test_catastrophic_rows_with_updated_activations(optimizer: str, r: str, first: list[str], published: str) -> None:
    """The published readout entry uses activations before the update; with x_t the hidden divergence adds n^(1/2)."""
    d = derive(2, "sp", optimizer, "ce", r)
    assert column(d, "effective", 1) == first
    hidden = d.steps[1].sites["hidden.1"].activation
    assert str(d.steps[1].sites["readout"].effective - hidden) == published
    assert d.regime is tp.Regime.CATASTROPHIC


def test_zero_readout_moves_the_readout_first() -> None:
    """Upstream is exactly zero at step 1; the first moving step has (0, 1, 1)."""
    d = derive(2, "sp", "sgd", "ce", "0", zero_readout=True)
    assert column(d, "effective", 1) == ["-oo", "-oo", "1"]
    assert column(d, "effective", 2)[:2] == ["0", "1"]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_sp_full_align(optimizer: str) -> None:
    d = derive(2, "sp-full-align", optimizer, "ce", "0")
    assert column(d, "effective", 1) == ["0", "0", "0"]
    assert column(d, "propagating", 1) == ["0", "1/2"]
    assert str(d.steps[1].logits) == "1/2"
    assert (d.regime.value, d.learning.value) == ("controlled_divergence", "maximal")


@pytest.mark.parametrize(
    ("depth", "parametrization", "optimizer", "loss", "stable", "logits"),
    [
        (2, "sp", "sgd", "ce", "-1/2", "-1"),
        (1, "sp", "sgd", "ce", "0", "-1"),
        (2, "sp", "sgd", "mse", "-1", "-1"),
        (1, "sp", "sgd", "mse", "-1", "-1"),
        (2, "mup", "sgd", "ce", "0", "0"),
        (2, "mup", "sgd", "mse", "0", "0"),
        (2, "mup", "adam", "ce", "0", "0"),
        (2, "mup", "adam", "mse", "0", "0"),
        (2, "sp-full-align", "sgd", "ce", "0", "-1/2"),
        (2, "sp-full-align", "adam", "ce", "0", "-1/2"),
        (2, "sp", "adam", "ce", "-1", "-3/2"),
        (3, "sp", "adam", "ce", "-1", "-3/2"),
        (1, "sp", "adam", "ce", "0", "-1"),
        (2, "sp-stable", "sgd", "mse", "0", "0"),
        (2, "ntp", "sgd", "mse", "0", "0"),
    ],
)
def test_max_stable_exponents(
    depth: int, parametrization: str, optimizer: str, loss: str, stable: str, logits: str
) -> None:
    rates = tp.max_stable_lr(tp.mlp(depth), parametrization, optimizer=optimizer, loss=loss)
    assert (str(rates.exponent), str(rates.bounded_updates_exponent), str(rates.bounded_logits_exponent)) == (
        stable,
        stable,
        logits,
    )
    assert rates.stable.attained
    assert rates.logits.attained


@pytest.mark.parametrize("loss", ["ce", "huber", "softmax-mse", "logistic", "hinge"])
def test_bounded_losses_behave_like_cross_entropy(loss: str) -> None:
    assert str(tp.max_stable_lr(tp.mlp(2), "sp", optimizer="sgd", loss=loss).exponent) == "-1/2"
    assert derive(2, "sp", "sgd", loss, "-1/2").regime is tp.Regime.CONTROLLED_DIVERGENCE


def test_adam_under_mse_diverges_in_a_controlled_way() -> None:
    """Diverging logits do not feed back into scale-invariant updates; the loss value diverges, and it is said."""
    d = derive(2, "sp", "adam", "mse", "-1")
    assert d.regime is tp.Regime.CONTROLLED_DIVERGENCE
    assert any("loss value diverges" in str(reason) for reason in d.reasons)
    assert derive(2, "sp", "sgd", "mse", "-1/2").regime is tp.Regime.CATASTROPHIC


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize(
    ("optimizer", "effective", "readout_propagating", "stable"),
    [
        ("adam", ("0", "1", "1"), "3/2", "-1"),
        ("signsgd", ("0", "1", "1"), "3/2", "-1"),
        ("muon", ("-1/2", "0", "1/2"), "1/2", "0"),
    ],
)
def test_global_rate_in_sp(
    depth: int, optimizer: str, effective: tuple[str, ...], readout_propagating: str, stable: str
) -> None:
    """Effective (-alpha, 1 - alpha, 1 - alpha) for sign-like updates, (-1/2, 0, 1/2) - alpha for Muon."""
    from tensorprog.exponent import exponent

    d = derive(depth, "sp", optimizer, "ce", stable)
    expected = [effective[0], *[effective[1]] * (depth - 1), effective[2]]
    assert column(d, "effective", 1) == [str(exponent(e) + exponent(stable)) for e in expected]
    assert str(d.steps[1].sites["readout"].propagating) == str(exponent(readout_propagating) + exponent(stable))
    assert str(tp.max_stable_lr(tp.mlp(depth), "sp", optimizer=optimizer, loss="ce").exponent) == stable


def test_one_hidden_layer_later_steps() -> None:
    """SP, SGD, n^0: the readout's propagating update is 0 at both steps, logits 1, controlled."""
    d = derive(1, "sp", "sgd", "ce", "0")
    for step in (1, 2, 4):
        assert str(d.steps[step].sites["readout"].propagating) == "0"
        assert str(d.steps[step].logits) == "1"
    assert d.regime is tp.Regime.CONTROLLED_DIVERGENCE


def test_small_aligned_term_under_a_large_one() -> None:
    """The trap: a generic-function rule that drops smaller terms says -1/4."""
    p = tp.Parametrization.from_layers(a=[0] * 4, b=[0, "1/2", "1/2", "3/4"], c=["-1/4", "1/2", 1, "1/2"])
    d = tp.derive(tp.mlp(3), p, optimizer="sgd", loss="ce")
    assert str(d.steps[2].sites["readout"].propagating) == "0"
