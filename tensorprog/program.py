"""Programs: what a network computes, as typed instructions over vectors, scalars and weights.

A program is a list of instructions in static single assignment: instruction i computes value i. One program has two
interpreters: :mod:`tensorprog.derive` walks it with scales, the validation harness with tensors. Roles of weights
are read off their axes, never off names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from tensorprog.errors import ProgramError
from tensorprog.exponent import ZERO, Exponent, ExponentLike, exponent
from tensorprog.nonlinearities import Nonlinearity, nonlinearity

__all__ = [
    "Add",
    "Apply",
    "Axis",
    "Builder",
    "Center",
    "Data",
    "Instruction",
    "MatMul",
    "Moment",
    "Multiply",
    "Normalize",
    "NormalizeGradient",
    "Program",
    "Role",
    "Scaled",
    "Value",
    "Weight",
]


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


@dataclass(frozen=True)
class Value:
    """A handle on the result of instruction ``index``; ``axis`` is None for a scalar."""

    index: int
    axis: Axis | None


# -- instructions ------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True)
class Site:
    """A weight with the value it produces and the value after its bias and nonlinearity."""

    name: str
    weight: Weight
    product: int
    activation: int
    trained_input: bool


@dataclass(frozen=True)
class Program:
    """A network as instructions; build one with :class:`Builder` or compose layers.

    Args:
        instructions: in order of execution.
        axes: the axis of each value (None for scalars).
        weights: in order of first use.
        output: the index of the logits.
        label: how outputs name it, for example ``mlp(hidden_layers=2, activation=relu)``.
    """

    instructions: tuple[Instruction, ...]
    axes: tuple[Axis | None, ...]
    weights: tuple[Weight, ...]
    output: int
    label: str = "program"
    description: dict[str, object] = field(default_factory=dict, compare=False, hash=False)

    def consumers(self, index: int) -> list[int]:
        return [i for i, ins in enumerate(self.instructions) if index in ins.args]

    @property
    def depends_on_weights(self) -> tuple[bool, ...]:
        """For each value, whether any weight was used to compute it."""
        trained: list[bool] = []
        for ins in self.instructions:
            trained.append(isinstance(ins, MatMul) or any(trained[a] for a in ins.args))
        return tuple(trained)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where each weight acts, in program order."""
        consumers: list[list[int]] = [[] for _ in self.instructions]
        for i, ins in enumerate(self.instructions):
            for a in set(ins.args):
                consumers[a].append(i)
        trained, found, uses = self.depends_on_weights, [], dict.fromkeys(self.weights, 0)
        for i, ins in enumerate(self.instructions):
            if not isinstance(ins, MatMul):
                continue
            uses[ins.weight] += 1
            name = ins.weight.name if uses[ins.weight] == 1 else f"{ins.weight.name}#{uses[ins.weight]}"
            found.append(Site(name, ins.weight, i, self._activation(i, consumers), trained[ins.args[0]]))
        return tuple(found)

    @property
    def value_names(self) -> tuple[str, ...]:
        """How explanations call each value: h(site) for a product with its bias, x(site) for its activation."""
        names = [ins.name if isinstance(ins, Data) else f"v{i}" for i, ins in enumerate(self.instructions)]
        for site in reversed(self.sites):
            names[site.activation] = f"x({site.name})"
            names[site.product] = f"h({site.name})"
            for i in self.consumers(site.product):
                ins = self.instructions[i]
                if site.weight.role is not Role.VECTOR and isinstance(ins, Add) and self._adds_bias(ins):
                    names[i], names[site.product] = f"h({site.name})", f"Wx({site.name})"
        names[self.output] = "logits"
        return tuple(names)

    def _activation(self, index: int, consumers: list[list[int]]) -> int:
        """Follow a product through a bias and into the nonlinearity, where these are its only readers."""
        while len(consumers[index]) == 1:
            reader = consumers[index][0]
            ins = self.instructions[reader]
            if isinstance(ins, Add) and self._adds_bias(ins):
                index = reader
                continue
            return reader if isinstance(ins, Apply) else index
        return index

    def _adds_bias(self, ins: Add) -> bool:
        parts = [self.instructions[a] for a in ins.args]
        return any(isinstance(p, MatMul) and p.weight.into is ONE for p in parts)

    def read_values(self) -> frozenset[int]:
        """Values that a weight or a contraction over a wide axis reads; what a norm layer reads may diverge."""
        read: set[int] = set()
        for ins in self.instructions:
            if (isinstance(ins, MatMul) and ins.axes[1].wide) or (isinstance(ins, Moment) and ins.axis.wide):
                read.update(ins.args)
        return frozenset(read)

    def __str__(self) -> str:
        return self.label


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
