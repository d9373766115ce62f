"""Predicted and measured: one parameter at a time takes one step, and the logits move by a power of the width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import tensorprog as tp

__all__ = ["Moves", "disagreements", "moves"]

Moves = dict[str, tuple[float | None, float | None]]
"""By parameter, the predicted and the measured power of n of the change of the logits; None for no change at all."""

RATE = 1e-3
STILL = 40
"""A power of 1/n that no change of a trained parameter has."""


def moves(
    build: Callable[[int], nn.Module],
    example: Tensor,
    widths: Sequence[int] = (64, 128, 256, 512),
    *,
    seeds: int = 4,
    power: float = -2.0,
    only: Sequence[str] | None = None,
) -> Moves:
    """The change of the logits after one step of sign descent, of every parameter on its own.

    Args:
        power: of n, that the learning rate is; small enough for a change that is linear in it.
        only: these parameters.
    """

    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters(), lr=RATE * (sizes[model] / 64) ** power)

    def sized(n: int) -> nn.Module:
        model = build(n)
        sizes[model] = n
        return model

    sizes: dict[nn.Module, int] = {}
    traced = tp.trace(sized, widths[:3], example=example, optimizer=optimizer)
    names = [name for name, _ in build(widths[0]).named_parameters() if only is None or name in only]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # what the model's own code makes, too
    try:
        return {
            name: (_predicted(traced, name), _measured(build, example, widths, name, seeds, power)) for name in names
        }
    finally:
        torch.set_default_dtype(before)


def _predicted(traced: Any, name: str) -> float | None:
    """With rates for all other parameters that move nothing."""
    table = {
        w: abc if traced.blocks[w].parameter == name else replace(abc, c=tp.Exponent(STILL))
        for w, abc in traced.parametrization.table.items()
    }
    alone = replace(traced, parametrization=replace(traced.parametrization, table=table))
    moved = alone.derive(steps=1).steps[1].logit_update
    return None if moved.infinite or moved < -STILL // 2 else float(moved.const)


def _measured(
    build: Callable[[int], nn.Module], example: Tensor, widths: Sequence[int], name: str, seeds: int, power: float
) -> float | None:
    sizes = [[_moved(build, example, n, name, seed, power) for seed in range(seeds)] for n in widths]
    if max(map(max, sizes)) < 1e-14:
        return None
    return float(np.polyfit(np.log(widths), [np.mean(np.log(row)) for row in sizes], 1)[0])


def _moved(build: Callable[[int], nn.Module], example: Tensor, n: int, name: str, seed: int, power: float) -> float:
    torch.manual_seed(seed)
    model = build(n).eval()
    x = example.double() if example.is_floating_point() else example
    before = model(x)
    labels = torch.randint(before.shape[-1], before.shape[:-1])
    loss = nn.functional.cross_entropy(before.reshape(-1, before.shape[-1]), labels.reshape(-1))
    p = model.get_parameter(name)
    (gradient,) = torch.autograd.grad(loss, [p], allow_unused=True)
    if gradient is None:
        return 0.0
    with torch.no_grad():
        p.sub_(RATE * (n / 64) ** power * gradient.sign())
        return float((model(x) - before).square().mean().sqrt())


def disagreements(found: Moves, tolerance: float = 0.2) -> Moves:
    """Parameters whose measured power is not the predicted one; rivals are half a power away."""

    def agrees(predicted: float | None, measured: float | None) -> bool:
        if predicted is None or measured is None:
            return predicted is measured
        return abs(predicted - measured) <= tolerance

    return {name: pair for name, pair in found.items() if not agrees(*pair)}
