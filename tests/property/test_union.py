"""Unions of regions: the convex sets that are told hold the same points, and a convex union is told as one."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from tensorprog.conditions import assumptions
from tensorprog.exponent import Exponent, exponent
from tensorprog.region import Region, explore
from tensorprog.union import convex_sets

settings.register_profile("union", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("union")

NAMES = ("r", "s", "t")
small = st.integers(-2, 2)
forms = st.builds(
    lambda q, *ks: sum((exponent(n) * k for n, k in zip(NAMES, ks, strict=True)), Exponent(q)), small, *[small] * 3
).filter(lambda f: bool(f.coefficients))
# Points on a coarse grid lie on the walls of such forms often.
points = st.fixed_dictionaries({n: st.integers(-4, 4).map(lambda k: Exponent(Fraction(k, 2))) for n in NAMES})


def cells(walls: list[Exponent], start: Region) -> list[tuple[Region, tuple[int, ...]]]:
    """The cells into which walls cut a region, each with its sides."""

    def sides(region: Region) -> tuple[int, ...]:
        return tuple((f > 0) - (f < 0) for f in (w.substitute(region.substitution) for w in walls))

    return [(c.region, c.result) for c in explore(sides, start)]


@given(st.lists(forms, min_size=1, max_size=2), st.randoms(use_true_random=False), st.lists(points, max_size=20))
def test_the_same_points(walls: list[Exponent], random: object, sample: list[dict[str, Exponent]]) -> None:
    chosen = [region for region, _ in cells(walls, Region()) if random.random() < 0.6]  # type: ignore[attr-defined]
    found = convex_sets(chosen)
    assert len(found) <= len(chosen)
    corners = [{n: c.corner().get(n, Exponent(0)) for n in NAMES} for c in found]
    for point in [*sample, *corners]:
        assert any(c.contains(point) for c in found) == any(r.contains(point) for r in chosen)
    assert all(c.contains(corner) for c, corner in zip(found, corners, strict=True))


@given(forms, st.lists(forms, min_size=1, max_size=2), st.booleans())
def test_a_convex_union_is_one_set(wall: Exponent, walls: list[Exponent], closed: bool) -> None:
    """A half space and a plane, cut by further walls."""
    half = [r for r, (side, *_) in cells([wall, *walls], Region()) if side > 0 or (closed and side == 0)]
    plane = [r for r, (side, *_) in cells([wall, *walls], Region()) if side == 0]
    (whole,) = convex_sets(half)
    assert bool(whole.closed) is closed
    assert len(convex_sets(plane)) == 1


def test_a_wedge_and_its_opposite_are_two() -> None:
    both = [*assumptions(["r > 0", "s > 0"]), *assumptions(["r < 0", "s < 0"])]
    assert [str(c) for c in convex_sets(both)] == ["r > 0, s > 0", "r < 0, s < 0"]


def test_a_facet_without_its_corner_is_told_apart() -> None:
    """r > 0, s >= 0 without the origin is convex; with an end of the facet missing the facet is not part of it."""
    quadrant = assumptions(["r > 0", "s > 0"])
    assert [str(c) for c in convex_sets([*quadrant, *assumptions(["r > 0", "s = 0"])])] == ["s >= 0, r > 0"]
    found = convex_sets([*quadrant, *assumptions(["r > 1", "s = 0"])])
    assert sorted(map(str, found)) == ["r > 0, s > 0", "s = 0, r > 1"]
