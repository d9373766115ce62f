"""Free symbols by name: which exponent of a setting a symbol such as ``b_readout`` stands for.

    r                    the global factor n^r on every learning rate
    c                    the same with the papers' sign: every learning rate times n^-c
    a_ROLE, b_ROLE, c_ROLE  the multiplier, init and learning-rate exponents of a role or of one weight (dots become _)
    an option            an exponent option of the optimizer or the loss, such as ``epsilon_exponent``

A name that some exponent of the setting contains already keeps that meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from tensorprog.errors import UnknownName
from tensorprog.exponent import Exponent, symbol
from tensorprog.setting import Setting

__all__ = ["bind", "bindable"]

KEYS = ("a", "b", "c")


def bind(s: Setting, names: Iterable[str]) -> Setting:
    """The setting with the named exponents as free symbols.

    Raises:
        UnknownName: for a name that stands for no exponent of this setting.

    Example:
        >>> import tensorprog as tp
        >>> from tensorprog.setting import setting
        >>> free = bind(setting(tp.mlp(hidden_layers=1)), ["r", "b_readout"])
        >>> [str(abc.b) for abc in free.exponents().values()], str(free.lr_exponent)
        (['0', 'b_readout'], 'r')
    """
    for name in names:
        if name not in s.symbols:
            s = _bound(s, name)
    return s


def bindable(s: Setting) -> list[str]:
    """The names that :func:`bind` accepts for a setting."""
    targets = [f"{key}_{target}" for key in KEYS for target in _targets(s)]
    return ["r", "c", *targets, *(name for name, _ in _options(s))]


def _bound(s: Setting, name: str) -> Setting:
    if name in ("r", "c"):
        return replace(s, lr_exponent=symbol(name) if name == "r" else -symbol(name))
    key, _, rest = name.partition("_")
    target = _targets(s).get(rest) if key in KEYS else None
    if target is not None:
        return replace(s, parametrization=s.parametrization.where(target, **{key: symbol(name)}))
    for option, owner in _options(s):
        if option == name:
            entry: Any = replace(getattr(s, owner), **{name: symbol(name)})
            return replace(s, **{owner: entry})
    raise UnknownName("free symbol", name, bindable(s))


def _targets(s: Setting) -> dict[str, str]:
    """Roles and weights by the names that symbols can carry; a role wins over a weight of its name."""
    weights = {w.name.replace(".", "_"): w.name for w in s.program.independent}
    return weights | {w.role.value: w.role.value for w in s.program.weights}


def _options(s: Setting) -> Iterator[tuple[str, str]]:
    for owner in ("optimizer", "loss"):
        entry: Any = getattr(s, owner)
        for name in getattr(entry, "accepts", ()):
            if isinstance(getattr(entry, name), Exponent) and name.endswith("_exponent"):
                yield name, owner
