"""Losses: how the loss-logit derivative chi = dL/df scales when the logits scale as n^s.

chi never vanishes generically (targets are Theta(1)); that it shrinks once training data are fitted is a property of
the data, not of the width. A bounded loss has chi = Theta(1) whatever the logits; one that grows quadratically has
chi = Theta(n^max(0, s)).

To add one: write a :class:`Loss` and list it in ``LOSSES``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorprog.errors import SettingError, UnknownName
from tensorprog.exponent import ZERO
from tensorprog.scale import Reason, Scale, Term

if TYPE_CHECKING:
    import torch

__all__ = ["LOSSES", "Loss", "loss"]


@dataclass(frozen=True)
class Loss:
    """A loss with its symbolic and its numeric half.

    Args:
        name: the registry key.
        degree: chi ~ |f|^degree for large logits: 0 bounded, 1 growing like the logits.
        torch: (logits [batch, classes], targets) -> mean loss over the batch. Targets are class indices [batch]; losses
            of real targets (MSE, Huber) take floats [batch, classes] as well.
        ref: where the degree comes from.
    """

    name: str
    degree: int
    torch: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ref: str

    def gradient(self, logits: Scale) -> Scale:
        """The scale of chi: Theta(1) from the targets, plus the logits' own scale where the loss grows."""
        constant = Scale((Term(ZERO, _TRIVIAL, Reason("loss", f"{self.name}: targets are Theta(1)")),))
        if not self.degree:
            return constant
        grown = Scale(
            Term(t.exponent * self.degree, _TRIVIAL, Reason("loss", f"{self.name}: grows with the logits", ZERO, (t,)))
            for t in logits
        )
        return constant + grown


_TRIVIAL = Scale.source(ZERO, rule="constant", what="one").terms[0].pattern


def _functional() -> Any:
    from torch.nn import functional

    return functional


def _one_hot(f: Any, y: Any) -> Any:
    """Targets of the logits' shape: one-hot class indices, or real targets as they are."""
    if not y.is_floating_point():
        return _functional().one_hot(y, f.shape[-1]).to(f.dtype)
    if y.shape != f.shape:  # broadcasting [batch] against [batch, 1] would compare every example with every target
        raise SettingError("targets", f"floats {list(y.shape)}", f"needs one for every output, {list(f.shape)}")
    return y


def _classes(name: str, y: Any) -> Any:
    """Class indices, for losses that have no meaning for real targets."""
    if y.is_floating_point():
        need = "needs class indices (integers); use mse or huber for regression"
        raise SettingError(f"targets of the loss {name}", "floats", need)
    return y


def _signs(name: str, f: Any, y: Any) -> Any:
    return 2 * _one_hot(f, _classes(name, y)) - 1


CE = Loss(
    "ce",
    degree=0,
    torch=lambda f, y: _functional().cross_entropy(f, _classes("ce", y)),
    ref="Haas et al. 2025 (arXiv 2505.22491): softmax probabilities minus targets are bounded",
)
MSE = Loss(
    "mse",
    degree=1,
    torch=lambda f, y: (f - _one_hot(f, y)).square().sum(-1).mean() / 2,
    ref="Haas et al. 2025 (arXiv 2505.22491): f - y grows with f",
)
HUBER = Loss(
    "huber",
    degree=0,
    torch=lambda f, y: _functional().huber_loss(f, _one_hot(f, y), reduction="none").sum(-1).mean(),
    ref="Huber 1964: |chi| <= delta",
)
SOFTMAX_MSE = Loss(
    "softmax-mse",
    degree=0,
    torch=lambda f, y: (f.softmax(-1) - _one_hot(f, y)).square().sum(-1).mean() / 2,
    ref="Haas et al. 2025 (arXiv 2505.22491): the softmax bounds the residual and its Jacobian",
)
LOGISTIC = Loss(
    "logistic",
    degree=0,
    torch=lambda f, y: _functional().softplus(-_signs("logistic", f, y) * f).sum(-1).mean(),
    ref="one-versus-rest logistic: |chi| <= 1",
)
HINGE = Loss(
    "hinge",
    degree=0,
    torch=lambda f, y: (1 - _signs("hinge", f, y) * f).clamp_min(0).sum(-1).mean(),
    ref="Cortes & Vapnik 1995: |chi| <= 1",
)

LOSSES: dict[str, Loss] = {entry.name: entry for entry in (CE, MSE, HUBER, SOFTMAX_MSE, LOGISTIC, HINGE)}


def loss(name: str | Loss) -> Loss:
    """Look up a loss by name.

    Raises:
        UnknownName: listing the registered names.
    """
    if isinstance(name, Loss):
        return name
    if name not in LOSSES:
        raise UnknownName("loss", name, LOSSES)
    return LOSSES[name]
