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
    "Scaled",
]


@dataclass(frozen=True)
class Data:
    """A deterministic input of coordinate size Theta(1): data, a one, or the loss gradient fed to the backward."""

    name: str
    axis: Axis | None
    args: tuple[int, ...] = ()


@dataclass(frozen=True)
class MatMul:
    """W x, or W^T x where ``transposed``."""

    weight: Weight
    args: tuple[int]
    transposed: bool = False

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """(axis of the result, axis that is summed over)."""
        w = self.weight
        return (w.into, w.out) if self.transposed else (w.out, w.into)


@dataclass(frozen=True)
class Apply:
    """phi(h) elementwise, or its ``order``-th derivative."""

    function: Nonlinearity
    args: tuple[int]
    order: int = 0


@dataclass(frozen=True)
class Add:
    """A sum of values on one axis (residual connections, biases)."""

    args: tuple[int, ...]


@dataclass(frozen=True)
class Multiply:
    """An elementwise product (gates), or a scalar times a vector."""

    args: tuple[int, int]


@dataclass(frozen=True)
class Moment:
    """The scalar <x, y>: the sum of the products over an axis of size n^size."""

    args: tuple[int, int]
    axis: Axis


@dataclass(frozen=True)
class Scaled:
    """n^power times a value: a multiplier in the code that depends on the width."""

    args: tuple[int]
    power: Exponent


@dataclass(frozen=True)
class Center:
    """A vector minus its mean over its coordinates."""

    args: tuple[int]


@dataclass(frozen=True)
class Normalize:
    """A vector divided by the root mean square of its coordinates; exactly zero stays zero."""

    args: tuple[int]
    axis: Axis


@dataclass(frozen=True)
class NormalizeGradient:
    """The transpose of :class:`Normalize` at x, applied to d: (d - y mean(y d)) / rms(x) with y = x / rms(x).

    Args:
        args: x and the cotangent d.
    """

    args: tuple[int, int]
    axis: Axis


Instruction = Data | MatMul | Apply | Add | Multiply | Moment | Scaled | Center | Normalize | NormalizeGradient
