"""Axes: features become axes of a program, and concatenations become choices.

A vector on a concatenation is emitted once for every segment; a *key* says which segment of each concatenated atom is
meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

from tensorprog.exponent import Exponent
from tensorprog.program import Axis, Builder
from tensorprog.trace.atoms import Atom, Dim, coordinates, leaves
from tensorprog.trace.errors import TraceError
from tensorprog.trace.powers import power_of
from tensorprog.trace.recording import Multiplied, Recording

__all__ = ["Axes", "Key"]

Key = frozenset[tuple[Atom, int]]


class Axes:
    """The axes of a recording, once everything has been recorded.

    Args:
        recording: tells which features are summed over on their own, and are factors of a product.
        widths: of the trace.
    """

    def __init__(self, recording: Recording, widths: tuple[int, ...]) -> None:
        self.recording, self.widths = recording, widths
        self._known: dict[frozenset[Atom], Axis] = {}
        # Heads are what is contracted; a norm may have been taken over a group of them before.
        self._cuts = [*recording.contracted, *recording.normalized, *self._constant_along()]

    def _constant_along(self) -> Iterator[Dim]:
        """Features along which one factor of a product is constant: the other one's axis is a product, too."""
        for op in self.recording.operations:
            for arg in op.args if isinstance(op, Multiplied) else ():
                own = set(leaves(self.recording[arg].features))
                rest = tuple(a for a in leaves(op.features) if a not in own)
                if rest and own:
                    yield rest

    # -- keys

    def choices(self, dim: Dim) -> Iterator[Key]:
        """Every way to choose a segment of each concatenated atom."""
        for options in product(*(list(self._options(a)) for a in leaves(dim))):
            yield frozenset().union(*options) if options else frozenset()

    def _options(self, atom: Atom) -> Iterator[Key]:
        if not atom.segments:
            yield frozenset()
            return
        for i, segment in enumerate(atom.segments):
            for inner in self.choices((segment,)):
                yield inner | {(atom, i)}

    def atoms(self, dim: Dim, key: Key) -> Dim:
        """The atoms of a choice."""
        chosen = dict(key)
        found: list[Atom] = []
        for atom in leaves(dim):
            if atom.segments:
                found += self.atoms((atom.segments[chosen[atom]],), key)
            else:
                found.append(atom)
        return tuple(found)

    def restricted(self, key: Key, dim: Dim) -> Key:
        return frozenset((a, i) for a, i in key if a in self._cut(dim))

    def _cut(self, dim: Dim) -> set[Atom]:
        found: set[Atom] = set()
        for atom in leaves(dim):
            if atom.segments:
                found.add(atom)
                for segment in atom.segments:
                    found |= self._cut((segment,))
        return found

    def order(self, dim: Dim, key: Key) -> Iterable[Atom]:
        chosen = dict(key)
        for atom in leaves(dim):
            if atom.segments:
                yield atom
                yield from self.order((atom.segments[chosen[atom]],), key)

    def index(self, dim: Dim, key: Key, w: int) -> Any:
        """The positions of a choice in a dimension of the stored tensor."""
        import numpy as np

        chosen = dict(key)
        atoms = leaves(dim)
        sizes = [a.sizes[w] for a in atoms]
        index = np.arange(int(np.prod(sizes))).reshape(sizes)
        for k, atom in enumerate(atoms):
            if atom.segments:
                i = chosen[atom]
                start = sum(s.sizes[w] for s in atom.segments[:i])
                inner = self.index((atom.segments[i],), key, w)
                index = np.take(index, start + inner, axis=k)
        return index.reshape(-1)

    # -- axes

    def axis(self, dim: Dim, key: Key) -> Axis | None:
        """The axis of some features; None for no feature at all."""
        atoms = self.atoms(dim, key)
        if not atoms:
            return None
        whole = frozenset(atoms)
        if whole not in self._known:
            self._known[whole] = self._made(atoms)
        return self._known[whole]

    def _made(self, atoms: Dim) -> Axis:
        factors = self._factors(atoms)
        if factors is None:
            return self._plain(atoms)
        first, second = (self._named(f) for f in factors)
        if first == second:
            second = Axis(f"{second.name}'", second.size)
            self._known[frozenset(factors[1])] = second
        return Builder().product(first, second)

    def _named(self, atoms: Dim) -> Axis:
        return self._known.setdefault(frozenset(atoms), self._plain(atoms))

    def _factors(self, atoms: Dim) -> tuple[Dim, Dim] | None:
        """What is summed over on its own and the rest, in order, where something is."""
        whole = set(atoms)
        for over in self._cuts:
            for key in self.choices(over):
                part = set(self.atoms(over, key))
                if part and part < whole:
                    summed, rest = tuple(a for a in atoms if a in part), tuple(a for a in atoms if a not in part)
                    return (summed, rest) if atoms[0] in part else (rest, summed)  # heads before head dimension
        return None

    def _plain(self, atoms: Dim) -> Axis:
        sizes = coordinates(atoms, len(self.widths))
        power = power_of(sizes, self.widths)
        if power is None:
            told = ", ".join(map(str, sizes))
            raise TraceError(
                "a dimension",
                "",
                f"its sizes {told} at widths {', '.join(map(str, self.widths))} are no power of the width",
                "Trace at larger widths, or at widths where roundings vanish",
            )
        return Axis(_size(sizes, self.widths, power.exponent), power.exponent)


def _size(sizes: Sequence[int], widths: Sequence[int], e: Exponent) -> str:
    """A number of coordinates as text: 10, n, 4n, 3n/2, 2n^(1/2)."""
    if len(set(sizes)) == 1:
        return str(sizes[0])
    base = "n" if e == 1 else f"n^({e})"
    ratios = {Fraction(s, n) for s, n in zip(sizes, widths, strict=True)}
    if e != 1 or len(ratios) > 1:
        return f"~{base}"
    (ratio,) = ratios
    top = "" if ratio.numerator == 1 else str(ratio.numerator)
    return f"{top}{base}" + ("" if ratio.denominator == 1 else f"/{ratio.denominator}")
