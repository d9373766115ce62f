"""Emission: a recording becomes a program.

Operations on concatenations are written once for every segment that the output depends on; a *key* says which segment
of each concatenated atom is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tensorprog.errors import ProgramError
from tensorprog.exponent import ZERO, Exponent
from tensorprog.program import ONE, Axis, Builder, Program, Value, Weight
from tensorprog.trace.atoms import Dim, leaves
from tensorprog.trace.axes import Axes, Key
from tensorprog.trace.errors import TraceError
from tensorprog.trace.inits import Init
from tensorprog.trace.recording import (
    Centered,
    Concatenated,
    Contracted,
    Elementwise,
    Multiplied,
    Narrowed,
    Normalized,
    Observed,
    Operation,
    Product,
    Recording,
    Rescaled,
    Rotated,
    Source,
    Summed,
    Vector,
)

__all__ = ["Block", "Emission"]


@dataclass(frozen=True)
class Block:
    """Where a weight of the program lives in a parameter of the model.

    Args:
        parameter: its canonical name.
        indices: along every dimension of the stored tensor, at every width; None for all of them.
    """

    parameter: str
    indices: tuple[Any, ...]

    @property
    def whole(self) -> bool:
        """Whether it is the whole parameter."""
        return all(i is None for i in self.indices)


@dataclass
class Emission:
    """A recording on its way to a program.

    Args:
        recording: all operations.
        parameters: the dimensions of every parameter.
        widths: of the trace.
        initial: (block, module path) -> how its entries start.
        trained: whether an optimizer moves a parameter, by name.
        blocks: filled: where each weight of the program is.
        inits: filled: what each weight of the program starts with.
    """

    recording: Recording
    parameters: Mapping[str, tuple[Dim, ...]]
    widths: tuple[int, ...]
    initial: Callable[[Block, str], Init]
    trained: Callable[[str], bool]
    blocks: dict[str, Block] = field(default_factory=dict)
    inits: dict[str, Init] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.builder = Builder()
        self.axes = Axes(self.recording, self.widths)
        self.done: dict[tuple[int, Key], Value] = {}
        self.weights: dict[tuple[str, Key], tuple[Weight, frozenset[int]]] = {}
        self.gains: dict[tuple[int, Key], Init] = {}
        self.data: dict[str, int] = {}
        self.transposed: set[str] = set()
        """Weights that are stored as in x out."""

    def program(self, output: int, label: str, **description: object) -> Program:
        """The program of one operation's result."""
        keys = list(self.axes.choices(self.recording[output].features))
        if len(keys) != 1:
            raise self._error(self.recording[output], "the logits are a concatenation", "Return one tensor of logits")
        axis = self.axes.axis(self.recording[output].features, keys[0])
        if axis is not None and axis.wide:
            raise TraceError(
                "output",
                "",
                f"it has {axis.name} coordinates, which grow with the width",
                "Add a head, or choose the logits with output=...",
            )
        needed = self._needed(output, keys[0])
        for index in sorted(needed):
            for key in self.axes.choices(self.recording[index].features):
                if key in needed[index]:
                    self._emit(index, key)
        value = self.done[output, keys[0]]
        return self.builder.build(value, label, **description)

    def _needed(self, output: int, key: Key) -> dict[int, dict[Key, None]]:
        needed: dict[int, dict[Key, None]] = {output: {key: None}}
        for index in range(output, -1, -1):
            for k in needed.get(index, {}):
                for arg, wanted in self._arguments(index, k):
                    needed.setdefault(arg, {})[wanted] = None
        return needed

    def _arguments(self, index: int, key: Key) -> list[tuple[int, Key]]:
        """The (operation, key) pairs that one result needs."""
        op = self.recording[index]
        match op:
            case Concatenated():
                chosen = dict(key)[op.atom.root]
                arg = op.args[chosen]
                return [(arg, self.axes.restricted(key, self.recording[arg].features))]
            case Narrowed():
                arg = op.args[0]
                inner = key | {(op.atom.root, op.index)}
                return [(arg, self.axes.restricted(inner, self.recording[arg].features))]
        found = []
        for arg in op.args:
            found += [(arg, k) for k in self._keys_of(arg, key)]
        return found

    def _keys_of(self, arg: int, key: Key) -> list[Key]:
        """The keys of an argument that agree with the result's; several where segments are summed over."""
        features = self.recording[arg].features
        own = self.axes.restricted(key, features)
        known = {a for a, _ in own}
        return [k for k in self.axes.choices(features) if {(a, i) for a, i in k if a in known} == set(own)]

    # -- emission

    def _error(self, op: Operation, why: str, instead: str) -> TraceError:
        return TraceError(type(op).__name__.lower(), op.where, why, instead)

    def _emit(self, index: int, key: Key) -> None:
        op = self.recording[index]
        try:
            if isinstance(op, Concatenated | Narrowed):
                ((arg, wanted),) = self._arguments(index, key)
                self.done[index, key] = self.done[arg, wanted]
                if (arg, wanted) in self.gains:
                    self.gains[index, key] = self.gains[arg, wanted]
                return
            self.done[index, key] = self._value(op, index, key)
        except ProgramError as error:
            raise self._error(op, str(error), "Declare a program with tensorprog.Builder") from error

    def _value(self, op: Operation, index: int, key: Key) -> Value:
        b = self.builder
        axis = self.axes.axis(op.features, key)
        match op:
            case Source(name=name, power=power):
                return self._source(name, power, axis)
            case Product():
                return self._total([self._applied(op, key, inner) for inner in self._keys_of(op.args[0], key)])
            case Vector():
                return self._vector(op, index, key, axis)
            case Contracted():
                return self._total([self._contracted(op, key, inner) for inner in self._summed(op, key)])
            case Multiplied():
                return self._multiplied(op, key)
            case Summed():
                return b.add(*(self._spread(self._arg(op, k, key), axis) for k in range(len(op.args))))
        x = self._arg(op, 0, key)
        match op:
            case Elementwise(function=function):
                return b.apply(function, x)
            case Normalized(over=over):
                return self._normalized(op, over, x, key)
            case Centered():
                return b.center(x)
            case Rescaled(power=power):
                return b.scaled(x, power)
            case Rotated():
                return b.rotate(x) if x.axis is not None and len(x.axis.factors) == 2 else x
            case Observed(name=name):
                return b.observe(name, x)
        raise TypeError(op)

    def _arg(self, op: Operation, k: int, key: Key) -> Value:
        arg = op.args[k]
        return self.done[arg, self.axes.restricted(key, self.recording[arg].features)]

    def _total(self, parts: Sequence[Value]) -> Value:
        return parts[0] if len(parts) == 1 else self.builder.add(*parts)

    def _source(self, name: str, power: Exponent, axis: Axis | None) -> Value:
        count = self.data[name] = self.data.get(name, 0) + 1
        label = name if count == 1 else f"{name}#{count}"
        if power.infinite:
            raise TraceError("a constant", "", f"{name!r} is zero and is used as data", "Remove it, or make it random")
        value = self.builder.data(label, axis)
        return self.builder.scaled(value, power)

    def _spread(self, x: Value, axis: Axis | None) -> Value:
        """A value that is constant along some features, on all of them."""
        if x.axis == axis or axis is None:
            return x
        return self.builder.multiply(self._scalar(x, axis), self._ones(axis))

    def _ones(self, axis: Axis) -> Value:
        return self._source("ones", ZERO, axis)

    def _scalar(self, x: Value, axis: Axis | None) -> Value:
        """A single coordinate as a scalar, where it meets an axis that it is no factor of."""
        if x.axis is None or axis is None or x.axis == axis or x.axis in axis.factors or x.axis.wide:
            return x
        if x.axis.name in ("1", "rows"):
            return self.builder.moment(x, self._ones(x.axis))
        return x

    def _multiplied(self, op: Multiplied, key: Key) -> Value:
        b = self.builder
        axis = self.axes.axis(op.features, key)
        left, right = ((a, self.axes.restricted(key, self.recording[a].features)) for a in op.args)
        for gain, other in ((right, left), (left, right)):
            init = self.gains.get(gain)
            if init is not None and gain != other:
                # x (c + g) as c x + x g: a gain that starts at c.
                x, g = self._spread(self.done[other], axis), self._scalar(self.done[gain], axis)
                constant = b.scaled(x, init.mean.exponent) if init.mean is not None else x
                return b.add(constant, b.multiply(x, g))
        x, y = self._scalar(self.done[left], axis), self._scalar(self.done[right], axis)
        if axis is not None and axis.factors:
            x, y = (self._widened(v, axis) if self._fewer(v, axis) else v for v in (x, y))
            # An axis that neither of the two has is made of both.
            if axis not in (x.axis, y.axis) and x.axis is not None and y.axis is not None:
                x = b.multiply(x, self._ones(axis))
        return b.multiply(x, y, across=op.across)

    def _summed(self, op: Contracted, key: Key) -> list[Key]:
        """The result's key with every choice among the segments that are summed over."""
        return [key | extra for extra in self.axes.choices(op.over)]

    def _contracted(self, op: Contracted, key: Key, inner: Key) -> Value:
        b = self.builder
        values = [self._arg(op, k, inner) for k in range(len(op.args))]
        whole = tuple(dict.fromkeys(a for arg in op.args for a in leaves(self.recording[arg].features)))
        axis = self.axes.axis(whole, inner)
        assert axis is not None
        values = [self._widened(v, axis) for v in values]
        over = self.axes.axis(op.over, inner)
        if over is None:  # values of single steps, stacked: each is a term of the sum
            return values[0] if len(values) == 1 else b.multiply(*values, across=op.across)
        x, y = values if len(values) == 2 else (values[0], self._ones(axis))
        return b.moment(x, y, None if over == axis else over, across=op.across)

    def _widened(self, x: Value, axis: Axis) -> Value:
        """A vector of fewer heads, or of one, on the axis of all heads."""
        if x.axis == axis:
            return x
        b = self.builder
        if self._fewer(x, axis):
            return b.repeat(x, axis)
        return b.multiply(x, self._ones(axis))

    @staticmethod
    def _fewer(x: Value, axis: Axis) -> bool:
        """Whether a vector lives on groups of the heads of an axis."""
        own = x.axis.factors if x.axis is not None else ()
        return x.axis != axis and len(own) == 2 and len(axis.factors) == 2 and own[1] == axis.factors[1]

    def _normalized(self, op: Normalized, over: Dim, x: Value, key: Key) -> Value:
        if any(a.segments for a in leaves(over)):
            raise self._error(op, "a norm over a concatenation has no rule", "Normalise the parts")
        part = self.axes.axis(over, key)
        return self.builder.normalize(x, None if part == x.axis else part)

    # -- weights

    def _applied(self, op: Product, key: Key, inner: Key) -> Value:
        x = self.done[op.args[0], inner]
        out, into = self.axes.axis(op.features, key), x.axis
        if into is None:
            into = Axis("1")
            x = self.builder.multiply(x, self._ones(into))
        keys = self._chosen(op, key | inner)
        weight, contracted = self._weight(op.parameter, keys, out or Axis("1"), into, op)
        transposed = contracted != op.contracted
        value = self.builder.matmul(weight, x, transposed=transposed)
        init = self.inits[weight.name]
        if init.mean is None:
            return value
        if out is None or into.wide or transposed:
            raise self._uncentered(op, init.mean.constant)
        return self._shifted(value, init)  # rows of a table that have a common part

    def _vector(self, op: Vector, index: int, key: Key, axis: Axis | None) -> Value:
        keys = self._chosen(op, key)
        into = Axis("rows") if op.rows else ONE
        weight, _ = self._weight(op.parameter, keys, axis or Axis("1"), into, op)
        init = self.inits[weight.name]
        data = self._rows(into)
        value = self.builder.matmul(weight, data)
        if init.mean is not None:
            readers = [o for o in self.recording.operations if index in o.args]
            if all(isinstance(o, Multiplied) for o in readers):
                self.gains[index, key] = init
            else:
                value = self._shifted(value, init)
        return value

    def _shifted(self, value: Value, init: Init) -> Value:
        """With the mean of its initial entries."""
        assert init.mean is not None
        shift = self.builder.scaled(self._ones(value.axis), init.mean.exponent)  # type: ignore[arg-type]
        return self.builder.add(value, shift)

    def _uncentered(self, op: Product, mean: float) -> TraceError:
        return TraceError(
            op.parameter,
            op.where,
            f"its initial entries have a mean of about {mean:.3g}, and matrices need a mean of zero",
            "Initialise it around zero, or declare a program with tensorprog.Builder",
        )

    def _chosen(self, op: Product | Vector, key: Key) -> Key:
        """The part of a parameter that is meant."""
        cut = frozenset((atom.root, i) for atom, i in op.chosen)
        return self.axes.restricted(key | cut, tuple(a for d in self.parameters[op.parameter] for a in d))

    def _rows(self, into: Axis) -> Value:
        if into is ONE:
            return self.builder.one()
        return self._source("rows", ZERO, into)

    def _weight(self, parameter: str, key: Key, out: Axis, into: Axis, op: Operation) -> tuple[Weight, frozenset[int]]:
        """The weight of one block of a parameter, declared at its first use."""
        contracted: frozenset[int] = op.contracted if isinstance(op, Product) else frozenset()
        if (parameter, key) in self.weights:
            return self.weights[parameter, key]
        name, block = self._block(parameter, key)
        init = self.initial(block, op.where)
        weight = self.builder.weight(name, out, into, zero=init.zero, trained=self.trained(parameter))
        self.blocks[name], self.inits[name] = block, init
        if 0 in contracted and 1 not in contracted:
            self.transposed.add(name)
        self.weights[parameter, key] = (weight, contracted)
        return self.weights[parameter, key]

    def _block(self, parameter: str, key: Key) -> tuple[str, Block]:
        dims = self.parameters[parameter]
        indices: list[Any] = []
        labels: list[str] = []
        for dim in dims:
            cut = self.axes.restricted(key, dim)
            if not cut:
                indices.append(None)
                labels.append(":")
                continue
            indices.append(tuple(self.axes.index(dim, key, w) for w in range(len(self.widths))))
            labels.append(".".join(str(dict(key)[a]) for a in self.axes.order(dim, key)))
        name = parameter.removesuffix(".weight")
        while labels and labels[-1] == ":":
            labels.pop()
        return (f"{name}[{', '.join(labels)}]" if labels else name), Block(parameter, tuple(indices))
