"""Laws of graded scales: a max-plus semiring graded by sign patterns, and what may be dropped from it."""

from __future__ import annotations

import itertools
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tensorprog.exponent import ZERO, ZERO_SIZE, Exponent, largest
from tensorprog.pattern import TRIVIAL, Pattern
from tensorprog.scale import MANY_TERMS, NOTHING, Reason, Scale, Term, moment, prune
from tests.property.strategies import live_scales, numbers, quarters, scale, scales, term_lists, terms, unpruned

ONE = scale((0, TRIVIAL))
axes = st.sampled_from([Exponent(q) for q in (0, 1)] + [Exponent(1) / 2, Exponent(2)])


def value(x: Scale, y: Scale, size: Exponent) -> Exponent:
    return moment(x, y, size, "<x, y>").top


@given(scales, scales, scales)
def test_sum(x: Scale, y: Scale, z: Scale) -> None:
    assert x + y == y + x
    assert (x + y) + z == x + (y + z)
    assert x + x == x
    assert x + NOTHING == x


@given(scales, scales, scales)
def test_product(x: Scale, y: Scale, z: Scale) -> None:
    assert x * y == y * x
    assert (x * y) * z == x * (y * z)
    assert x * ONE == x
    assert x * NOTHING == NOTHING


@given(scales, scales, scales)
def test_product_distributes_over_sum(x: Scale, y: Scale, z: Scale) -> None:
    assert x * (y + z) == x * y + x * z


@given(scales, scales)
def test_equal_scales_hash_alike(x: Scale, y: Scale) -> None:
    assert (x == y) == (x.key == y.key)
    assert hash(x + y) == hash(y + x)


@given(scales, scales, numbers)
def test_top_is_max_plus(x: Scale, y: Scale, by: Exponent) -> None:
    assert (x + y).top == largest([x.top, y.top])
    if not (x.is_zero or y.is_zero):
        assert (x * y).top == x.top + y.top
        assert x.shift(by, "multiplier", "").top == x.top + by
    assert x.shift(by, "multiplier", "").shift(-by, "multiplier", "") == x


@given(live_scales)
def test_leading_and_lower_terms(x: Scale) -> None:
    assert {id(t) for t in x} == {id(t) for t in (*x.leading(), *x.lower())}
    assert all(t.exponent == x.top for t in x.leading())
    assert all(t.exponent < x.top for t in x.lower())


def test_nothing_is_exactly_zero() -> None:
    assert NOTHING.is_zero
    assert NOTHING.top == ZERO_SIZE
    assert Scale.source(ZERO_SIZE, rule="constant", what="0") == NOTHING
    assert moment(NOTHING, ONE, Exponent(1), "").is_zero


@given(term_lists)
def test_pruning_keeps_maximal_terms_only(some: list[Term]) -> None:
    kept = prune(some)
    for s, t in itertools.permutations(kept, 2):
        assert not (s.exponent <= t.exponent and s.pattern in t.pattern)
    for t in some:
        assert any(t.exponent <= k.exponent and t.pattern in k.pattern for k in kept)
    assert Scale(kept) == Scale(reversed(some)) == Scale(some)


@given(term_lists, scales, axes)
def test_pruning_never_changes_a_moment(some: list[Term], partner: Scale, size: Exponent) -> None:
    """Neither its size nor, where only the mean counts, the mean."""
    whole, pruned = unpruned(some), Scale(some)
    assert value(whole, partner, size) == value(pruned, partner, size)
    only = [moment(x, partner, size, "", only_mean=True).top for x in (whole, pruned)]
    assert only[0] == only[1]


@given(term_lists, scales, scales, axes)
def test_pruning_never_changes_a_moment_of_a_product(some: list[Term], x: Scale, y: Scale, size: Exponent) -> None:
    assert value(unpruned(some) * x, y, size) == value(Scale(some) * x, y, size)


@given(live_scales, live_scales, quarters.filter(lambda q: q > 0))
def test_resolution_never_changes_a_moment(x: Scale, y: Scale, gap: object) -> None:
    """Over an axis of size 2 gap: alignment gains gap over the central limit, and no more."""
    g = Exponent(gap)  # type: ignore[arg-type]
    for size in (ZERO, g, g * 2):
        assert value(x.resolved(g), y, size) == value(x, y, size)
        assert value(x.resolved(g), y.resolved(g), size) == value(x, y, size)
    assert x.resolved(g).top == x.top


@given(live_scales)
def test_leading_terms_alone_are_a_lower_bound(x: Scale) -> None:
    least = x.resolved(None)
    assert least.top == x.top
    assert {id(t) for t in least} == {id(t) for t in x.leading()}


@given(scales, scales, scales, axes)
def test_moment_is_symmetric_and_bilinear(x: Scale, y: Scale, z: Scale, size: Exponent) -> None:
    assert moment(x, y, size, "") == moment(y, x, size, "")
    assert moment(x + y, z, size, "") == moment(x, z, size, "") + moment(y, z, size, "")


@given(terms, terms, axes)
def test_moment_of_two_terms(s: Term, t: Term, size: Exponent) -> None:
    """Law of large numbers where the patterns meet, central limit where they do not."""
    gain = size if (s.pattern * t.pattern).has_mean else size / 2
    got = moment(Scale([s]), Scale([t]), size, "")
    assert got.top == s.exponent + t.exponent + gain
    assert all(part.pattern == TRIVIAL for part in got)


@given(live_scales, axes)
def test_a_vector_is_aligned_with_itself(x: Scale, size: Exponent) -> None:
    assert value(x, x, size) == x.top * 2 + size


@given(scales, scales, scales, axes)
def test_moment_moves_factors_across(x: Scale, y: Scale, z: Scale, size: Exponent) -> None:
    """<x * y, z> = <x, y * z>."""
    assert value(x * y, z, size) == value(x, y * z, size)


def test_many_terms_of_one_size_become_one_that_has_all_their_patterns() -> None:
    one, half = Exponent(1), Exponent(Fraction(1, 2))
    many = [Term(ZERO, Pattern(1 << i), Reason("constant")) for i in range(MANY_TERMS + 1)]
    rare = Term(ZERO, Pattern(1 << 20), Reason("constant"), -half)
    small = Term(-half / 2, Pattern(1 << 21), Reason("constant"))
    merged = Scale([*many, rare, small]).resolved(one)
    assert len(merged) == 3
    (hull,) = (t for t in merged if t.exponent == ZERO and t.fraction == ZERO)
    assert all(t.pattern in hull.pattern for t in many)
    assert {t.pattern for t in merged} == {hull.pattern, rare.pattern, small.pattern}
    for t in (*many, rare, small):
        assert moment(merged, Scale([t]), one, "").top == moment(Scale([t]), Scale([t]), one, "").top
    few = Scale(many[:MANY_TERMS])
    assert few.resolved(one) == few
