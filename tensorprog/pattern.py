"""Sign patterns: how a term of a vector transforms under sign flips of the random initial weights.

The law of a program is invariant under sign flips of its random sources, conditional on its scalars (logits,
losses, inner products). In the language of the Tensor Programs master theorem (Yang 2020, arXiv 2009.10685,
Theorem 6.3) a coordinate of a wide vector is a random variable Z, a function of independent sources: the
coordinates of vector-like weights and the Gaussian fields Z^{Wx}, Z^{W^T y} of the wide matrices. Each source is
symmetric and is flipped by one bit:

* a vector-like weight (input column, readout row, random bias) has one bit: flip its i-th coordinate;
* a wide matrix W has two: flip row i (the i-th coordinate of every field W x), flip column j (of W^T y).

A term odd in a set of sources carries that set, a Walsh character, as its *sign pattern*. A generic function
produces several characters at once; the calculus keeps an affine subspace ``offset + span`` of F_2^bits. The mean
of a product over coordinates can be non-zero iff the trivial character 0 is among its patterns.

**Mixing.** Each coordinate of W x sums over all coordinates of x, so the flips of single coordinates of x no
longer flip a coordinate of W x. But two fields W x and W y have covariance <x, y>/n, which keeps its mean iff the
patterns of x and y meet. So W x carries W's own bit plus a *mixed* copy of the pattern of x: every bit moves one
level up. Keeping levels apart matters: <W u, W y> with y = relu(W' relu(u)) is a central-limit sum, although u and y
share the overall sign of u. Levels from the
chosen number on are identified, which can only merge patterns and hence claim a law of large numbers where there is
none, never the reverse.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["LEVELS", "TRIVIAL", "Pattern", "affine", "even_span", "generic_span", "odd_span", "reaching"]

LEVELS = 3
"""Mixing levels kept apart by default: local, mixed once, mixed twice or more often. With 2, the calculus calls
<W u, W relu(W' relu(u))> a law-of-large-numbers sum; sampling shows n^{1/2}."""


@dataclass(frozen=True)
class Pattern:
    """An affine subspace ``offset + span`` of F_2^bits; integers are bit masks.

    Args:
        offset: one element, reduced modulo the span.
        free: the union of the unit vectors in the span (a mask).
        basis: the rest of the span's reduced echelon basis, disjoint from ``free``.

    The form is canonical: equal subspaces are equal values. Build one with :func:`affine`.
    """

    offset: int = 0
    free: int = 0
    basis: tuple[int, ...] = ()

    def __hash__(self) -> int:
        # Patterns key the caches below millions of times: hash once.
        try:
            return self._hash  # type: ignore[attr-defined,no-any-return]
        except AttributeError:
            value = hash((self.offset, self.free, self.basis))
            object.__setattr__(self, "_hash", value)
            return value

    @property
    def has_mean(self) -> bool:
        """True where 0 lies in the pattern: the mean over coordinates can be non-zero."""
        return not self.offset

    def __mul__(self, other: Pattern) -> Pattern:
        """The pattern of an elementwise product: (c1 + H1) + (c2 + H2)."""
        return _product(self, other)

    def __contains__(self, other: object) -> bool:
        """``p in q``: every character of p is one of q."""
        return isinstance(other, Pattern) and _contains(self, other)

    def spanning(self) -> tuple[int, ...]:
        """Generators of the linear part."""
        units, rest = [], self.free
        while rest:
            unit = rest & -rest
            units.append(unit)
            rest ^= unit
        return (*units, *self.basis)

    def mixed(self, bits: int, levels: int = LEVELS) -> Pattern:
        """The pattern after a sum over all coordinates with random weights: each bit one level up.

        Args:
            bits: the number of sources of the program, the width of one level.
            levels: how many levels are kept apart; at least 2.
        """
        return _mixed(self, bits, levels)


def affine(offset: int, span: Iterable[int]) -> Pattern:
    """The canonical form of ``offset + span``."""
    return _canonical(offset, 0, span)


TRIVIAL = Pattern()
"""The pattern of scalars, data and anything without a random sign."""


def _canonical(offset: int, free: int, span: Iterable[int]) -> Pattern:
    rows: dict[int, int] = {}  # pivot bit length -> row, fully reduced
    for vector in span:
        vector &= ~free
        for pivot, row in rows.items():
            if vector >> (pivot - 1) & 1:
                vector ^= row
        if vector:
            pivot = vector.bit_length()
            for other, row in rows.items():
                if row >> (pivot - 1) & 1:
                    rows[other] = row ^ vector
            rows[pivot] = vector
    offset &= ~free
    for pivot, row in rows.items():
        if offset >> (pivot - 1) & 1:
            offset ^= row
    basis = []
    for pivot in sorted(rows, reverse=True):
        row = rows[pivot]
        if row & (row - 1):
            basis.append(row)
        else:
            free |= row
    return Pattern(offset, free, tuple(basis))


@lru_cache(maxsize=1 << 16)
def _product(p: Pattern, q: Pattern) -> Pattern:
    if not p.basis and not q.basis:
        free = p.free | q.free
        return Pattern((p.offset ^ q.offset) & ~free, free)
    return _canonical(p.offset ^ q.offset, p.free | q.free, (*p.basis, *q.basis))


@lru_cache(maxsize=1 << 16)
def _contains(big: Pattern, small: Pattern) -> bool:
    if small.free & ~big.free and not big.basis:
        return False
    joined = _product(Pattern(0, big.free, big.basis), Pattern(0, small.free, small.basis))
    return joined.free == big.free and joined.basis == big.basis and not _product(big, small).offset


@lru_cache(maxsize=1 << 16)
def _mixed(p: Pattern, bits: int, levels: int) -> Pattern:
    top = bits * (levels - 1)
    low = (1 << top) - 1

    def up(vector: int) -> int:
        return ((vector & low) << bits) ^ (vector >> top << top)

    # Unit vectors stay unit vectors; free | free covers two that are identified at the top level.
    free = ((p.free & low) << bits) | (p.free >> top << top)
    return _canonical(up(p.offset), free, map(up, p.basis))


@lru_cache(maxsize=1 << 16)
def reaching(y: Pattern, x: Pattern, bit: int, bits: int, levels: int) -> Pattern | None:
    """The characters k of y whose field reaches x: those with ``bit + mixed(k)`` in x; None where there are none.

    Args:
        y: the pattern of y in a field W^T y.
        x: the pattern of a vector on the field's axis.
        bit: W's bit on that axis.
        bits, levels: as in :meth:`Pattern.mixed`.
    """
    top = bits * (levels - 1)
    low = (1 << top) - 1

    def image(vector: int) -> int:
        return ((vector & low) << bits) ^ (vector >> top << top)

    def modulo_x(vector: int) -> int:
        vector &= ~x.free
        for row in x.basis:
            if vector >> (row.bit_length() - 1) & 1:
                vector ^= row
        return vector

    # Units whose image lies in x's span are unconstrained; the others are few and solved for one by one.
    loose = y.free & (((x.free >> bits) & low) | (x.free >> top << top))
    tied = [*Pattern(0, y.free & ~loose).spanning(), *y.basis]
    target = modulo_x(x.offset ^ bit ^ image(y.offset))
    solution, kernel = y.offset, []
    pivots: list[tuple[int, int, int]] = []  # (pivot bit length, reduced image, combination)
    for vector in tied:
        residue, combination = modulo_x(image(vector)), vector
        for pivot, row, made_of in pivots:
            if residue >> (pivot - 1) & 1:
                residue, combination = residue ^ row, combination ^ made_of
        if residue:
            pivots.append((residue.bit_length(), residue, combination))
        else:
            kernel.append(combination)
    for pivot, row, made_of in pivots:
        if target >> (pivot - 1) & 1:
            target, solution = target ^ row, solution ^ made_of
    return None if target else _canonical(solution, loose, kernel)


def generic_span(patterns: Iterable[Pattern]) -> Pattern:
    """The pattern of a generic function of terms: the linear span of all of them."""
    return _span(tuple(patterns), "generic")


def odd_span(patterns: Iterable[Pattern]) -> Pattern:
    """The pattern of a generic odd function: the sums of odd numbers of elements."""
    return _span(tuple(patterns), "odd")


def even_span(patterns: Iterable[Pattern]) -> Pattern:
    """The pattern of a generic even function: the sums of even numbers of elements."""
    return _span(tuple(patterns), "even")


@lru_cache(maxsize=1 << 16)
def _span(patterns: tuple[Pattern, ...], parity: str) -> Pattern:
    first = patterns[0].offset
    free = 0
    span: list[int] = []
    for p in patterns:
        free |= p.free
        span += p.basis
        span.append(p.offset if parity == "generic" else p.offset ^ first)
    return _canonical(first if parity == "odd" else 0, free, span)
