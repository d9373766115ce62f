"""Instructions: what a program can compute, each with its shape rule; their scale rules are in
:mod:`tensorprog.calculus`, their transposes in :mod:`tensorprog.backward`, their numbers in the harness.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorprog.exponent import Exponent
from tensorprog.nonlinearities import Nonlinearity
from tensorprog.program.axes import Axis, Weight

__all__ = [
    "Add",
    "Apply",
    "Center",
    "Data",
    "Instruction",
    "MatMul",
    "Moment",
    "Multiply",
    "Normalize",
    "NormalizeGradient",
    "Repeat",
    "Rotate",
    "Scaled",
]


@dataclass(frozen=True)
class Data:
    """A deterministic input of coordinate size Theta(1): data, a one, or the loss gradient fed to the backward.

    Args:
        pixels: it comes with two axes of pixels in front of the coordinates; a value stands for a generic pixel.
        positions: it is no input, but the place in a sequence as a unit vector.
    """

    name: str
    axis: Axis | None
    args: tuple[int, ...] = ()
    pixels: bool = False
    positions: bool = False


@dataclass(frozen=True)
class MatMul:
    """W x, or W^T x where ``transposed``; at every pixel the sum over its neighbours where W has a kernel.

    Args:
        stride: of a convolution, the step from pixel to pixel.
    """

    weight: Weight
    args: tuple[int]
    transposed: bool = False
    stride: int = 1

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """(axis of the result, axis that is summed over)."""
        w = self.weight
        return (w.into, w.out) if self.transposed else (w.out, w.into)


@dataclass(frozen=True)
class Apply:
    """phi(h) elementwise, or its ``order``-th derivative.

    Args:
        over: a finite factor of the value's axis along which phi acts jointly (a norm of four numbers per head).
    """

    function: Nonlinearity
    args: tuple[int]
    order: int = 0
    over: Axis | None = None


@dataclass(frozen=True)
class Add:
    """A sum of values on one axis (residual connections, biases)."""

    args: tuple[int, ...]


@dataclass(frozen=True)
class Multiply:
    """An elementwise product (gates), or a scalar times a vector.

    Args:
        args: both on one axis; one of them may be a scalar, or live on a factor of the other's axis.
        blocks: where the random signs of each stand on the common axis (:meth:`Axis.block`).
        across: the first is one number per pair of positions (t, s), the second is read at s: the result at t is the
            sum over s. Positions are finite, so scales do not see it.
    """

    args: tuple[int, int]
    blocks: tuple[int, int] = (0, 0)
    across: bool = False


@dataclass(frozen=True)
class Moment:
    """sum_i x_i y_i over an axis of size n^size, or over one factor of it: one number per coordinate of the other.

    Args:
        args: x and y on the axis; x alone for its sum.
        axis: of x and y.
        over: the factor that is summed over; None for the whole axis.
        across: x at position t against y at every position s: one result per pair of positions.
    """

    args: tuple[int, ...]
    axis: Axis
    over: Axis | None = None
    across: bool = False


@dataclass(frozen=True)
class Repeat:
    """x on (groups, m) as a vector on (heads, m), where several heads share a group's coordinates.

    Args:
        args: x.
        axis: of the result.
        block: where the random signs of x stand there: 0 where finitely many heads share.
    """

    args: tuple[int]
    axis: Axis
    block: int = 0


@dataclass(frozen=True)
class Rotate:
    """Pairs of coordinates along the second factor of the axis rotated by angles of the position."""

    args: tuple[int]
    axis: Axis


@dataclass(frozen=True)
class Scaled:
    """n^power times a value: a multiplier in the code that depends on the width.

    Args:
        over: an axis whose number of coordinates is raised to the power in place of n.
    """

    args: tuple[int]
    power: Exponent
    over: Axis | None = None

    @property
    def exponent(self) -> Exponent:
        """The power of n."""
        if self.over is None:
            return self.power
        return self.over.size * self.power.const if self.power.is_number else self.power * self.over.size.const


@dataclass(frozen=True)
class Center:
    """A vector minus its mean over its coordinates."""

    args: tuple[int]


@dataclass(frozen=True)
class Normalize:
    """A vector divided by the root mean square of its coordinates; exactly zero stays zero.

    Args:
        over: a wide factor of the axis, normalised for every coordinate of the other one; None for all coordinates.
    """

    args: tuple[int]
    axis: Axis
    over: Axis | None = None


@dataclass(frozen=True)
class NormalizeGradient:
    """The transpose of :class:`Normalize` at x, applied to d: (d - y mean(y d)) / rms(x) with y = x / rms(x).

    Args:
        args: x and the cotangent d.
        axis, over: as in :class:`Normalize`.
    """

    args: tuple[int, int]
    axis: Axis
    over: Axis | None = None


Instruction = (
    Data | MatMul | Apply | Add | Multiply | Moment | Repeat | Rotate | Scaled | Center | Normalize | NormalizeGradient
)
