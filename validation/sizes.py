"""Sizes: the root mean square of tensors, one by one or many at once.

Squares are summed in float32 over at most 2^16 entries and these sums in float64, so the relative error stays below
1e-5, also where all entries are equal and rounding errors do not cancel. A float64 copy of a wide weight would take
twenty times longer; a sum in float32 alone is off by 5e-4 there. No size of entries overflows or underflows, and nan
and inf come out as they are.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["BLOCK", "UNDERFLOW", "Sizes", "rms", "rms_of_each"]

SMALL, ROW, BLOCK = 1 << 13, 1 << 12, 1 << 16
"""Entries that are summed in float32: by numpy, which is called fastest, along an axis, and by a dot product."""
UNDERFLOW = 1e-15
"""Below this size, squares in float32 lose digits."""


def rms(x: Tensor) -> float:
    """Root mean square over all entries, 0 if there are none."""
    with np.errstate(over="ignore"):
        return _rms(x)


def rms_of_each(x: Tensor) -> list[float]:
    """Root mean square of each x[i], over all its entries."""
    count = x[0].numel()
    if not (x.dtype is torch.float32 and x.is_cpu and 0 < count <= SMALL):
        return [rms(part) for part in x]
    with np.errstate(over="ignore"):
        rows = x.detach().numpy().reshape(-1, count)
        sizes = [math.sqrt(row.dot(row) / count) for row in rows]
    return [s if UNDERFLOW < s < math.inf else _extreme(x[i].detach(), count) for i, s in enumerate(sizes)]


def _rms(x: Tensor) -> float:
    count = x.numel()
    if x.dtype is torch.float32 and x.is_cpu and 0 < count <= SMALL:
        entries = (x.detach() if x.requires_grad else x).numpy().reshape(-1)
        size = math.sqrt(entries.dot(entries) / count)
        return size if UNDERFLOW < size < math.inf else _extreme(x, count)
    return _rms_of_any(x)


def _rms_of_any(x: Tensor) -> float:
    x = _real(x.detach())
    if x.dtype is not torch.float32 and x.dtype is not torch.float64:
        x = x.float()
    count = x.numel()
    if not count:
        return 0.0
    if not x.is_cpu:
        return float(_norm_elsewhere(x)) / math.sqrt(count)
    size = _norm(x, count) / math.sqrt(count)
    return size if UNDERFLOW < size < math.inf else _extreme(x, count)


def _real(x: Tensor) -> Tensor:
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def _norm_elsewhere(x: Tensor) -> Tensor:
    """The L2 norm on an accelerator, which sums in float64 without a copy."""
    norm: Tensor = torch.linalg.vector_norm(x, dtype=torch.float32 if x.device.type == "mps" else torch.float64)
    return norm


def _norm(x: Tensor, count: int) -> float:
    flat = x.reshape(-1)
    if count <= BLOCK or x.dtype is torch.float64:
        return math.sqrt(torch.dot(flat, flat))
    rest = count % ROW
    rows = torch.linalg.vector_norm(flat[: count - rest].view(-1, ROW), dim=1)
    norm = float(torch.linalg.vector_norm(rows, dtype=torch.float64))
    return math.hypot(norm, float(torch.linalg.vector_norm(flat[count - rest :]))) if rest else norm


def _extreme(x: Tensor, count: int) -> float:
    """Of entries whose squares are no float32 numbers, or which are no numbers. Most often all are exactly zero."""
    peak = float(x.abs().amax())
    if peak == 0.0 or not math.isfinite(peak):
        return peak
    return float(torch.linalg.vector_norm(x.double() / peak)) * (peak / math.sqrt(count))


def _at_once(x: Tensor) -> bool:
    return x.is_cpu


class Sizes:
    """The sizes of many tensors, numbered in the order in which they are added.

    On an accelerator all sums are under way before the first is waited for. On a CPU numpy may warn of overflows, from
    which the sizes do not suffer: call it under ``np.errstate(over="ignore")``.
    """

    def __init__(self) -> None:
        self._sizes: list[float] = []
        self._waiting: list[tuple[int, int, Tensor]] = []

    def add(self, x: Tensor) -> int:
        """The number of the size that x has now."""
        if _at_once(x):
            self._sizes.append(_rms(x))
            return len(self._sizes) - 1
        x = _real(x)
        self._waiting.append((len(self._sizes), x.numel(), _norm_elsewhere(x)))
        return self.note(0.0)

    def note(self, size: float) -> int:
        """The number of a size that is known."""
        self._sizes.append(size)
        return len(self._sizes) - 1

    def __getitem__(self, number: int) -> float | None:
        """A size, None while an accelerator is at work."""
        return None if self._waiting else self._sizes[number]

    def read(self) -> list[float]:
        """All sizes."""
        if self._waiting:
            device = self._waiting[0][2].device
            norms = torch.stack([norm.to(device) for _, _, norm in self._waiting]).tolist()
            for (number, count, _), norm in zip(self._waiting, norms, strict=True):
                self._sizes[number] = norm / math.sqrt(count) if count else 0.0
            self._waiting.clear()
        return self._sizes
