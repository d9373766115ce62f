"""Sign descent and Lion."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tensorprog.torch_optimizers.stepper import Stepper

__all__ = ["Lion", "SignDescent"]


class SignDescent(Stepper):
    """w <- w - lr sign(g), entry by entry; an exactly zero gradient entry leaves its weight alone.

    Args:
        groups: dictionaries with ``params`` and ``lr``.

    Ref: Bernstein et al. 2018 (arXiv 1802.04434), Algorithm 1.
    """

    def direction(self, w: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        return gradient.sign()


class Lion(Stepper):
    """w <- w - lr sign(beta1 m + (1 - beta1) g), then m <- beta2 m + (1 - beta2) g.

    Args:
        groups: dictionaries with ``params`` and ``lr``.
        betas: (beta1, beta2).

    Ref: Chen et al. 2023 (arXiv 2302.06675), Algorithm 2.
    """

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float] = (0.9, 0.99)) -> None:
        super().__init__(groups)
        self.betas = betas

    def direction(self, w: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        mean = self.state[w].setdefault("mean", torch.zeros_like(w))
        step: Tensor = mean.lerp(gradient, 1 - self.betas[0]).sign()
        mean.lerp_(gradient, 1 - self.betas[1])
        return step
