"""Axes and weights: what vectors are indexed by, and the matrices between them.

Roles of weights are read off their axes, never off names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from tensorprog.exponent import ZERO, Exponent

__all__ = ["ONE", "Axis", "Role", "Weight"]


@dataclass(frozen=True)
class Axis:
    """A dimension with Theta(n^size) coordinates; size 0 is a finite axis (data, classes).

    Args:
        name: how outputs name it.
        size: its exponent.
        factors: of a product axis, whose coordinates are pairs: (heads, head dimension); none for others.
        per: a constant that the number of coordinates is divided by, which exponents do not see.
        copies: the power of n of layers that stand side by side on it, each with n^(size - copies) coordinates.
    """

    name: str
    size: Exponent = ZERO
    factors: tuple[Axis, ...] = ()
    per: int = 1
    copies: Exponent = ZERO

    @property
    def fan(self) -> Exponent:
        """The exponent of the coordinates of one layer, which a fan-in or fan-out counts."""
        return self.size - self.copies

    @property
    def wide(self) -> bool:
        return self.size != ZERO

    @property
    def blocks(self) -> bool:
        """Whether it is a product of two wide axes; with a finite factor it is as good as the other one."""
        return bool(self.factors) and all(f.wide for f in self.factors)

    @property
    def symbols(self) -> frozenset[str]:
        """Free symbols of the sizes."""
        return self.size.symbols.union(self.copies.symbols, *(f.symbols for f in self.factors))

    def substitute(self, values: Mapping[str, Exponent]) -> Axis:
        """The axis with symbols replaced."""
        if not self.symbols:
            return self
        factors = tuple(f.substitute(values) for f in self.factors)
        size, copies = self.size.substitute(values), self.copies.substitute(values)
        return replace(self, size=size, factors=factors, copies=copies)

    def other(self, factor: Axis) -> Axis:
        """The factor that is not this one."""
        first, second = self.factors
        return second if factor == first else first

    def block(self, factor: Axis) -> int:
        """Where the random signs of a vector on one factor stand, as a vector on this axis."""
        return self.factors.index(factor) + 1 if self.blocks else 0


ONE = Axis("one")
"""The axis with a single coordinate: a bias is a matrix that acts on it."""


class Role(Enum):
    """The kind of a weight, read off its axes (finite or wide) as out x in."""

    INPUT = "input"
    HIDDEN = "hidden"
    READOUT = "readout"
    VECTOR = "vector"
    FINITE = "finite"


@dataclass(frozen=True)
class Weight:
    """A matrix with axes out x in; a bias or gain has ``into = ONE``.

    Args:
        zero: the layer starts it at exact zeros (a gain's deviation from one, an adapter's second factor), whatever the
            parametrization says of its role.
        trained: False for a frozen weight, which no optimizer sees.
        kernel: k of a convolution, one matrix for each of k x k neighbouring pixels; scales do not see finite numbers.
        like: the weight of which this one is further rows: its role, exponents and optimizer are those of that weight.
    """

    name: str
    out: Axis
    into: Axis
    zero: bool = False
    trained: bool = True
    kernel: int = 1
    like: Weight | None = None

    def substitute(self, values: Mapping[str, Exponent]) -> Weight:
        """The weight with the symbols of its axes replaced."""
        like = self.like and self.like.substitute(values)
        return replace(self, out=self.out.substitute(values), into=self.into.substitute(values), like=like)

    def __hash__(self) -> int:
        # Interpreters look weights up at every instruction; the default hash goes through both axes' exponents.
        return hash(self.name)

    @property
    def side_by_side(self) -> bool:
        """Whether it is the matrices of a growing number of layers."""
        return self.out.copies != ZERO or self.into.copies != ZERO

    @property
    def role(self) -> Role:
        if self.like is not None:
            return self.like.role
        if self.out.wide:
            return Role.HIDDEN if self.into.wide else Role.VECTOR if self.into is ONE else Role.INPUT
        return Role.READOUT if self.into.wide else Role.FINITE
