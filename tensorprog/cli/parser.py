"""Parsing: argparse for splitting and help, one-line errors for everything else.

Values stay text here; :mod:`tensorprog.cli.options` reads them, because only it can say what is accepted.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from tensorprog.errors import ExponentError, SettingError, TensorprogError, UnknownName, Unsupported

__all__ = ["Given", "Group", "Option", "UsageError", "naming", "parse"]

NUMBERS = "N,..."
"""The metavar of lists of whole numbers."""

LISTED = 40
"""More accepted names than these are cut short: one line must stay readable."""


class UsageError(TensorprogError):
    """A command line that cannot be run; the message names the option, what was got and what is accepted."""

    def __init__(self, option: str, message: str) -> None:
        self.option = option
        super().__init__(f"{option}: {message}" if option else message)


@dataclass(frozen=True)
class Option:
    """One option of a verb.

    Args:
        flag: with its dashes, or a bare name for a positional argument.
        help: one sentence.
        metavar: what stands for the value; empty for a switch.
        repeat: may be given several times.
    """

    flag: str
    help: str
    metavar: str = ""
    repeat: bool = False

    @property
    def positional(self) -> bool:
        return not self.flag.startswith("-")


@dataclass(frozen=True)
class Group:
    """Options under one heading of the help."""

    title: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Given:
    """The values that were given, as text."""

    verb: str
    values: Mapping[str, list[str]]

    def __contains__(self, flag: str) -> bool:
        return flag in self.values

    def all(self, flag: str) -> list[str]:
        """Every value of an option."""
        return self.values.get(flag, [])

    def text(self, flag: str, default: str = "") -> str:
        """The value of an option that may be given once."""
        return self.values[flag][0] if flag in self.values else default

    def integer(self, flag: str, default: int, low: int, high: int) -> int:
        """A whole number in a range."""
        return integer(flag, self.text(flag), low, high) if flag in self.values else default


def integer(flag: str, text: str, low: int, high: int) -> int:
    """Read a whole number in ASCII digits."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or not low <= int(text) <= high:
        raise UsageError(flag, f"got {shortened(text)}; needs an integer from {low} to {high}")
    return int(text)


def shortened(got: object) -> str:
    """What was got, for an error line."""
    text = repr(str(got))
    return text if len(text) <= 80 else f"{text[:60]}...{text[0]}"


def listed(names: Sequence[str]) -> str:
    """What is accepted, for an error line."""
    if len(names) <= LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:LISTED])}, ... ({len(names)} in all)"


@contextmanager
def naming(flag: str, *, only: bool = False) -> Iterator[None]:
    """Errors of the engine, told in the name of the option that caused them.

    Args:
        only: what has no rule is no matter of this one option, and names what was asked itself.
    """
    try:
        yield
    except UsageError:
        raise
    except Unsupported as error:
        raise UsageError("" if only else flag, str(error)) from error
    except UnknownName as error:
        raise UsageError(flag, f"got {shortened(error.got)}; accepted are {listed(error.accepted)}") from error
    except ExponentError as error:
        accepted = "accepted are exact rationals such as -1/2, 0 or 3"
        raise UsageError(flag, f"got {shortened(error.got)}, {error.why}; {accepted}") from error
    except SettingError as error:
        raise UsageError(flag, f"got {shortened(error.got)}; {error.need}") from error
    except TensorprogError as error:
        raise UsageError(flag, str(error)) from error


class _Parser(argparse.ArgumentParser):
    """argparse, with its errors raised in one line."""

    def error(self, message: str) -> NoReturn:
        found = re.fullmatch(r"argument ([^:]+): (.*)", message, re.DOTALL)
        if found is None:
            raise UsageError("", message)
        flag, why = found.groups()
        if why == "expected one argument":
            option = self.options[flag]
            why = f"got no value; needs {option.metavar}, {option.help}"
        elif why.startswith("ignored explicit argument"):
            why = f"got {why.removeprefix('ignored explicit argument ')}; it is a switch and takes no value"
        raise UsageError(flag, why)

    options: Mapping[str, Option] = {}


def parse(verb: str, description: str, example: str, groups: Sequence[Group], argv: Sequence[str]) -> Given:
    """Split a command line.

    Raises:
        UsageError: for unknown options, missing values, and options given twice.
        SystemExit: after ``--help``.
    """
    known = [option for group in groups for option in group.options]
    parser = _Parser(
        prog=f"tensorprog {verb}",
        usage=f"tensorprog {verb} {''.join(f'{o.flag} ' for o in known if o.positional)}[OPTIONS]",
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.options = {o.flag: o for o in known}
    for group in groups:
        section = parser.add_argument_group(group.title)
        for option in group.options:
            _add(section, option)
    takes_value = {o.flag: o.metavar == NUMBERS for o in known if o.metavar and not o.positional}
    split, extra = parser.parse_known_args(_joined(argv, takes_value))
    if extra:
        _refuse(extra[0], known)
    values = {k: v for k, v in vars(split).items() if v is not None}
    for option in known:
        got = values.get(option.flag, [])
        if option.metavar and not option.repeat and len(got) > 1:
            raise UsageError(option.flag, f"given {len(got)} times ({', '.join(map(shortened, got))}); give it once")
    return Given(verb, values)


def _add(section: argparse._ArgumentGroup, option: Option) -> None:
    text = option.help.replace("%", "%%")
    if option.positional:
        section.add_argument(option.flag, metavar=option.metavar, nargs="?", type=lambda value: [value], help=text)
    elif option.metavar:
        section.add_argument(option.flag, metavar=option.metavar, dest=option.flag, action="append", help=text)
    else:
        section.add_argument(option.flag, dest=option.flag, action="append_const", const="", help=text)


def _joined(argv: Sequence[str], takes_value: Mapping[str, bool]) -> list[str]:
    """``--lr-exponent -1/2`` as ``--lr-exponent=-1/2``: argparse would take -1/2 for an option.

    Args:
        takes_value: options with a value, and whether it is a list of numbers: ``--widths 64 128`` is ``64,128`` too.
    """
    result: list[str] = []
    rest = list(argv)
    while rest:
        token = rest.pop(0)
        if token not in takes_value or not rest:
            result.append(token)
            continue
        value = rest.pop(0)
        while takes_value[token] and rest and _numbers(value) and _numbers(rest[0]):
            value = f"{value},{rest.pop(0)}"
        # A following long option is an option: the value was forgotten.
        result += [token, value] if value.startswith("--") else [f"{token}={value}"]
    return result


def _numbers(text: str) -> bool:
    return text.replace(",", "").isdecimal()


NOT_AXES = {
    "--batch": "there is no such option: a derivation is for a fixed number. There are no rules for a batch that grows "
    "with n; its size as it is changes constants only",
    "--depth": "there is no such option: give --hidden-layers or --blocks, or --depth-exponent for a depth that grows",
    "--width": "there is no such option: the width is n itself; validate and sweep train at --widths",
}
"""What is no axis of a network here, and what to do instead."""


def _refuse(token: str, known: Sequence[Option]) -> NoReturn:
    flags = [o.flag for o in known if not o.positional]
    flag = token.split("=")[0]
    if flag.removesuffix("-size") in NOT_AXES:
        raise UsageError(flag, NOT_AXES[flag.removesuffix("-size")])
    if token.startswith("-") and token != "-":
        raise UsageError(flag, f"no such option; accepted are {', '.join(flags)}")
    raise UsageError("", f"got an unexpected argument {shortened(token)}; options are {', '.join(flags)}")
