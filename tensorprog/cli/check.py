"""The verb check: a user's own model, traced and held against a parametrization."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorprog.cli.entries import split
from tensorprog.cli.parser import NUMBERS, Given, Group, Option, UsageError, integer, listed, naming, shortened
from tensorprog.errors import SettingError, TensorprogError, UnknownName
from tensorprog.losses import LOSSES, loss
from tensorprog.optimizers import OPTIMIZERS
from tensorprog.parametrizations import PARAMETRIZATIONS
from tensorprog.trace.maximal import CLAIMS

if TYPE_CHECKING:
    from tensorprog.trace.model import Traced

__all__ = ["CHECK", "check"]

TARGET = "FILE.py:FUNCTION"
EXTRA = "install tensorprog[validation]"
CLAIMED = (*PARAMETRIZATIONS, *CLAIMS)

CHECK = (
    Group(
        "the model",
        (
            Option(TARGET, "a function of the width that returns an initialised torch module", TARGET),
            Option("--example", "the name, in FILE.py, of an input of the model or a function of the width "
                   "[example, or made]", "NAME"),
            Option("--optimizer", "the name, in FILE.py, of a function model -> torch optimizer(s) [optimizer]; or an "
                   f"optimizer with one rate for all: {', '.join(OPTIMIZERS)}", "NAME"),
            Option("--loss", f"the name, in FILE.py, of a loss of torch [loss]; or one of {', '.join(LOSSES)} [ce]",
                   "NAME"),
            Option("--clip", "the training loop clips the global gradient norm"),
            Option("--widths", "at least two widths to trace [64,128,256]", NUMBERS),
        ),
    ),
    Group(
        "the verdict",
        (
            Option("--claim", f"exit with 1 unless it holds: {', '.join(CLAIMED)} [compared with mup, and "
                   "its rates with the largest stable ones]", "PARAMETRIZATION"),
            Option("--json", "print one JSON object; exponents are strings"),
        ),
    ),
)  # fmt: skip


def check(given: Given) -> int:
    """Trace, predict, advise; 1 where a claim fails."""
    claim = given.text("--claim") if "--claim" in given else None
    if claim is not None and claim not in CLAIMED:
        raise UsageError("--claim", f"got {shortened(claim)}; accepted are {', '.join(CLAIMED)}")
    widths = [integer("--widths", n, 1, 1 << 20) for n in split("--widths", given.text("--widths", "64,128,256"))]
    if len(set(widths)) < 2:
        raise UsageError("--widths", f"got {given.text('--widths')!r}; needs at least two different widths")
    build, members = _read(given)
    if importlib.util.find_spec("torch") is None:
        raise UsageError("", f"needs torch; {EXTRA}")
    # What the user's own code prints is no part of the result.
    with contextlib.redirect_stdout(sys.stderr):
        traced = _traced(given, build, members, widths)
        with naming(TARGET):
            result = traced.check(claim)
            told = json.dumps(result.to_dict(), indent=2) if "--json" in given else str(result)
    print(told)
    return 1 if claim is not None and not result.holds else 0


def _read(given: Given) -> tuple[Callable[[int], Any], dict[str, Any]]:
    """The function, and everything else that the file defines."""
    if TARGET not in given:
        raise UsageError(TARGET, "is missing; name a file and a function of the width in it, such as model.py:build")
    text = given.text(TARGET)
    name, colon, function = text.rpartition(":")
    if not colon or not name or not function:
        raise UsageError(TARGET, f"got {shortened(text)}; needs a file and a function, such as model.py:build")
    path = Path(name)
    if not path.is_file():
        raise UsageError(TARGET, f"got {shortened(text)}; there is no file {shortened(name)}")
    with contextlib.redirect_stdout(sys.stderr):
        members = _executed(path)
    if not callable(members.get(function)):
        found = [key for key, value in members.items() if callable(value) and not key.startswith("_")]
        raise UsageError(TARGET, f"got {shortened(function)}; functions in {name} are {listed(found) or 'none'}")
    return members[function], members


def _executed(path: Path) -> dict[str, Any]:
    name, root = _qualified(path.resolve())
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(TARGET, f"got {shortened(path)}; needs a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(root))
    known = sys.modules.get(name)
    try:
        with _own_code(f"{path} cannot be executed"):
            if "." in name:
                importlib.import_module(name.rpartition(".")[0])  # what its relative imports start from
            sys.modules[name] = module  # dataclasses and the like look their module up
            spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
        if known is not None:
            sys.modules[name] = known
    return vars(module)


def _qualified(path: Path) -> tuple[str, Path]:
    """The name of a file as a module, and the folder that it is imported from: the one outside of its packages."""
    name, folder = path.stem, path.parent
    while (folder / "__init__.py").is_file():
        name, folder = f"{folder.name}.{name}", folder.parent
    return name, folder


@contextlib.contextmanager
def _own_code(what: str) -> Iterator[None]:
    """Whatever the user's own code raises, in one line."""
    try:
        yield
    except (TensorprogError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise UsageError(TARGET, f"{what}: {type(error).__name__}: {error}") from error


OPTIONS = {flag.removeprefix("--"): flag for flag in ("--example", "--widths", "--loss", "--optimizer", "--clip")}


def _traced(given: Given, build: Callable[[int], Any], members: dict[str, Any], widths: list[int]) -> Traced:
    from tensorprog.trace import trace

    example = _member(given, "--example", members, "example") if "--example" in given else members.get("example")
    optimizer = _member(given, "--optimizer", members, "optimizer", OPTIMIZERS, "sgd")
    chosen = _member(given, "--loss", members, "loss", LOSSES, "ce")
    declared = {key: members[key] for key in ("output", "inits", "entries", "clip") if key in members}
    if "--clip" in given:
        declared["clip"] = 1.0
    if isinstance(chosen, str):
        chosen = loss(chosen)
    try:
        with _own_code(f"{given.text(TARGET)} cannot be traced"):
            return trace(build, widths, example=example, optimizer=optimizer, loss=chosen, **declared)
    except SettingError as error:
        if error.what in OPTIONS:
            raise UsageError(OPTIONS[error.what], f"got {shortened(error.got)}; {error.need}") from error
        flag = "--optimizer" if error.what.startswith("optimizer") else TARGET
        raise UsageError(flag, str(error)) from error
    except UnknownName as error:
        raise UsageError("--optimizer", str(error)) from error
    except UsageError:
        raise
    except TensorprogError as error:
        raise UsageError(TARGET, str(error)) from error


def _member(
    given: Given, flag: str, members: dict[str, Any], default: str, known: Any = (), otherwise: str | None = None
) -> Any:
    """What an option names: something in the file, or a registered name."""
    name = given.text(flag, default)
    if name in members:
        return members[name]
    if name in known:
        return name
    if flag not in given and otherwise is not None:
        return otherwise
    accepted = ", ".join([*known, "a name that the file defines"])
    raise UsageError(flag, f"got {shortened(name)}; accepted are {accepted}")
