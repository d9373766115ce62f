"""Realisation: a program as a torch module, at one width.

The module walks the *same* instructions as the symbolic derivation, with tensors instead of scales; autograd then
checks the symbolic backward pass for free. Exponents fix every size up to a constant; the constants are chosen here, in
:class:`Realization`, such that at the base width n0 all parametrizations are one and the same network:

    multiplier      (n / n0)^-a, times ``output_scale`` where a weight writes the logits
    init std        gain * (n / n0)^-b                  exactly zero where b = oo
    learning rate   base_lr * (n / n0)^-c
    n^p in the code (n / n0)^p; a power of an axis is that of its number of coordinates

``gain`` is 1 / sqrt(fan_in E phi(z)^2) at n0, z standard normal, where a weight reads a nonlinearity phi (for relu
the He initialisation sqrt(2 / fan_in)), 1 / sqrt(fan_in) where it reads another value, and 1 where it reads data,
which come with an L2 norm of about one. So every pre-activation starts with coordinates of size one at the base
width, and the logits with ``output_scale``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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
    Repeat,
    Rotate,
    Scaled,
    Site,
    Weight,
)

__all__ = ["Network", "Realization", "gains"]

FINITE = {"heads": 4, "groups": 4, "head dimension": 16, "rank": 16, "experts": 4, "neurons": 2}
"""Numbers of coordinates of finite axes inside a network where nothing else is said."""
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
        if axis.symbols:
            raise SettingError(
                f"size of axis {axis.name!r}", str(axis.size), "needs a number to be realised at a width"
            )
        if axis.factors:
            first, second = self.pair(axis, width)
            return first * second
        if axis.wide:
            return round(float((width or self.width) ** float(axis.size.const)) / axis.per)
        known = {**FINITE, **self.sizes}
        if axis.name not in known:
            raise SettingError(f"size of axis {axis.name!r}", "nothing", f"sizes are given for {', '.join(self.sizes)}")
        return known[axis.name] // axis.per

    def pair(self, axis: Axis, width: int | None = None) -> tuple[int, int]:
        """The numbers of coordinates of a product axis' factors, about round(n^size) together.

        A finite factor has its own number and the other one the rest; where both grow, the second has round(n^size).
        """
        first, second = axis.factors
        if not axis.wide:
            return self.size(first), self.size(second)
        whole = (width or self.width) ** float(axis.size.const)
        if first.wide:
            inner = self.size(second, width)
            return max(1, round(whole / inner / first.per)), inner
        # An even number of coordinates, because rotations act on pairs.
        return self.size(first), max(2, 2 * round(whole / self.size(first) / first.per / 2))


class Network(nn.Module):
    """A program with tensors for values, batch first: a vector is [batch, coordinates], a scalar [batch, 1].

    Args:
        program: what is computed.
        exponents: (a, b, c) per weight, global learning-rate exponent included in c.
        realization: the numbers.
        seeds: of networks that are computed side by side, in place of the realization's one: inputs, weights and
            values then have a leading axis for them.

    Raises:
        Unsupported: for instructions that only occur in backward programs, and for a growing vocabulary.
    """

    def __init__(
        self,
        program: Program,
        exponents: Mapping[Weight, ABC],
        realization: Realization,
        seeds: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if any(w.like is not None for w in program.weights):
            why = "data sets have the tokens that they have"
            raise Unsupported("training over a growing vocabulary", why, "Take vocabulary_exponent=0.")
        self.seeds = seeds
        self.program = program
        self.exponents = dict(exponents)
        self.realization = realization
        self._last = {program.instructions[s.product] for s in program.sites if s.activation == program.output}
        self.multipliers = {w: realization.power(-abc.a) for w, abc in exponents.items()}
        self._place = {w: i for i, w in enumerate(program.weights)}
        for instruction in program.instructions:
            if isinstance(instruction, NormalizeGradient) or (isinstance(instruction, Apply) and instruction.order):
                raise Unsupported("a derivative instruction", "autograd derives", "Realise the forward program.")
        gain = gains(program, realization)
        # A list, because torch does not accept the dots of weight names such as hidden.1 in parameter names.
        self.weights = nn.ParameterList(self._initial(w, gain[w], i) for w, i in self._place.items())

    def _initial(self, weight: Weight, gain: float, place: int) -> nn.Parameter:
        seeds = self.seeds or [self.realization.seed]
        drawn = [self._drawn(weight, gain, place, seed) for seed in seeds]
        return nn.Parameter(drawn[0] if self.seeds is None else torch.stack(drawn), requires_grad=weight.trained)

    def _drawn(self, weight: Weight, gain: float, place: int, seed: int) -> Tensor:
        real = self.realization
        # A convolution's kernel is kept as the matrix that acts on a patch of pixels, out x (in * k * k): matrix
        # optimizers take it as one.
        shape = (self._size(weight.out), self._size(weight.into) * weight.kernel**2)
        std = gain * real.power(-self.exponents[weight].b)
        # Drawn in float32 on the CPU whatever dtype and device, so that these do not change the network; the largest
        # matrices on the device itself, because a CPU takes seconds for them.
        drawn_on = real.device if shape[0] * shape[1] > LARGEST_DRAWN_ON_CPU else "cpu"
        stream = np.random.SeedSequence([seed, real.width, place]).generate_state(1, np.uint64)[0]
        generator = torch.Generator(drawn_on).manual_seed(int(stream) >> 1)
        w = torch.randn(shape, generator=generator, device=drawn_on) if std else torch.zeros(shape)
        return (w * std).to(real.device, real.dtype)

    def _size(self, axis: Axis) -> int:
        return self._counts.get(axis) or self.realization.size(axis)

    def parameter(self, weight: Weight) -> nn.Parameter:
        """The raw tensor w, out x in, without its multiplier."""
        found: nn.Parameter = self.weights[self._place[weight]]
        return found

    def groups(self) -> list[dict[str, Any]]:
        """One parameter group per trained weight, with lr = base_lr (n / n0)^-c."""
        rate = self.realization.base_lr
        return [
            {"params": [self.parameter(w)], "lr": rate * self.realization.power(-self.exponents[w].c)}
            for w in self.program.weights
            if w.trained
        ]

    def product(self, matmul: MatMul, w: Tensor, x: Tensor) -> Tensor:
        """n^-a w x for each example, w^T where the instruction is transposed; w may be any tensor of its shape."""
        scale = self.realization.output_scale if matmul in self._last else 1.0
        if matmul.weight.kernel > 1 or matmul.stride > 1:
            return _convolved(matmul, w, x) * (self.multipliers[matmul.weight] * scale)
        w = w.mT if matmul.transposed else w
        # Of several networks, bmm: what matmul and vmap make of the same product takes up to three times as long.
        y = functional.linear(x, w) if self.seeds is None else torch.bmm(x, w.mT)
        return y * (self.multipliers[matmul.weight] * scale)

    def values(self, x: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
        """The result of every instruction, in order.

        Args:
            x: [batch, inputs], or one such tensor for each data instruction by name.
        """
        inputs = x if isinstance(x, Mapping) else {self._input_name(): x}
        values: list[Tensor] = []
        known = self.program.axes
        for ins in self.program.instructions:
            args = [values[a] for a in ins.args]
            axes = [known[a] for a in ins.args]
            values.append(self._data(ins, inputs) if isinstance(ins, Data) else self._value(ins, args, axes))
        output = self.program.output
        if values[output].dim() > 2 and next(iter(inputs.values())).dim() == 2:
            values[output] = values[output].flatten(0, 1)  # token ids: every position is an example
        return values

    def forward(self, x: Tensor | Mapping[str, Tensor]) -> Tensor:
        """The logits, [batch, classes]; [batch * positions, classes] of a sequence."""
        return self.values(x)[self.program.output]

    def _input_name(self) -> str:
        data = (i for i in self.program.instructions if isinstance(i, Data) and i.axis != ONE)
        names = dict.fromkeys(i.name for i in data if not i.positions)
        if len(names) != 1:
            raise SettingError("input", "one tensor", f"the program reads {', '.join(names)}: give a tensor for each")
        return next(iter(names))

    def _data(self, ins: Data, inputs: Mapping[str, Tensor]) -> Tensor:
        if ins.axis == ONE:
            # The same for all examples and positions, of which layers have different numbers: it is broadcast to them.
            # Several networks multiply batch by batch instead.
            some = next(iter(inputs.values()))
            leading = () if self.seeds is None else some.shape[:2]
            return torch.ones(*leading, 1, dtype=self.realization.dtype, device=some.device)
        if ins.positions:
            some = next(iter(inputs.values()))
            return torch.eye(some.shape[1], dtype=self.realization.dtype, device=some.device)
        if ins.name not in inputs:
            raise SettingError(f"input {ins.name!r}", "nothing", f"got tensors for {', '.join(inputs)}")
        x = inputs[ins.name]
        if x.is_floating_point():
            return x
        assert ins.axis is not None, "token ids index an axis"
        return functional.one_hot(x, self.realization.size(ins.axis)).to(self.realization.dtype)

    def _value(self, ins: Instruction, args: Sequence[Tensor], axes: Sequence[Axis | None]) -> Tensor:
        match ins:
            case MatMul():
                return self.product(ins, self.parameter(ins.weight), args[0])
            case Apply():
                if ins.over is None:
                    return ins.function.torch(args[0])
                return ins.function.torch(self._split(args[0], axes[0])).flatten(-2)
            case Add():
                return sum(args[1:], start=args[0])
            case Multiply():
                return self._multiplied(ins, args, axes)
            case Moment():
                return self._moment(ins, args)
            case Repeat():
                assert axes[0] is not None
                x = self._split(args[0], axes[0])
                return x.repeat_interleave(self.realization.pair(ins.axis)[0] // x.shape[-2], dim=-2).flatten(-2)
            case Rotate():
                return _rotated(self._split(args[0], ins.axis)).flatten(-2)
            case Scaled():
                return args[0] * self._power(ins)
            case Normalize():
                x = args[0] if ins.over is None else self._split(args[0], ins.axis)
                square = x.square().mean(-1, keepdim=True)
                return (x * square.where(square > 0, 1).rsqrt()).reshape(args[0].shape)
            case Center():
                return args[0] - args[0].mean(-1, keepdim=True)
        raise TypeError(ins)

    def _split(self, x: Tensor, axis: Axis | None) -> Tensor:
        """[..., coordinates of a product axis] as [..., first factor, second factor]."""
        assert axis is not None
        return x.reshape(*x.shape[:-1], *self.realization.pair(axis))

    def _multiplied(self, ins: Multiply, args: Sequence[Tensor], axes: Sequence[Axis | None]) -> Tensor:
        """Products; a factor that lacks one of the axis' factors is constant along it."""
        whole = max((a for a in axes if a is not None), key=lambda a: len(a.factors), default=None)
        if whole is None or all(a is None or a == whole for a in axes):
            return torch.einsum("bts...,bs...->bt...", *args) if ins.across else args[0] * args[1]
        x, y = (self._broadcast(v, a, whole) for v, a in zip(args, axes, strict=True))
        if ins.across:
            return torch.einsum("btsh,bshd->bthd", x.squeeze(-1), y).flatten(-2)
        return (x * y).flatten(-2)

    def _broadcast(self, x: Tensor, axis: Axis | None, whole: Axis) -> Tensor:
        """[..., first factor or 1, second factor or 1]."""
        if axis is None:
            return x.unsqueeze(-1)
        return self._split(x, whole) if axis == whole else x.unsqueeze(-1 if axis == whole.factors[0] else -2)

    def _moment(self, ins: Moment, args: Sequence[Tensor]) -> Tensor:
        """Sums over an axis [..., 1], or over one factor of it [..., other factor]."""
        x, y = args
        if ins.over is None:
            return torch.einsum("btd,bsd->bts", x, y).unsqueeze(-1) if ins.across else (x * y).sum(-1, keepdim=True)
        x, y = self._split(x, ins.axis), self._split(y, ins.axis)
        if ins.across:
            return torch.einsum("bthd,bshd->btsh" if ins.over == ins.axis.factors[1] else "bthd,bshd->btsd", x, y)
        return (x * y).sum(-1 if ins.over == ins.axis.factors[1] else -2)

    def multiplier(self, site: Site) -> float:
        """What the program multiplies a product with."""
        return math.prod(self._power(ins) for ins in self.program.multipliers(site.product).values())

    def _power(self, ins: Scaled) -> float:
        if ins.over is None:
            return self.realization.power(ins.power)
        return float(self._size(ins.over) ** float(ins.power.const))

    @cached_property
    def _counts(self) -> dict[Axis, int]:
        """The number of coordinates of every factor of the program's product axes."""
        found: dict[Axis, int] = {}
        for axis in dict.fromkeys(a for a in self.program.axes if a is not None and a.factors):
            found.update(zip(axis.factors, self.realization.pair(axis), strict=True))
        return found


def _convolved(matmul: MatMul, w: Tensor, x: Tensor) -> Tensor:
    """The convolution of x [batch, height, width, in] with w [out, in * k * k], padded by zeros."""
    k = matmul.weight.kernel
    if matmul.transposed:
        raise Unsupported("a transposed convolution", "only forward ones are realised", "Give it a weight of its own.")
    patches = w.reshape(w.shape[0], -1, k, k)
    return functional.conv2d(x.movedim(-1, 1), patches, stride=matmul.stride, padding=k // 2).movedim(1, -1)


def _rotated(x: Tensor) -> Tensor:
    """x [batch, positions, heads, 2 m] with its pairs rotated by position * 10000^(-i/m).

    Ref: Su et al. 2021 (arXiv 2104.09864), Equation 15.
    """
    m = x.shape[-1] // 2
    rate = 10000.0 ** (-torch.arange(m, device=x.device, dtype=x.dtype) / m)
    angle = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)[:, None, None] * rate
    u, v = x[..., :m], x[..., m:]
    return torch.cat([u * angle.cos() - v * angle.sin(), u * angle.sin() + v * angle.cos()], -1)


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
            result[ins.weight] = 1 / ins.weight.kernel
            continue
        while isinstance(read, Apply) and not read.function.elementwise:
            read = program.instructions[read.args[0]]  # norms and pools keep sizes of order one
        square = _second_moment(read.function) if isinstance(read, Apply) else 1.0
        axis = ins.axes[1]
        wide = float(realization.base_width) ** float(axis.size.const)
        fan_in = wide if axis.factors and axis.wide else realization.size(axis, realization.base_width)
        result[ins.weight] = (fan_in * ins.weight.kernel**2 * square) ** -0.5
    return result


def _second_moment(phi: Nonlinearity) -> float:
    """E phi(z)^2 for standard normal z, on a fine grid: Gauss-Hermite nodes lose their accuracy at the kink of relu."""
    z = np.linspace(-10, 10, 20_001)
    density = np.exp(-(z**2) / 2)
    return float(np.sum(density * phi.numpy(z) ** 2) / np.sum(density))
