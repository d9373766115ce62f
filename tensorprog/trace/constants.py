"""Constants of a graph: the power of n that they are, and which of them are masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorprog.trace.powers import Power, power_of

__all__ = ["constant_power", "is_mask", "magnitude"]

TABLE = 0.2
"""How far the exponent of a whole table of constants may lie from a multiple of one half."""
MASKED = -1e4
"""Constants with entries below this are masks: they choose positions and scale nothing."""


def constant_power(values: Sequence[Any], widths: Sequence[int]) -> Power | None:
    """The power of n that a constant is: a number, or a tensor by its largest entry; None where it is none.

    Args:
        values: one per width.
        widths: the traced ones.
    """
    # The entries of a table, of angles or positions, have a size that is a power of n in the limit only.
    table = all(getattr(v, "ndim", 0) for v in values)
    return power_of([magnitude(v) for v in values], widths, *((TABLE, (1, 2)) if table else ()))


def magnitude(value: Any) -> float:
    """The absolute value of a number; of a tensor, the largest that is finite."""
    import torch

    if not isinstance(value, torch.Tensor):
        return abs(float(value))
    entries = value.abs().to(torch.float64)  # complex ones, too
    finite = entries[entries.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def is_mask(value: Any) -> bool:
    """Whether a constant is a mask: boolean, or with entries that no softmax lets through."""
    import torch

    if not isinstance(value, torch.Tensor):
        return False
    return value.dtype == torch.bool or bool(value.numel() and not value.is_complex() and value.min() < MASKED)
