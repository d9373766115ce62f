"""Options of registry entries: what an optimizer or a network can be told, read off the entries themselves.

A new optimizer with a new field, or an architecture with a new parameter, has its option without an edit here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any

from tensorprog.architectures.options import is_power
from tensorprog.cli.parser import Given, Option, UsageError, integer, naming, shortened

__all__ = ["EntryOption", "entry_options", "read_options"]

LARGEST_INTEGER = 256
"""Layers and the like: deeper networks take minutes to explore, and say nothing new; they are refused."""


@dataclass(frozen=True)
class EntryOption:
    """A parameter that some entries of a registry have.

    Args:
        name: of the parameter.
        owners: names of the entries that have it.
        defaults: of each of them; the type of the first decides how text is read.
        help: its line in the entry's docstring.
    """

    name: str
    owners: tuple[str, ...]
    defaults: tuple[Any, ...]
    help: str

    @property
    def default(self) -> Any:
        return self.defaults[0]

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        return isinstance(self.default, bool)

    def option(self, *, several: bool = False) -> Option:
        """As an option of the command line; ``several`` where a list is accepted."""
        if self.is_switch:
            return Option(self.flag, self.help)
        metavar = "N" if isinstance(self.default, int) else "NAME" if isinstance(self.default, str) else "VALUE"
        shown = [str(getattr(default, "value", default)) for default in self.defaults]
        if len(set(shown)) > 1:
            shown = [f"{owner} {default}" for owner, default in zip(self.owners, shown, strict=True)]
        told = ", ".join(dict.fromkeys(shown))
        return Option(self.flag, f"{self.help} [{told}]", f"{metavar},..." if several else metavar)

    def read(self, text: str) -> Any:
        """One value."""
        if isinstance(self.default, int):
            # A power of n is no integer; the entry says what may grow.
            return text if is_power(text) else integer(self.flag, text, 1, LARGEST_INTEGER)
        if isinstance(self.default, float):
            try:
                return float(text)
            except ValueError:
                raise UsageError(self.flag, f"got {shortened(text)}; needs a number") from None
        return text


def entry_options(registry: Mapping[str, Any], helps: Mapping[str, str] | None = None) -> tuple[EntryOption, ...]:
    """The parameters of all entries of a registry: functions, dataclasses or values of one with defaults.

    Args:
        helps: descriptions in place of the docstrings'.
    """
    found: dict[str, EntryOption] = {}
    for entry, make in registry.items():
        told = {**_told(make), **(helps or {})}
        for name, default in _parameters(make).items():
            known = found.get(name, EntryOption(name, (), (), told.get(name, "")))
            found[name] = replace(known, owners=(*known.owners, entry), defaults=(*known.defaults, default))
    return tuple(found.values())


def _parameters(make: Any) -> dict[str, Any]:
    if is_dataclass(make):
        return {f.name: f.default for f in fields(make) if f.init and f.default is not MISSING}
    return {p.name: p.default for p in inspect.signature(make).parameters.values()}


def _told(make: Any) -> dict[str, str]:
    """Parameter descriptions of a docstring's Args section, up to the first stop or semicolon."""
    section = (inspect.getdoc(make) or "").partition("Args:\n")[2].split("\n\n")[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {6,}.*)*)", section, re.MULTILINE)
    return {name: re.split(r"[;.](?:\s|$)", " ".join(text.replace("``", "").split()))[0] for name, text in found}


def read_options(
    given: Given, options: tuple[EntryOption, ...], what: str, entries: list[str], *, several: bool = False
) -> dict[str, list[Any]]:
    """The values given for the options that ``entries`` have, as lists; ``several`` where commas separate values.

    Raises:
        UsageError: for an option that none of the entries has, listing those they do have.
    """
    result: dict[str, list[Any]] = {}
    for option in options:
        if option.flag not in given:
            continue
        if not set(option.owners) & set(entries):
            have = [o.flag for o in options if set(o.owners) & set(entries)]
            names = f"{what} {' or '.join(dict.fromkeys(entries))}"
            raise UsageError(
                option.flag, f"{names} has no such option; its options are: {', '.join(have) if have else 'none'}"
            )
        with naming(option.flag):
            text = given.text(option.flag)
            texts = split(option.flag, text) if several else [text]
            result[option.name] = [True] if option.is_switch else [option.read(t) for t in texts]
    return result


def split(flag: str, text: str) -> list[str]:
    """A comma list without repetitions."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageError(flag, f"got {shortened(text)}; needs values separated by single commas")
    for part in parts:
        if parts.count(part) > 1:
            raise UsageError(flag, f"got {shortened(text)}; {part!r} is listed twice")
    return parts
