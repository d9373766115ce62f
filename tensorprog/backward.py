"""The backward program: reverse-mode differentiation of a program into the same instructions.

The gradient of W x with cotangent dh is dh x^T for the weight and W^T dh for x; of W^T x it is x dh^T and W dh. All
other instructions have their usual transposes. Because the backward program is made of forward instructions, the
same calculus (and, in the harness, autograd as an independent check) covers it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorprog.errors import Unsupported
from tensorprog.program import (
    Add,
    Apply,
    Axis,
    Center,
    Data,
    Instruction,
    MatMul,
    Moment,
    Multiply,
    Normalize,
    NormalizeGradient,
    Program,
    Repeat,
    Rotate,
    Scaled,
    Weight,
)

__all__ = ["Backward", "backward"]


@dataclass(frozen=True)
class Backward:
    """Instructions that continue a program's numbering, and where each weight's gradient factors are.

    Args:
        instructions: the first is the cotangent of the output (chi = dL/d output).
        first: the index of the first instruction.
        gradients: for each trained weight, the pairs (out, into) of values whose outer products sum to its gradient.
        names: how explanations call the emitted values, for example ``dx(hidden.1)``.
    """

    instructions: tuple[Instruction, ...]
    first: int
    gradients: dict[Weight, tuple[tuple[int, int], ...]]
    names: tuple[str, ...] = ()


def backward(program: Program) -> Backward:
    """Differentiate a program with respect to its trained weights."""
    return _Differentiation(program).run()


class _Differentiation:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.axes: list[Axis | None] = list(program.axes)
        self.emitted: list[Instruction] = []
        self.names: list[str] = []
        self.labels = program.value_names
        self.cotangents: dict[int, list[int]] = {}
        self.gradients: dict[Weight, list[tuple[int, int]]] = {w: [] for w in program.weights if w.trained}

    def emit(self, instruction: Instruction, axis: Axis | None, name: str) -> int:
        self.emitted.append(instruction)
        self.names.append(name)
        self.axes.append(axis)
        return len(self.axes) - 1

    def run(self) -> Backward:
        program = self.program
        trained = program.trained_values
        chi = self.emit(Data("chi", program.axes[program.output]), program.axes[program.output], "chi")
        self.cotangents[program.output] = [chi]
        for i in reversed(range(len(program.instructions))):
            parts = self.cotangents.get(i)
            if not parts or not trained[i]:
                continue
            d = parts[0] if len(parts) == 1 else self.emit(Add(tuple(parts)), program.axes[i], f"d{self.labels[i]}")
            self.transpose(program.instructions[i], i, d, trained)
        return Backward(
            tuple(self.emitted),
            len(program.instructions),
            {w: tuple(pairs) for w, pairs in self.gradients.items()},
            tuple(self.names),
        )

    def give(self, target: int, cotangent: int) -> None:
        self.cotangents.setdefault(target, []).append(cotangent)

    def transpose(self, ins: Instruction, i: int, d: int, trained: tuple[bool, ...]) -> None:
        """Send the cotangent d of instruction i to its arguments and weight."""
        axes = self.axes

        def to(x: int, instruction: Instruction) -> None:
            self.give(x, self.emit(instruction, axes[x], f"d{self.labels[x]}"))

        match ins:
            case MatMul(weight, (x,), transposed, stride):
                if weight.trained:
                    self.gradients[weight].append((x, d) if transposed else (d, x))
                if trained[x]:
                    to(x, MatMul(weight, (d,), not transposed, stride))
            case Apply(function) if function.stops:
                pass
            case Apply(function, (x,), order, over):
                slope = self.emit(
                    Apply(function, (x,), order + 1, over), axes[x], f"{function.name}'({self.labels[x]})"
                )
                to(x, Multiply((slope, d)))
            case Add(args):
                for x in args:
                    if trained[x]:
                        self.give(x, d)
            case Multiply((x, y), (at_x, at_y)):
                for this, other, block in ((x, y, at_y), (y, x, at_x)):
                    if trained[this]:
                        to(this, self.factor(axes[this], d, other, block))
            case Moment(args, axis, over):
                block = 0 if over is None else axis.block(axis.other(over))
                for k, this in enumerate(args):
                    if trained[this]:
                        alone = len(args) == 1
                        to(this, Repeat((d,), axis, block) if alone else Multiply((d, args[1 - k]), (block, 0)))
            case Repeat((x,), axis, block):
                shared = axis.factors[2 - block] if block else None
                to(x, Moment((d,), axis, shared) if block else Repeat((d,), _axis(axes[x])))
            case Scaled((x,), power, over):
                to(x, Scaled((d,), power, over))
            case Rotate((x,), axis):
                to(x, Rotate((d,), axis))
            case Center((x,)):
                to(x, Center((d,)))
            case Normalize((x,), axis, over):
                to(x, NormalizeGradient((x, d), axis, over))
            case NormalizeGradient():
                raise Unsupported(
                    "the gradient of a gradient",
                    "the transpose of a norm's transpose has no rule",
                    "Differentiate a forward program.",
                )
            case Data():
                pass

    def factor(self, axis: Axis | None, d: int, other: int, block: int) -> Instruction:
        """The cotangent of one factor of a product: summed over the coordinates that this factor does not have."""
        out = self.axes[d]
        if out is None or axis == out:
            return Multiply((d, other), (0, block))
        return Moment((d, other), out, None if axis is None else out.other(axis))


def _axis(axis: Axis | None) -> Axis:
    assert axis is not None, "only vectors are repeated"
    return axis
