"""Random exponents, sign patterns and scales for hypothesis."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from hypothesis import strategies as st

from tensorprog.exponent import Exponent, exponent
from tensorprog.pattern import Pattern, affine
from tensorprog.scale import Reason, Scale, Term

NAMES = ("c", "r", "s")
BITS = 4
"""Sources of the patterns: few enough to enumerate all 2^BITS characters."""

rationals = st.fractions(min_value=-4, max_value=4, max_denominator=12)
quarters = st.integers(-8, 8).map(lambda k: Fraction(k, 4))
numbers = quarters.map(Exponent)


def form(const: Fraction, coefficients: dict[str, Fraction]) -> Exponent:
    """const + sum of coefficient * symbol, from its parts."""
    return Exponent(const, tuple(sorted((s, q) for s, q in coefficients.items() if q)))


forms = st.builds(form, rationals, st.dictionaries(st.sampled_from(NAMES), rationals, max_size=3))
points = st.fixed_dictionaries({name: rationals.map(Exponent) for name in NAMES})

characters = st.integers(0, 2**BITS - 1)
patterns = st.builds(affine, characters, st.lists(characters, max_size=3))


def term(e: Exponent, p: Pattern) -> Term:
    return Term(e, p, Reason("constant"))


terms = st.builds(term, numbers, patterns)
term_lists = st.lists(terms, max_size=5)
scales = term_lists.map(Scale)
live_scales = st.lists(terms, min_size=1, max_size=5).map(Scale)


def characters_of(p: Pattern) -> frozenset[int]:
    """All characters of a pattern, by enumeration."""
    found = {p.offset}
    for generator in p.spanning():
        found |= {c ^ generator for c in found}
    return frozenset(found)


def scale(*pairs: tuple[object, Pattern | int]) -> Scale:
    """A scale from (exponent, pattern or single character) pairs."""
    return Scale(term(exponent(e), p if isinstance(p, Pattern) else Pattern(p)) for e, p in pairs)


def unpruned(some: Iterable[Term]) -> Scale:
    """The sum of terms as it is, dominated ones included."""
    return Scale(some, pruned=True)
