"""What the torch optimizers of this package share: one rate per group, closures, gradients that are None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tensorprog.errors import SettingError

__all__ = ["NEGLIGIBLE_EPSILON", "Stepper", "as_matrix", "evaluate", "require_matrices"]

NEGLIGIBLE_EPSILON = 1e-18
"""Adam's epsilon where the theory says zero.

With eps = 0 a gradient entry that is exactly zero (a dead relu, a pixel that is always off) gives 0/0 = nan. This value
turns it into 0, is far below every gradient that matters, and is not below the square root of float32's smallest
normal number (1.1e-19), so that a second moment that underflows cannot blow a step up either.
"""


class Stepper(torch.optim.Optimizer):
    """w <- w - lr * direction(w), weight by weight; a weight without a gradient stays.

    Args:
        groups: dictionaries with ``params`` and ``lr``.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        for i, group in enumerate(groups):
            # A default rate would hide a group whose exponent was forgotten.
            if not isinstance(group, dict) or "lr" not in group:
                got = list(group) if isinstance(group, dict) else group
                raise SettingError(f"{type(self).__name__}, group {i}", got, "needs 'params' and 'lr'")
        super().__init__(groups, {})

    def direction(self, w: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        """The step of one weight per unit learning rate."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; ``closure`` re-evaluates the loss first, as in every torch optimizer."""
        loss = evaluate(closure)
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is not None:
                    w.sub_(self.direction(w, w.grad, group), alpha=group["lr"])
        return loss


def evaluate(closure: Callable[[], Any] | None) -> Any:
    """The closure's loss, with gradients."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def as_matrix(x: Tensor) -> Tensor:
    """A vector (a bias stored with one axis) as an out x 1 matrix."""
    return x if x.ndim == 2 else x.unsqueeze(1)


def require_matrices(optimizer: torch.optim.Optimizer) -> None:
    """Refuse parameters with more than two axes: which ones to flatten is the caller's decision."""
    for group in optimizer.param_groups:
        for w in group["params"]:
            if w.ndim not in (1, 2):
                raise SettingError(
                    f"{type(optimizer).__name__}, parameter", tuple(w.shape), "needs one or two axes (out, in)"
                )
