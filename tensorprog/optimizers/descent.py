"""Gradient descent: the update is the gradient."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tensorprog.errors import SettingError
from tensorprog.optimizers.entry import Entry, Fact
from tensorprog.optimizers.gradient import Parameter, Part

if TYPE_CHECKING:
    import torch

__all__ = ["SGD"]


@dataclass(frozen=True)
class SGD(Entry):
    """w <- w - eta g, with or without momentum: the update is the gradient, factors as they are.

    Args:
        momentum: heavy-ball coefficient, Theta(1): it changes constants, never exponents.

    Ref: Yang & Hu 2021 (arXiv 2011.14522), Section 3.
    """

    name: ClassVar[str] = "sgd"
    ref: ClassVar[str] = "Yang & Hu 2021 (arXiv 2011.14522)"
    facts: ClassVar[Fact] = Fact.MONOTONE | Fact.LINEAR | Fact.ELEMENTWISE
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.momentum, int | float) or not 0 <= self.momentum < 1:
            raise SettingError("optimizer sgd, momentum", self.momentum, "needs a number with 0 <= momentum < 1")

    def direction(self, p: Parameter) -> Iterable[Part]:
        return p.gradient.parts

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from torch.optim import SGD as TorchSGD

        return TorchSGD(groups, lr=0.0, momentum=self.momentum)
