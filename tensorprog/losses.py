"""Losses: how the loss-logit derivative chi = dL/df scales when the logits scale as n^s.

chi never vanishes generically (targets are Theta(1)); that it shrinks once training data are fitted is a property of
the data, not of the width. A bounded loss has chi = Theta(1) whatever the logits; one that grows quadratically has
chi = Theta(n^max(0, s)). Some losses have coefficients that scale with n: their exponents are options.

To add one: write a :class:`Loss` and list it in ``LOSSES``; one with options is a class of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from tensorprog.errors import SettingError, UnknownName
from tensorprog.exponent import ZERO, Exponent, ExponentLike
from tensorprog.options import Options, power_of, read_exponents, read_positive
from tensorprog.scale import Reason, Scale, Term

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LOSSES", "Loss", "SoftCapped", "Temperature", "ZLoss", "loss"]


@dataclass(frozen=True)
class Loss(Options):
    """A loss with its symbolic and its numeric half.

    Args:
        name: the registry key.
        degree: chi ~ |f|^degree for large logits: 0 bounded, 1 growing like the logits.
        torch: (logits [batch, classes], targets) -> mean loss over the batch. Targets are class indices [batch]; losses
            of real targets (MSE, Huber) take floats [batch, classes] as well.
        ref: where the degree comes from.
    """

    kind: ClassVar[str] = "loss"
    name: str
    degree: int
    torch: Callable[[Tensor, Tensor], Tensor]
    ref: str
    of_softmax: ClassVar[bool] = False
    """A function of the label's logit and of logsumexp of all, the same for any number of classes."""

    def gradient(self, logits: Scale) -> Scale:
        """The scale of chi: Theta(1) from the targets, plus the logits' own scale where the loss grows."""
        constant = Scale((Term(ZERO, _TRIVIAL, Reason("loss", f"{self.name}: targets are Theta(1)")),))
        return constant + self._grown(logits, ZERO) if self.degree else constant

    def _grown(self, logits: Scale, power: Exponent) -> Scale:
        """n^power f^degree."""
        why = f"{self.name}: grows with the logits"
        return Scale(Term(t.exponent * self.degree + power, _TRIVIAL, Reason("loss", why, power, (t,))) for t in logits)

    def at(self, width: float) -> Loss:
        """The loss at one width n: powers of n become numbers, so that its ``torch`` can be evaluated."""
        return self


@dataclass(frozen=True)
class OfSoftmax(Loss):
    """A loss that is a function of the label's probability."""

    of_softmax: ClassVar[bool] = True


@dataclass(frozen=True)
class _Scaled(Loss):
    """A loss with coefficients that are powers of n: subclasses write :meth:`value`."""

    name: str = field(init=False)
    degree: int = field(init=False)
    torch: Callable[[Tensor, Tensor], Tensor] = field(init=False, repr=False, compare=False)
    ref: str = field(init=False)

    def _complete(self, name: str, degree: int, ref: str) -> None:
        for key, value in {"name": name, "degree": degree, "ref": ref, "torch": self._without_width}.items():
            object.__setattr__(self, key, value)

    def value(self, f: Tensor, y: Tensor, *, width: float | None) -> Tensor:
        """The mean loss over the batch at width n; None where no power of n is involved."""
        raise NotImplementedError

    def at(self, width: float) -> Loss:
        return Loss(self.name, self.degree, partial(self.value, width=width), self.ref)

    def _without_width(self, f: Tensor, y: Tensor) -> Tensor:
        for name in self.accepts:
            e = getattr(self, name)
            if isinstance(e, Exponent) and e != ZERO and not e.infinite:
                need = "is a power of the width; evaluate the loss at one: loss.at(width).torch"
                raise SettingError(f"loss {self.name}, {name}", str(e), need)
        return self.value(f, y, width=None)


@dataclass(frozen=True)
class ZLoss(_Scaled):
    """Cross-entropy + coefficient * logsumexp(f)^2, the coefficient coefficient * n^coefficient_exponent.

    The penalty's derivative 2 coefficient logsumexp(f) softmax(f) grows like the logits.

    Args:
        coefficient_exponent: k of the penalty's coefficient n^k; 0 is width-independent, -oo no penalty.
        coefficient: its constant, which exponents do not see.

    Ref: Chowdhery et al. 2022 (arXiv 2204.02311), Section 5: coefficient 1e-4.
    """

    coefficient_exponent: ExponentLike = ZERO
    coefficient: float = 1e-4

    def __post_init__(self) -> None:
        self._complete("z-loss", 1, "Chowdhery et al. 2022 (arXiv 2204.02311): the derivative of log^2 Z grows with f")
        read_exponents(self, "coefficient_exponent", zero="no penalty")
        read_positive(self, "coefficient")

    def gradient(self, logits: Scale) -> Scale:
        bounded = CE.gradient(logits)
        k = self.coefficient_exponent
        if k.infinite:
            return bounded
        # log Z is at least the logarithm of the number of classes, whatever the logits.
        penalty = Scale((Term(k, _TRIVIAL, Reason("loss", f"{self.name}: log Z of small logits", k)),))
        return bounded + penalty + self._grown(logits, k)

    def value(self, f: Tensor, y: Tensor, *, width: float | None) -> Tensor:
        penalty = self.coefficient * power_of(width or 1.0, self.coefficient_exponent)
        ce = _functional().cross_entropy(f, _classes("z-loss", y))
        result: Tensor = ce + penalty * f.logsumexp(-1).square().mean()
        return result


@dataclass(frozen=True)
class _Around(_Scaled):
    """A loss of changed logits, around another one."""

    base_loss: str | Loss = "ce"

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_loss", loss(self.base_loss))

    @property
    def base(self) -> Loss:
        """The loss inside."""
        assert isinstance(self.base_loss, Loss)
        return self.base_loss

    def _inner(self, width: float | None) -> Callable[[Tensor, Tensor], Tensor]:
        return (self.base if width is None else self.base.at(width)).torch

    def options(self) -> dict[str, str]:
        return {"base_loss": str(self.base), **super().options()}


@dataclass(frozen=True)
class Temperature(_Around):
    """The base loss of n^inverse_temperature_exponent * f: logits are multiplied before the loss sees them.

    Args:
        base_loss: the loss of the multiplied logits.
        inverse_temperature_exponent: tau of the factor n^tau.
        inverse_temperature: its constant, which exponents do not see.

    Ref: Hinton et al. 2015 (arXiv 1503.02531), Section 2.
    """

    inverse_temperature_exponent: ExponentLike = ZERO
    inverse_temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        ref = "Hinton et al. 2015 (arXiv 1503.02531): the factor passes to chi"
        self._complete("temperature", self.base.degree, ref)
        read_exponents(self, "inverse_temperature_exponent")
        read_positive(self, "inverse_temperature")

    def gradient(self, logits: Scale) -> Scale:
        tau, what = self.inverse_temperature_exponent, "inverse temperature"
        return self.base.gradient(logits.shift(tau, "multiplier", what)).shift(tau, "multiplier", what)

    def value(self, f: Tensor, y: Tensor, *, width: float | None) -> Tensor:
        factor = self.inverse_temperature * power_of(width or 1.0, self.inverse_temperature_exponent)
        return self._inner(width)(factor * f, y)


@dataclass(frozen=True)
class SoftCapped(_Around):
    """The base loss of cap tanh(f / cap), the cap cap * n^cap_exponent: the loss sees bounded logits.

    The cap's slope is at most one; for logits above the cap it vanishes except near zero, and chi keeps the bound.

    Args:
        base_loss: the loss of the capped logits.
        cap_exponent: of the cap.
        cap: its constant, which exponents do not see.

    Ref: Gemma Team 2024 (arXiv 2408.00118), Section 2: cap 30.
    """

    cap_exponent: ExponentLike = ZERO
    cap: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._complete("soft-capped", 0, "Gemma Team 2024 (arXiv 2408.00118): bounded logits, slope at most one")
        read_exponents(self, "cap_exponent")
        read_positive(self, "cap")

    def gradient(self, logits: Scale) -> Scale:
        k = self.cap_exponent
        capped = (t if t.exponent <= k else Term(k, t.pattern, Reason("capped", self.name, ZERO, (t,))) for t in logits)
        return self.base.gradient(Scale(capped))

    def value(self, f: Tensor, y: Tensor, *, width: float | None) -> Tensor:
        cap = self.cap * power_of(width or 1.0, self.cap_exponent)
        return self._inner(width)(cap * (f / cap).tanh(), y)


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
    """+1 for the target class and -1 for the others; for a single logit, +1 for class 1 and -1 for class 0."""
    if f.shape[-1] == 1:
        return 2 * _classes(name, y)[..., None].to(f.dtype) - 1
    return 2 * _one_hot(f, _classes(name, y)) - 1


def _focal(f: Any, y: Any) -> Any:
    log_p = f.log_softmax(-1).gather(-1, _classes("focal", y)[..., None])
    return -((1 - log_p.exp()).square() * log_p).mean()


CE = OfSoftmax(
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

LABEL_SMOOTHING = Loss(
    "label-smoothing",
    degree=0,
    torch=lambda f, y: _functional().cross_entropy(f, _classes("label-smoothing", y), label_smoothing=0.1),
    ref="Szegedy et al. 2016 (arXiv 1512.00567): softmax minus a bounded target",
)
FOCAL = OfSoftmax(
    "focal",
    degree=0,
    torch=_focal,
    ref="Lin et al. 2017 (arXiv 1708.02002), gamma = 2: chi is that of cross-entropy times a bounded factor",
)
SQUARED_HINGE = Loss(
    "squared-hinge",
    degree=1,
    torch=lambda f, y: (1 - _signs("squared-hinge", f, y) * f).clamp_min(0).square().sum(-1).mean() / 2,
    ref="Lee & Lin 2013: on the wrong side chi grows with f",
)
L1 = Loss(
    "l1",
    degree=0,
    torch=lambda f, y: (f - _one_hot(f, y)).abs().sum(-1).mean(),
    ref="least absolute deviations: chi is a sign",
)

LOSSES: dict[str, Loss] = {
    entry.name: entry
    for entry in (
        CE,
        MSE,
        HUBER,
        SOFTMAX_MSE,
        LOGISTIC,
        HINGE,
        LABEL_SMOOTHING,
        FOCAL,
        SQUARED_HINGE,
        L1,
        ZLoss(),
    )
}

WRAPPERS: dict[str, type[Temperature] | type[SoftCapped]] = {"temperature": Temperature, "soft-capped": SoftCapped}
"""Losses around another one, their ``base_loss``."""


def loss(name: str | Loss, **options: Any) -> Loss:
    """A loss by name, with options: ``loss("z-loss", coefficient_exponent="-1/2")``.

    Args:
        options: its own; what a wrapper does not have goes to its base loss.

    Raises:
        UnknownName: listing the registered names.
        SettingError: for options that the loss does not have or values out of range.
    """
    if isinstance(name, Loss):
        if options:
            raise SettingError(f"loss {name}", ", ".join(options), "a loss that is made takes no options")
        return name
    if name in WRAPPERS:
        make = WRAPPERS[name]
        own = {f.name: options.pop(f.name) for f in fields(make) if f.init and f.name in options}
        return make(**{**own, "base_loss": loss(own.get("base_loss", "ce"), **options)})
    if name not in LOSSES:
        raise UnknownName("loss", name, {**LOSSES, **WRAPPERS})
    entry = LOSSES[name]
    accepted = entry.accepts
    for key in options:
        if key not in accepted:
            raise SettingError(f"loss {name}", key, f"its options are: {', '.join(accepted) if accepted else 'none'}")
    return replace(entry, **options) if options else entry
