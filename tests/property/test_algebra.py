"""Laws of exponents, sign patterns, scales and moments."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from tensorprog.exponent import ZERO_SIZE, Exponent, exponent
from tensorprog.pattern import TRIVIAL, Layout, Pattern, affine, even_span, generic_span, odd_span, reaching
from tensorprog.scale import Reason, Scale, Term, moment

settings.register_profile("laws", derandomize=True, deadline=None, max_examples=200)
settings.load_profile("laws")

BITS = 4
LEVELS = 2
WHY = Reason("constant", "test")

rationals = st.fractions(min_value=-3, max_value=3, max_denominator=12)
forms = st.builds(lambda q, r, s: Exponent(q) + exponent("r") * r + exponent("s") * s, rationals, rationals, rationals)
masks = st.integers(0, (1 << BITS * LEVELS) - 1)
patterns = st.builds(affine, masks, st.lists(masks, max_size=4))
small = st.integers(0, (1 << BITS) - 1)
small_patterns = st.builds(affine, small, st.lists(small, max_size=3))
quarters = st.builds(lambda k: Exponent(Fraction(k, 4)), st.integers(-6, 6))
scales = st.builds(Scale, st.lists(st.builds(Term, quarters, small_patterns, st.just(WHY)), max_size=5))


def elements(p: Pattern) -> frozenset[int]:
    """Brute force: all characters of a pattern."""
    found = {p.offset}
    for vector in p.spanning():
        found |= {x ^ vector for x in found}
    return frozenset(found)


# -- exponents


@given(forms, forms, forms)
def test_exponents_add(a: Exponent, b: Exponent, c: Exponent) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a - a == 0
    assert (a + b) * 3 == a * 3 + b * 3
    assert ZERO_SIZE + a == ZERO_SIZE


@given(forms)
def test_exponents_print_and_parse(a: Exponent) -> None:
    assert exponent(str(a)) == a
    assert exponent(a.to_sympy()) == a
    assert hash(exponent(str(a))) == hash(a)


@given(rationals, rationals)
def test_order_is_that_of_the_rationals(p: Fraction, q: Fraction) -> None:
    a, b = Exponent(p), Exponent(q)
    assert (a < b, a <= b, a == b, a > b, a >= b) == (p < q, p <= q, p == q, p > q, p >= q)
    assert a > ZERO_SIZE


@given(rationals)
def test_plain_exponents_equal_their_numbers(p: Fraction) -> None:
    a = Exponent(p)
    assert a == p == a
    assert a == a.to_sympy()
    assert {p: "found"}[a] == "found"
    assert float(a) == float(p)


# -- patterns


@given(patterns)
def test_canonical_form(p: Pattern) -> None:
    chosen = sorted(elements(p))
    again = affine(chosen[-1], [chosen[-1] ^ x for x in chosen])
    assert again == p
    assert hash(again) == hash(p)
    assert p.has_mean == (0 in chosen)


@given(patterns, patterns, patterns)
def test_products_of_patterns(p: Pattern, q: Pattern, r: Pattern) -> None:
    assert elements(p * q) == {x ^ y for x, y in product(elements(p), elements(q))}
    assert p * q == q * p
    assert (p * q) * r == p * (q * r)
    assert p * TRIVIAL == p


@given(small_patterns, small_patterns)
def test_containment(p: Pattern, q: Pattern) -> None:
    assert (p in q) == (elements(p) <= elements(q))


@given(st.lists(small_patterns, min_size=1, max_size=3))
def test_spans(ps: list[Pattern]) -> None:
    union = frozenset().union(*map(elements, ps))
    odd, even = set(union), {0}
    for _ in range(2 * BITS):
        even |= {x ^ y for x, y in product(odd, union)}
        odd |= {x ^ y for x, y in product(even, union)}
    assert elements(odd_span(ps)) == odd
    assert elements(even_span(ps)) == even
    assert elements(generic_span(ps)) == odd | even


def mixed(x: int, levels: int) -> int:
    parts = [x >> BITS * k & (1 << BITS) - 1 for k in range(levels)]
    moved = [0, *parts[:-1]]
    moved[-1] ^= parts[-1]
    return sum(part << BITS * k for k, part in enumerate(moved))


@given(patterns)
def test_mixing_moves_every_character_up(p: Pattern) -> None:
    assert elements(p.mixed(Layout(BITS, LEVELS))) == {mixed(x, LEVELS) for x in elements(p)}


@given(patterns, patterns, st.integers(0, BITS - 1))
def test_reaching_characters(y: Pattern, x: Pattern, position: int) -> None:
    bit = 1 << position
    expected = {k for k in elements(y) if bit ^ mixed(k, LEVELS) in elements(x)}
    found = reaching(y, x, bit, Layout(BITS, LEVELS))
    assert (elements(found) if found else frozenset()) == expected


# -- scales


@given(scales, scales, scales)
def test_scales_form_a_semiring(x: Scale, y: Scale, z: Scale) -> None:
    assert x + y == y + x
    assert (x + y) + z == x + (y + z)
    assert x * y == y * x
    assert (x * y) * z == x * (y * z)
    assert x * (y + z) == x * y + x * z
    assert x + x == x


@given(scales, scales)
def test_top_is_max_plus(x: Scale, y: Scale) -> None:
    assert (x + y).top == max(x.top, y.top)
    if not (x.is_zero or y.is_zero):
        assert (x * y).top == x.top + y.top


def brute_moment(x: list[Term], y: list[Term], size: Exponent) -> Exponent:
    found = ZERO_SIZE
    for s, t in product(x, y):
        mean = bool(elements(s.pattern) & elements(t.pattern))
        found = max(found, s.exponent + t.exponent + (size if mean else size / 2))
    return found


terms = st.lists(st.builds(Term, quarters, small_patterns, st.just(WHY)), max_size=5)
sizes = st.sampled_from([Exponent(0), Exponent(Fraction(1, 2)), Exponent(1)])


@given(terms, terms, sizes)
def test_pruning_never_changes_a_moment(x: list[Term], y: list[Term], size: Exponent) -> None:
    expected = brute_moment(x, y, size)
    pruned = moment(Scale(x), Scale(y), size, "test")
    assert pruned.top == expected
    assert pruned == moment(Scale(y), Scale(x), size, "test")
    assert all(t.pattern == TRIVIAL for t in pruned)


@given(terms, terms, sizes)
def test_resolution_never_changes_a_moment(x: list[Term], y: list[Term], size: Exponent) -> None:
    """Terms half an axis below another one can be dropped: that is all that alignment can gain."""
    if size == 0:
        return
    resolved = moment(Scale(x).resolved(size / 2), Scale(y), size, "test")
    assert resolved.top == brute_moment(x, y, size)
