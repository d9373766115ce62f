"""The numeric interpreter of programs: the same instructions that the calculus walks with scales, run on arrays.

It covers forward and backward programs (whose numbering continues the forward one), so a derived exponent, or the
backward program itself, can be held against numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from tensorprog.nonlinearities import Nonlinearity
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
    Scaled,
    Weight,
)

Array = np.ndarray

FINITE = 3
"""Coordinates of a finite axis, unless it is the axis of a single one."""


def run(
    instructions: Iterable[Instruction], weights: Mapping[str, Array], data: Mapping[str, Array], n: int
) -> list[Array]:
    """The values of a program.

    Args:
        instructions: of a program, and of its backward program if that is wanted.
        weights: by name, [out, in].
        data: by name, [coordinates] or, for a batch, [coordinates, samples]; ``one`` is known.
        n: the width.

    Returns:
        One array a value: vectors [coordinates], scalars [], each with a trailing batch axis if the data have one.
    """
    values: list[Array] = []
    for ins in instructions:
        values.append(np.asarray(_execute(ins, [values[a] for a in ins.args], weights, data, n)))
    return values


def _execute(
    ins: Instruction, args: list[Array], weights: Mapping[str, Array], data: Mapping[str, Array], n: int
) -> Array:
    match ins:
        case Data(name):
            return data[name] if name in data else np.ones(1)
        case MatMul(weight, _, transposed):
            w = weights[weight.name]
            return (w.T if transposed else w) @ args[0]
        case Apply(function, _, order):
            return derivative(function, order)(args[0])
        case Add():
            return sum(args[1:], args[0])
        case Multiply():
            return args[0] * args[1]
        case Moment():
            return np.sum(args[0] * args[1], axis=0)
        case Normalize():
            return args[0] / _rms(args[0])
        case NormalizeGradient():
            y = args[0] / _rms(args[0])
            return (args[1] - y * np.mean(y * args[1], axis=0)) / _rms(args[0])
        case Center():
            return args[0] - args[0].mean(axis=0)
        case Scaled(_, power):
            return args[0] * float(n) ** float(power.const)
    raise TypeError(ins)


def _rms(x: Array) -> Array:
    return np.asarray(np.sqrt(np.mean(x**2, axis=0)))


def size(axis: Axis, n: int) -> int:
    """The number of coordinates of an axis at width n."""
    if axis.name == "one":
        return 1
    return round(n ** float(axis.size.const)) if axis.wide else FINITE


def gaussian(program: Program, n: int, rng: np.random.Generator, std: Callable[[Weight], float]) -> dict[str, Array]:
    """Random weights by name: Gaussian entries, ``std`` by weight."""
    return {w.name: std(w) * rng.standard_normal((size(w.out, n), size(w.into, n))) for w in program.weights}


def derivative(function: Nonlinearity, order: int) -> Callable[[Array], Array]:
    """phi, phi' or higher: by formula where one is written down, else by central differences."""
    if not order:
        return function.numpy
    if order == 1 and function.name in SLOPES:
        return SLOPES[function.name]
    below = derivative(function, order - 1)
    return lambda h: (below(h + STEP) - below(h - STEP)) / (2 * STEP)


STEP = 1e-5


def _gelu_slope(h: Array) -> Array:
    from scipy.special import ndtr

    return ndtr(h) + h * np.exp(-(h**2) / 2) / math.sqrt(2 * math.pi)


def _silu_slope(h: Array) -> Array:
    s = 1 / (1 + np.exp(-h))
    return s * (1 + h * (1 - s))


SLOPES: dict[str, Callable[[Array], Array]] = {
    "relu": lambda h: (h > 0).astype(float),
    "tanh": lambda h: 1 - np.tanh(h) ** 2,
    "gelu": _gelu_slope,
    "silu": _silu_slope,
    "identity": np.ones_like,
}
