"""Optimizers: how a gradient becomes an update, as scales and as ordinary torch optimizers.

An entry maps the gradient factors so far to rank-one-like pieces of the update *per unit learning rate*. It sees the
gradient with respect to the raw weight w (multipliers included by the caller) and returns the direction of the step;
the caller applies n^{-c} and the multiplier. Entries know sizes, patterns and axes, never names.

To add one: write a frozen dataclass with ``direction`` and ``torch`` and list it in ``OPTIMIZERS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tensorprog.errors import SettingError, UnknownName
from tensorprog.exponent import ZERO, ZERO_SIZE, Exponent, ExponentLike, exponent, largest
from tensorprog.nonlinearities import SIGN, apply
from tensorprog.program import Axis, Weight
from tensorprog.scale import Scale

if TYPE_CHECKING:
    import torch

__all__ = ["OPTIMIZERS", "SGD", "Adam", "Entry", "Gradient", "Muon", "Optimizer", "ShapeFactor", "SignSGD", "optimizer"]


@dataclass(frozen=True)
class Gradient:
    """A weight's gradient at one step, as a sum of outer products out (x) into.

    Args:
        pairs: (out, into) scales; several where the weight is used several times.
    """

    pairs: tuple[tuple[Scale, Scale], ...]

    @property
    def top(self) -> Exponent:
        """The exponent of the largest gradient entry; -oo where the gradient is exactly zero."""
        return largest(out.top + into.top for out, into in self.pairs if not (out.is_zero or into.is_zero))

    def live(self) -> Iterator[tuple[Scale, Scale]]:
        """The pairs that are not exactly zero."""
        return ((o, i) for o, i in self.pairs if not (o.is_zero or i.is_zero))


Direction = tuple[Exponent, Scale, Scale]
"""(coefficient exponent, out, into): the piece n^coefficient * out (x) into."""


class Optimizer(Protocol):
    """The contract of an entry."""

    name: ClassVar[str]
    ref: ClassVar[str]
    elementwise: ClassVar[bool]

    def direction(self, history: Sequence[Gradient], weight: Weight) -> Iterable[Direction]:
        """The step direction of one weight after the gradients ``history`` (the last one is current)."""

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        """The optimizer itself; ``groups`` carry ``params`` and ``lr``, ``width`` sets options that scale with n."""

    def options(self) -> dict[str, str]:
        """The options that differ from their defaults, for settings and labels."""


class Entry:
    """What entries share: options are their dataclass fields."""

    name: ClassVar[str]
    elementwise: ClassVar[bool] = False
    """Whether the torch half treats every entry of a parameter on its own, so that parameters can be stacked."""

    def options(self) -> dict[str, str]:
        return {f.name: str(getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default}  # type: ignore[arg-type]

    def __str__(self) -> str:
        options = ", ".join(f"{k}={v}" for k, v in self.options().items())
        return f"{self.name}({options})" if options else self.name


def normalised(x: Scale, by: Exponent, what: str) -> Scale:
    """x times n^{-top - by}: with by = size/2, a vector of L2 norm one."""
    return x.shift(-x.top - by, "normalised", what)


@dataclass(frozen=True)
class SGD(Entry):
    """w <- w - eta g, with or without momentum: the update is the gradient, factors as they are.

    Args:
        momentum: heavy-ball coefficient, Theta(1): it changes constants, never exponents.

    Ref: Yang & Hu 2021 (arXiv 2011.14522), Section 3.
    """

    name: ClassVar[str] = "sgd"
    elementwise: ClassVar[bool] = True
    ref: ClassVar[str] = "Yang & Hu 2021 (arXiv 2011.14522)"
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.momentum, int | float) or not 0 <= self.momentum < 1:
            raise SettingError("optimizer sgd, momentum", self.momentum, "needs a number with 0 <= momentum < 1")

    def direction(self, history: Sequence[Gradient], weight: Weight) -> Iterator[Direction]:
        return ((ZERO, out, into) for out, into in history[-1].live())

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from torch.optim import SGD as TorchSGD

        return TorchSGD(groups, lr=0.0, momentum=self.momentum)


@dataclass(frozen=True)
class SignSGD(Entry):
    """w <- w - eta sign(g): both factors through the odd function sign, entries Theta(1).

    Ref: Bernstein et al. 2018 (arXiv 1802.04434).
    """

    name: ClassVar[str] = "signsgd"
    elementwise: ClassVar[bool] = True
    ref: ClassVar[str] = "Bernstein et al. 2018 (arXiv 1802.04434)"

    def direction(self, history: Sequence[Gradient], weight: Weight) -> Iterator[Direction]:
        return _signed(history[-1], history[-1].top)

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import SignDescent

        return SignDescent(groups)


@dataclass(frozen=True)
class Adam(Entry):
    """w <- w - eta m / (sqrt(v) + eps): sign-like, with the memory of the largest past gradient.

    With g the exponent of the current gradient entries, G the largest so far and eps = n^epsilon_exponent, the update
    entries have exponent g - max(G, epsilon_exponent). Where epsilon dominates, the step is linear in the gradient.

    Args:
        epsilon_exponent: eps = n^epsilon_exponent; the default -oo is eps = 0 exactly.

    Ref: Yang & Littwin 2023 (arXiv 2308.01814); epsilon: Everett et al. 2024 (arXiv 2407.05872), Section 4.
    """

    name: ClassVar[str] = "adam"
    elementwise: ClassVar[bool] = True
    ref: ClassVar[str] = "Yang & Littwin 2023 (arXiv 2308.01814)"
    epsilon_exponent: ExponentLike = ZERO_SIZE

    def __post_init__(self) -> None:
        e = exponent(self.epsilon_exponent, "optimizer adam, epsilon_exponent")
        if e.infinite > 0:
            raise SettingError("optimizer adam, epsilon_exponent", "oo", "needs a finite exponent, or -oo for eps = 0")
        object.__setattr__(self, "epsilon_exponent", e)

    def direction(self, history: Sequence[Gradient], weight: Weight) -> Iterator[Direction]:
        remembered = largest(g.top for g in history)
        if remembered < self.epsilon_exponent:
            pairs = history[-1].live()
            return ((-self.epsilon_exponent, out, into) for out, into in pairs)
        return _signed(history[-1], remembered)

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from torch.optim import Adam as TorchAdam

        from tensorprog.torch_optimizers import NEGLIGIBLE_EPSILON

        e = self.epsilon_exponent
        return TorchAdam(groups, lr=0.0, eps=NEGLIGIBLE_EPSILON if e.infinite else width ** float(e.const))


def _signed(gradient: Gradient, denominator: Exponent) -> Iterator[Direction]:
    for out, into in gradient.live():
        yield (
            out.top + into.top - denominator,
            apply(SIGN, out, "sign(dh)").explained("sign", "sign(dh)", compose=True),
            apply(SIGN, into, "sign(x)").explained("sign", "sign(x)", compose=True),
        )


class ShapeFactor(Enum):
    """Muon's competing shape factors; each is an exponent of n too."""

    NONE = "none"
    ORIGINAL = "original"
    SPECTRAL = "spectral"
    MATCH_RMS = "match-rms"

    def exponent(self, out: Axis, into: Axis) -> Exponent:
        """Exponent of sqrt(max(1, out/in)), sqrt(out/in) or 0.2 sqrt(max(out, in))."""
        match self:
            case ShapeFactor.ORIGINAL:
                return max(ZERO, (out.size - into.size) / 2)
            case ShapeFactor.SPECTRAL:
                return (out.size - into.size) / 2
            case ShapeFactor.MATCH_RMS:
                return max(out.size, into.size) / 2
            case _:
                return ZERO

    def number(self, out: int, into: int) -> float:
        """The factor of an out x into matrix."""
        match self:
            case ShapeFactor.ORIGINAL:
                return math.sqrt(max(1.0, out / into))
            case ShapeFactor.SPECTRAL:
                return math.sqrt(out / into)
            case ShapeFactor.MATCH_RMS:
                return 0.2 * math.sqrt(max(out, into))
            case _:
                return 1.0


@dataclass(frozen=True)
class Muon(Entry):
    """w <- w - eta * factor * orthogonalised(g): singular values replaced by one.

    A gradient of finite rank becomes a sum of outer products of unit vectors: each factor is normalised to L2 norm
    one on its axis, coordinates n^{-size/2}.

    Args:
        shape_factor: ``none`` (plain), ``original`` sqrt(max(1, out/in)), ``spectral`` sqrt(out/in),
            ``match-rms`` 0.2 sqrt(max(out, in)).

    Ref: Jordan et al. 2024 (Muon); shape factors: Liu et al. 2025 (arXiv 2502.16982), Yang et al. 2023 (2310.17813).
    """

    name: ClassVar[str] = "muon"
    ref: ClassVar[str] = "Jordan et al. 2024 (Muon)"
    shape_factor: ShapeFactor | str = ShapeFactor.NONE

    def __post_init__(self) -> None:
        if not isinstance(self.shape_factor, ShapeFactor):
            accepted = {f.value: f for f in ShapeFactor}
            if self.shape_factor not in accepted:
                raise UnknownName("optimizer muon, shape_factor", self.shape_factor, accepted)
            object.__setattr__(self, "shape_factor", accepted[self.shape_factor])

    @property
    def factor(self) -> ShapeFactor:
        assert isinstance(self.shape_factor, ShapeFactor)
        return self.shape_factor

    def options(self) -> dict[str, str]:
        return {} if self.factor is ShapeFactor.NONE else {"shape_factor": self.factor.value}

    def direction(self, history: Sequence[Gradient], weight: Weight) -> Iterator[Direction]:
        gradient = history[-1]
        for out, into in gradient.live():
            # Orthogonalisation equalises singular values, so a pair counts as much as the largest one.
            yield (
                self.factor.exponent(weight.out, weight.into),
                normalised(out, weight.out.size / 2, "dh / |dh|"),
                normalised(into, weight.into.size / 2, "x / |x|"),
            )

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import Orthogonalised

        return Orthogonalised(groups, self.factor.number)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {cls.name: cls for cls in (SGD, SignSGD, Adam, Muon)}


def optimizer(name: str | Optimizer, **options: Any) -> Optimizer:
    """An optimizer by name, with options: ``optimizer("adam", epsilon_exponent="-1")``.

    Raises:
        UnknownName: listing the registered names.
        SettingError: for options that the optimizer does not have or values out of range.
    """
    if not isinstance(name, str):
        return name
    if name not in OPTIMIZERS:
        raise UnknownName("optimizer", name, OPTIMIZERS)
    entry = OPTIMIZERS[name]
    accepted = [f.name for f in fields(entry)]  # type: ignore[arg-type]
    for key in options:
        if key not in accepted:
            raise SettingError(
                f"optimizer {name}", key, f"its options are: {', '.join(accepted) if accepted else 'none'}"
            )
    return entry(**options)
