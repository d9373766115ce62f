"""Bounds: the same derivation with less, where that is enough."""

from __future__ import annotations

from enum import Enum

from tensorprog.exponent import Exponent, known_le, maximal
from tensorprog.scale import Scale

__all__ = ["Bound"]


class Bound(Enum):
    """What a calculus is asked for: everything, or bounds, which cost less and split no region for what they leave out.

    EXACT: every term that can decide a later exponent is kept.
    LOWER: leading terms alone. Sums, products and moments are monotone in their terms, so that every exponent is a
    lower bound of the true one.
    UPPER: updates are aligned with everything. Every exponent is an upper bound of the true one.

    Both hold only as long as what is divided by is exact (:mod:`tensorprog.sandwich`).
    """

    EXACT = "exact"
    LOWER = "lower"
    UPPER = "upper"

    def divisor(self, y: Scale) -> Exponent | None:
        """The exponent of y in 1/y: its top, or for an upper bound any term's; None where no lower one is known."""
        if self is Bound.EXACT:
            return y.top
        sizes = maximal(t.exponent for t in y)
        return None if self is Bound.LOWER and len(sizes) > 1 else sizes[0]

    def smaller(self, a: Exponent, b: Exponent) -> Exponent | None:
        """min(a, b), or for an upper bound one of them; None where no lower one is known."""
        if self is Bound.EXACT or known_le(a, b) or known_le(b, a):
            return min(a, b)
        return b if self is Bound.UPPER else None
