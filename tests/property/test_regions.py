"""Regions, exploration, and families against direct derivations at rational points."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorprog as tp
from tensorprog.conditions import assumptions
from tensorprog.errors import RegionError, Undecided
from tensorprog.exponent import Exponent, exponent
from tensorprog.region import Region, explore

settings.register_profile("regions", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("regions")

rationals = st.fractions(min_value=-3, max_value=3, max_denominator=6)
forms = st.builds(lambda q, r, s: Exponent(q) + exponent("r") * r + exponent("s") * s, rationals, rationals, rationals)
points = st.fixed_dictionaries({"r": rationals.map(Exponent), "s": rationals.map(Exponent)})


@given(st.lists(forms, max_size=4), forms, points)
def test_sign_is_that_of_every_point(constraints: list[Exponent], form: Exponent, point: dict[str, Exponent]) -> None:
    region = Region()
    for g in constraints:
        if g.coefficients:
            region = region.where(g)
    if region.is_empty() or not region.contains(point):
        return
    value = form.substitute(point).const
    try:
        sign = region.sign(form)
    except Undecided:
        return
    assert sign == (value > 0) - (value < 0)


@given(st.lists(forms, min_size=1, max_size=3), points)
def test_interior_and_emptiness(constraints: list[Exponent], point: dict[str, Exponent]) -> None:
    region = Region()
    for g in constraints:
        if g.coefficients:
            region = region.where(g)
    if region.contains(point):
        assert not region.is_empty()
    if not region.is_empty() and region.positive:
        inside = region.interior()
        assert all(g.substitute(inside) > 0 for g in region.positive)


@given(st.lists(forms, min_size=1, max_size=3), points)
def test_exploration_is_a_partition(candidates: list[Exponent], point: dict[str, Exponent]) -> None:
    def largest(region: Region) -> Exponent:
        return max(f.substitute(region.substitution) for f in candidates)

    cells = explore(largest, Region())
    here = [cell for cell in cells if cell.region.contains(point)]
    assert len(here) == 1
    assert here[0].result.substitute(point) == max(f.substitute(point) for f in candidates)


def test_assumptions() -> None:
    assert {str(r) for r in assumptions(["r <= 0"])} == {"r < 0", "r = 0"}
    assert [str(r) for r in assumptions(["r = 1", "r > 0"])] == ["r = 1"]
    with pytest.raises(RegionError, match="no point"):
        assumptions(["r > 0", "r < -1"])
    with pytest.raises(RegionError, match="not an inequality"):
        assumptions(["r"])


@pytest.mark.parametrize(
    ("depth", "parametrization", "optimizer", "loss"),
    [(1, "sp", "sgd", "ce"), (2, "sp", "sgd", "ce"), (2, "sp", "adam", "ce"), (2, "mup", "sgd", "ce")],
)
def test_families_agree_with_derivations_at_points(depth: int, parametrization: str, optimizer: str, loss: str) -> None:
    program = tp.mlp(depth)
    options = {"optimizer": optimizer, "loss": loss, "steps": 2}
    family = tp.derive(program, parametrization, lr_exponent="r", assume=["r >= -2", "r <= 1/2"], **options)
    rng = random.Random(0)
    points = [Fraction(k, 4) for k in range(-8, 3)] + [Fraction(rng.randint(-200, 50), 100) for _ in range(12)]
    for r in points:
        d = tp.derive(program, parametrization, lr_exponent=r, **options)
        (cell,) = [c for c in family if c.region.contains({"r": Exponent(r)})]
        assert cell.result.regime is d.regime
        for target in ("input.effective", "readout.effective", "readout.propagating", "logits"):
            for step in (1, 2):
                assert family.closed_form(target, step=step).at(r=r) == d.scale(target, step=step).top


def test_families_in_two_symbols() -> None:
    p = tp.Parametrization.from_layers(a=[0, 0], b=[0, "b"], c=[0, 0])
    box = ["r <= 1/2", "r >= -2", "b >= 0", "b <= 2"]
    family = tp.derive(tp.mlp(1), p, lr_exponent="r", assume=box, steps=2)
    rng = random.Random(1)
    for _ in range(25):
        r, b = Fraction(rng.randint(-200, 50), 100), Fraction(rng.randint(0, 200), 100)
        q = tp.Parametrization.from_layers(a=[0, 0], b=[0, b], c=[0, 0])
        d = tp.derive(tp.mlp(1), q, lr_exponent=r, steps=2)
        (cell,) = [c for c in family if c.region.contains({"r": Exponent(r), "b": Exponent(b)})]
        assert cell.result.regime is d.regime
        for step in (1, 2):
            assert family.closed_form("readout.propagating", step=step).at(r=r, b=b) == (
                d.steps[step].sites["readout"].propagating
            )


@pytest.mark.parametrize("seed", range(30))
def test_suprema_separate_regimes(seed: int) -> None:
    """At and below the supremum training is not catastrophic, right above it is."""
    rng = random.Random(seed)
    depth = rng.randint(1, 3)
    b = [0, *["1/2"] * (depth - 1), Fraction(rng.randint(0, 6), 4)]
    c = [Fraction(rng.randint(-2, 6), 4) for _ in range(depth + 1)]
    options = {"optimizer": rng.choice(["sgd", "adam", "signsgd", "muon"]), "loss": rng.choice(["ce", "mse", "huber"])}
    p = tp.Parametrization.from_layers(a=[0] * (depth + 1), b=b, c=c)
    rates = tp.max_stable_lr(tp.mlp(depth), p, **options)
    assert not rates.exponent.infinite

    def catastrophic(r: Exponent) -> bool:
        return tp.derive(tp.mlp(depth), p, lr_exponent=r, **options).regime is tp.Regime.CATASTROPHIC

    assert catastrophic(rates.exponent) is not rates.stable.attained
    for gap in (Fraction(1, 16), Fraction(1, 2), Fraction(2)):
        assert catastrophic(rates.exponent + gap)
        assert not catastrophic(rates.exponent - gap)
