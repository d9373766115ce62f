"""Axes and weights: what vectors are indexed by, and the matrices between them.

Roles of weights are read off their axes, never off names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tensorprog.exponent import ZERO, Exponent

__all__ = ["ONE", "Axis", "Role", "Weight"]


@dataclass(frozen=True)
class Axis:
    """A dimension with Theta(n^size) coordinates; size 0 is a finite axis (data, classes)."""

    name: str
    size: Exponent = ZERO

    @property
    def wide(self) -> bool:
        return self.size != ZERO


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
    """A trainable matrix with axes out x in; a bias or gain has ``into = ONE``.

    Args:
        zero: the layer starts it at exact zeros (a gain's deviation from one, an adapter's second factor), whatever the
            parametrization says of its role.
    """

    name: str
    out: Axis
    into: Axis
    zero: bool = False

    @property
    def role(self) -> Role:
        if self.out.wide:
            return Role.HIDDEN if self.into.wide else Role.VECTOR if self.into is ONE else Role.INPUT
        return Role.READOUT if self.into.wide else Role.FINITE
