"""Random small programs, their derived exponents, and their measured slopes.

A program draws vector-like weights with Theta(1) entries and wide matrices with n^(-1/2) entries, and applies products
with W and W^T, relu, tanh, elementwise products, sums, moments, and multipliers n^-1 ... n^(-1/4). Every value is run
in float64 over several widths and seeds; the log-log slope of its RMS is held against the derived exponent.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

import numpy as np

from tensorprog.calculus import sizes
from tensorprog.program import Add, Apply, Builder, Data, Instruction, MatMul, Moment, Multiply, Scaled, Value

WIDTHS = (64, 128, 256, 512)
SEEDS = 48
MATRICES = 2
PROBES = 6

# The chance that a value differs from its exponent by this much: the nearest rival is 1/4 away, corrections n^(-1/4)
# relative to a leading term bend a slope by up to about 0.1 here.
TOLERANCE = 0.15
SIGMAS = 4.0


def generate(seed: int) -> Builder:
    """A random program of 4 to 10 instructions, and the inner products that probe it."""
    rng = random.Random(seed)
    b = Builder()
    one = b.data("one")
    vectors = [b.matmul(b.weight(f"u{k}", b.width, one.axis), one) for k in range(rng.randint(1, 3))]
    matrices = [b.weight(f"W{k}", b.width, b.width) for k in range(rng.randint(1, MATRICES))]
    scalars: list[Value] = []

    def pick() -> Value:
        return rng.choice(vectors if rng.random() < 0.5 else vectors[-3:])

    for _ in range(rng.randint(4, 10)):
        kind = rng.choice(["W", "W", "W^T", "W^T", "relu", "tanh", "product", "sum", "moment", "multiplier", "scalar"])
        if kind in ("W", "W^T"):
            vectors.append(b.matmul(rng.choice(matrices), pick(), transposed=kind == "W^T"))
        elif kind in ("relu", "tanh"):
            vectors.append(b.apply(kind, pick()))
        elif kind == "product":
            vectors.append(b.multiply(pick(), pick()))
        elif kind == "sum":
            x, y = pick(), pick()
            if x != y:
                vectors.append(b.add(x, y))
        elif kind == "moment":
            scalars.append(b.scaled(b.moment(pick(), pick()), rng.choice(["-1", "-1/2", "-3/4"])))
        elif kind == "multiplier":
            vectors.append(b.scaled(pick(), rng.choice(["-1/4", "-1/2"])))
        elif scalars:
            vectors.append(b.multiply(rng.choice(scalars), pick()))
    # Inner products are what the calculus is about: probe many pairs, and pairs of sums of unequal sizes, where a small
    # aligned term under a large one decides.
    for _ in range(PROBES):
        x, y = pick(), pick()
        b.moment(x, y)
        small = b.scaled(pick(), rng.choice(["-1/4", "-1/2", "-1/2"]))
        b.moment(b.add(x, small), rng.choice(vectors))
    return b


@cache
def _matrix(k: int, n: int, seeds: int) -> np.ndarray:
    """[seed, out, in]; shared by all programs, because drawing them is what costs time."""
    return np.random.default_rng([k, n]).standard_normal((seeds, n, n)) / np.sqrt(n)


_FUNCTIONS = {"relu": lambda h: np.maximum(h, 0), "tanh": np.tanh, "identity": lambda h: h}


def run(
    builder: Builder, n: int, seed: int, seeds: int = SEEDS, factors: list[float] | None = None
) -> list[np.ndarray]:
    """RMS of every value per seed: a list of arrays [seed].

    Args:
        factors: a constant (the same at every width) that multiplies each value, see :func:`calibrate`.
    """
    rng = np.random.default_rng([seed, n])
    weights = {
        w: _matrix(int(w.name[1:]), n, seeds) if w.into.wide else rng.standard_normal((seeds, n))
        for w in builder.weights
    }
    values: list[np.ndarray] = []  # vectors [seed, n], scalars [seed, 1]
    for i, ins in enumerate(builder.instructions):
        value = _execute(ins, [values[a] for a in ins.args], weights, n, seeds)
        values.append(value * factors[i] if factors is not None and i < len(factors) else value)
    return [np.sqrt(np.mean(v**2, axis=1)) for v in values]


def calibrate(builder: Builder, n: int, seed: int, seeds: int = SEEDS) -> list[float]:
    """Constants that give every value the size n^derived at one width.

    Exponents do not know prefactors; without this, a small term with a large prefactor (a square of a square) leads
    over the widths that can be run, and the slope measures the crossing.
    """
    factors: list[float] = []
    for i, scale in enumerate(sizes(builder)):
        # Data, weights and multipliers stay as they are: a value is calibrated where a rule made it.
        if scale.is_zero or isinstance(builder.instructions[i], Data):
            factors.append(1.0)
            continue
        rms = np.sqrt(np.mean(run(builder, n, seed, seeds, factors)[i] ** 2))
        factors.append(float(n) ** float(scale.top.const) / float(rms) if rms else 1.0)
    return factors


def _execute(ins: Instruction, args: list[np.ndarray], weights: dict, n: int, seeds: int) -> np.ndarray:
    match ins:
        case Data():
            return np.ones((seeds, 1))
        case MatMul(weight, _, transposed):
            w = weights[weight]
            if not weight.into.wide:
                return w * args[0]
            return np.einsum("sji,sj->si" if transposed else "sij,sj->si", w, args[0], optimize=True)
        case Apply(function):
            return _FUNCTIONS[function.name](args[0])
        case Add():
            return sum(args)
        case Multiply():
            return args[0] * args[1]
        case Moment():
            return np.sum(args[0] * args[1], axis=1, keepdims=True)
        case Scaled(_, power):
            return args[0] * float(n) ** float(power.const)
    raise TypeError(ins)


@dataclass(frozen=True)
class Sample:
    """One value: its index and instruction, the derived exponent, the measured slope and its standard error."""

    index: int
    instruction: Instruction
    derived: float
    slope: float
    error: float

    @property
    def agrees(self) -> bool:
        return abs(self.slope - self.derived) <= TOLERANCE + SIGMAS * self.error


def sample(builder: Builder, seed: int = 0, widths: tuple[int, ...] = WIDTHS, seeds: int = SEEDS) -> list[Sample]:
    """Derive and measure every value that is not exactly zero."""
    scales = sizes(builder)
    factors = calibrate(builder, widths[0], seed, seeds)
    measured = np.array([run(builder, n, seed, seeds, factors) for n in widths])  # [width, value, seed]
    x = np.log(widths)
    x = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    found = []
    for i, (ins, scale) in enumerate(zip(builder.instructions, scales, strict=True)):
        if scale.is_zero:
            assert not measured[:, i].any(), f"value {i} is derived as exactly zero"
            continue
        square = measured[:, i] ** 2
        mean = square.mean(axis=1)
        slope = float(x @ np.log(mean) / 2)
        # Delta method: the error of log sqrt(mean) per width, carried through the regression.
        relative = square.std(axis=1, ddof=1) / mean / np.sqrt(square.shape[1]) / 2
        found.append(Sample(i, ins, float(scale.top.const), slope, float(np.sqrt((x**2) @ relative**2))))
    return found
