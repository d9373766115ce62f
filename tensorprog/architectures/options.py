"""Options of architectures: checks that several share, with errors that name the option and what it needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from inspect import signature

from tensorprog.errors import SettingError, UnknownName
from tensorprog.exponent import ZERO, Exponent, ExponentLike, exponent, known_le
from tensorprog.layers import GATES
from tensorprog.program import Axis, Builder

__all__ = ["count", "depth", "experts_axis", "growing_depth", "growth", "hidden_axis", "is_power", "one_of", "shown"]


GROWTH = "needs a number of at least 0, the exponent p of n^p coordinates"
GROWING_DEPTH = (
    "needs an integer of at least 1. A depth that grows with n is derived for residual blocks whose branches are at "
    "most 1/sqrt(depth): depth_exponent=p with branch_exponent=-p/2 or less, of resnet-mlp and transformer"
)
LARGE_BRANCHES = (
    "needs at most {least} with depth_exponent={power}: branches above 1/sqrt(depth) make a residual stream without "
    "norms grow exponentially with depth; with norms, gradients grow by powers that depend on more than exponents. "
    "Take 1/sqrt(L) (Yang et al. 2023, arXiv 2310.02244) or 1/L (Dey et al. 2025, arXiv 2505.01618)"
)
VECTORS = (
    "needs {usual} with a growing depth: vectors and routers of single blocks stand beside those of n^p others, which "
    "has no rule here"
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


def growing_depth(
    depth_exponent: ExponentLike,
    branch_exponent: ExponentLike,
    norm: str,
    plain_norm: bool,
    **others: tuple[object, object],
) -> Exponent:
    """p of a depth of L = n^p residual blocks.

    They are ``blocks`` groups, one after the other, of blocks side by side: x + m sum over l of f_l(x) for the blocks l
    of a group, instead of one block after the other. What L branches add is then a sum along an axis, of the
    central-limit kind where it is odd in a block's own weights, aligned where it is not, and derived as any other.
    Within a group a block does not see those before it; across groups it does, so every kind of dependence occurs.
    Exponents are those of the network itself as long as the stream has a limit, which branches m of at most 1/sqrt(L)
    give it: a random walk at 1/sqrt(L), an ordinary differential equation at 1/L.

    The layers of a group are one matrix in the program, with the fans of one layer. Where it reads the stream, its site
    reports what one layer does; where it writes the stream, the sum over all of them, with the multiplier.

    Args:
        others: options that must have the value they have without a growing depth, as (value, that value).

    Raises:
        SettingError: for branches above 1/sqrt(depth), and for layers that every block has one vector of.

    Ref: the limits at 1/sqrt(L): Yang et al. 2023 (arXiv 2310.02244), Bordelon et al. 2023 (arXiv 2309.16620); 1/L: Dey
    et al. 2025 (arXiv 2505.01618).
    """
    power = growth("depth_exponent", depth_exponent)
    if power == ZERO:
        return power
    branch = exponent(branch_exponent, "branch_exponent")
    # Symbols may run over branches above it, too: without norms the stream is derived to diverge there, as it does.
    above = branch + power / 2
    if not known_le(above, ZERO) and (above.is_number or norm != "none"):
        raise SettingError("branch_exponent", str(branch), LARGE_BRANCHES.format(least=-power / 2, power=power))
    for option, (value, usual) in {"plain_norm": (norm == "none" or plain_norm, True), **others}.items():
        if value != usual:
            raise SettingError(option, str(value), VECTORS.format(usual=usual))
    return power


def hidden_axis(b: Builder, ff_exponent: ExponentLike, copies: Exponent = ZERO) -> Axis:
    """The neurons of a hidden layer inside a block: n^ff_exponent, of n^copies blocks together."""
    power = growth("ff_exponent", ff_exponent)
    return b.width if power == b.width.size and copies == ZERO else b.axis("hidden", power + copies, copies=copies)


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
