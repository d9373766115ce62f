"""Wrappers: what is done to the gradient or the weight around any optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tensorprog.exponent import ZERO, Exponent, ExponentLike
from tensorprog.optimizers.entry import Entry, Optimizer, Parts, read_decay
from tensorprog.optimizers.gradient import Gradient, Multiple, Parameter
from tensorprog.optimizers.norm import global_norm
from tensorprog.options import power_of, read_exponents, read_positive
from tensorprog.program import Weight

if TYPE_CHECKING:
    import torch

__all__ = ["Clipped", "Decayed", "Wrapper"]


@dataclass(frozen=True)
class Wrapper(Entry):
    """An optimizer around another one, which does what the wrapper does not."""

    base_optimizer: str | Optimizer = "sgd"

    def __post_init__(self) -> None:
        from tensorprog.optimizers import optimizer

        object.__setattr__(self, "base_optimizer", optimizer(self.base_optimizer))

    @property
    def base(self) -> Optimizer:
        """The optimizer inside."""
        assert not isinstance(self.base_optimizer, str)
        return self.base_optimizer

    def update(self, network: Sequence[Parameter]) -> Parts:
        return self.base.update(network)

    def perturbation(self, network: Sequence[Parameter]) -> Parts:
        return self.base.perturbation(network)

    def by_parts(self, weight: Weight) -> bool:
        return self.base.by_parts(weight)

    def treatment(self, weight: Weight) -> object:
        return self.base.treatment(weight)

    def check(self, weights: Sequence[Weight]) -> None:
        self.base.check(weights)

    def options(self) -> dict[str, str]:
        return {"base_optimizer": str(self.base), **super().options()}


@dataclass(frozen=True)
class Clipped(Wrapper):
    """Global-norm clipping: g <- g min(1, threshold / |g|), |g| the L2 norm over all weights, then the base optimizer.

    A base that ignores the gradient's scale does not notice; one that does takes steps n^-max(0, norm) smaller.

    Args:
        base_optimizer: the optimizer that gets the clipped gradients.
        threshold_exponent: the threshold is threshold * n^threshold_exponent.
        threshold: its constant, which exponents do not see.

    Ref: Pascanu et al. 2013 (arXiv 1211.5063), Algorithm 1.
    """

    name: ClassVar[str] = "clipped"
    ref: ClassVar[str] = "Pascanu et al. 2013 (arXiv 1211.5063)"
    threshold_exponent: ExponentLike = ZERO
    threshold: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        read_exponents(self, "threshold_exponent")
        read_positive(self, "threshold")

    def update(self, network: Sequence[Parameter]) -> Parts:
        # Each step was clipped by its own norm, which matters to a base that remembers.
        steps = range(len(network[0].history)) if network else ()
        norms = [global_norm((p, p.history[t]) for p in network) for t in steps]
        factors = [min(ZERO, self.threshold_exponent - norm) for norm in norms]
        return self.base.update([p.with_gradients(_shifted(p, factors)) for p in network])

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import Clipping

        threshold = self.threshold * power_of(width, self.threshold_exponent)
        return Clipping(self.base.torch(groups, width), threshold)


def _shifted(p: Parameter, factors: Sequence[Exponent]) -> list[Gradient]:
    return [g.shift(by) if g.parts else g for g, by in zip(p.history, factors, strict=True)]


@dataclass(frozen=True)
class Decayed(Wrapper):
    """Weight decay around any optimizer: w <- w - eta n^-c (step + lambda w), or coupled, g <- g + lambda w.

    Decoupled, each step takes n^(decay_exponent - c) of the weight away, so a width-independent shrink needs
    decay_exponent = c. Coupled, the base optimizer treats lambda w as part of the gradient.

    Args:
        base_optimizer: the optimizer that is decayed.
        decay_exponent: lambda = decay * n^decay_exponent; -oo for no decay.
        decay: the constant of lambda, which exponents do not see.
        coupled: add lambda w to the gradient (L2 regularisation) instead of to the step.

    Ref: Loshchilov & Hutter 2019 (arXiv 1711.05101).
    """

    name: ClassVar[str] = "decayed"
    ref: ClassVar[str] = "Loshchilov & Hutter 2019 (arXiv 1711.05101)"
    decay_exponent: ExponentLike = ZERO
    decay: float = 0.01
    coupled: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        read_decay(self)

    @property
    def monotone(self) -> bool:
        """Decay is linear in the weight; coupled, it competes with the gradient in what the base divides by."""
        return self.base.monotone and not self.coupled

    @property
    def elementwise(self) -> bool:
        """Decay is."""
        return self.base.elementwise

    def update(self, network: Sequence[Parameter]) -> Parts:
        if self.coupled:
            return self.base.update([self._regularised(p) for p in network])
        steps = self.base.update(network)
        return {p.weight: (*steps[p.weight], Multiple(self.decay_exponent, p)) for p in network}

    def _regularised(self, p: Parameter) -> Parameter:
        # The past gradients had the past weights, which were no larger: the current one decides what is remembered.
        decay = Multiple(self.decay_exponent, p)
        return p.with_gradients(g + decay for g in p.history)

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import Decaying

        rate = self.decay * power_of(width, self.decay_exponent)
        return Decaying(self.base.torch(groups, width), rate, coupled=self.coupled)
