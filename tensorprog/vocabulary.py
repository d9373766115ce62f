"""Vocabularies that grow: a softmax over n^p classes, of which a batch shows finitely many.

A batch has finitely many tokens, so it reads finitely many columns of an embedding and has finitely many labels. The
other rows of the readout meet the loss through the normaliser alone,

    log sum_c exp(f_c) = log(sum over tokens of the batch of exp(f_c) + N exp(s)),   s = log(1/N sum_i expm1(z_i) + 1),

with z = W_rest x the logits of the N = n^p other tokens. So the readout is two weights that are rows of one matrix,
``readout``, the rows of tokens of the batch, finitely many readouts as ever, and ``readout.rest``, on an axis that
grows. s enters the logits of the batch as one more class, and N as a factor of its probability.

Assumes: what is a label or an input at one step is one at every step, as for a fixed training set; the rest never is.

Ref: the loss derivative, softmax minus one-hot, is n^-p for every other token and Theta(1) for labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorprog.exponent import ExponentLike
from tensorprog.nonlinearities import Facts, Nonlinearity, Parity
from tensorprog.program import Builder, Value, Weight

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["EXPM1", "LOG1P", "REST", "with_the_rest"]

REST = "rest"
"""What the rows of tokens outside the batch are called."""


def _expm1(h: np.ndarray) -> np.ndarray:
    import numpy

    result: np.ndarray = numpy.expm1(h)
    return result


def _log1p(h: np.ndarray) -> np.ndarray:
    import numpy

    result: np.ndarray = numpy.log1p(h)
    return result


def _torch_expm1(h: torch.Tensor) -> torch.Tensor:
    return h.expm1()


def _torch_log1p(h: torch.Tensor) -> torch.Tensor:
    return h.log1p()


EXPM1 = Nonlinearity(
    "expm1",
    Facts(Parity.NONE, degree=1, taylor=(1, 2, 3), concentrates=("tokens", "vocabulary_exponent=0")),
    numpy=_expm1,
    torch=_torch_expm1,
    ref="the summands of a softmax's normaliser",
)
"""exp(z) - 1: its mean over many bounded logits has their size or that of their squares."""
LOG1P = Nonlinearity(
    "log1p",
    Facts(Parity.NONE, degree=0, taylor=(1, 2, 3)),
    numpy=_log1p,
    torch=_torch_log1p,
    ref="the normaliser of a softmax",
)


def with_the_rest(
    b: Builder, logits: Value, x: Value, rows: Weight, power: ExponentLike, multiplier: ExponentLike = 0
) -> Value:
    """The logits of the batch's tokens, and the normaliser of all others as one more of them.

    Args:
        b: receives the instructions.
        logits: of the tokens of the batch, multiplied.
        x: what the readout reads.
        rows: the weight of the batch's tokens, whose exponents those of the others share.
        power: p of the n^p others.
        multiplier: of the logits, a power of n.
    """
    assert x.axis is not None, "a readout acts on vectors"
    assert logits.axis is not None, "logits are a vector"
    tokens = b.axis("vocabulary", power)
    weight = b.weight(f"{rows.name}.{REST}", tokens, x.axis, like=rows)
    others = b.apply(EXPM1, b.scaled(b.matmul(weight, x), multiplier))
    mean = b.scaled(b.total(others), -1, tokens)
    rest = b.data(REST, logits.axis)
    return b.add(logits, b.multiply(b.apply(LOG1P, mean), rest))
