"""Ensembles: networks of one setting and width, different in their seeds, trained together as one batch.

At small widths a step is bound by overhead, and S networks in one batched operation cost hardly more than one. Every
network keeps its own batches, gradients and measurements: its weights become views of the stacked ones, so whoever
looks at it between steps sees its current state. Sums are taken in another order than for a network on its own, so
numbers agree up to rounding, not bit for bit.

Ref: PyTorch, "Model ensembling" (torch.func.stack_module_state, functional_call, vmap).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from tensorprog.losses import Loss
from validation.data import Batch
from validation.realize import Network

__all__ = ["WIDEST", "train_together"]

WIDEST = 128
"""The widest networks that are clearly faster together on one CPU thread, by tests/benchmarks/seed_batching.py: with
four seeds 1.4 times as fast at 128, hardly at 256, slower above, where memory traffic decides."""


def train_together(
    networks: Sequence[Network],
    optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
    loss: Loss,
    batches: Iterable[Sequence[Batch]],
    observe: Callable[[int], None] = lambda step: None,
) -> list[list[float]]:
    """Train networks of one shape, one batch each per step; returns the loss before each step, per network.

    Args:
        networks: the first one's learning rates hold for all. Their parameters end as views of the stacked ones.
        optimizer: makes the optimizer for parameter groups; it must treat every entry of a parameter on its own.
        batches: for each step one batch per network.
        observe: called with t once t steps were taken, from 0 to the number of steps.
    """
    first = networks[0]
    stacked: dict[str, Tensor] = {
        name: nn.Parameter(torch.stack([dict(n.named_parameters())[name].detach() for n in networks]))
        for name, _ in first.named_parameters()
    }
    names = {id(p): name for name, p in first.named_parameters()}
    groups = [{**g, "params": [stacked[names[id(p)]] for p in g["params"]]} for g in first.groups()]
    for i, network in enumerate(networks):
        for name, p in network.named_parameters():
            p.data = stacked[name].data[i]

    def one(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss.torch(functional_call(first, parameters, (x,)), y)

    every = vmap(one)
    steps = optimizer(groups)
    losses: list[Tensor] = []
    observe(0)
    for t, batch in enumerate(batches, start=1):
        values = every(stacked, torch.stack([b.x for b in batch]), torch.stack([b.y for b in batch]))
        steps.zero_grad()
        values.sum().backward()  # type: ignore[no-untyped-call]
        steps.step()
        losses.append(values.detach())
        observe(t)
    return [[float(v[i]) for v in losses] for i in range(len(networks))]
