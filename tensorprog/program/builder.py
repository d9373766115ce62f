"""The builder: programs are written instruction by instruction, and every mistake is named where it is made."""

from __future__ import annotations

from dataclasses import dataclass

from tensorprog.errors import ProgramError
from tensorprog.exponent import ZERO, ExponentLike, exponent
from tensorprog.joint import UNIT_NORM
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
    Repeat,
    Rotate,
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
        self._observed: dict[str, int] = {}

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """What was emitted so far."""
        return tuple(self._instructions)

    @property
    def axes(self) -> tuple[Axis | None, ...]:
        """The axis of each value so far."""
        return tuple(self._axes)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The weights declared so far."""
        return tuple(self._weights.values())

    # -- declarations

    def axis(self, name: str, size: ExponentLike, per: int = 1, copies: ExponentLike = ZERO) -> Axis:
        """An axis of Theta(n^size) coordinates.

        Args:
            per: there is one for every ``per`` of what has n^size.
            copies: n^copies layers stand side by side on it.
        """
        e = exponent(size, f"size of axis {name!r}")
        if e.infinite:
            raise ProgramError(f"axis {name!r}: the size exponent is {e}, but it must be finite")
        if e.is_number and e < ZERO:
            raise ProgramError(f"axis {name!r}: the size exponent is {e}, but an axis cannot shrink with n")
        return Axis(name, e, per=per, copies=exponent(copies, f"copies along axis {name!r}"))

    def finite(self, name: str) -> Axis:
        """A finite axis."""
        return Axis(name)

    def product(self, first: Axis, second: Axis) -> Axis:
        """The axis of pairs of coordinates, such as heads x head dimension."""
        for factor in (first, second):
            if factor.factors:
                raise ProgramError(f"axis {factor.name!r} is a product itself: a product axis has two plain factors")
        if first == second:
            raise ProgramError(f"axis {first.name!r} cannot be multiplied by itself")
        copies = first.copies + second.copies
        return Axis(f"{first.name} x {second.name}", first.size + second.size, (first, second), copies=copies)

    def weight(
        self,
        name: str,
        out: Axis,
        into: Axis,
        *,
        zero: bool = False,
        trained: bool = True,
        kernel: int = 1,
        like: Weight | None = None,
    ) -> Weight:
        """Declare a matrix; its role follows from the axes.

        Args:
            zero: it starts at exact zeros.
            trained: False for a frozen one.
            kernel: k of a convolution over k x k pixels, odd.
            like: the weight of which this one is further rows.
        """
        if kernel < 1 or not kernel % 2:
            raise ProgramError(f"weight {name!r}: the kernel is {kernel}, but it must be odd to have a centre")
        if name in self._weights:
            raise ProgramError(f"weight {name!r} is declared twice; reuse the first handle to share it")
        if not name or name != name.strip() or "=" in name:
            raise ProgramError(f"weight name {name!r}: names are non-empty and contain no '='")
        self._weights[name] = Weight(name, out, into, zero, trained, kernel, like)
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

    def data(
        self, name: str = "x", axis: Axis | None = None, *, pixels: bool = False, positions: bool = False
    ) -> Value:
        """A deterministic input with coordinates of size Theta(1); finite unless an axis is given.

        Args:
            pixels: of an image, the channels at a generic pixel.
            positions: the place in a sequence as a unit vector, which is no input.
        """
        axis = axis or Axis(name)
        return self._emit(Data(name, axis, pixels=pixels, positions=positions), axis)

    def matmul(self, weight: Weight, x: Value, *, transposed: bool = False, stride: int = 1) -> Value:
        """W x or W^T x; of a convolution at every ``stride``-th pixel."""
        self._check(x)
        if self._weights.get(weight.name) is not weight:
            raise ProgramError(f"weight {weight.name!r} does not belong to this builder")
        ins = MatMul(weight, (x.index,), transposed, stride)
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
        return self.parameter(name, like.axis, zero=zero)

    def parameter(self, name: str, axis: Axis, *, zero: bool = False) -> Value:
        """A trainable vector on an axis. ``zero``: it starts at exact zeros."""
        return self.matmul(self.weight(name, axis, ONE, zero=zero), self.one())

    def one(self) -> Value:
        """The number one, which biases are applied to."""
        if self._ones is None:
            self._ones = self._emit(Data("one", ONE), ONE)
        return self._ones

    def normalize(self, x: Value, over: Axis | None = None) -> Value:
        """x / sqrt(mean x_i^2), the mean over all coordinates, or over one factor of the axis for each of the other."""
        self._check(x)
        if x.axis is None:
            raise ProgramError("normalize: a scalar has no coordinates to take a norm of")
        self._factor("normalize", x.axis, over)
        if over is not None and not over.wide and x.axis.wide:
            return self._emit(Apply(UNIT_NORM, (x.index,), over=over), x.axis)
        return self._emit(Normalize((x.index,), x.axis, over), x.axis)

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

    def multiply(self, x: Value, y: Value, *, across: bool = False) -> Value:
        """An elementwise product; a scalar, or a vector on one factor of the other's axis, is constant along the rest.

        Args:
            across: x holds one number per pair of positions (t, s), y is read at s, and the result at t sums over s.
        """
        self._check(x, y)
        axis = x.axis if y.axis is None or (x.axis is not None and y.axis in x.axis.factors) else y.axis
        blocks = self._block(x.axis, axis), self._block(y.axis, axis)
        return self._emit(Multiply((x.index, y.index), blocks, across), axis)

    def _block(self, axis: Axis | None, whole: Axis | None) -> int:
        if axis is None or axis == whole or whole is None:
            return 0
        if axis not in whole.factors:
            raise ProgramError(f"multiply: axes {axis.name} and {whole.name} differ")
        return whole.block(axis)

    def moment(self, x: Value, y: Value, over: Axis | None = None, *, across: bool = False) -> Value:
        """sum_i x_i y_i: a scalar, or with ``over`` a factor of the axis one number per coordinate of the other.

        Args:
            across: x at every position t against y at every position s.
        """
        self._check(x, y)
        if x.axis is None or x.axis != y.axis:
            raise ProgramError("moment: both values must be vectors on one axis")
        self._factor("moment", x.axis, over)
        moment = Moment((x.index, y.index), x.axis, over, across)
        return self._emit(moment, None if over is None else x.axis.other(over))

    def total(self, x: Value) -> Value:
        """sum_i x_i, a scalar."""
        self._check(x)
        if x.axis is None:
            raise ProgramError("total: a scalar has no coordinates to sum over")
        return self._emit(Moment((x.index,), x.axis), None)

    def _factor(self, what: str, axis: Axis, over: Axis | None) -> None:
        if over is not None and over not in axis.factors:
            raise ProgramError(f"{what}: {over.name} is no factor of the axis {axis.name}")

    def repeat(self, x: Value, axis: Axis) -> Value:
        """x on (groups, m) as a vector on (heads, m): every group's coordinates shared by several heads."""
        self._check(x)
        if x.axis is None or len(x.axis.factors) != 2 or len(axis.factors) != 2:
            raise ProgramError("repeat: needs a vector on a product axis and a product axis for the result")
        (groups, shared), (heads, same) = x.axis.factors, axis.factors
        if shared != same:
            raise ProgramError(f"repeat: the axes differ in their second factor, {shared.name} and {same.name}")
        if groups.wide and groups.size != heads.size:
            raise ProgramError(
                f"repeat: {groups.name} and {heads.name} grow with different powers of n; "
                "let one of them be finite or make them grow alike"
            )
        block = 0 if groups.size == heads.size or not same.wide else axis.block(same)
        return self._emit(Repeat((x.index,), axis, block), axis)

    def rotate(self, x: Value) -> Value:
        """Pairs of coordinates of every head rotated by an angle that grows with the position.

        Signs of single coordinates become signs of pairs, a finite mixing that no exponent sees.
        """
        self._check(x)
        if x.axis is None or len(x.axis.factors) != 2:
            raise ProgramError("rotate: needs a vector on a product axis, heads x head dimension")
        return self._emit(Rotate((x.index,), x.axis), x.axis)

    def observe(self, name: str, x: Value) -> Value:
        """Report the size and the change of a value that no weight writes, such as attention logits."""
        self._check(x)
        if name in self._weights or name in self._observed:
            raise ProgramError(f"the name {name!r} is taken")
        self._observed[name] = x.index
        return x

    def scaled(self, x: Value, power: ExponentLike, over: Axis | None = None) -> Value:
        """n^power times x; with ``over`` that power of the number of coordinates of an axis."""
        self._check(x)
        e = exponent(power, "power of n")
        if e.infinite:
            raise ProgramError(f"scaled: the power of n is {e}, but it must be finite")
        if e == ZERO:
            return x
        if over is not None and e.symbols and over.size.symbols:
            raise ProgramError(f"scaled: the power {e} of n^({over.size}) coordinates is not affine in its symbols")
        return self._emit(Scaled((x.index,), e, over), x.axis)

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
            tuple(self._observed.items()),
        )
