"""What an optimizer sees of a weight, and what it returns: matrices as sums of parts.

Neither a gradient nor an update is ever materialised. Both are sums of *parts*: outer products of two vectors, and
multiples of the weight itself (weight decay). A part knows the exponent of its entries; norms follow from the axes.
Everything is about the raw weight w, without its multiplier n^-a: that is what an optimizer holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from tensorprog.exponent import ZERO, ZERO_SIZE, Exponent, largest
from tensorprog.program import Weight
from tensorprog.scale import Scale

__all__ = ["Gradient", "Multiple", "Outer", "Parameter", "Part"]


@dataclass(frozen=True)
class Outer:
    """n^power * out (x) into."""

    power: Exponent
    out: Scale
    into: Scale

    @property
    def is_zero(self) -> bool:
        return self.out.is_zero or self.into.is_zero

    @property
    def size(self) -> Exponent:
        """The exponent of the entries; -oo where a factor is exactly zero."""
        if self.is_zero:
            return ZERO_SIZE
        return self.power + self.out.top + self.into.top

    def shift(self, by: Exponent) -> Outer:
        """The part times n^by."""
        return replace(self, power=self.power + by)


@dataclass(frozen=True)
class Multiple:
    """n^power * w, with the weight w as it is at this step."""

    power: Exponent
    of: Parameter

    @property
    def is_zero(self) -> bool:
        return self.size == ZERO_SIZE

    @property
    def size(self) -> Exponent:
        """The exponent of the entries."""
        return self.power + self.of.size

    def shift(self, by: Exponent) -> Multiple:
        """The part times n^by."""
        return replace(self, power=self.power + by)


Part = Outer | Multiple


@dataclass(frozen=True)
class Gradient:
    """A weight's gradient at one step, the sum of its parts; parts that are exactly zero are left out.

    Args:
        parts: an outer product dh (x) x per use of the weight, and what a wrapper adds.
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(p for p in self.parts if not p.is_zero))

    @classmethod
    def of(cls, pairs: Iterable[tuple[Scale, Scale]]) -> Gradient:
        """The sum of outer products out (x) into."""
        return cls(tuple(Outer(ZERO, out, into) for out, into in pairs))

    @property
    def size(self) -> Exponent:
        """The exponent of the largest entries; -oo where the gradient is exactly zero."""
        return largest(p.size for p in self.parts)

    def shift(self, by: Exponent) -> Gradient:
        """The gradient times n^by."""
        return Gradient(tuple(p.shift(by) for p in self.parts))

    def __add__(self, part: Part) -> Gradient:
        return Gradient((*self.parts, part))


@dataclass(frozen=True)
class Parameter:
    """What an optimizer sees of one weight at one step.

    Args:
        weight: its axes (and, for options by role or name alone, those).
        history: its gradients so far, one a step and the current one last; an exactly zero one has no parts.
        entries: gives the exponent of the entries of the raw w; called only by those who need it, because with symbols
            every comparison may split a region.
    """

    weight: Weight
    history: tuple[Gradient, ...]
    entries: Callable[[], Exponent]

    @cached_property
    def size(self) -> Exponent:
        """The exponent of the entries (RMS) of the raw w now; -oo for a weight that is exactly zero."""
        return self.entries()

    @property
    def gradient(self) -> Gradient:
        """The current gradient."""
        return self.history[-1]

    @property
    def remembered(self) -> Exponent:
        """The exponent of the largest gradient entries so far: what a running second moment remembers."""
        return largest(g.size for g in self.history)

    def norm(self, size: Exponent) -> Exponent:
        """The exponent of the Frobenius (L2) norm of a matrix of the weight's shape with entries n^size."""
        return size + (self.weight.out.size + self.weight.into.size) / 2

    def with_gradients(self, history: Iterable[Gradient]) -> Parameter:
        """The same weight with other gradients: what a wrapper hands on."""
        return replace(self, history=tuple(history))
