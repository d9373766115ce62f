"""Which sign flips decide a moment, named: the argument behind "the mean survives" and "the mean vanishes".

A pattern is a set of Walsh characters over the program's sources of random signs (:mod:`tensorprog.pattern`). Two
terms that share a character multiply to something with a mean. Where they share none, some joint flip of sources
changes the sign of their product and leaves its law alone, so the mean is zero. This module finds that character or
that flip and says it in the names of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorprog.pattern import Layout, Pattern
from tensorprog.program import Weight

__all__ = ["Flips"]

MANY = 3
"""More names than these are not listed: they would hide the argument."""


@dataclass(frozen=True)
class Flips:
    """The sources of random signs of a program, in the order of their bits.

    Args:
        names: of one mixing level, such as ``hidden.1_0[i, :]`` (row i) or ``readout_0[:, i]`` (column i), and of
            saturable values.
        blocks: whether the program has product axes.
    """

    names: tuple[str, ...]
    blocks: bool = False

    @property
    def layout(self) -> Layout:
        """Of the bits of the program."""
        return Layout.of(len(self.names), blocks=self.blocks)

    @classmethod
    def of(cls, weights: Sequence[Weight], saturable: Sequence[str] = ()) -> Flips:
        """One bit per wide axis of each weight and saturable value, as the calculus assigns them.

        Args:
            saturable: names of the values that may saturate a nonlinearity.
        """
        names = []
        for w in weights:
            names += [f"{w.name}_0[i, :]"] if w.out.wide else []
            names += [f"{w.name}_0[:, i]"] if w.into.wide else []
        names += [f"({value} near zero)" for value in saturable]
        return cls(tuple(names), any(axis.blocks for w in weights for axis in (w.out, w.into)))

    def why_mean(self, x: Pattern, y: Pattern) -> str:
        """Why the mean of a product survives, for two patterns that meet."""
        shared = _shared(x, y)
        if shared is None:
            return "the factors share a random sign that cancels, so the mean survives"
        if not shared:
            return "both factors have a part of fixed sign, so the mean survives"
        return f"both factors carry the random sign of {self.listed(shared)}, which cancels, so the mean survives"

    def why_no_mean(self, x: Pattern, y: Pattern) -> str:
        """Why the mean of a product vanishes, for two patterns that do not meet."""
        return (
            f"a flip of {self.listed(_witness(x * y))} flips the product and leaves its law alone, so the mean vanishes"
        )

    def odd_in(self, x: Pattern) -> str:
        """The sources whose joint flip changes the sign of a term; empty for a term with a part of fixed sign."""
        return self.listed(_witness(x)) if x.offset else ""

    def listed(self, sources: int) -> str:
        """The named sources of a bit mask."""
        found: dict[str, None] = {}
        while sources:
            lowest = sources & -sources
            sources ^= lowest
            level, source = divmod((lowest.bit_length() - 1) % self.layout.span, self.layout.bits)
            source %= len(self.names)  # in a program with product axes a mixed bit remembers its block
            # A bit above the first level was mixed by a later matrix: the whole weight flips, not one coordinate.
            found[self.names[source] if not level else self.names[source].split("[")[0]] = None
        names = list(found)
        if len(names) > MANY:
            return f"{', '.join(names[:MANY])} and {len(names) - MANY} more"
        return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def _shared(x: Pattern, y: Pattern) -> int | None:
    """A small character that both patterns contain; None where finding one needs more than unit vectors."""
    if not x.offset and not y.offset:
        return 0
    if x.basis or y.basis:
        if not (x.free or x.basis):
            return x.offset
        return y.offset if not (y.free or y.basis) else None
    # Bits that differ are free on at least one side; take each from the side that needs it, drop what both may drop.
    return (x.offset ^ ((x.offset ^ y.offset) & x.free)) & ~(x.free & y.free)


def _witness(product: Pattern) -> int:
    """Sources whose joint flip changes the sign of every character in the pattern.

    One bit of the offset, with the pivots of the basis rows that contain it: every row is then flipped twice or not at
    all, and the offset (which has no pivots) once.
    """
    bit = product.offset & -product.offset
    flips = bit
    for row in product.basis:
        if row & bit:
            flips |= 1 << (row.bit_length() - 1)
    return flips
