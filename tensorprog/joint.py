"""Joint functions: of finitely many values together, at several positions, examples or coordinates.

A value of a program stands for a vector at a generic position of a generic example. A function that mixes finitely many
of these (softmax over positions, pooling over pixels, norms over a batch) is a function of as many copies of one scale,
so its facts are those of an elementwise function and the rules are the same. Its tensors are [batch, ..., coordinates],
with one axis for the positions of a sequence and two for the pixels of an image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tensorprog.nonlinearities import IDENTITY, Facts, Nonlinearity, Parity

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = [
    "AVERAGE_POOL",
    "BATCH_NORM",
    "CAUSAL_SOFTMAX",
    "CHOICES",
    "GATE",
    "MAX_HALVING",
    "MEAN_HALVING",
    "SOFTMAX",
    "UNIT_NORM",
    "WIDE_GATE",
]

TINY = 1e-12
"""Added to variances: a constant channel stays zero, and no other one notices."""


def _softmax(h: np.ndarray, axis: int = 2) -> np.ndarray:
    from scipy.special import softmax

    result: np.ndarray = softmax(h, axis=axis)
    return result


def _causal_softmax(h: np.ndarray) -> np.ndarray:
    import numpy

    later = numpy.triu(numpy.ones(h.shape[1:3], dtype=bool), 1).reshape(*h.shape[1:3], *[1] * (h.ndim - 3))
    return _softmax(numpy.where(later, -numpy.inf, h))


def _causal(h: torch.Tensor) -> torch.Tensor:
    from torch import ones

    later = ones(h.shape[1], h.shape[2], dtype=bool, device=h.device).triu(1)  # type: ignore[call-overload]
    return h.masked_fill(later.reshape(*later.shape, *[1] * (h.dim() - 3)), float("-inf"))


def _standardised(h: torch.Tensor) -> torch.Tensor:
    rows = h.reshape(-1, h.shape[-1])
    return ((h - rows.mean(0)) * (rows.var(0, unbiased=False) + TINY).rsqrt()).reshape(h.shape)


def _standardised_numpy(h: np.ndarray) -> np.ndarray:
    rows = h.reshape(-1, h.shape[-1])
    result: np.ndarray = (h - rows.mean(0)) / (rows.var(0) + TINY) ** 0.5
    return result


def _largest(h: torch.Tensor, k: int) -> torch.Tensor:
    from torch import zeros_like

    return zeros_like(h).scatter(-1, h.topk(k, -1).indices, 1.0)


def _largest_numpy(h: np.ndarray, k: int) -> np.ndarray:
    ordered = h.copy()
    ordered.sort(-1)
    result: np.ndarray = (h >= ordered[..., -k][..., None]) * 1.0
    return result


def _halved(h: torch.Tensor, pool: str) -> torch.Tensor:
    from torch.nn import functional

    pooled: torch.Tensor = getattr(functional, pool)(h.movedim(-1, 1), 2, ceil_mode=True).movedim(1, -1)
    return pooled


SOFTMAX = Nonlinearity(
    "softmax",
    Facts(Parity.NONE, degree=0, taylor=(0, 1, 2, 3), bounded=True),
    numpy=_softmax,
    torch=lambda h: h.softmax(2),
    ref="Vaswani et al. 2017 (arXiv 1706.03762), Equation 1",
    elementwise=False,
)
"""Over the positions s that a position t attends to: [batch, t, s, ...]."""
CAUSAL_SOFTMAX = Nonlinearity(
    "causal-softmax",
    SOFTMAX.facts,
    numpy=_causal_softmax,
    torch=lambda h: _causal(h).softmax(2),
    ref="Radford et al. 2018 (GPT)",
    elementwise=False,
)
"""The same over the positions up to t."""
UNIT_NORM = Nonlinearity(
    "unit-norm",
    Facts(Parity.ODD, degree=0),
    numpy=lambda h: h / (h**2).mean(-1, keepdims=True) ** 0.5,
    torch=lambda h: h * h.square().mean(-1, keepdim=True).rsqrt(),
    ref="Zhang & Sennrich 2019 (arXiv 1910.07467), over finitely many coordinates",
    elementwise=False,
)
"""x over the root mean square of finitely many coordinates, the last axis: odd, homogeneous of degree 0."""
BATCH_NORM = Nonlinearity(
    "batch-norm",
    UNIT_NORM.facts,
    numpy=_standardised_numpy,
    torch=_standardised,
    ref="Ioffe & Szegedy 2015 (arXiv 1502.03167), Algorithm 1",
    elementwise=False,
)
"""Each channel centred and divided by its deviation over the batch and all positions, the batch that is looked at."""
AVERAGE_POOL = Nonlinearity(
    "average-pool",
    IDENTITY.facts,
    numpy=lambda h: h.mean((1, 2)),
    torch=lambda h: h.mean((1, 2)),
    ref="Lin et al. 2013 (arXiv 1312.4400), Section 3.2",
    elementwise=False,
)
"""The mean over all pixels: [batch, height, width, channels] to [batch, channels]."""
MEAN_HALVING = Nonlinearity(
    "mean-halving",
    IDENTITY.facts,
    numpy=lambda h: _blocks(h).mean((2, 4)),
    torch=lambda h: _halved(h, "avg_pool2d"),
    ref="LeCun et al. 1998, subsampling",
    elementwise=False,
)
"""The mean of every 2 x 2 pixels."""
MAX_HALVING = Nonlinearity(
    "max-halving",
    Facts(Parity.NONE, degree=1),
    numpy=lambda h: _blocks(h).max((2, 4)),
    torch=lambda h: _halved(h, "max_pool2d"),
    ref="Krizhevsky et al. 2012, Section 3.4",
    elementwise=False,
)
"""The largest of every 2 x 2 pixels, homogeneous of degree 1 as relu is."""


GATE = Nonlinearity(
    "gate",
    SOFTMAX.facts,
    numpy=lambda h: _softmax(h, -1) * h.shape[-1],
    torch=lambda h: h.softmax(-1) * h.shape[-1],
    ref="Shazeer et al. 2017 (arXiv 1701.06538), Equation 2",
    elementwise=False,
)
"""Softmax over the coordinates, the experts, times their number, so that the mean is one."""
EXPERTS = ("experts", "experts_exponent=0")
WIDE_GATE = replace(GATE, name="wide-gate", facts=replace(SOFTMAX.facts, bounded=False, concentrates=EXPERTS))
"""The same for a growing number of experts. Its denominator is a mean over them, of exp(h) with bounded h; the terms
that come from it have sizes and patterns that those of exp(h) contain."""


def _choice(k: int) -> Nonlinearity:
    return Nonlinearity(
        f"top-{k}",
        Facts(Parity.NONE, degree=0, step=True),
        numpy=lambda h: _largest_numpy(h, k),
        torch=lambda h: _largest(h, k),
        ref="Shazeer et al. 2017 (arXiv 1701.06538), Equation 5; Fedus et al. 2021 (arXiv 2101.03961), top-1",
        elementwise=False,
    )


CHOICES = {f"top-{k}": _choice(k) for k in (1, 2)}
"""One for the k largest of finitely many coordinates, zero for the others."""


def _blocks(h: np.ndarray) -> np.ndarray:
    """[batch, height, width, channels] as [batch, rows, 2, columns, 2, channels]."""
    batch, height, width, channels = h.shape
    return h.reshape(batch, height // 2, 2, width // 2, 2, channels)
