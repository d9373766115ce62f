"""Options that differ from weight to weight, by role or name: ``hidden=muon,else=adam``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tensorprog.errors import SettingError, UnknownName
from tensorprog.program import Role, Weight

__all__ = ["ELSE", "ByRole"]

ELSE = "else"
"""The key of all weights that no other key names."""

V = TypeVar("V")


@dataclass(frozen=True)
class ByRole(Generic[V]):
    """A value for each weight: its name wins over its role, its role over ``else``.

    Args:
        items: (name, role or ``else``; value), in the order given.
    """

    items: tuple[tuple[str, V], ...] = ()

    @classmethod
    def read(cls, given: str | Mapping[str, Any] | ByRole[V], what: str, read: Callable[[Any, str], V]) -> ByRole[V]:
        """Read ``"hidden=muon,else=adam"``, or a mapping.

        Args:
            what: how an error names it.
            read: (value, what) -> V.
        """
        if isinstance(given, ByRole):
            return given
        pairs: list[tuple[str, Any]] = list(given.items()) if isinstance(given, Mapping) else []
        if isinstance(given, str):
            for text in given.split(",") if given.strip() else ():
                key, equals, value = (part.strip() for part in text.partition("="))
                if not (key and equals and value):
                    raise SettingError(what, given, "needs ROLE=VALUE,..., such as hidden=...,else=...")
                pairs.append((key, value))
        elif not isinstance(given, Mapping):
            raise SettingError(what, given, "needs a mapping from roles or weight names, or ROLE=VALUE,...")
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise SettingError(what, given, f"names {key!r} twice; give one of them")
        return cls(tuple((key, read(value, f"{what} of {key}")) for key, value in pairs))

    def get(self, weight: Weight) -> V | None:
        """The value of one weight; None where no key fits and there is no ``else``."""
        table = dict(self.items)
        for key in ((weight.like or weight).name, weight.role.value, ELSE):
            if key in table:
                return table[key]
        return None

    def check(self, weights: Sequence[Weight], what: str, *, complete: bool = False) -> None:
        """Every key must name a role, a weight of the network or ``else``.

        Args:
            complete: moreover every weight must have a value.
        """
        known = dict.fromkeys([*(r.value for r in Role), *(w.name for w in weights if w.like is None), ELSE])
        for key, _ in self.items:
            if key not in known:
                raise UnknownName(f"{what}: role or weight", key, known)
        missing = [w.name for w in weights if self.get(w) is None]
        if complete and missing:
            raise SettingError(what, str(self), f"gives nothing for {', '.join(missing)}; add {ELSE}=...")

    def values(self) -> Iterator[V]:
        """The distinct values, in order."""
        return iter(dict.fromkeys(value for _, value in self.items))

    @property
    def symbols(self) -> frozenset[str]:
        return frozenset().union(*(getattr(value, "symbols", ()) for _, value in self.items))

    def substitute(self, values: Mapping[str, Any]) -> ByRole[V]:
        return ByRole(tuple((key, v.substitute(values)) for key, v in self.items))  # type: ignore[attr-defined]

    def __str__(self) -> str:
        return ",".join(f"{key}={value}" for key, value in self.items)
