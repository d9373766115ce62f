"""Ensembles: networks of one setting and width, different in their seeds, trained and measured as one batch.

At small widths a step is bound by overhead, and S networks in one batched operation cost hardly more than one. The
weights are those of one :class:`~validation.realize.Network` with a leading axis for the seeds; every network keeps its
own batches, gradients and sizes. Sums are taken in another order than for a network on its own, so numbers agree up to
rounding, not bit for bit.

Ref: PyTorch, "Model ensembling". Batched products are written out (bmm) instead of being left to torch.func.vmap,
which is no faster than plain loops here: its cross-entropy alone takes as long as a step of four layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from tensorprog.losses import Loss
from tensorprog.program import (
    Add,
    Apply,
    Center,
    Data,
    Instruction,
    MatMul,
    Moment,
    Multiply,
    Normalize,
    Program,
    Scaled,
)
from validation.data import Batch
from validation.realize import Network

__all__ = ["WIDEST", "batchable", "mean_loss", "stacked", "train_together"]

WIDEST = 128
"""The widest networks that are clearly faster together on one CPU thread, by tests/benchmarks/seed_batching.py: three
seeds, trained and measured at every step, are 1.5 times as fast at 128, as fast at 256, slower above."""

ALONG_A_LEADING_AXIS = Add | Apply | Center | Data | MatMul | Moment | Multiply | Normalize | Scaled
"""Instructions that act on the last axes of their arguments, whatever comes before."""


def batchable(program: Program) -> bool:
    """Can every instruction be computed for several networks at once?

    Not those across positions, pixels, examples or one factor of a product axis, which count axes from the first.
    """
    return not program.reads_images and all(map(_along_a_leading_axis, program.instructions))


def _along_a_leading_axis(ins: Instruction) -> bool:
    if isinstance(ins, Apply) and not ins.function.elementwise:
        return False
    return (
        isinstance(ins, ALONG_A_LEADING_AXIS) and not getattr(ins, "across", False) and not getattr(ins, "over", None)
    )


def stacked(batches: Sequence[Batch]) -> Batch:
    """One batch of each network, side by side: x [networks, batch, inputs]."""
    return Batch(torch.stack([b.x for b in batches]), torch.stack([b.y for b in batches]))


def train_together(
    network: Network,
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    batches: Iterable[Batch],
    observe: Callable[[int], None] = lambda step: None,
) -> list[list[float]]:
    """Train networks with a leading axis for their seeds; returns the loss before each step, per network.

    Args:
        optimizer: it must treat every entry of a parameter on its own.
        batches: for each step one of every network, stacked.
        observe: called with t once t steps were taken, from 0 to the number of steps.
    """
    losses: list[list[float]] = [[] for _ in network.seeds or ()]
    observe(0)
    for t, batch in enumerate(batches, start=1):
        logits = network(batch.x)
        optimizer.zero_grad()
        (mean_loss(network, loss, logits, batch.y) * len(logits)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            for own, f, y in zip(losses, logits, batch.y, strict=True):
                own.append(float(loss.torch(f, y)))
        observe(t)
    return losses


def mean_loss(network: Network, loss: Loss, logits: Tensor, y: Tensor) -> Tensor:
    """The mean over all examples, of all networks alike where there are several.

    A loss is a mean over examples, so this times the networks is the sum of their losses.
    """
    return loss.torch(logits, y) if network.seeds is None else loss.torch(logits.flatten(0, 1), y.flatten(0, 1))
