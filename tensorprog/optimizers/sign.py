"""Sign-type optimizers: every update entry is Theta(1), whatever the gradient's size.

The rule of the family: with g_ij the entries of the current gradient and D the denominator, both factors of a part
dh (x) x go through the odd function sign and the part's size is that of g over that of D.

- signSGD divides by the current gradient itself.
- Adam, RMSProp, Adagrad divide by the root of a running second moment, which remembers the largest past gradient.
- Lion takes the sign of a running first moment, which the largest past gradient dominates in the same way.

Momentum adds past gradients, whose parts are in the weights already: it changes constants. So NAdam, AMSGrad and the
like are Adam here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from tensorprog.exponent import ZERO, ZERO_SIZE, Exponent, ExponentLike
from tensorprog.nonlinearities import SIGN, apply
from tensorprog.optimizers.entry import Entry, Fact, read_decay
from tensorprog.optimizers.gradient import Gradient, Multiple, Outer, Parameter, Part
from tensorprog.options import power_of, read_exponents, read_positive
from tensorprog.scale import Scale

if TYPE_CHECKING:
    import torch

__all__ = ["Adagrad", "Adam", "AdamW", "Lion", "RMSProp", "SignSGD", "epsilon_at", "signed"]


def signed(gradient: Gradient, denominator: Exponent) -> Iterator[Part]:
    """The gradient over n^denominator, entry by entry, with signs of the vector factors.

    A multiple of the weight keeps its form: its entries are those of w up to factors of fixed sign.
    """
    for part in gradient.parts:
        if isinstance(part, Multiple):
            yield part.shift(-denominator)
        else:
            yield Outer(part.size - denominator, _sign(part.out, "dh"), _sign(part.into, "x"))


def epsilon_at(width: float, power: Exponent, constant: float) -> float:
    """eps = constant * n^power as a number; where it is exactly zero, one that is small enough to be zero."""
    from tensorprog.torch_optimizers import NEGLIGIBLE_EPSILON

    return NEGLIGIBLE_EPSILON if power.infinite else constant * power_of(width, power)


def _sign(factor: Scale, what: str) -> Scale:
    # Every entry has a sign, small ones too: where a saturated layer's gradients live plays no part.
    everywhere = Scale(t if t.fraction == ZERO else replace(t, fraction=ZERO) for t in factor)
    return apply(SIGN, everywhere, f"sign({what})").explained("sign", f"sign({what})", compose=True)


@dataclass(frozen=True)
class SignSGD(Entry):
    """w <- w - eta sign(g): both factors through the odd function sign, entries Theta(1).

    Ref: Bernstein et al. 2018 (arXiv 1802.04434).
    """

    name: ClassVar[str] = "signsgd"
    ref: ClassVar[str] = "Bernstein et al. 2018 (arXiv 1802.04434)"
    facts: ClassVar[Fact] = Fact.ELEMENTWISE

    def direction(self, p: Parameter) -> Iterable[Part]:
        return signed(p.gradient, p.gradient.size)

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import SignDescent

        return SignDescent(groups)


@dataclass(frozen=True)
class Lion(Entry):
    """w <- w - eta sign(beta1 m + (1 - beta1) g), m a running mean of gradients.

    A gradient below an earlier one by n^-k only flips the signs where m is that small: the update's part along it has
    entries n^-k, as in Adam.

    Ref: Chen et al. 2023 (arXiv 2302.06675), Algorithm 2, without its weight decay (wrap it in ``decayed``).
    """

    name: ClassVar[str] = "lion"
    ref: ClassVar[str] = "Chen et al. 2023 (arXiv 2302.06675)"
    facts: ClassVar[Fact] = Fact.ELEMENTWISE

    def direction(self, p: Parameter) -> Iterable[Part]:
        return signed(p.gradient, p.remembered)

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import Lion as TorchLion

        return TorchLion(groups)


@dataclass(frozen=True)
class _Adaptive(Entry):
    """g / (sqrt(v) + eps) with a v that remembers the largest gradient.

    With g the exponent of the current gradient entries, G the largest so far and eps = n^epsilon_exponent, the update
    entries have exponent g - max(G, epsilon_exponent). Where epsilon dominates, the step is linear in the gradient.
    """

    facts: ClassVar[Fact] = Fact.ELEMENTWISE
    epsilon_exponent: ExponentLike = ZERO_SIZE
    epsilon: float = 1.0

    def __post_init__(self) -> None:
        read_exponents(self, "epsilon_exponent", zero="eps = 0")
        read_positive(self, "epsilon")

    def direction(self, p: Parameter) -> Iterable[Part]:
        if p.remembered < self.epsilon_exponent:
            return (part.shift(-self.epsilon_exponent) for part in p.gradient.parts)
        return signed(p.gradient, p.remembered)

    def eps(self, width: float) -> float:
        """Epsilon as a number."""
        return epsilon_at(width, self.epsilon_exponent, self.epsilon)


@dataclass(frozen=True)
class Adam(_Adaptive):
    """w <- w - eta m / (sqrt(v) + eps): sign-like, with the memory of the largest past gradient.

    Args:
        epsilon_exponent: eps = epsilon * n^epsilon_exponent; the default -oo is eps = 0 exactly.
        epsilon: its constant, which exponents do not see.

    Ref: Yang & Littwin 2023 (arXiv 2308.01814); epsilon: Everett et al. 2024 (arXiv 2407.05872), Section 4.
    """

    name: ClassVar[str] = "adam"
    ref: ClassVar[str] = "Yang & Littwin 2023 (arXiv 2308.01814)"

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from torch.optim import Adam as TorchAdam

        return TorchAdam(groups, lr=0.0, eps=self.eps(width))


@dataclass(frozen=True)
class AdamW(_Adaptive):
    """Adam with decoupled decay: w <- w - eta n^-c (m / (sqrt(v) + eps) + lambda w).

    Args:
        epsilon_exponent: eps = epsilon * n^epsilon_exponent; the default -oo is eps = 0 exactly.
        epsilon: its constant, which exponents do not see.
        decay_exponent: lambda = decay * n^decay_exponent; each step takes n^(decay_exponent - c) of the weight away.
        decay: the constant of lambda, which exponents do not see.

    Ref: Loshchilov & Hutter 2019 (arXiv 1711.05101), Algorithm 2, with the decay multiplied by the learning rate.
    """

    name: ClassVar[str] = "adamw"
    ref: ClassVar[str] = "Loshchilov & Hutter 2019 (arXiv 1711.05101)"
    decay_exponent: ExponentLike = ZERO
    decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        read_decay(self)

    def direction(self, p: Parameter) -> Iterable[Part]:
        return (*super().direction(p), Multiple(self.decay_exponent, p))

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from torch.optim import AdamW as TorchAdamW

        rate = self.decay * power_of(width, self.decay_exponent)
        return TorchAdamW(groups, lr=0.0, eps=self.eps(width), weight_decay=rate)


@dataclass(frozen=True)
class RMSProp(_Adaptive):
    """w <- w - eta g / (sqrt(v) + eps), v a running mean of g^2: Adam without momentum.

    Args:
        epsilon_exponent: eps = epsilon * n^epsilon_exponent; the default -oo is eps = 0 exactly.
        epsilon: its constant, which exponents do not see.

    Ref: Tieleman & Hinton 2012 (Coursera, Lecture 6.5).
    """

    name: ClassVar[str] = "rmsprop"
    ref: ClassVar[str] = "Tieleman & Hinton 2012 (Coursera, Lecture 6.5)"

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from torch.optim import RMSprop as TorchRMSprop

        return TorchRMSprop(groups, lr=0.0, eps=self.eps(width))


@dataclass(frozen=True)
class Adagrad(_Adaptive):
    """w <- w - eta g / (sqrt(sum of g^2) + eps): over Theta(1) steps the sum is as large as its largest term.

    Args:
        epsilon_exponent: eps = epsilon * n^epsilon_exponent; the default -oo is eps = 0 exactly.
        epsilon: its constant, which exponents do not see.

    Ref: Duchi et al. 2011 (JMLR 12).
    """

    name: ClassVar[str] = "adagrad"
    ref: ClassVar[str] = "Duchi et al. 2011 (JMLR 12)"

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from torch.optim import Adagrad as TorchAdagrad

        return TorchAdagrad(groups, lr=0.0, eps=self.eps(width))
