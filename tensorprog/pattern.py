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

**Blocks.** A vector on a product axis (heads x head dimension) has three kinds of flips: of one coordinate (i, j), of
all (i, .) at once, and of all (., j). A factor that lives on one factor of the axis, such as an attention logit, is
constant along the other, so its bits stand in a block of their own: block 0 for coordinates, block 1 for what depends
on i alone, block 2 for what depends on j alone (:mod:`tensorprog.contraction`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

__all__ = ["LEVELS", "TRIVIAL", "Layout", "Pattern", "affine", "even_span", "generic_span", "odd_span", "reaching"]

LEVELS = 3
"""Mixing levels kept apart by default: local, mixed once, mixed twice or more often. With 2, the calculus calls
<W u, W relu(W' relu(u))> a law-of-large-numbers sum; sampling shows n^{1/2}."""


class Layout(NamedTuple):
    """How the bits of a program are arranged: blocks of levels of sources.

    Args:
        bits: the width of one level: the number of sources, three times that in a program with product axes, where a
            mixed bit remembers its block.
        levels: how many levels are kept apart; at least 2.
        blocks: whether there are product axes.
    """

    bits: int
    levels: int = LEVELS
    blocks: bool = False

    @classmethod
    def of(cls, sources: int, levels: int = LEVELS, *, blocks: bool = False) -> Layout:
        """The layout of a program with so many sources of random signs."""
        return cls(sources * (3 if blocks else 1), levels, blocks)

    @property
    def span(self) -> int:
        """The number of bits of one block."""
        return self.bits * self.levels

    def block(self, vector: int, which: int) -> int:
        """The bits of one block, in the place of block 0."""
        span = self.bits * self.levels
        if not vector >> span:
            return 0 if which else vector
        return vector >> span * which & (1 << span) - 1

    def up(self, vector: int) -> int:
        """Each bit one level up; the highest level is a fixed point. A block becomes a mark on the mixed bits."""
        if not self.blocks or not vector >> self.span:
            return self._up(vector)
        sources = self.bits // 3
        plain = sum(((1 << sources) - 1) << self.bits * level for level in range(self.levels))
        result = self._up(self.block(vector, 0))
        for which in (1, 2):
            mixed = self._up(self.block(vector, which))
            result ^= (mixed & plain) << sources * which ^ (mixed & ~plain)
        return result

    def _up(self, vector: int) -> int:
        top = self.bits * (self.levels - 1)
        return ((vector & (1 << top) - 1) << self.bits) ^ (vector >> top << top)


class Pattern:
    """An affine subspace ``offset + span`` of F_2^bits; integers are bit masks.

    Args:
        offset: one element, reduced modulo the span.
        free: the union of the unit vectors in the span (a mask).
        basis: the rest of the span's reduced echelon basis, disjoint from ``free``.

    The form is canonical, and interned: equal subspaces are one object, because patterns key the caches below millions
    of times. Build one with :func:`affine`.
    """

    __slots__ = ("_pivots", "_rows", "basis", "dimension", "free", "offset")

    offset: int
    free: int
    basis: tuple[int, ...]
    dimension: int
    """Of the linear part."""
    _pivots: int
    _rows: dict[int, int]

    _known: ClassVar[dict[tuple[int, int, tuple[int, ...]], Pattern]] = {}

    def __new__(cls, offset: int = 0, free: int = 0, basis: tuple[int, ...] = ()) -> Pattern:
        key = offset, free, basis
        known = cls._known.get(key)
        if known is None:
            known = cls._known[key] = super().__new__(cls)
            known.offset, known.free, known.basis = key
            known.dimension = free.bit_count() + len(basis)
            known._rows = {row.bit_length(): row for row in basis}
            known._pivots = sum(1 << pivot - 1 for pivot in known._rows)
        return known

    def __reduce__(self) -> tuple[Any, ...]:
        return Pattern, (self.offset, self.free, self.basis)

    def __repr__(self) -> str:
        return f"Pattern({self.offset:#b}, {self.free:#b}, {tuple(map(bin, self.basis))})"

    def modulo(self, vector: int) -> int:
        """A vector modulo the linear part: 0 exactly where it lies in it."""
        return _cleared(vector & ~self.free, self._pivots, self._rows)

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

    def mixed(self, layout: Layout) -> Pattern:
        """The pattern after a sum over all coordinates with random weights: each bit one level up."""
        return _mixed(self, layout)

    def image(self, f: Callable[[int], int]) -> Pattern:
        """The pattern of the images of its characters under a linear map."""
        return _canonical(f(self.offset), 0, map(f, self.spanning()))

    def where(self, f: Callable[[int], int], target: int = 0) -> Pattern | None:
        """Its characters that a linear map sends to a target; None where there are none."""
        solution, kernel = self.offset, []
        pivots: list[tuple[int, int, int]] = []  # (pivot bit length, reduced image, combination)
        for vector in self.spanning():
            residue, combination = _reduce(f(vector), vector, pivots)
            if residue:
                pivots.append((residue.bit_length(), residue, combination))
            else:
                kernel.append(combination)
        target, solution = _reduce(target ^ f(solution), solution, pivots)
        return None if target else _canonical(solution, 0, kernel)


def affine(offset: int, span: Iterable[int]) -> Pattern:
    """The canonical form of ``offset + span``."""
    return _canonical(offset, 0, span)


TRIVIAL = Pattern()
"""The pattern of scalars, data and anything without a random sign."""


def _canonical(offset: int, free: int, span: Iterable[int]) -> Pattern:
    rows: dict[int, int] = {}  # highest bit -> row
    for vector in span:
        vector &= ~free
        while vector:
            pivot = vector.bit_length()
            row = rows.get(pivot)
            if row is None:
                rows[pivot] = vector
                break
            vector ^= row
    # Rows with lower pivots first: what they clear in a later row brings in no pivot that was cleared before.
    pivots = 0
    for pivot in sorted(rows):
        rows[pivot] = _cleared(rows[pivot], pivots, rows)
        pivots |= 1 << pivot - 1
    offset = _cleared(offset & ~free, pivots, rows)
    basis = []
    for pivot in sorted(rows, reverse=True):
        row = rows[pivot]
        if row & (row - 1):
            basis.append(row)
        else:
            free |= row
    return Pattern(offset, free, tuple(basis))


def _cleared(vector: int, pivots: int, rows: dict[int, int]) -> int:
    """A vector modulo reduced rows: none of the pivots is left in it."""
    hits = vector & pivots
    while hits:
        pivot = hits.bit_length()
        vector ^= rows[pivot]
        hits ^= 1 << pivot - 1
    return vector


@lru_cache(maxsize=1 << 16)
def _product(p: Pattern, q: Pattern) -> Pattern:
    if not p.basis and not q.basis:
        free = p.free | q.free
        return Pattern((p.offset ^ q.offset) & ~free, free)
    return _canonical(p.offset ^ q.offset, p.free | q.free, (*p.basis, *q.basis))


@lru_cache(maxsize=1 << 16)
def _contains(big: Pattern, small: Pattern) -> bool:
    # A unit vector of a span is a row of its reduced basis, so free bits compare as they are.
    if small.free & ~big.free or big.modulo(small.offset ^ big.offset):
        return False
    return not any(map(big.modulo, small.basis))


@lru_cache(maxsize=1 << 16)
def _mixed(p: Pattern, layout: Layout) -> Pattern:
    if layout.blocks:
        return p.image(layout.up)
    # Unit vectors stay unit vectors; free | free covers two that are identified at the top level.
    top = layout.bits * (layout.levels - 1)
    free = ((p.free & (1 << top) - 1) << layout.bits) | (p.free >> top << top)
    return _canonical(layout.up(p.offset), free, map(layout.up, p.basis))


def _reduce(image: int, combination: int, pivots: list[tuple[int, int, int]]) -> tuple[int, int]:
    for pivot, row, made_of in pivots:
        if image >> (pivot - 1) & 1:
            image, combination = image ^ row, combination ^ made_of
    return image, combination


@lru_cache(maxsize=1 << 16)
def reaching(y: Pattern, x: Pattern, bit: int, layout: Layout) -> Pattern | None:
    """The characters k of y whose field reaches x: those with ``bit + mixed(k)`` in x; None where there are none.

    Args:
        y: the pattern of y in a field W^T y.
        x: the pattern of a vector on the field's axis, in block 0.
        bit: W's bit on that axis.
        layout: of the bits.
    """

    # Units whose image lies in x's span are unconstrained; the others are few and solved for one by one.
    loose, top = 0, layout.bits * (layout.levels - 1)
    if not layout.blocks:
        loose = y.free & (((x.free >> layout.bits) & (1 << top) - 1) | (x.free >> top << top))
    tied = Pattern(y.offset, y.free & ~loose, y.basis)
    found = tied.where(lambda vector: x.modulo(layout.up(vector)), x.modulo(x.offset ^ bit))
    return found if found is None else _canonical(found.offset, found.free | loose, found.basis)


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
