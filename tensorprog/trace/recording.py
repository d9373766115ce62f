"""Recordings: what a traced model computes, before it is known which axes are products or concatenations.

The conversion walks the graph once and records operations on *features*, the atoms of a vector's axis. Emission comes
last, when every view and every split has been seen: it writes the operations that the output needs into a
:class:`~tensorprog.program.Builder`. A vector on a concatenation is emitted as one vector per segment, so that a fused
query-key-value matrix becomes three matrices, which start and learn independently.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tensorprog.exponent import ZERO, Exponent
from tensorprog.nonlinearities import Nonlinearity
from tensorprog.trace.atoms import Atom, Dim

__all__ = [
    "Centered",
    "Concatenated",
    "Contracted",
    "Elementwise",
    "Multiplied",
    "Narrowed",
    "Normalized",
    "Observed",
    "Operation",
    "Product",
    "Recording",
    "Rescaled",
    "Rotated",
    "Source",
    "Summed",
    "Vector",
]


@dataclass(frozen=True)
class Operation:
    """One recorded operation.

    Args:
        features: the atoms of the result's axis; none for a scalar.
        args: earlier operations.
        where: the module path, for errors.
    """

    features: Dim
    args: tuple[int, ...] = ()
    where: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class Source(Operation):
    """Data or a constant of the model, with coordinates n^power."""

    name: str = field(default="x", kw_only=True)
    power: Exponent = field(default=ZERO, kw_only=True)


@dataclass(frozen=True)
class Product(Operation):
    """A parameter contracted with a vector.

    Args:
        parameter: its canonical name.
        into: the contracted features.
        contracted: the dimensions of the stored tensor that they are in; tells the two orientations of a tied weight.
        chosen: the segments that are left of dimensions that were cut.
    """

    parameter: str = field(kw_only=True)
    into: Dim = field(kw_only=True)
    contracted: frozenset[int] = field(kw_only=True)
    chosen: frozenset[tuple[Atom, int]] = field(default=frozenset(), kw_only=True)


@dataclass(frozen=True)
class Vector(Operation):
    """A parameter as it is, one vector, or finitely many (``rows``) of which a position picks one."""

    parameter: str = field(kw_only=True)
    rows: bool = field(default=False, kw_only=True)
    chosen: frozenset[tuple[Atom, int]] = field(default=frozenset(), kw_only=True)


@dataclass(frozen=True)
class Elementwise(Operation):
    """phi by coordinates; ``over``: jointly over finitely many features."""

    function: Nonlinearity = field(kw_only=True)


@dataclass(frozen=True)
class Summed(Operation):
    """A sum; what lacks some features is constant along them."""


@dataclass(frozen=True)
class Multiplied(Operation):
    """A product by coordinates.

    Args:
        across: a sum over finitely many positions goes with it.
    """

    across: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Contracted(Operation):
    """sum_i x_i y_i over some of the features; y is one where there is no second argument."""

    over: Dim = field(kw_only=True)
    across: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Normalized(Operation):
    """x / sqrt(mean x_i^2) over some of its features."""

    over: Dim = field(kw_only=True)


@dataclass(frozen=True)
class Centered(Operation):
    """x minus its mean over all features."""


@dataclass(frozen=True)
class Rescaled(Operation):
    """n^power x."""

    power: Exponent = field(kw_only=True)


@dataclass(frozen=True)
class Rotated(Operation):
    """A fixed mixing of pairs of coordinates."""


@dataclass(frozen=True)
class Observed(Operation):
    """x, reported under a name."""

    name: str = field(kw_only=True)


@dataclass(frozen=True)
class Narrowed(Operation):
    """One segment of a concatenation."""

    atom: Atom = field(kw_only=True)
    index: int = field(kw_only=True)


@dataclass(frozen=True)
class Concatenated(Operation):
    """The arguments one after the other, along an atom with as many segments."""

    atom: Atom = field(kw_only=True)


class Recording:
    """The operations so far."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._known: dict[Operation, int] = {}
        self.contracted: list[Dim] = []
        self.normalized: list[Dim] = []
        """Features that are contracted, or normalised, on their own: they are factors of the axes they belong to."""

    def add(self, operation: Operation) -> int:
        """Record one; returns its index. What is the same as before, a vector less its mean, is not recorded again."""
        if isinstance(operation, Centered | Multiplied) and operation in self._known:
            return self._known[operation]
        self._known[operation] = len(self.operations)
        if isinstance(operation, Contracted):
            self.contracted.append(operation.over)
        if isinstance(operation, Normalized):
            self.normalized.append(operation.over)
        self.operations.append(operation)
        return len(self.operations) - 1

    def __getitem__(self, index: int) -> Operation:
        return self.operations[index]
