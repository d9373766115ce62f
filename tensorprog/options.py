"""Options of entries: dataclass fields, read exactly, told as text, with symbols that can be replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, replace
from typing import Any, ClassVar, Self

from tensorprog.errors import SettingError
from tensorprog.exponent import ZERO, Exponent, exponent

__all__ = ["Options", "power_of", "read_exponents", "read_positive", "read_powers"]


class Options:
    """What entries with options share: the options are the fields that their dataclass takes and gives a default."""

    kind: ClassVar[str] = "entry"
    """What an error calls them: optimizer, loss."""

    def options(self) -> dict[str, str]:
        """The options that differ from their defaults, for settings and labels."""
        told = {f: str(getattr(self, f.name)) for f in _fields(self)}
        return {f.name: text for f, text in told.items() if text != str(_default(f))}

    @property
    def accepts(self) -> tuple[str, ...]:
        """The names of all options."""
        return tuple(f.name for f in _fields(self))

    @property
    def symbols(self) -> frozenset[str]:
        """Free symbols of the options."""
        found: frozenset[str] = frozenset()
        for f in _fields(self):
            found |= getattr(getattr(self, f.name), "symbols", frozenset())
        return found

    def substitute(self, values: Mapping[str, Exponent]) -> Self:
        """The entry with symbols replaced."""
        if not values or not self.symbols:
            return self
        own = {f.name: getattr(self, f.name) for f in _fields(self)}
        changed = {name: x.substitute(values) for name, x in own.items() if hasattr(x, "symbols")}
        result: Self = replace(self, **changed)  # type: ignore[type-var]
        return result

    def __str__(self) -> str:
        options = ", ".join(f"{k}={v}" for k, v in self.options().items())
        name: str = self.name  # type: ignore[attr-defined]  # a class variable of some, a field of others
        return f"{name}({options})" if options else name


def _fields(entry: object) -> list[Field[Any]]:
    return [f for f in fields(entry) if f.init and _default(f) is not MISSING]  # type: ignore[arg-type]


def _default(f: Field[Any]) -> object:
    return f.default_factory() if f.default_factory is not MISSING else f.default


# -- reading, in place: for use in ``__post_init__`` of frozen dataclasses ---------------------------------------------


def read_exponents(entry: Any, *names: str, zero: str = "") -> None:
    """Read options as exact exponents.

    Args:
        zero: what -oo means, where it is accepted.

    Raises:
        ExponentError, SettingError: naming the option.
    """
    for name in names:
        what = f"{entry.kind} {entry.name}, {name}"
        e = exponent(getattr(entry, name), what)
        if e.infinite > 0 or (e.infinite and not zero):
            need = f"needs a finite exponent, or -oo for {zero}" if zero else "needs a finite exponent"
            raise SettingError(what, str(e), need)
        object.__setattr__(entry, name, e)


def read_powers(entry: Any, *names: str) -> None:
    """Read options as exact numbers of at least 0."""
    for name in names:
        what = f"{entry.kind} {entry.name}, {name}"
        e = exponent(getattr(entry, name), what)
        if not e.is_number or e < ZERO:
            raise SettingError(what, str(e), "needs an exact number of at least 0, such as 1/4")
        object.__setattr__(entry, name, e)


def read_positive(entry: Any, *names: str) -> None:
    """Check numeric options."""
    for name in names:
        value = getattr(entry, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise SettingError(f"{entry.kind} {entry.name}, {name}", value, "needs a positive number")


def power_of(width: float, e: Exponent, zero: float = 0.0) -> float:
    """n^e as a number; ``zero`` where e is -oo."""
    if e.coefficients:
        raise SettingError("exponent of an option", str(e), "needs a number where it is evaluated at a width")
    return zero if e.infinite else float(width ** float(e.const))
