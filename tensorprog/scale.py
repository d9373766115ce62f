"""Graded scales: the size of a vector, split by sign pattern.

A scale is a finite sum of terms ``n^e`` with a sign pattern each: a max-plus polynomial graded by pattern. Sum is
union, product adds exponents and combines patterns, ``top`` is the largest exponent: the coordinate size (RMS).
The lower terms are not waste: one that is aligned with a later vector can decide an inner product.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tensorprog.exponent import ZERO, ZERO_SIZE, Exponent, known_le, known_lt, largest, maximal
from tensorprog.pattern import TRIVIAL, Pattern, odd_span

__all__ = ["NOTHING", "Reason", "Scale", "Term", "moment"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Where a term comes from: the rule, what it did, and the terms it was applied to.

    Args:
        rule: the rule's name, a key of :data:`tensorprog.rules.RULES`.
        what: the operation in formulas.
        gain: the exponent that the rule itself added.
        sources: the terms it was applied to.
    """

    rule: str
    what: str = ""
    gain: Exponent = ZERO
    sources: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One graded piece: coordinate size Theta(n^exponent), transforming with ``pattern``.

    Args:
        fraction: it lives on n^fraction of the coordinates, and is larger there; ``ZERO`` itself is everywhere (told by
            identity: it is asked more often than anything else).
    """

    exponent: Exponent
    pattern: Pattern
    reason: Reason
    fraction: Exponent = ZERO

    @property
    def height(self) -> Exponent:
        """The exponent of the coordinates where it lives."""
        return self.exponent - self.fraction / 2 if self.fraction is not ZERO else self.exponent


class Scale:
    """A sum of terms, pruned: none is dominated by another with at least its size and all its patterns.

    Scales are immutable values; equality ignores the reasons.
    """

    __slots__ = ("_top", "terms")

    def __init__(self, terms: Iterable[Term] = (), *, pruned: bool = False) -> None:
        # Rules that keep patterns and gaps cannot create a dominated term: they pass ``pruned=True``.
        self.terms: tuple[Term, ...] = tuple(terms) if pruned else prune(terms)
        self._top: Exponent | None = None

    @classmethod
    def source(cls, exponent: Exponent, pattern: Pattern = TRIVIAL, *, rule: str, what: str) -> Scale:
        """A single-term scale that enters from outside: a weight, data, a constant."""
        if exponent == ZERO_SIZE:
            return NOTHING
        return cls((Term(exponent, pattern, Reason(rule, what, exponent)),))

    @property
    def top(self) -> Exponent:
        """The exponent of the coordinate size (RMS); -oo for exact zero."""
        if self._top is None:
            self._top = largest(t.exponent for t in self.terms)
        return self._top

    @property
    def is_zero(self) -> bool:
        return not self.terms

    def exceeds(self, bound: Exponent) -> bool:
        """``top > bound``, asked term by term: with symbols, which term is the largest need not be decided for it."""
        return any(e > bound for e in self._decisive(bound))

    def falls_below(self, bound: Exponent) -> bool:
        """``top < bound``, asked like :meth:`exceeds`."""
        return all(e < bound for e in self._decisive(bound))

    def _decisive(self, bound: Exponent) -> list[Exponent]:
        """The exponents that decide where the top lies, those that are certainly no lower than the bound first."""
        found = maximal(t.exponent for t in self.terms)
        return sorted(found, key=lambda e: not known_le(bound, e))

    def leading(self) -> tuple[Term, ...]:
        """The terms whose exponent is the top."""
        top = self.top
        return tuple(t for t in self.terms if not t.exponent < top)

    def lower(self) -> tuple[Term, ...]:
        """The terms below the top."""
        top = self.top
        return tuple(t for t in self.terms if t.exponent < top)

    def __add__(self, other: Scale) -> Scale:
        """The scale of a sum (no cancellation: genericity)."""
        if not other.terms:
            return self
        if not self.terms:
            return other
        return Scale((*self.terms, *other.terms))

    def __mul__(self, other: Scale) -> Scale:
        """The scale of an elementwise product, or of scalar times vector."""
        return Scale(_times(s, t) for s in self.terms for t in other.terms)

    def shift(self, by: Exponent, rule: str, what: str) -> Scale:
        """The scale multiplied by n^by; patterns stay."""
        if by == ZERO:
            return self
        shifted = (Term(t.exponent + by, t.pattern, Reason(rule, what, by, (t,)), t.fraction) for t in self.terms)
        return Scale(shifted, pruned=True)

    def explained(self, rule: str, what: str, *, compose: bool = False) -> Scale:
        """The same scale with a reason on top: a name, or (``compose``) a rule in place of its bookkeeping."""
        return Scale(
            (
                Term(t.exponent, t.pattern, Reason(rule, what, ZERO, t.reason.sources if compose else (t,)), t.fraction)
                for t in self.terms
            ),
            pruned=True,
        )

    def resolved(self, gap: Exponent | None) -> Scale:
        """The scale without terms that lie at least ``gap`` below another one; None keeps the leading terms only.

        A term is consumed by one moment, where alignment gains at most size/2 over the central-limit sum that every
        larger term contributes; all other rules keep the gap. So terms that are max(size)/2 or more below cannot decide
        any later exponent (a tie keeps the exponent as well).
        """
        if len(self.terms) < 2:
            return self
        kept: tuple[Term, ...]
        if gap is None:
            kept = tuple(t for t in self.terms if not self._is_under(t))
        else:
            kept = tuple(t for t in self.terms if not self._far_above(t, gap))
        if len(kept) > MANY_TERMS:
            return _merged(kept)
        return self if len(kept) == len(self.terms) else Scale(kept, pruned=True)

    def _is_under(self, t: Term) -> bool:
        return any(known_lt(t.exponent, s.exponent) and _is_like(s, t) for s in self.terms)

    def _far_above(self, t: Term, gap: Exponent) -> bool:
        e = t.exponent + gap
        return _below(e, self.terms if t.fraction is not ZERO else (s for s in self.terms if s.fraction is ZERO))

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)

    def __len__(self) -> int:
        return len(self.terms)

    @property
    def key(self) -> frozenset[tuple[Pattern, Exponent, Exponent]]:
        """What makes two scales equal: patterns and exponents, whatever their reasons."""
        return frozenset((t.pattern, t.exponent, t.fraction) for t in self.terms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scale) and (self.terms == other.terms or self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        inside = " + ".join(f"n^({t.exponent}) [{t.pattern.offset:b}|{t.pattern.free:b}]" for t in self.terms)
        return f"Scale({inside or '0'})"


MANY_TERMS = 4
"""More terms of one size than these become one: residual sums over many blocks would otherwise grow with depth."""


def _merged(terms: tuple[Term, ...]) -> Scale:
    """Many terms of one size, on one fraction of the coordinates, as one with the affine hull of their patterns.

    The hull contains their odd combinations as well, so it can only claim a law of large numbers where there is none,
    and only against a vector that is a product of three or more of them.
    """
    groups: dict[tuple[Exponent, Exponent], list[Term]] = {}
    for t in terms:
        groups.setdefault((t.exponent, t.fraction), []).append(t)
    merged: list[Term] = []
    for (e, fraction), group in groups.items():
        if len(group) > MANY_TERMS:
            why = Reason("merged", "", ZERO, tuple(group))
            group = [Term(e, odd_span(t.pattern for t in group), why, fraction)]
        merged += group
    return Scale(merged)


def _times(s: Term, t: Term) -> Term:
    # The trivial pattern at exponent 0 is the number one: it leaves the other term (and its reasons) alone.
    why = Reason("product", "", ZERO, (s, t))
    return Term(s.exponent + t.exponent, s.pattern * t.pattern, why, s.fraction + t.fraction)


def prune(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Drop every term that another dominates: at least as large, with all its patterns.

    A dominated term can never decide a moment, a top, or the span of a leading set.
    """
    # First among terms of one pattern, by lookup: most terms end there. What lives on a fraction of the coordinates
    # decides nothing elsewhere, so it dominates only its like.
    alike: dict[tuple[Pattern, bool], list[Term]] = {}
    for new in terms:
        if not new.exponent.infinite:
            key = new.pattern, new.fraction is not ZERO
            same = alike.get(key)
            if same is None:
                alike[key] = [new]
            elif not _below(new.exponent, same):
                alike[key] = [old for old in same if not known_le(old.exponent, new.exponent)] + [new]
    if len(alike) == 1:
        return tuple(*alike.values())
    # Of two patterns only the one of higher dimension can contain the other: by falling dimension, each is tested once.
    kept: list[Term] = []
    for (pattern, sparse), some in sorted(alike.items(), key=_falling):
        free = pattern.free
        above = [
            o for o in kept if not free & ~o.pattern.free and (sparse or o.fraction is ZERO) and pattern in o.pattern
        ]
        if above:
            alike[pattern, sparse] = some = [t for t in some if not _below(t.exponent, above)]
        kept += some
    return tuple(t for some in alike.values() for t in some)  # in the order they came


def _below(e: Exponent, terms: Iterable[Term]) -> bool:
    """Is an exponent certainly at most that of one of the terms?"""
    for t in terms:  # noqa: SIM110 - a generator costs as much as what it asks
        if known_le(e, t.exponent):
            return True
    return False


def _falling(group: tuple[tuple[Pattern, bool], list[Term]]) -> tuple[int, bool]:
    (pattern, sparse), _ = group
    return -pattern.dimension, sparse


def _is_like(old: Term, new: Term) -> bool:
    """Is the old term wherever the new one is?"""
    return old.fraction is ZERO or new.fraction is not ZERO


NOTHING = Scale()
"""Exact zero."""


def moment(x: Scale, y: Scale, size: Exponent, what: str, *, only_mean: bool = False) -> Scale:
    """The scalar sum_i x_i y_i over an axis with Theta(n^size) coordinates.

    For terms (e1, p1), (e2, p2): ``e1 + e2 + size`` where the product's mean can be non-zero (law of large
    numbers), else ``e1 + e2 + size/2`` (central limit); the result is the sum over pairs.

    Args:
        x, y: coordinate sizes.
        size: the axis' exponent; 0 for a finite axis.
        what: the contraction in formulas, for explanations.
        only_mean: keep the law-of-large-numbers pairs only.

    Returns:
        A scale with the trivial pattern: the calculus conditions on scalars.

    Ref: Yang 2020 (arXiv 2009.10685), master theorem, for the mean; its fluctuation is the central limit.
    """
    if size == ZERO:
        gains = {True: (ZERO, "finite-sum"), False: (ZERO, "finite-sum")}
    else:
        gains = {True: (size, "lln"), False: (size / 2, "clt")}
    terms: list[Term] = []
    for s in x.terms:
        for t in y.terms:
            mean = (s.pattern * t.pattern).has_mean
            if not mean and only_mean:
                continue
            gain, rule = gains[mean]
            e = s.exponent + t.exponent + gain
            if not _below(e, terms):
                terms = [old for old in terms if not known_le(old.exponent, e)]
                terms.append(Term(e, TRIVIAL, Reason(rule, what, gain, (s, t))))
    return Scale(terms, pruned=True)
