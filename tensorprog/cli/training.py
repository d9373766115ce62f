"""Optimizers and losses of a command line, with the options of whatever is inside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorprog import losses, optimizers
from tensorprog.cli.entries import EntryOption, entry_options, read_options
from tensorprog.cli.parser import Given, UsageError, naming, shortened
from tensorprog.losses import Loss
from tensorprog.optimizers import Optimizer

__all__ = [
    "LOSS",
    "LOSS_OPTIONS",
    "OPTIMIZER",
    "OPTIMIZER_OPTIONS",
    "Kind",
    "read_losses",
    "read_optimizers",
    "split_groups",
]

NUMBERS = "accepted are exact rationals such as -1/2, 0 or 3"


@dataclass(frozen=True)
class Kind:
    """One kind of entries.

    Args:
        flag: the option that names one.
        what: how errors call one.
        plain: the registry.
        around: entries around another one.
        base: the option that names what an entry is around.
        make: (name, options) -> entry.
    """

    flag: str
    what: str
    plain: Mapping[str, Any]
    around: Mapping[str, Any]
    base: str
    make: Callable[..., Any]

    @property
    def names(self) -> dict[str, Any]:
        """All entries."""
        return {**self.plain, **self.around}

    @property
    def options(self) -> tuple[EntryOption, ...]:
        """The options of all entries, the one that names a base first."""
        return tuple(sorted(entry_options(self.names), key=lambda o: o.name != self.base))

    def inside(self, name: str, base: str) -> list[str]:
        """The names of all entries that ``name`` consists of; ``base`` where a base was named."""
        if group := _members(name):
            return list(group.values())
        if name not in self.around:
            return [name]
        return [name, base or next(str(o.default) for o in self.options if o.name == self.base)]


OPTIMIZER = Kind(
    "--optimizer",
    "the optimizer",
    optimizers.OPTIMIZERS,
    optimizers.WRAPPERS,
    "base_optimizer",
    optimizers.optimizer,
)
LOSS = Kind("--loss", "the loss", losses.LOSSES, losses.WRAPPERS, "base_loss", losses.loss)

OPTIMIZER_OPTIONS, LOSS_OPTIONS = OPTIMIZER.options, LOSS.options


def read_optimizers(given: Given, names: Sequence[str], free: frozenset[str] = frozenset()) -> list[Optimizer]:
    """Optimizers with the options given for them; ``free`` are the declared symbols."""
    return _read(given, OPTIMIZER, OPTIMIZER_OPTIONS, names, free)


def read_losses(given: Given, names: Sequence[str], free: frozenset[str] = frozenset()) -> list[Loss]:
    """Losses with the options given for them; ``free`` are the declared symbols."""
    return _read(given, LOSS, LOSS_OPTIONS, names, free)


def _read(
    given: Given, kind: Kind, options: Sequence[EntryOption], names: Sequence[str], free: frozenset[str]
) -> list[Any]:
    base = given.text("--" + kind.base.replace("_", "-"))
    inside = {name: kind.inside(name, base) for name in names}
    values = read_options(given, tuple(options), kind.what, [part for parts in inside.values() for part in parts])

    def made(name: str, parts: Sequence[str]) -> Any:
        """One entry, its options one after the other, so that an error names the right one."""
        own: dict[str, Any] = {}
        for option in options:
            if option.name not in values or not set(option.owners) & set(parts):
                continue
            (own[option.name],) = values[option.name]
            with naming(option.flag):
                entry = kind.make(name, **own)
            if unknown := sorted(entry.symbols - free):  # a typo never becomes a symbol
                got = shortened(own[option.name])
                raise UsageError(option.flag, f"got {got}, whose {unknown[0]!r} is not declared with --free; {NUMBERS}")
        with naming(kind.flag):
            return kind.make(name, **own)

    result = []
    for name in names:
        if group := _members(name):
            with naming(kind.flag):
                result.append(kind.make({key: made(member, [member]) for key, member in group.items()}))
        else:
            result.append(made(name, inside[name]))
    return result


def _members(name: str) -> dict[str, str]:
    """``hidden=muon,else=adam`` as a mapping; empty for the name of an entry."""
    parts = [part.partition("=") for part in name.split(",")] if "=" in name else []
    return {key.strip(): value.strip() for key, _, value in parts}


def split_groups(names: Sequence[str]) -> list[str]:
    """Join what belongs to one ``hidden=muon,else=adam`` in a list split at commas; a repeated key starts another."""
    found: list[str] = []
    for name in names:
        known = _members(found[-1]) if found else {}
        if known and "=" in name and name.partition("=")[0].strip() not in known:
            found[-1] += f",{name}"
        else:
            found.append(name)
    return found
