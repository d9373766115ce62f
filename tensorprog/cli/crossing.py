"""The verb for crossing widths: where the terms of measured sizes exchange dominance."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from tensorprog.cli.parser import Given, Group, Option, UsageError, parse, shortened
from tensorprog.cli.validate import VALIDATION, read_folder, read_run, show
from tensorprog.errors import SettingError

__all__ = ["CROSSING", "crossing"]

FOLDER = "crossing-out"
REPORTS = ("validation.json", "crossing.json")
"""What says how the networks of a folder were trained."""


def _own(option: Option) -> Option:
    if option.flag != "--out":
        return option
    return replace(option, help=option.help.replace("validation-out", FOLDER))


CROSSING = [
    Group(
        "networks that are trained already",
        (
            Option("DIR", "the folder of a validate run: nothing is trained, and all other options are its own", "DIR"),
            Option("--all", "list the sizes as well whose leading term leads at every measured width"),
        ),
    ),
    *(Group(group.title, tuple(map(_own, group.options))) for group in VALIDATION),
]
FREE = ("DIR", "--all", "--json", "--workers")
"""What may be given along with a folder."""


def crossing(given: Given) -> int:
    """Train or read what is trained, fit both prefactors of every size, and say where its terms cross."""
    if "DIR" in given:
        return _report(given, *_of_folder(given))
    return _report(given, given, None)


def _report(given: Given, run: Given, folder: Path | None) -> int:
    """Fit and print.

    Args:
        given: how to print.
        run: what to train, or what was trained.
        folder: where, if nothing is to be trained.
    """
    options = read_run(run) if folder is None else _read_again(run)
    from validation.report import crossings
    from validation.run import validate

    out = read_folder(given, FOLDER) if folder is None else folder
    try:
        result = validate(out, **options, train=folder is None, report=False)
    except SettingError as error:
        if folder is None:
            raise UsageError("--widths", f"got {shortened(error.got)}; {error.need}") from error
        raise UsageError("DIR", f"got {shortened(folder)}, with {error.got}; {error.need}") from error
    try:
        crossings.write(result, out)
    except OSError as error:
        raise UsageError("DIR" if folder else "--out", f"cannot write to {shortened(out)}: {error.strerror}") from error
    if "--json" in given:
        sys.stdout.write(json.dumps(crossings.document(result, out), indent=2) + "\n")
    else:
        show(crossings.renderable(result, every="--all" in given), result.files)
    return 0


def _read_again(run: Given) -> dict[str, object]:
    """The options of an earlier run; its device need not be here."""
    device = run.text("--device", "cpu")
    options = read_run(Given(run.verb, {**run.values, "--device": ["cpu"]}))
    return {**options, "device": device}


def _of_folder(given: Given) -> tuple[Given, Path]:
    """The command line that trained the networks of a folder."""
    folder = Path(given.text("DIR"))
    for flag in given.values:
        if flag not in FREE and given.values[flag]:
            raise UsageError(flag, f"contradicts DIR, whose networks are trained; give a folder or {flag}")
    try:
        found = [path for name in REPORTS if (path := folder / name).is_file()]
    except (OSError, ValueError):  # no name of a file at all
        found = []
    if not found:
        needs = "needs the folder of a validate run; to train networks, say which with options"
        raise UsageError("DIR", f"got {shortened(folder)}, which has no {REPORTS[0]}; {needs}")
    try:
        command = json.loads(found[0].read_text(encoding="utf-8"))["command"]
        words = shlex.split(command)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        needs = "run validate once more with --out, which trains nothing again"
        raise UsageError("DIR", f"got {shortened(folder)}, whose {found[0].name} names no command; {needs}") from error
    if words[:2] != ["tensorprog", "validate"]:
        needs = "repeat its options, with --out, which trains nothing again"
        raise UsageError("DIR", f"got {shortened(folder)}, a run that no command line describes; {needs}")
    try:
        run = parse("crossing", "", "", CROSSING, words[2:])
        run = Given(run.verb, {**run.values, **{k: v for k, v in given.values.items() if k == "--workers"}})
        read_run(Given(run.verb, {**run.values, "--device": ["cpu"]}))
    except UsageError as error:
        broken = f"whose {found[0].name} names a command that does not work"
        raise UsageError("DIR", f"got {shortened(folder)}, {broken}: {error}") from error
    return run, folder
