"""Random programs on a product axis (heads x head dimension), run in float64 and held against their exponents.

A program draws random vectors on the product axis and on its factors, and applies relu, tanh, elementwise products,
products with a vector on one factor, sums, and contractions over one factor or both.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from tensorprog.calculus import sizes
from tensorprog.program import Add, Apply, Axis, Builder, Data, Instruction, MatMul, Moment, Multiply, Scaled, Value

WIDTHS = (1024, 4096, 16384, 65536)
SEEDS = 16
PROBES = 6
TOLERANCE = 0.13
"""The nearest rival is 1/4 away; factors have n^(1/2) coordinates, so corrections are n^(-1/4) of a term."""
SIGMAS = 6.0
FUNCTIONS = {"relu": lambda h: np.maximum(h, 0), "tanh": np.tanh}


def generate(seed: int) -> tuple[Builder, list[Axis | None]]:
    """A random program over axes of n^(1/2) and n^(1/2) coordinates, with the axis of every value."""
    rng = random.Random(seed)
    b = Builder()
    one = b.data("one")
    heads, dim = b.axis("heads", "1/2"), b.axis("dim", "1/2")
    both = b.product(heads, dim)
    found: dict[Axis, list[Value]] = {both: [], heads: [], dim: []}
    for axis, most in ((both, 3), (heads, 1), (dim, 1)):
        for k in range(rng.randint(1 if axis == both else 0, most)):
            found[axis].append(b.matmul(b.weight(f"{axis.name}.{k}", axis, one.axis or axis), one))

    def somewhere() -> list[Value]:
        return found[rng.choice([a for a in found if found[a]])]

    for _ in range(rng.randint(4, 10)):
        kind = rng.choice(["relu", "tanh", "product", "product", "sum", "spread", "spread", *["contract"] * 3])
        here = somewhere()
        if kind in FUNCTIONS:
            here.append(b.apply(kind, rng.choice(here)))
        elif kind == "product":
            here.append(b.multiply(rng.choice(here), rng.choice(here)))
        elif kind == "sum":
            x, y = rng.choice(here), rng.choice(here)
            if x != y:
                here.append(b.add(x, y))
        elif kind == "spread":
            factors = [a for a in (heads, dim) if found[a]]
            if factors:
                factor = rng.choice(found[rng.choice(factors)][-2:])
                found[both].append(b.multiply(rng.choice(found[both][-3:]), factor))
        else:
            over = rng.choice([heads, dim])
            total = b.moment(rng.choice(found[both][-4:]), rng.choice(found[both]), over)
            found[both.other(over)].append(b.scaled(total, -over.size if rng.random() < 0.3 else -over.size / 2))
    for _ in range(PROBES):
        here = somewhere()
        b.moment(rng.choice(here), rng.choice(here))
    axes: list[Axis | None] = []
    for ins in b.instructions:
        axes.append(_axis(ins, axes))
    return b, axes


def _axis(ins: Instruction, axes: list[Axis | None]) -> Axis | None:
    match ins:
        case MatMul():
            return ins.weight.out
        case Moment():
            return None if ins.over is None else ins.axis.other(ins.over)
        case Data():
            return ins.axis
    return max((axes[a] for a in ins.args), key=lambda a: len(a.factors) if a else -1)


def run(b: Builder, axes: list[Axis | None], n: int, seed: int, factors: list[float]) -> list[np.ndarray]:
    """Mean square of every value per seed, [seed]; ``factors`` multiply values, see :func:`measure`."""
    rng = np.random.default_rng([seed, n])
    values: list[np.ndarray] = []
    for i, ins in enumerate(b.instructions):
        value = _execute(ins, [values[a] for a in ins.args], [axes[a] for a in ins.args], axes[i], n, rng)
        values.append(value * factors[i] if i < len(factors) else value)
    return [np.mean(v**2, axis=1) for v in values]


def _count(axis: Axis, n: int) -> int:
    return round(n ** float(axis.size.const))


def _full(x: np.ndarray, axis: Axis | None, whole: Axis | None, n: int) -> np.ndarray:
    if axis is None or whole is None or axis == whole:
        return x
    shape = (SEEDS, *(_count(f, n) for f in whole.factors))
    return np.broadcast_to(x[:, :, None] if axis == whole.factors[0] else x[:, None, :], shape).reshape(SEEDS, -1)


def _execute(
    ins: Instruction, args: list[np.ndarray], of: list[Axis | None], axis: Axis | None, n: int, rng: np.random.Generator
) -> np.ndarray:
    match ins:
        case Data():
            return np.ones((SEEDS, 1))
        case MatMul(weight):
            return rng.standard_normal((SEEDS, _count(weight.out, n)))
        case Apply(function):
            return FUNCTIONS[function.name](args[0])
        case Add():
            return sum(args)
        case Multiply():
            x, y = (_full(v, a, axis, n) for v, a in zip(args, of, strict=True))
            return x * y
        case Moment(_, whole, over):
            product = args[0] * args[1]
            if over is None:
                return product.sum(1, keepdims=True)
            split = product.reshape(SEEDS, *(_count(f, n) for f in whole.factors))
            return split.sum(1 + whole.factors.index(over))
        case Scaled(_, power):
            return args[0] * float(n) ** float(power.const)
    raise TypeError(ins)


@dataclass(frozen=True)
class Sample:
    """One value: derived exponent, measured slope and its standard error."""

    index: int
    derived: float
    slope: float
    error: float

    @property
    def agrees(self) -> bool:
        return abs(self.slope - self.derived) <= TOLERANCE + SIGMAS * self.error


def measure(seed: int) -> list[Sample]:
    """Slopes of all values of a random program, calibrated to the size n^derived at the smallest width."""
    b, axes = generate(seed)
    derived = sizes(b)
    factors: list[float] = []
    for i, scale in enumerate(derived):
        fixed = scale.is_zero or isinstance(b.instructions[i], Data)
        size = 1.0 if fixed else float(np.sqrt(np.mean(run(b, axes, WIDTHS[0], seed, factors)[i])))
        factors.append(1.0 if fixed or not size else WIDTHS[0] ** float(scale.top.const) / size)
    squares = [run(b, axes, n, seed + 1, factors) for n in WIDTHS]
    x = np.log(WIDTHS)
    found = []
    for i, scale in enumerate(derived):
        if scale.is_zero or isinstance(b.instructions[i], Data):
            continue
        y = [np.log(np.mean(s[i])) / 2 for s in squares]
        spread = np.mean([np.std(s[i]) / np.mean(s[i]) / 2 / np.sqrt(SEEDS) for s in squares])
        found.append(Sample(i, float(scale.top.const), float(np.polyfit(x, y, 1)[0]), float(spread / (x[-1] - x[0]))))
    return found
