"""The builder: programs are written instruction by instruction, and every mistake is named where it is made."""

from __future__ import annotations

from dataclasses import dataclass

from tensorprog.errors import ProgramError
from tensorprog.exponent import ZERO, ExponentLike, exponent
from tensorprog.nonlinearities import Nonlinearity, nonlinearity
from tensorprog.program.axes import ONE, Axis, Weight
from tensorprog.program.graph import Program
from tensorprog.program.instructions import (
    Add,
    Apply,
    Center,
    Data,
    Instruction,
    MatMul,
    Moment,
    Multiply,
    Normalize,
    Scaled,
)

__all__ = ["Builder", "Value"]


@dataclass(frozen=True)
class Value:
    """A handle on the result of instruction ``index``; ``axis`` is None for a scalar."""

    index: int
    axis: Axis | None


class Builder:
    """Write a program instruction by instruction.

    Args:
        width: the exponent of the default wide axis (1: the width is n itself).

    Example: a residual block by hand.
        >>> b = Builder()
        >>> x = b.data("x")
        >>> h = b.matmul(b.weight("input", b.width, x.axis), x)
        >>> block = b.apply("relu", b.matmul(b.weight("hidden.1", b.width, b.width), h))
        >>> y = b.add(h, block)
        >>> program = b.build(b.matmul(b.weight("readout", b.finite("classes"), b.width), y))
        >>> [w.role.value for w in program.weights]
        ['input', 'hidden', 'readout']
    """

    def __init__(self, width: ExponentLike = 1) -> None:
        self.width = self.axis("width", width)
        self._instructions: list[Instruction] = []
        self._axes: list[Axis | None] = []
        self._weights: dict[str, Weight] = {}
        self._ones: Value | None = None

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """What was emitted so far."""
        return tuple(self._instructions)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The weights declared so far."""
        return tuple(self._weights.values())

    # -- declarations

    def axis(self, name: str, size: ExponentLike) -> Axis:
        """An axis of Theta(n^size) coordinates."""
        e = exponent(size, f"size of axis {name!r}")
        if not e.is_number:
            raise ProgramError(f"axis {name!r}: the size exponent is {e}, but it must be a number")
        if e < ZERO:
            raise ProgramError(f"axis {name!r}: the size exponent is {e}, but an axis cannot shrink with n")
        return Axis(name, e)

    def finite(self, name: str) -> Axis:
        """A finite axis."""
        return Axis(name)

    def weight(self, name: str, out: Axis, into: Axis, *, zero: bool = False) -> Weight:
        """Declare a trainable matrix; its role follows from the axes. ``zero``: it starts at exact zeros."""
        if name in self._weights:
            raise ProgramError(f"weight {name!r} is declared twice; reuse the first handle to share it")
        if not name or name != name.strip() or "=" in name:
            raise ProgramError(f"weight name {name!r}: names are non-empty and contain no '='")
        self._weights[name] = Weight(name, out, into, zero)
        return self._weights[name]

    # -- instructions

    def _emit(self, instruction: Instruction, axis: Axis | None) -> Value:
        self._instructions.append(instruction)
        self._axes.append(axis)
        return Value(len(self._instructions) - 1, axis)

    def _check(self, *values: Value) -> None:
        for v in values:
            if v.index >= len(self._axes) or self._axes[v.index] != v.axis:
                raise ProgramError(f"value {v.index} does not belong to this builder")

    def data(self, name: str = "x", axis: Axis | None = None) -> Value:
        """A deterministic input with coordinates of size Theta(1); finite unless an axis is given."""
        axis = axis or Axis(name)
        return self._emit(Data(name, axis), axis)

    def matmul(self, weight: Weight, x: Value, *, transposed: bool = False) -> Value:
        """W x or W^T x."""
        self._check(x)
        if self._weights.get(weight.name) is not weight:
            raise ProgramError(f"weight {weight.name!r} does not belong to this builder")
        ins = MatMul(weight, (x.index,), transposed)
        out, into = ins.axes
        if x.axis != into:
            got = x.axis.name if x.axis else "a scalar"
            raise ProgramError(f"matmul with {weight.name!r}: the vector lives on {got}, the weight needs {into.name}")
        return self._emit(ins, out)

    def bias(self, name: str, x: Value) -> Value:
        """x + b with a trainable vector b."""
        return self.add(x, self.vector(name, x))

    def gain(self, name: str, x: Value) -> Value:
        """x (1 + g) by coordinates, with a trainable vector g that starts at zero: a gain that starts at one."""
        return self.add(x, self.multiply(x, self.vector(name, x, zero=True)))

    def vector(self, name: str, like: Value, *, zero: bool = False) -> Value:
        """A trainable vector on the axis of another value."""
        self._check(like)
        if like.axis is None:
            raise ProgramError(f"vector {name!r}: a scalar has no axis to put it on")
        if self._ones is None:
            self._ones = self._emit(Data("one", ONE), ONE)
        weight = self.weight(name, like.axis, ONE, zero=zero)
        return self._emit(MatMul(weight, (self._ones.index,)), like.axis)

    def normalize(self, x: Value) -> Value:
        """x / sqrt(mean x_i^2)."""
        self._check(x)
        if x.axis is None:
            raise ProgramError("normalize: a scalar has no coordinates to take a norm of")
        return self._emit(Normalize((x.index,), x.axis), x.axis)

    def center(self, x: Value) -> Value:
        """x minus its mean over coordinates."""
        self._check(x)
        if x.axis is None:
            raise ProgramError("center: a scalar has no coordinates to take a mean of")
        return self._emit(Center((x.index,)), x.axis)

    def apply(self, function: str | Nonlinearity, x: Value) -> Value:
        """phi(x) elementwise."""
        self._check(x)
        return self._emit(Apply(nonlinearity(function), (x.index,)), x.axis)

    def add(self, *values: Value) -> Value:
        """A sum of values on one axis."""
        self._check(*values)
        if len({v.axis for v in values}) != 1:
            raise ProgramError("add: the values live on different axes")
        return self._emit(Add(tuple(v.index for v in values)), values[0].axis)

    def multiply(self, x: Value, y: Value) -> Value:
        """An elementwise product of two vectors, or a scalar times a vector."""
        self._check(x, y)
        if x.axis != y.axis and x.axis is not None and y.axis is not None:
            raise ProgramError(f"multiply: axes {x.axis.name} and {y.axis.name} differ")
        return self._emit(Multiply((x.index, y.index)), x.axis or y.axis)

    def moment(self, x: Value, y: Value) -> Value:
        """The scalar sum_i x_i y_i."""
        self._check(x, y)
        if x.axis is None or x.axis != y.axis:
            raise ProgramError("moment: both values must be vectors on one axis")
        return self._emit(Moment((x.index, y.index), x.axis), None)

    def scaled(self, x: Value, power: ExponentLike) -> Value:
        """n^power times x."""
        self._check(x)
        e = exponent(power, "power of n")
        if e.infinite:
            raise ProgramError(f"scaled: the power of n is {e}, but it must be finite")
        return self._emit(Scaled((x.index,), e), x.axis)

    def build(self, output: Value, label: str = "program", **description: object) -> Program:
        """Close the program; ``output`` are the logits."""
        self._check(output)
        used = [ins.weight for ins in self._instructions if isinstance(ins, MatMul)]
        if not used:
            raise ProgramError("the program uses no weights, so there is nothing to derive")
        if output.axis is not None and output.axis.wide:
            raise ProgramError(f"the output lives on the wide axis {output.axis.name}; logits are finite or scalar")
        return Program(
            tuple(self._instructions),
            tuple(self._axes),
            tuple(dict.fromkeys(used)),
            output.index,
            label,
            dict(description),
        )
