"""Options of architectures: checks that several share, with errors that name the option and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import signature

from tensorprog.errors import SettingError, UnknownName
from tensorprog.exponent import ZERO, Exponent, ExponentLike, exponent
from tensorprog.layers import GATES
from tensorprog.program import Axis, Builder

__all__ = ["count", "experts_axis", "growth", "hidden_axis", "one_of", "shown"]


def count(name: str, value: int, least: int = 1) -> int:
    """An integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingError(name, value, f"needs an integer of at least {least}")
    return value


def one_of(name: str, value: str, accepted: Iterable[str]) -> str:
    """One of some names."""
    names = tuple(accepted)
    if value not in names:
        raise UnknownName(name, value, names)
    return value


def growth(name: str, value: ExponentLike) -> Exponent:
    """The exponent p of an option that says how many there are of something, n^p."""
    power = exponent(value, name)
    if not power.is_number or power < ZERO:
        raise SettingError(name, str(power), "needs a number of at least 0, the exponent p of n^p coordinates")
    return power


def hidden_axis(b: Builder, ff_exponent: ExponentLike) -> Axis:
    """The neurons of a hidden layer inside a block: n^ff_exponent."""
    power = growth("ff_exponent", ff_exponent)
    return b.width if power == b.width.size else b.axis("hidden", power)


def experts_axis(
    b: Builder, experts: str, experts_exponent: ExponentLike, gate_exponent: ExponentLike, neurons: Axis
) -> Axis:
    """The axis of a hidden layer: experts x neurons, or the neurons alone where ``experts`` is ``none``."""
    one_of("experts", experts, ("none", *GATES))
    if experts != "none":
        return b.product(b.axis("experts", growth("experts_exponent", experts_exponent)), Axis("neurons", neurons.size))
    for option, value in (("experts_exponent", experts_exponent), ("gate_exponent", gate_exponent)):
        if exponent(value, option) != ZERO:
            raise SettingError(option, str(value), f"needs experts; choose experts={' or experts='.join(GATES)}")
    return neurons


def shown(name: str, architecture: Callable[..., object], chosen: Mapping[str, object], *always: str) -> str:
    """The label of an architecture: some of its options always, the others where they do not have their defaults."""
    usual = {p.name: str(p.default) for p in signature(architecture).parameters.values()}
    parts = (f"{k}={v}" for k, v in chosen.items() if k in always or str(v) != usual[k])
    return f"{name}({', '.join(parts)})"
