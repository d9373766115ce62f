"""Atoms: the dimensions of tensors, as blocks of coordinates whose sizes are known at every traced width.

A tensor's dimension is a product of atoms; a view regroups them, adding two tensors unifies them. An atom is a
*feature* of a tensor where the axis of the program's vector has it; all others (batch, positions, pixels) are
multiplicities, of which that vector is a generic member. What is found late holds for all uses: an atom that is split
after the fact, by a view [batch, positions, heads, head dimension] of a linear layer's output, makes that layer's axis
a product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

__all__ = ["Atom", "Dim", "Misaligned", "around", "coordinates", "holding", "is_stack", "leaves", "regroup", "unify"]

Sizes = tuple[int, ...]
"""A number of coordinates at every traced width."""


class Misaligned(Exception):
    """Two dimensions that are cut differently; the caller knows the operator and the module."""


@dataclass(eq=False)
class Atom:
    """A block of coordinates.

    Args:
        sizes: how many, at every width.
        origin: of a parameter's atom, the dimension of the stored tensor that it is a part of.
        parts: what it is a product of, major first.
        segments: what it is a concatenation of.
        same: the atom that it was unified with.
    """

    sizes: Sizes
    origin: int = 0
    parts: tuple[Atom, ...] = ()
    segments: tuple[Atom, ...] = ()
    same: Atom | None = field(default=None, repr=False)

    @property
    def root(self) -> Atom:
        atom = self
        while atom.same is not None:
            atom = atom.same
        return atom

    @property
    def grows(self) -> bool:
        return len(set(self.sizes)) > 1

    def split(self, minor: Sizes) -> tuple[Atom, Atom]:
        """Into a major part and a minor one of the given sizes."""
        if self.segments or any(n % m for n, m in zip(self.sizes, minor, strict=True)):
            raise Misaligned
        major = tuple(n // m for n, m in zip(self.sizes, minor, strict=True))
        first, second = Atom(major, self.origin), Atom(minor, self.origin)
        self.parts = (first, second)
        return first, second

    def concatenate(self, sizes: Sequence[Sizes]) -> tuple[Atom, ...]:
        """Cut into segments; an atom that is cut already must be cut at the same places."""
        if not self.segments:
            self.segments = tuple(Atom(s, self.origin) for s in sizes)
        elif [s.sizes for s in self.segments] != list(sizes):
            raise Misaligned
        return self.segments


def is_stack(atom: Atom) -> bool:
    """Whether it numbers values that were stacked, such as the states of a recurrent layer."""
    return bool(atom.segments) and all(set(s.sizes) == {1} for s in atom.segments)


Dim = tuple[Atom, ...]
"""A dimension of a tensor: a product of atoms, major first; none for a dimension of size one."""


def leaves(dim: Dim) -> Dim:
    """The atoms that a dimension consists of by now."""
    found: list[Atom] = []
    for atom in dim:
        root = atom.root
        if root.parts:
            found += leaves(root.parts)
        elif set(root.sizes) != {1}:
            found.append(root)
    return tuple(found)


def unify(a: Dim, b: Dim) -> None:
    """Two dimensions are the same; both are cut wherever one of them is.

    Raises:
        Misaligned: where they are cut at places that no common refinement has.
    """
    left, right = list(leaves(a)), list(leaves(b))
    while left and right:
        x, y = left.pop(), right.pop()  # minor first: a minor part is a divisor more often than not
        if x is y:
            continue
        if x.sizes == y.sizes:
            _join(x, y)
        elif _divides(y.sizes, x.sizes):
            major, minor = x.split(y.sizes)
            left.append(major)
            _join(minor, y)
        elif _divides(x.sizes, y.sizes):
            major, minor = y.split(x.sizes)
            right.append(major)
            _join(x, minor)
        else:
            raise Misaligned
    if left or right:
        raise Misaligned


def _divides(m: Sizes, n: Sizes) -> bool:
    return all(b % a == 0 for a, b in zip(m, n, strict=True))


def _join(x: Atom, y: Atom) -> None:
    if y.segments and not x.segments:
        x, y = y, x
    if x.segments and y.segments:
        if [s.sizes for s in x.segments] != [s.sizes for s in y.segments]:
            raise Misaligned
        for s, t in zip(x.segments, y.segments, strict=True):
            unify((s,), (t,))
    y.same = x


def regroup(dims: Sequence[Dim], shapes: Sequence[Sizes]) -> tuple[Dim, ...]:
    """The dimensions of a view, row-major.

    Args:
        dims: before.
        shapes: the sizes of the new dimensions.
    """
    waiting = [atom for dim in dims for atom in leaves(dim)]
    result: list[Dim] = []
    for sizes in shapes:
        taken: list[Atom] = []
        product = tuple(1 for _ in sizes)
        while product != sizes:
            if not waiting:
                raise Misaligned
            need = tuple(n // p for n, p in zip(sizes, product, strict=True))
            if any(n % p for n, p in zip(sizes, product, strict=True)):
                raise Misaligned
            atom = waiting.pop(0)
            if _divides(atom.sizes, need):
                taken.append(atom)
            else:
                if not _divides(need, atom.sizes):
                    raise Misaligned
                rest = tuple(n // m for n, m in zip(atom.sizes, need, strict=True))
                first, second = atom.split(rest)
                taken.append(first)
                waiting.insert(0, second)
            product = tuple(p * n for p, n in zip(product, taken[-1].sizes, strict=True))
        result.append(tuple(taken))
    if waiting:
        raise Misaligned
    return tuple(result)


def around(spans: Sequence[tuple[int, int]], sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """The sizes of what lies before a span, in it and after it."""
    before = tuple(a for a, _ in spans)
    inside = tuple(b - a for a, b in spans)
    after = tuple(n - b for (_, b), n in zip(spans, sizes, strict=True))
    return [part for part in (before, inside, after) if any(part)]


def holding(segments: Sequence[Atom], spans: Sequence[tuple[int, int]]) -> tuple[int, list[tuple[int, int]]]:
    """The segment that a span lies in, and the span inside it."""
    start = [0] * len(spans)
    for i, segment in enumerate(segments):
        stop = [a + n for a, n in zip(start, segment.sizes, strict=True)]
        if all(a <= lo and hi <= b for a, b, (lo, hi) in zip(start, stop, spans, strict=True)):
            return i, [(lo - a, hi - a) for a, (lo, hi) in zip(start, spans, strict=True)]
        start = stop
    raise Misaligned


def coordinates(dim: Dim, widths: int) -> Sizes:
    """How many coordinates a product of atoms has, at each of so many widths."""
    return tuple(prod(atom.sizes[w] for atom in dim) for w in range(widths))
