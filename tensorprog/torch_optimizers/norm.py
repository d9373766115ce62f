"""Normalised descent, trust ratios (LARS, LAMB) and parameter scaling (Adafactor)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tensorprog.torch_optimizers.stepper import Stepper, as_matrix, evaluate

__all__ = ["AdamDirection", "NormalisedDescent", "ParameterScaled", "TrustRatio", "gradient_itself", "gradient_norm"]

State = dict[str, Any]


def gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """The L2 norm over all gradients."""
    norms = [w.grad.norm() for group in optimizer.param_groups for w in group["params"] if w.grad is not None]
    return torch.stack(norms).norm() if norms else torch.zeros(())


class NormalisedDescent(Stepper):
    """w <- w - lr g / |g| with the Frobenius norm of each weight's gradient, or of all together.

    Args:
        groups: dictionaries with ``params`` and ``lr``.
        together: one norm over all weights.

    Ref: Hazan et al. 2015 (arXiv 1507.02030); Yu et al. 2017 (arXiv 1707.04822).
    """

    def __init__(self, groups: list[dict[str, Any]], *, together: bool = False) -> None:
        super().__init__(groups)
        self.together = together
        self._norm: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step."""
        loss = evaluate(closure)
        self._norm = gradient_norm(self) if self.together else None
        super().step()
        return loss

    def direction(self, w: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        norm = gradient.norm() if self._norm is None else self._norm
        return gradient / norm if norm else gradient


class TrustRatio(Stepper):
    """w <- w - lr |w| r / |r|; the ratio is one where the weight or r is exactly zero.

    Args:
        groups: dictionaries with ``params`` and ``lr``.
        direction_of: (weight, gradient, state) -> r.

    Ref: You et al. 2017 (arXiv 1708.03888); You et al. 2019 (arXiv 1904.00962).
    """

    def __init__(self, groups: list[dict[str, Any]], direction_of: Callable[[Tensor, Tensor, State], Tensor]) -> None:
        super().__init__(groups)
        self.direction_of = direction_of

    def direction(self, w: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        r = self.direction_of(w, gradient, self.state[w])
        size, norm = w.norm(), r.norm()
        return r * (size / norm) if size and norm else r


def gradient_itself(w: Tensor, gradient: Tensor, state: State) -> Tensor:
    """r = g: LARS."""
    return gradient


class AdamDirection:
    """r = m / (sqrt(v) + eps) + decay w: LAMB.

    Args:
        betas: of the first and second moment.
        epsilon: eps.
        decay: lambda.
    """

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), *, epsilon: float = 0.0, decay: float = 0.0) -> None:
        self.betas, self.epsilon, self.decay = betas, epsilon, decay

    def __call__(self, w: Tensor, gradient: Tensor, state: State) -> Tensor:
        if not state:
            state |= {"t": 0, "mean": torch.zeros_like(w), "square": torch.zeros_like(w)}
        state["t"] += 1
        state["mean"].lerp_(gradient, 1 - self.betas[0])
        state["square"].lerp_(gradient.square(), 1 - self.betas[1])
        mean = state["mean"] / (1 - self.betas[0] ** state["t"])
        root = (state["square"] / (1 - self.betas[1] ** state["t"])).sqrt()
        step: Tensor = mean / (root + self.epsilon) + self.decay * w
        return step


class ParameterScaled(Stepper):
    """w <- w - lr max(RMS(w), floor) g / sqrt(v), v the rank-one fit of a running mean of g^2.

    Args:
        groups: dictionaries with ``params`` and ``lr``.
        floor: under RMS(w).
        exponent: the running mean has beta2 = 1 - t^-exponent.

    Ref: Shazeer & Stern 2018 (arXiv 1804.04235), Algorithm 4 without update clipping.
    """

    def __init__(self, groups: list[dict[str, Any]], *, floor: float = 0.0, exponent: float = 0.8) -> None:
        super().__init__(groups)
        self.floor, self.exponent = floor, exponent

    def direction(self, w: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        g = as_matrix(gradient)
        state = self.state[w]
        if not state:
            state |= {"t": 0, "rows": g.new_zeros(len(g)), "columns": g.new_zeros(g.shape[1])}
        state["t"] += 1
        new = state["t"] ** -self.exponent
        state["rows"].lerp_(g.square().mean(1), new)
        state["columns"].lerp_(g.square().mean(0), new)
        whole = state["rows"].mean()
        root = (torch.outer(state["rows"], state["columns"]) / whole).sqrt()
        u = torch.where(root > 0, g / root, 0)  # 0/0 where a row, a column or everything is zero
        return (u * w.square().mean().sqrt().clamp_min(self.floor)).view_as(w)
