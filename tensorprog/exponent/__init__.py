"""Exact exponents of the width n: values and their arithmetic, and how they are read."""

from tensorprog.exponent.reading import exponent, symbol
from tensorprog.exponent.value import (
    INFINITE,
    ONE,
    ZERO,
    ZERO_SIZE,
    Exponent,
    ExponentLike,
    Linear,
    Table,
    current_region,
    known_le,
    known_lt,
    largest,
    maximal,
)

__all__ = [
    "INFINITE",
    "ONE",
    "ZERO",
    "ZERO_SIZE",
    "Exponent",
    "ExponentLike",
    "Linear",
    "Table",
    "current_region",
    "exponent",
    "known_le",
    "known_lt",
    "largest",
    "maximal",
    "symbol",
]
