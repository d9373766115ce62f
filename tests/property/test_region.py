"""Regions: signs of affine forms against points, and explorations against plain evaluation."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction

import pytest
import sympy
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tensorprog.conditions import assumptions
from tensorprog.errors import TensorprogError, Undecided
from tensorprog.exponent import Exponent, exponent, largest, symbol
from tensorprog.region import Region, assuming, explore, interval, run_at
from tests.property.strategies import form, points, rationals

Point = dict[str, Exponent]

small = st.integers(-2, 2).map(Fraction)
planes = st.builds(form, small, st.fixed_dictionaries({"r": small, "s": small}))
solid = planes.filter(lambda f: f.coefficients)

GRID = [
    {"r": Exponent(Fraction(i, 3)), "s": Exponent(Fraction(j, 2))} for i, j in itertools.product(range(-7, 8), repeat=2)
]
"""Points that hit boundaries of forms with small coefficients as well as interiors."""


def cut(constraints: list[Exponent]) -> Region | None:
    """The region where all the forms are positive; None where it is empty."""
    region = Region()
    for g in constraints:
        region = region.where(g)
        if region.is_empty():
            return None
    return region


def at(f: Exponent, point: Point) -> Fraction:
    value = f.substitute(point)
    assert value.is_number
    return value.const


def sign(x: Fraction) -> int:
    return (x > 0) - (x < 0)


@given(st.lists(solid, max_size=4))
def test_emptiness_agrees_with_points(constraints: list[Exponent]) -> None:
    region = cut(constraints)
    hits = [p for p in GRID if all(at(g, p) > 0 for g in constraints)]
    if region is None:
        assert not hits
    else:
        inside = {"r": Exponent(0), "s": Exponent(0), **region.interior()}
        assert all(at(g, inside) > 0 for g in constraints)
        assert region.contains(inside)


@given(st.lists(solid, max_size=4))
def test_dropping_implied_constraints_changes_nothing(constraints: list[Exponent]) -> None:
    region = cut(constraints)
    if region is not None:
        assert len(region.positive) <= len(constraints)
        assert [region.contains(p) for p in GRID] == [all(at(g, p) > 0 for g in constraints) for p in GRID]


@given(st.lists(solid, max_size=4), planes)
def test_sign_holds_at_every_point(constraints: list[Exponent], f: Exponent) -> None:
    """A decided sign holds at all points; an undecided form takes both signs, at points that are exhibited."""
    region = cut(constraints)
    assume(region is not None)
    assert region is not None
    try:
        decided = region.sign(f)
    except Undecided as error:
        assert error.form.symbols <= f.symbols
        for side in (f, -f):
            half = region.where(side)
            assert not half.is_empty()
            witness = {"r": Exponent(0), "s": Exponent(0), **half.interior()}
            assert at(side, witness) > 0
            assert all(at(g, witness) > 0 for g in constraints)
    else:
        assert all(sign(at(f, p)) == decided for p in GRID if region.contains(p))


@given(st.lists(solid, max_size=3), solid, planes)
def test_sign_on_a_hyperplane(constraints: list[Exponent], zero: Exponent, f: Exponent) -> None:
    """An equality eliminates a symbol; signs then hold on the points that satisfy it."""
    region = Region().where_zero(zero)
    for g in constraints:
        region = region.where(g)
    assume(not region.is_empty())
    assert region.sign(zero) == 0
    try:
        decided = region.sign(f)
    except Undecided:
        return
    assert all(sign(at(f, p)) == decided for p in GRID if at(zero, p) == 0 and region.contains(p))


@given(st.lists(solid, max_size=3), planes, st.integers(1, 5))
def test_sign_of_a_multiple(constraints: list[Exponent], f: Exponent, factor: int) -> None:
    region = cut(constraints)
    assume(region is not None)
    assert region is not None
    try:
        decided = region.sign(f)
    except Undecided:
        with pytest.raises(Undecided):
            region.sign(f * factor)
    else:
        assert region.sign(f * factor) == decided == -region.sign(-f)


# -- explorations: a random piecewise function, once on regions and once on numbers


class Piecewise:
    """A random tree of maxima and case distinctions over affine forms."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts

    def __call__(self, read: Callable[[Exponent], Exponent]) -> Exponent:
        kind, *args = self.parts
        if kind == "form":
            return read(args[0])  # type: ignore[arg-type]
        values = [a(read) for a in args]  # type: ignore[operator]
        if kind == "max":
            return largest(values)
        if kind == "sum":
            return values[0] + values[1]
        less, more, yes, no = values
        return yes if less < more else no

    def __repr__(self) -> str:
        return repr(self.parts)


leaves = st.builds(Piecewise, st.just("form"), planes)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Piecewise, st.just("max"), inner, inner),
        st.builds(Piecewise, st.just("sum"), inner, inner),
        st.builds(Piecewise, st.just("if"), inner, inner, inner, inner),
    ),
    max_leaves=5,
)


def symbolically(tree: Piecewise) -> Callable[[Region], Exponent]:
    return lambda region: tree(lambda f: f.substitute(region.substitution))


@given(trees, st.lists(solid, max_size=2), st.lists(points, max_size=10))
def test_exploration_is_a_partition_that_evaluates_right(
    tree: Piecewise, constraints: list[Exponent], extra: list[Point]
) -> None:
    region = cut(constraints)
    assume(region is not None)
    assert region is not None
    cells = explore(symbolically(tree), region)
    for point in [*GRID[::4], *extra]:
        owners = [c for c in cells if c.region.contains(point)]
        assert len(owners) == region.contains(point)
        for cell in owners:
            numeric = tree(lambda f: f.substitute(point))  # noqa: B023
            assert cell.result.substitute(point) == numeric


@example(Piecewise("max", Piecewise("form", exponent(1)), Piecewise("form", exponent("s + 1"))), {"s": exponent(0)})
@given(trees, points)
def test_a_run_at_a_point_holds_on_its_cell(tree: Piecewise, point: Point) -> None:
    cell = run_at(symbolically(tree), Region(), point)
    # A point on a boundary is run on a cell beside it, which it touches.
    assert all(g.substitute(point) >= 0 for g in cell.region.positive)
    for p in [point, *GRID[::4]]:
        if cell.region.contains(p):
            assert cell.result.substitute(p) == tree(lambda f: f.substitute(p))  # noqa: B023


@given(trees)
def test_comparisons_are_constant_on_a_cell(tree: Piecewise) -> None:
    """Running again on the finished cell asks no undecided question."""
    for cell in explore(symbolically(tree), Region()):
        with assuming(cell.region):
            assert symbolically(tree)(cell.region) == cell.result


# -- one symbol


@given(st.lists(rationals, min_size=2, max_size=2, unique=True), rationals)
def test_intervals(ends: list[Fraction], q: Fraction) -> None:
    low, high = sorted(ends)
    region = interval("r", Exponent(low), Exponent(high))
    assert region.bounds("r") == (low, high)
    assert region.contains({"r": Exponent(q)}) == (low < q < high)
    assert region.contains(region.interior())
    assert Region().where_zero(symbol("r") - q).bounds("r") == (q, q)


def test_unbounded_intervals_have_a_point() -> None:
    for region in (Region().where(symbol("r") - 5), Region().where(-symbol("r") - 5)):
        assert region.contains(region.interior())


# -- assumptions in words


@pytest.mark.parametrize(
    ("conditions", "inside", "outside"),
    [
        (["r <= 0"], [{"r": 0}, {"r": -1}], [{"r": 1}]),
        (["r < 0"], [{"r": -1}], [{"r": 0}, {"r": 1}]),
        (["r >= s", "s > 1/2"], [{"r": 1, "s": 1}, {"r": 2, "s": 1}], [{"r": 1, "s": 2}, {"r": 1, "s": "1/2"}]),
        (["r = 2*s"], [{"r": 2, "s": 1}], [{"r": 1, "s": 1}]),
        (["r == 2*s", "s <= 1"], [{"r": 2, "s": 1}], [{"r": 4, "s": 2}]),
        ([sympy.Symbol("r") <= 1], [{"r": 1}], [{"r": 2}]),
        ([sympy.Eq(sympy.Symbol("r"), sympy.Symbol("s"))], [{"r": 1, "s": 1}], [{"r": 1, "s": 2}]),
    ],
    ids=str,
)
def test_assumptions(conditions: list[object], inside: list[dict], outside: list[dict]) -> None:
    regions = assumptions(conditions)

    def owners(values: dict) -> int:
        point = {k: exponent(v) for k, v in values.items()}
        return sum(region.contains(point) for region in regions)

    assert [owners(p) for p in inside] == [1] * len(inside)
    assert [owners(p) for p in outside] == [0] * len(outside)


@pytest.mark.parametrize(
    "conditions",
    [["r < 0", "r > 0"], ["r < r"], ["r"], ["r != 0"], ["0 < r < 1"], ["r <"], [""], ["r*r < 1"], ["r < 1/0"], ["r => 0"],
     ["r < 0 or r > 1"], ["r = 1", "r = 2"]],
    ids=str,
)  # fmt: skip
def test_bad_assumptions(conditions: list[str]) -> None:
    with pytest.raises(TensorprogError):
        assumptions(conditions)
