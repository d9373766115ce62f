"""Sign patterns against enumeration of all their characters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from tensorprog.flips import _shared, _witness
from tensorprog.pattern import TRIVIAL, Layout, Pattern, affine, even_span, generic_span, odd_span, reaching
from tests.property.strategies import BITS, characters, characters_of, patterns

Characters = frozenset[int]

LEVELS = 3
deep = st.integers(0, 2 ** (BITS * LEVELS) - 1)
deep_patterns = st.builds(affine, deep, st.lists(deep, max_size=4))


def sums(a: Characters, b: Characters) -> Characters:
    return frozenset(x ^ y for x in a for y in b)


def combinations(parts: Iterable[Characters], allowed: Callable[[int], bool]) -> Characters:
    """All sums of k elements of the union, for the k that are allowed."""
    union = frozenset().union(*parts)
    found, reach = set(), frozenset({0})
    for k in range(2 * BITS + 3):
        if allowed(k):
            found |= reach
        reach = sums(reach, union)
    return frozenset(found)


@given(patterns)
def test_a_pattern_is_an_affine_subspace(p: Pattern) -> None:
    members = characters_of(p)
    assert len(members) == 2 ** len(p.spanning())
    assert all(a ^ b ^ c in members for a in members for b in members for c in list(members)[:2])


@given(characters, st.lists(characters, max_size=3), st.randoms(use_true_random=False), st.integers(0, 7))
def test_the_form_is_canonical(offset: int, span: list[int], rng: object, mask: int) -> None:
    """However a subspace is written, it is one value."""
    p = affine(offset, span)
    rewritten = list(span)
    rng.shuffle(rewritten)  # type: ignore[attr-defined]
    rewritten += [a ^ b for a, b in zip(rewritten, rewritten[1:], strict=False)]
    shift = reduce(lambda x, y: x ^ y, (v for k, v in enumerate(span) if mask >> k & 1), 0)
    q = affine(offset ^ shift, rewritten)
    assert p == q
    assert hash(p) == hash(q)


@given(patterns, patterns)
def test_equality_is_equality_of_characters(p: Pattern, q: Pattern) -> None:
    assert (p == q) == (characters_of(p) == characters_of(q))


@given(patterns, patterns, patterns)
def test_product(p: Pattern, q: Pattern, r: Pattern) -> None:
    assert characters_of(p * q) == sums(characters_of(p), characters_of(q))
    assert p * q == q * p
    assert (p * q) * r == p * (q * r)
    assert p * TRIVIAL == p


@given(patterns)
def test_a_square_is_the_linear_part(p: Pattern) -> None:
    """A term times itself loses its sign: what is left is the span, which is idempotent."""
    square = p * p
    assert square.has_mean
    assert square * square == square
    assert p * square == p


@given(patterns, patterns, patterns)
def test_containment_is_a_partial_order(p: Pattern, q: Pattern, r: Pattern) -> None:
    assert (p in q) == (characters_of(p) <= characters_of(q))
    assert p in p
    assert not (p in q and q in p) or p == q
    assert not (p in q and q in r) or p in r
    assert p not in q or (p * r) in (q * r)


@given(patterns, patterns)
def test_mean_of_a_product(p: Pattern, q: Pattern) -> None:
    assert p.has_mean == (0 in characters_of(p))
    assert (p * q).has_mean == bool(characters_of(p) & characters_of(q))


@given(st.lists(patterns, min_size=1, max_size=3))
def test_spans(many: list[Pattern]) -> None:
    parts = [characters_of(p) for p in many]
    assert characters_of(generic_span(many)) == combinations(parts, lambda k: True)
    assert characters_of(odd_span(many)) == combinations(parts, lambda k: k % 2 == 1)
    assert characters_of(even_span(many)) == combinations(parts, lambda k: k % 2 == 0)


@given(st.lists(patterns, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_spans_do_not_depend_on_order(many: list[Pattern], rng: object) -> None:
    mixed = list(many)
    rng.shuffle(mixed)  # type: ignore[attr-defined]
    for span in (generic_span, odd_span, even_span):
        assert span(many) == span(mixed) == span([*many, many[0]])


def up(character: int) -> int:
    """One mixing level up, bit by bit; the top level stays."""
    result = 0
    for bit in range(BITS * LEVELS):
        if character >> bit & 1:
            result ^= 1 << (bit + BITS if bit < BITS * (LEVELS - 1) else bit)
    return result


@given(deep_patterns, deep_patterns)
def test_mixing_is_linear(p: Pattern, q: Pattern) -> None:
    assert characters_of(p.mixed(Layout(BITS, LEVELS))) == frozenset(map(up, characters_of(p)))
    assert (p * q).mixed(Layout(BITS, LEVELS)) == p.mixed(Layout(BITS, LEVELS)) * q.mixed(Layout(BITS, LEVELS))
    assert TRIVIAL.mixed(Layout(BITS, LEVELS)) == TRIVIAL


@given(deep_patterns, deep_patterns)
def test_mixing_keeps_containment_and_means(p: Pattern, q: Pattern) -> None:
    a, b = p.mixed(Layout(BITS, LEVELS)), q.mixed(Layout(BITS, LEVELS))
    assert p not in q or a in b
    assert not p.has_mean or a.has_mean
    assert not (p * q).has_mean or (a * b).has_mean


@given(deep_patterns, deep_patterns, st.integers(0, BITS - 1))
def test_reaching_characters(y: Pattern, x: Pattern, source: int) -> None:
    """The characters k of y whose field, bit + mixed(k), is among those of x."""
    bit = 1 << source
    expected = {k for k in characters_of(y) if bit ^ up(k) in characters_of(x)}
    got = reaching(y, x, bit, Layout(BITS, LEVELS))
    assert (characters_of(got) if got is not None else set()) == expected


# -- naming the flip behind a verdict


@given(patterns)
def test_a_vanishing_mean_has_a_flip(p: Pattern) -> None:
    """The flip that is named changes the sign of every character of the product."""
    if not p.has_mean:
        flip = _witness(p)
        assert all((c & flip).bit_count() % 2 for c in characters_of(p))


@given(patterns, patterns)
def test_a_surviving_mean_has_a_shared_character(p: Pattern, q: Pattern) -> None:
    if (p * q).has_mean:
        shared = _shared(p, q)
        assert shared is None or shared in characters_of(p) & characters_of(q)
