"""Options of architectures: checks that several share, with errors that name the option and what it needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from inspect import signature

from tensorprog.errors import SettingError, UnknownName
from tensorprog.exponent import ZERO, Exponent, ExponentLike, exponent
from tensorprog.layers import GATES
from tensorprog.program import Axis, Builder

__all__ = ["count", "depth", "experts_axis", "growth", "hidden_axis", "is_power", "one_of", "shown"]


GROWTH = "needs a number of at least 0, the exponent p of n^p coordinates"
GROWING_DEPTH = (
    "needs an integer of at least 1: there are no rules for a depth that grows with n. Known for L residual blocks are "
    "multipliers of their branches, 1/sqrt(L) (Yang et al. 2023, arXiv 2310.02244) and 1/L (Dey et al. 2025, arXiv "
    "2505.01618): take a few blocks with branch_exponent=-p/2 or -p for L = n^p; what one block does is then derived, "
    "sums over all of them are not"
)


def count(name: str, value: int, least: int = 1) -> int:
    """An integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingError(name, value, f"needs an integer of at least {least}")
    return value


def depth(name: str, value: int) -> int:
    """A number of layers or blocks.

    Raises:
        SettingError: for a number that is none, and for one that was meant to grow with n.
    """
    if is_power(value):
        raise SettingError(name, str(value), GROWING_DEPTH)
    return count(name, value)


def is_power(value: object) -> bool:
    """Whether a number is given as a power of n: ``"n^(1/2)"``, ``"1/2"``, a fraction, an expression in symbols."""
    if isinstance(value, str):
        return re.search(r"\bn\b|[0-9] */ *[0-9]", value) is not None
    return isinstance(value, Exponent | Fraction) or hasattr(value, "free_symbols")


def one_of(name: str, value: str, accepted: Iterable[str]) -> str:
    """One of some names."""
    names = tuple(accepted)
    if value not in names:
        raise UnknownName(name, value, names)
    return value


def growth(name: str, value: ExponentLike) -> Exponent:
    """The exponent p of an option that says how many there are of something, n^p."""
    power = exponent(value, name)
    if power.infinite or (power.is_number and power < ZERO):
        raise SettingError(name, str(power), GROWTH)
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
