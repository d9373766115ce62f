"""Optimizers that divide by norms: normalised descent, LARS, LAMB, Adafactor's parameter scaling.

A Frobenius norm has the exponent of the entries plus half the axes' exponents, so a ratio of two norms of one shape is
the ratio of their entries (RMS). A trust ratio with a weight that is exactly zero is one, as in every implementation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tensorprog.exponent import ZERO, ZERO_SIZE, Exponent, ExponentLike, largest
from tensorprog.optimizers.entry import Entry, Parts, read_decay
from tensorprog.optimizers.gradient import Gradient, Multiple, Parameter, Part
from tensorprog.optimizers.sign import epsilon_at, signed
from tensorprog.options import power_of, read_exponents, read_positive

if TYPE_CHECKING:
    import torch

__all__ = ["LAMB", "LARS", "Adafactor", "GlobalNormalisedGD", "NormalisedGD", "global_norm", "trust"]


def global_norm(gradients: Iterable[tuple[Parameter, Gradient]]) -> Exponent:
    """The exponent of the L2 norm over the gradients of several weights."""
    return largest(p.norm(g.size) for p, g in gradients if g.size != ZERO_SIZE)


def trust(p: Parameter, step: Exponent) -> Exponent:
    """The exponent of |w| / |step| for step entries n^step; 0 where either is exactly zero."""
    return ZERO if p.size.infinite or step.infinite else p.size - step


@dataclass(frozen=True)
class NormalisedGD(Entry):
    """w <- w - eta g / |g|, each layer by its own Frobenius norm.

    Ref: Hazan et al. 2015 (arXiv 1507.02030); layer by layer: Yu et al. 2017 (arXiv 1707.04822).
    """

    name: ClassVar[str] = "normalised-gd"
    ref: ClassVar[str] = "Yu et al. 2017 (arXiv 1707.04822)"

    def direction(self, p: Parameter) -> Iterable[Part]:
        return p.gradient.shift(-p.norm(p.gradient.size)).parts if p.gradient.parts else ()

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import NormalisedDescent

        return NormalisedDescent(groups)


@dataclass(frozen=True)
class GlobalNormalisedGD(Entry):
    """w <- w - eta g / |g|, with the norm over all weights together.

    Ref: Hazan et al. 2015 (arXiv 1507.02030).
    """

    name: ClassVar[str] = "global-normalised-gd"
    ref: ClassVar[str] = "Hazan et al. 2015 (arXiv 1507.02030)"

    def update(self, network: Sequence[Parameter]) -> Parts:
        norm = global_norm((p, p.gradient) for p in network)
        return {p.weight: p.gradient.shift(-norm).parts if p.gradient.parts else () for p in network}

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import NormalisedDescent

        return NormalisedDescent(groups, together=True)


@dataclass(frozen=True)
class LARS(Entry):
    """w <- w - eta |w| g / |g|, layer by layer: the step is a fixed fraction of the weight.

    Ref: You et al. 2017 (arXiv 1708.03888), Algorithm 1; its weight decay is ``decayed`` with ``coupled``.
    """

    name: ClassVar[str] = "lars"
    ref: ClassVar[str] = "You et al. 2017 (arXiv 1708.03888)"

    def direction(self, p: Parameter) -> Iterable[Part]:
        return p.gradient.shift(trust(p, p.gradient.size)).parts

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import TrustRatio, gradient_itself

        return TrustRatio(groups, gradient_itself)


@dataclass(frozen=True)
class LAMB(Entry):
    """w <- w - eta |w| r / |r| with Adam's r = m / (sqrt(v) + eps) + lambda w.

    Args:
        epsilon_exponent: eps = epsilon * n^epsilon_exponent; the default -oo is eps = 0 exactly.
        epsilon: its constant, which exponents do not see.
        decay_exponent: lambda = decay * n^decay_exponent, inside the trust ratio; -oo for none.
        decay: the constant of lambda, which exponents do not see.

    Ref: You et al. 2019 (arXiv 1904.00962), Algorithm 2 with phi(z) = z.
    """

    name: ClassVar[str] = "lamb"
    ref: ClassVar[str] = "You et al. 2019 (arXiv 1904.00962)"
    epsilon_exponent: ExponentLike = ZERO_SIZE
    epsilon: float = 1.0
    decay_exponent: ExponentLike = ZERO
    decay: float = 0.01

    def __post_init__(self) -> None:
        read_exponents(self, "epsilon_exponent", zero="eps = 0")
        read_positive(self, "epsilon")
        read_decay(self)

    def direction(self, p: Parameter) -> Iterable[Part]:
        denominator = max(p.remembered, self.epsilon_exponent)
        if denominator.infinite:
            adam: Iterable[Part] = ()
        elif p.remembered < self.epsilon_exponent:
            adam = p.gradient.shift(-denominator).parts
        else:
            adam = signed(p.gradient, denominator)
        step = Gradient((*adam, Multiple(self.decay_exponent, p)))
        return step.shift(trust(p, step.size)).parts

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import AdamDirection, TrustRatio

        epsilon = epsilon_at(width, self.epsilon_exponent, self.epsilon)
        rate = self.decay * power_of(width, self.decay_exponent)
        return TrustRatio(groups, AdamDirection(epsilon=epsilon, decay=rate))


@dataclass(frozen=True)
class Adafactor(Entry):
    """w <- w - eta max(RMS(w), floor) u with u = g / sqrt(v), v the rank-one fit of a running mean of g^2.

    u is sign-like: for a part dh (x) x the fit divides dh by |dh| and x by |x|, coordinate by coordinate.

    Args:
        floor_exponent: the floor n^floor_exponent under RMS(w); the default -oo is none.

    Ref: Shazeer & Stern 2018 (arXiv 1804.04235), Algorithm 4 without update clipping; parameter scaling in width:
    Everett et al. 2024 (arXiv 2407.05872).
    """

    name: ClassVar[str] = "adafactor"
    ref: ClassVar[str] = "Shazeer & Stern 2018 (arXiv 1804.04235)"
    floor_exponent: ExponentLike = ZERO_SIZE

    def __post_init__(self) -> None:
        read_exponents(self, "floor_exponent", zero="no floor")

    def direction(self, p: Parameter) -> Iterable[Part]:
        scale = max(p.size, self.floor_exponent)
        return () if scale.infinite else (part.shift(scale) for part in signed(p.gradient, p.remembered))

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import ParameterScaled

        return ParameterScaled(groups, floor=power_of(width, self.floor_exponent))
