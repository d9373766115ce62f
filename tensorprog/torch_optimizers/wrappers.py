"""Torch optimizers around others: clipping, decay, perturbed gradients, several at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tensorprog.errors import SettingError
from tensorprog.torch_optimizers.norm import gradient_norm
from tensorprog.torch_optimizers.stepper import evaluate

__all__ = ["Clipping", "Decaying", "Several", "SharpnessAware"]


class _Around(torch.optim.Optimizer):
    """Shares the groups (so that schedules reach them) and the state of the optimizers inside."""

    def __init__(self, members: Sequence[torch.optim.Optimizer]) -> None:
        super().__init__([group for member in members for group in member.param_groups], {})
        self.members = list(members)

    def state_dict(self) -> dict[str, Any]:
        """The states of the optimizers inside."""
        return {"members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        for member, state in zip(self.members, state_dict["members"], strict=True):
            member.load_state_dict(state)
        self.param_groups = [group for member in self.members for group in member.param_groups]

    def moving(self) -> list[tuple[Tensor, Tensor, dict[str, Any]]]:
        """(weight, gradient, group) of every weight that has a gradient."""
        return [(w, w.grad, group) for group in self.param_groups for w in group["params"] if w.grad is not None]


class Several(_Around):
    """Several optimizers of disjoint groups as one."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each."""
        loss = evaluate(closure)
        for member in self.members:
            member.step()
        return loss


class Clipping(_Around):
    """g <- g min(1, threshold / |g|), the L2 norm over all weights, then the inner step.

    Ref: Pascanu et al. 2013 (arXiv 1211.5063), Algorithm 1.
    """

    def __init__(self, inner: torch.optim.Optimizer, threshold: float) -> None:
        super().__init__([inner])
        self.threshold = threshold

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step."""
        loss = evaluate(closure)
        norm = gradient_norm(self)
        if norm > self.threshold:
            for _, gradient, _ in self.moving():
                gradient.mul_(self.threshold / norm)
        self.members[0].step()
        return loss


class Decaying(_Around):
    """w <- (1 - lr rate) w before the inner step, or, coupled, g <- g + rate w.

    Ref: Loshchilov & Hutter 2019 (arXiv 1711.05101).
    """

    def __init__(self, inner: torch.optim.Optimizer, rate: float, *, coupled: bool = False) -> None:
        super().__init__([inner])
        self.rate, self.coupled = rate, coupled

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step."""
        loss = evaluate(closure)
        for w, gradient, group in self.moving():
            if self.coupled:
                gradient.add_(w, alpha=self.rate)
            else:
                w.mul_(1 - group["lr"] * self.rate)
        self.members[0].step()
        return loss


class SharpnessAware(_Around):
    """The inner step with the gradient at w + radius v / |v|, v = factor * g.

    Args:
        inner: takes the step; its groups may carry ``perturbation``, the factor on their gradients, else 1.
        radius: rho.
        layerwise: divide each weight's v by its own norm instead of the norm of all.

    Ref: Foret et al. 2021 (arXiv 2010.01412); factors: Haas et al. 2024 (arXiv 2411.00075).
    """

    def __init__(self, inner: torch.optim.Optimizer, radius: float, *, layerwise: bool = False) -> None:
        super().__init__([inner])
        self.radius, self.layerwise = radius, layerwise

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; ``closure`` clears the gradients, evaluates the loss and differentiates it, and is called twice.

        Returns:
            The loss at the unperturbed weights.
        """
        if closure is None:
            raise SettingError("sam, step", "no closure", "needs one that evaluates the loss and its gradients anew")
        loss = evaluate(closure)
        moved = self._perturbations()
        start = [w.clone() for w, _ in moved]
        for w, by in moved:
            w.add_(by)
        evaluate(closure)
        for (w, _), w_0 in zip(moved, start, strict=True):
            w.copy_(w_0)  # subtracting would leave rounding errors behind
        self.members[0].step()
        return loss

    def _perturbations(self) -> list[tuple[Tensor, Tensor]]:
        scaled = [(w, g * group.get("perturbation", 1.0)) for w, g, group in self.moving()]
        if not scaled:
            return []
        together = torch.stack([v.norm() for _, v in scaled]).norm()
        norms = [v.norm() if self.layerwise else together for _, v in scaled]
        return [(w, v * (self.radius / norm)) for (w, v), norm in zip(scaled, norms, strict=True) if norm > 0]
