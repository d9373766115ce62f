"""Realisation: a program as a torch module, at one width.

The module walks the *same* instructions as the symbolic derivation, with tensors instead of scales; autograd then
checks the symbolic backward pass for free. Exponents fix every size up to a constant; the constants are chosen here, in
:class:`Realization`, such that at the base width n0 all parametrizations are one and the same network:

    multiplier      (n / n0)^-a, times ``output_scale`` for weights that write the logits
    init std        gain * (n / n0)^-b                  exactly zero where b = oo
    learning rate   base_lr * (n / n0)^-c
    n^p in the code (n / n0)^p

``gain`` is 1 / sqrt(fan_in E phi(z)^2) at n0, z standard normal, where a weight reads a nonlinearity phi (for relu
the He initialisation sqrt(2 / fan_in)), 1 / sqrt(fan_in) where it reads another value, and 1 where it reads data,
which come with an L2 norm of about one. So every pre-activation starts with coordinates of size one at the base
width, and the logits with ``output_scale``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tensorprog.errors import SettingError, Unsupported
from tensorprog.exponent import Exponent
from tensorprog.nonlinearities import Nonlinearity
from tensorprog.parametrizations import ABC
from tensorprog.program import (
    ONE,
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
    Scaled,
    Weight,
)

__all__ = ["Network", "Realization", "gains"]


LARGEST_DRAWN_ON_CPU = 1 << 22
"""Entries of a matrix of width 2048."""


@dataclass(frozen=True)
class Realization:
    """The choices that turn exponents into numbers.

    Args:
        width: n, the number that the exponents are exponents of.
        sizes: coordinates of the finite axes, by axis name.
        base_width: n0, where all parametrizations coincide.
        base_lr: the learning rate at n0, of every weight.
        output_scale: a constant factor on the logits, for every parametrization alike. Small values keep the logits in
            the linear range of the loss while the features move (the opposite of lazy training; Chizat et al. 2019,
            arXiv 1812.07956). Note that the logits change as output_scale^2 under SGD, output_scale under Adam.
        seed: of the initial weights; widths and weights get independent streams.
    """

    width: int
    sizes: Mapping[str, int] = field(default_factory=dict)
    base_width: int = 256
    base_lr: float = 1.0
    output_scale: float = 1.0
    seed: int = 0
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"

    def power(self, exponent: Exponent) -> float:
        """(n / n0)^exponent; 0 where the exponent is -oo."""
        if exponent.coefficients or exponent.infinite > 0:
            raise SettingError("exponent", str(exponent), "needs a number to be realised at a width")
        return 0.0 if exponent.infinite else float((self.width / self.base_width) ** float(exponent.const))

    def size(self, axis: Axis, width: int | None = None) -> int:
        """The number of coordinates of an axis: round(n^size), or the data's where it is finite."""
        if axis == ONE:
            return 1
        if axis.wide:
            return round(float((width or self.width) ** float(axis.size.const)))
        if axis.name not in self.sizes:
            raise SettingError(f"size of axis {axis.name!r}", "nothing", f"sizes are given for {', '.join(self.sizes)}")
        return self.sizes[axis.name]


class Network(nn.Module):
    """A program with tensors for values, batch first: a vector is [batch, coordinates], a scalar [batch, 1].

    Args:
        program: what is computed.
        exponents: (a, b, c) per weight, global learning-rate exponent included in c.
        realization: the numbers.

    Raises:
        Unsupported: for instructions that only occur in backward programs.
    """

    def __init__(self, program: Program, exponents: Mapping[Weight, ABC], realization: Realization) -> None:
        super().__init__()
        self.program = program
        self.exponents = dict(exponents)
        self.realization = realization
        last = {s.weight for s in program.sites if s.activation == program.output}
        self.multipliers = {
            w: realization.power(-abc.a) * (realization.output_scale if w in last else 1.0)
            for w, abc in exponents.items()
        }
        self._place = {w: i for i, w in enumerate(program.weights)}
        for instruction in program.instructions:
            if isinstance(instruction, NormalizeGradient) or (isinstance(instruction, Apply) and instruction.order):
                raise Unsupported("a derivative instruction", "autograd derives", "Realise the forward program.")
        gain = gains(program, realization)
        # A list, because torch does not accept the dots of weight names such as hidden.1 in parameter names.
        self.weights = nn.ParameterList(self._initial(w, gain[w], i) for w, i in self._place.items())

    def _initial(self, weight: Weight, gain: float, place: int) -> nn.Parameter:
        real = self.realization
        shape = (real.size(weight.out), real.size(weight.into))
        std = gain * real.power(-self.exponents[weight].b)
        # Drawn in float32 on the CPU whatever dtype and device, so that these do not change the network; the largest
        # matrices on the device itself, because a CPU takes seconds for them.
        drawn_on = real.device if shape[0] * shape[1] > LARGEST_DRAWN_ON_CPU else "cpu"
        stream = np.random.SeedSequence([real.seed, real.width, place]).generate_state(1, np.uint64)[0]
        generator = torch.Generator(drawn_on).manual_seed(int(stream) >> 1)
        w = torch.randn(shape, generator=generator, device=drawn_on) if std else torch.zeros(shape)
        return nn.Parameter((w * std).to(real.device, real.dtype))

    def parameter(self, weight: Weight) -> nn.Parameter:
        """The raw tensor w, out x in, without its multiplier."""
        found: nn.Parameter = self.weights[self._place[weight]]
        return found

    def groups(self) -> list[dict[str, Any]]:
        """One parameter group per weight, with lr = base_lr (n / n0)^-c."""
        rate = self.realization.base_lr
        return [
            {"params": [self.parameter(w)], "lr": rate * self.realization.power(-self.exponents[w].c)}
            for w in self.program.weights
        ]

    def product(self, matmul: MatMul, w: Tensor, x: Tensor) -> Tensor:
        """n^-a w x for each example, w^T where the instruction is transposed; w may be any tensor of its shape."""
        return functional.linear(x, w.T if matmul.transposed else w) * self.multipliers[matmul.weight]

    def values(self, x: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
        """The result of every instruction, in order.

        Args:
            x: [batch, inputs], or one such tensor for each data instruction by name.
        """
        inputs = x if isinstance(x, Mapping) else {self._input_name(): x}
        values: list[Tensor] = []
        for ins in self.program.instructions:
            args = [values[a] for a in ins.args]
            values.append(self._data(ins, inputs) if isinstance(ins, Data) else self._value(ins, args))
        return values

    def forward(self, x: Tensor | Mapping[str, Tensor]) -> Tensor:
        """The logits, [batch, classes]."""
        return self.values(x)[self.program.output]

    def _input_name(self) -> str:
        names = dict.fromkeys(i.name for i in self.program.instructions if isinstance(i, Data) and i.axis != ONE)
        if len(names) != 1:
            raise SettingError("input", "one tensor", f"the program reads {', '.join(names)}: give a tensor for each")
        return next(iter(names))

    def _data(self, ins: Data, inputs: Mapping[str, Tensor]) -> Tensor:
        if ins.axis == ONE:
            some = next(iter(inputs.values()))
            return some.new_ones(some.shape[0], 1)
        if ins.name not in inputs:
            raise SettingError(f"input {ins.name!r}", "nothing", f"got tensors for {', '.join(inputs)}")
        return inputs[ins.name]

    def _value(self, ins: Instruction, args: Sequence[Tensor]) -> Tensor:
        match ins:
            case MatMul():
                return self.product(ins, self.parameter(ins.weight), args[0])
            case Apply():
                return ins.function.torch(args[0])
            case Add():
                return sum(args[1:], start=args[0])
            case Multiply():
                return args[0] * args[1]
            case Moment():
                return (args[0] * args[1]).sum(-1, keepdim=True)
            case Scaled():
                return args[0] * self.realization.power(ins.power)
            case Normalize():
                square = args[0].square().mean(-1, keepdim=True)
                return args[0] * square.where(square > 0, 1).rsqrt()
            case Center():
                return args[0] - args[0].mean(-1, keepdim=True)
        raise TypeError(ins)


def gains(program: Program, realization: Realization) -> dict[Weight, float]:
    """The init std of each weight at the base width, by what it reads first (see the head of this module).

    Ref: He et al. 2015 (arXiv 1502.01852), Section 2.2: sqrt(2 / fan_in) for relu.
    """
    result: dict[Weight, float] = {}
    for ins in program.instructions:
        if not isinstance(ins, MatMul) or ins.weight in result:
            continue
        read = program.instructions[ins.args[0]]
        if isinstance(read, Data):
            result[ins.weight] = 1.0
            continue
        square = _second_moment(read.function) if isinstance(read, Apply) else 1.0
        fan_in = realization.size(ins.axes[1], realization.base_width)
        result[ins.weight] = (fan_in * square) ** -0.5
    return result


def _second_moment(phi: Nonlinearity) -> float:
    """E phi(z)^2 for standard normal z, on a fine grid: Gauss-Hermite nodes lose their accuracy at the kink of relu."""
    z = np.linspace(-10, 10, 20_001)
    density = np.exp(-(z**2) / 2)
    return float(np.sum(density * phi.numpy(z) ** 2) / np.sum(density))
