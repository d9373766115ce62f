"""What flows along the edges of a graph while it is converted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tensorprog.exponent import ZERO, Exponent
from tensorprog.trace.atoms import Atom, Dim

__all__ = [
    "Constant",
    "Indices",
    "Mixture",
    "Parameter",
    "PerWidth",
    "Slice",
    "Statistic",
    "Tensor",
    "Which",
    "Written",
    "is_differentiable",
    "is_trained",
]


@dataclass(frozen=True)
class PerWidth:
    """An argument that differs between widths."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Constant:
    """What depends on no parameter: it is computed, at every width."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Parameter:
    """A parameter of the model, or a view of one.

    Args:
        name: the canonical name.
        dims: its dimensions now.
        stored: atoms of the stored tensor along each of them; they are never unified, so their origin can be told.
        power: the view is n^power times the parameter.
        chosen: of dimensions that were cut, the segments that are left: pairs of an atom and the segment's index.
    """

    name: str
    dims: tuple[Dim, ...]
    stored: tuple[Dim, ...]
    power: Exponent = ZERO
    chosen: frozenset[tuple[Atom, int]] = frozenset()


@dataclass(frozen=True)
class Tensor:
    """A value that depends on parameters.

    Args:
        dims: its dimensions.
        ref: the recorded operation.
        square: the operation that it is the square of.
        centered: the operation that it is, less its mean.
    """

    dims: tuple[Dim, ...]
    ref: int
    square: int | None = None
    centered: int | None = None


@dataclass(frozen=True)
class Slice:
    """A part of a tensor along one dimension; halves that are put together again need no cut.

    Args:
        of: the whole.
        dim: along which dimension.
        spans: (start, stop, step) at every width.
        dims: of the part.
        siblings: the sizes, at every width, of all parts of the split that it comes from.
        dropped: a single coordinate, whose dimension is gone from ``dims``.
    """

    of: Tensor
    dim: int
    spans: tuple[tuple[int, int, int], ...]
    dims: tuple[Dim, ...]
    siblings: tuple[tuple[int, ...], ...] = ()
    dropped: bool = False


@dataclass(frozen=True)
class Mixture:
    """A sum of slices of one tensor, each times constants: a rotation, once all coordinates are put together again."""

    parts: tuple[Slice, ...]

    @property
    def dims(self) -> tuple[Dim, ...]:
        """Of each part."""
        return self.parts[0].dims


@dataclass(frozen=True)
class Written:
    """A constant that values were written into, part by part along a dimension.

    Args:
        base: what it was before.
        dim: along which dimension.
        parts: pairs of spans, (start, stop, step) at every width, and values, in order.
    """

    base: Constant
    dim: int
    parts: tuple[tuple[tuple[tuple[int, int, int], ...], Any], ...]


@dataclass(frozen=True)
class Indices:
    """Integers and truth values that depend on parameters: they choose positions, and carry no gradient."""


class Which(Enum):
    """A statistic of a vector."""

    MEAN = "mean"
    MEAN_SQUARE = "mean square"
    RMS = "root mean square"
    INVERSE_RMS = "inverse root mean square"


@dataclass(frozen=True)
class Statistic:
    """A mean over features that a norm layer is made of; it means nothing alone.

    Args:
        which: of the statistics.
        of: the operation whose coordinates are averaged.
        over: these features.
        dims: of the result.
        total: the sum was taken in place of the mean.
        centered: it is about the mean (a variance).
        order: of a norm: 1 for a sum of absolute values.
    """

    which: Which
    of: int
    over: Dim
    dims: tuple[Dim, ...]
    total: bool = False
    centered: bool = False
    order: int = 2


def is_differentiable(values: Sequence[Any]) -> bool:
    """Whether some value, in lists too, has a gradient."""
    return any(
        isinstance(v, Tensor | Parameter | Slice | Mixture | Statistic | Written)
        or (isinstance(v, list | tuple) and is_differentiable(v))
        for v in values
    )


def is_trained(values: Sequence[Any]) -> bool:
    """Whether some value, in lists too, depends on a parameter."""
    return is_differentiable(values) or any(
        isinstance(v, Indices) or (isinstance(v, list | tuple) and is_trained(v)) for v in values
    )
