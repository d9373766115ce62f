"""Everett et al. 2024 (arXiv 2407.05872): the largest stable rate of every layer, under assumed alignment and derived.

Their table assumes alignment: "full" (alpha = u = 1) or "none" (1/2), with omega = 1/2 everywhere. The derived
alignment differs from "full" in the readout alone, where the initial weights are aligned with changed features
(omega = 1). Their Adam epsilon follows.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

import tensorprog as tp
from tensorprog.depth import trajectory
from tensorprog.exponent import ZERO_SIZE
from tensorprog.optimizers import Adam, Optimizer
from tensorprog.parametrizations import Parametrization, unit_updates
from tensorprog.program import Role

SHAPES = {
    "standard": ((0, 0, 0), (0, "1/2", "1/2")),
    "ntk": ((0, "1/2", "1/2"), (0, 0, 0)),
    "mup": (("-1/2", 0, "1/2"), ("1/2", "1/2", "1/2")),
    "mfp": ((0, "1/2", 1), (0, 0, 0)),
}


def parametrization(name: str) -> Parametrization:
    """Their shapes with the rates of full alignment."""

    def by_role(x: tuple[Any, ...]) -> dict[Role, tp.Exponent]:
        roles = (Role.INPUT, Role.HIDDEN, Role.READOUT)
        return {role: tp.Exponent(Fraction(value)) for role, value in zip(roles, x, strict=True)}

    a, b = SHAPES[name]
    return Parametrization(name, by_role(a), by_role(b), unit_updates)


def rates(name: str, how: str | Optimizer) -> list[str]:
    d = tp.derive(tp.mlp(2), parametrization(name), optimizer=how, loss="ce")
    return [str(abc.c) for abc in d.setting.exponents().values()]


def largest(name: str, how: str, alignment: str, depth: int = 2) -> list[str]:
    """The c of the largest stable rates."""
    found = tp.layer_rates(tp.mlp(depth), parametrization(name), optimizer=how, alignment=alignment)
    assert all(s.attained for s in found.values())
    return [str(-s.exponent) for s in found.values()]


TABLE = {
    # (optimizer, alignment): standard, ntk, mup
    ("sgd", "full"): ("-1/2 1/2 1", "-1/2 -1/2 0", "0 0 0"),
    ("sgd", "none"): ("-1/2 0 1/2", "-1/2 -1 -1/2", "0 -1/2 0"),
    ("adam", "full"): ("0 1 1", "0 1/2 1/2", "1/2 1 1/2"),
    ("adam", "none"): ("0 1/2 1/2", "0 0 0", "1/2 1/2 0"),
    ("adafactor", "full"): ("0 1/2 1/2", None, None),
}
ROWS = [
    (*key, name, c.split()) for key, row in TABLE.items() for name, c in zip(SHAPES, row, strict=False) if c is not None
]


@pytest.mark.parametrize(("how", "alignment", "name", "c"), ROWS)
def test_their_table(how: str, alignment: str, name: str, c: list[str]) -> None:
    assert largest(name, how, alignment) == c
    assert largest(name, how, alignment, depth=4) == c


@pytest.mark.parametrize(("how", "alignment", "name", "c"), ROWS)
def test_their_table_solves_the_inverse_problem(how: str, alignment: str, name: str, c: list[str]) -> None:
    """Rates at which every layer's effective update is Theta(1) and nothing but the logits may diverge: one point."""
    free = ("c_input", "c_hidden", "c_readout")
    found = tp.solve(tp.mlp(2), parametrization(name), free=free, bounded="updates", optimizer=how, alignment=alignment)
    if (how, alignment, name) == ("sgd", "none", "mup"):
        c = ["1/2", "0", "-1/2"]  # in their row the readout's update vanishes; one that does not raises all gradients
    assert found.told() == [", ".join(f"{x} = {e}" for x, e in sorted(zip(free, c, strict=True)))]


@pytest.mark.parametrize("alignment", ["full", "none"])
def test_mean_field_is_mup_moved_by_a_half(alignment: str) -> None:
    """a + t, b - t is c - 2t for SGD, c - t for Adam and nothing for Adafactor, whatever is assumed."""
    for how, t in (("sgd", 1), ("adam", Fraction(1, 2)), ("adafactor", 0)):
        mup, mfp = (largest(name, how, alignment) for name in ("mup", "mfp"))
        assert [Fraction(c) - t for c in mup] == [Fraction(c) for c in mfp]


def test_without_alignment_the_gradient_still_bounds_the_readout() -> None:
    """The SGD entry of muP that is no 1/2 smaller: a larger readout would raise the gradients of the layers below."""
    free = tp.derive(
        tp.mlp(2),
        tp.Parametrization.from_layers(a=["-1/2", 0, "1/2"], b=["1/2"] * 3, c=[0, "-1/2", "-1/2"]),
        optimizer="sgd",
        alignment="none",
    )
    assert str(free.steps[1].sites["readout"].effective) == "0"
    assert free.regime is tp.Regime.CATASTROPHIC


@pytest.mark.parametrize("how", ["sgd", "adam", "adafactor"])
@pytest.mark.parametrize("name", SHAPES)
def test_derived_alignment_differs_in_the_readout(how: str, name: str) -> None:
    """At their rates under "full": every exponent is the same but the readout's propagating one, 1/2 larger."""
    shape = parametrization(name)
    assert rates(name, how) == largest(name, how, "full")
    full, derived = (
        tp.derive(tp.mlp(2), shape, optimizer=how, alignment=alignment).steps[1].sites
        for alignment in ("full", "derived")
    )
    for site in full:
        assert full[site].effective == derived[site].effective
    assert full["hidden.1"].propagating == derived["hidden.1"].propagating
    omega, assumed = (sites["readout"].propagating for sites in (derived, full))
    assert omega is not None
    assert assumed is not None
    assert omega - assumed == Fraction(1, 2)
    # muP and the mean field leave room for it: their prescription is the derived one. The others lose the logits.
    bounded = name in ("mup", "mfp")
    assert (largest(name, how, "derived") == largest(name, how, "full")) is bounded
    assert (omega <= 0) is bounded


def test_an_assumption_is_told() -> None:
    d = tp.derive(tp.mlp(2), "sp", optimizer="adam", lr_exponent=-1, alignment="none")
    assert d.to_dict()["setting"]["alignment"] == "none"
    assert "alignment" not in tp.derive(tp.mlp(2), "sp").to_dict()["setting"]
    text = d.explain("hidden.1.effective", step=1)
    assert "not aligned by assumption" in text
    assert "alignment none, in place of the derived one" in " ".join(text.split())


@pytest.mark.parametrize("how", ["adafactor", "lars", "lamb"])
@pytest.mark.parametrize("name", SHAPES)
def test_parameter_scaling_does_not_see_the_multiplier(how: str, name: str) -> None:
    """Steps proportional to the weight: c = fan-in exponent minus a + b, whatever the shape."""
    a, b = ([Fraction(x) for x in part] for part in SHAPES[name])
    expected = [str(size - x - y) for size, x, y in zip((0, 1, 1), a, b, strict=True)]
    assert rates(name, how) == expected


@pytest.mark.parametrize("depth", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_adafactor_at_one_global_rate(depth: int) -> None:
    """Standard parametrization, learning rate n^r: hidden and readout r + 1/2, so at most r = -1/2."""
    family = tp.derive(tp.mlp(depth), "sp", optimizer="adafactor", lr_exponent="r", assume=["r <= -1/2"])
    targets = ["input.effective", "hidden.1.effective", "readout.effective", "readout.propagating"]
    forms = [str(family.closed_form(t, step=1)) for t in targets]
    assert forms == ["r", "r + 1/2", "r + 1/2", "r + 1"]
    stable = tp.max_stable_lr(tp.mlp(depth), "sp", optimizer="adafactor")
    assert (str(stable.exponent), str(stable.bounded_logits_exponent)) == ("-1/2", "-1")


# -- Adam's epsilon


GRADIENTS = {"standard": ("1/2", "1/2", "0"), "ntk": ("1/2", "1", "1/2"), "mup": ("1/2", "1", "1/2")}


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("depth", [2, 3])
def test_gradient_exponents_at_initialisation(name: str, depth: int) -> None:
    """Entries of the gradient with respect to the raw weights, n^-g."""
    s = tp.derive(tp.mlp(depth), parametrization(name), optimizer="sgd").setting
    path = trajectory(s.program, s.exponents(), s.optimizer, s.loss, steps=1, limit=4)
    found = {w.role.value: str(-e) for w, e in path.steps[0].gradients.items()}
    assert found == dict(zip(("input", "hidden", "readout"), GRADIENTS[name], strict=True))


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("role", ["input", "hidden", "readout"])
def test_epsilon_must_shrink_as_the_gradient_does(name: str, role: str) -> None:
    """eps = n^-g is the largest that leaves a layer's first step alone; above it the step shrinks by the excess."""
    g = Fraction(GRADIENTS[name][("input", "hidden", "readout").index(role)])
    p = parametrization(name).assign(tp.mlp(2), Adam())
    exact = tp.Parametrization.from_layers(*([getattr(abc, k) for abc in p.values()] for k in "abc"))

    def effective(epsilon: Any) -> tp.Exponent:
        how = {role: Adam(epsilon), "else": "adam"}
        d = tp.derive(tp.mlp(2), exact, optimizer=how, loss="ce")
        (site,) = (s for s in d.steps[1].sites.values() if s.role == role)
        return site.effective

    assert effective(ZERO_SIZE) == effective(-g) == effective(-g - 2)
    assert effective(-g + Fraction(1, 4)) == effective(ZERO_SIZE) - Fraction(1, 4)


def test_epsilon_in_closed_form() -> None:
    """Standard parametrization at n^-1: controlled with a small epsilon, and stable once it dominates the readout."""
    family = tp.derive(tp.mlp(2), "sp", optimizer=Adam("e"), lr_exponent=-1, assume=["e >= -2", "e <= 2"])
    assert [(str(r), str(v)) for r, v in family.regimes()] == [
        ("-2 <= e < 0", "controlled_divergence"),
        ("0 <= e <= 2", "stable"),
    ]
    forms = {t: str(family.closed_form(f"{t}.effective", step=1)) for t in ("input", "hidden.1", "readout")}
    assert forms == {"input": "Min(-1, -e - 3/2)", "hidden.1": "Min(0, -e - 1/2)", "readout": "Min(0, -e)"}


def test_a_dominating_epsilon_is_gradient_descent() -> None:
    """eps = n^e above every gradient: the step is n^-e g, whatever the loss does to it."""
    for loss in ("ce", "mse"):
        adam, sgd = (tp.max_stable_lr(tp.mlp(2), "sp", optimizer=how, loss=loss).exponent for how in (Adam("0"), "sgd"))
        assert adam == sgd
    assert tp.max_stable_lr(tp.mlp(2), "sp", optimizer=Adam("-1/4")).exponent == Fraction(-3, 4)
    assert tp.max_stable_lr(tp.mlp(2), "sp", optimizer="adam").exponent == -1


def test_rates_that_depend_on_a_symbol_are_found_region_by_region() -> None:
    """muP's Adam rates move with epsilon: c_hidden = max(1, ...) is itself piecewise."""
    family = tp.derive(tp.mlp(2), "mup", optimizer=Adam("e"), assume=["e >= -2", "e <= 1"])
    assert {str(v) for _, v in family.regimes()} == {"stable"}
    assert str(family.closed_form("hidden.1.effective", step=1)) == "0"
