"""Options of architectures: checks that several share, with errors that name the option and what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tensorprog.errors import SettingError, UnknownName

__all__ = ["count", "one_of", "shown"]


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


def shown(name: str, chosen: Mapping[str, object], usual: Mapping[str, object]) -> str:
    """The label of an architecture: its options without those that have their usual values."""
    parts = (f"{option}={value}" for option, value in chosen.items() if option not in usual or value != usual[option])
    return f"{name}({', '.join(parts)})"
