"""Where results go: a terminal in colour, a pipe as plain text, a file, in the format asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tensorprog.cli.parser import Given, Group, Option, UsageError, shortened
from tensorprog.report import document_of
from tensorprog.stability import StableRates

if TYPE_CHECKING:
    from tensorprog.report import Reportable

__all__ = ["OUTPUT", "check_output", "emit"]

NAMES = ("text", "md", "latex", "csv", "json", "html")

OUTPUT = Group(
    "output",
    (
        Option("--json", "print one JSON object; exponents are strings"),
        Option("--format", f"{', '.join(NAMES)} [a table for people]", "FORMAT"),
        Option("--output", "write to a file; its ending gives the format unless --format does", "FILE"),
    ),
)


def check_output(given: Given, *, records: bool = False) -> str:
    """The format, empty for the default one. Called before any work, so that a typo does not cost a long run.

    Args:
        records: the result is a list of records, which CSV can hold.
    """
    from tensorprog.report.render import FORMATS, SUFFIXES

    form = given.text("--format")
    if form and form not in FORMATS:
        raise UsageError("--format", f"got {shortened(form)}; accepted are {', '.join(FORMATS)}")
    if "--json" in given:
        if form not in ("", "json"):
            raise UsageError("--format", f"got {form!r}, which contradicts --json; give one of them")
        form = "json"
    if "--output" in given:
        path = Path(given.text("--output"))
        if not form and path.suffix not in SUFFIXES:
            endings = ", ".join(SUFFIXES)
            raise UsageError("--output", f"got {shortened(path)}; needs a --format or one of the endings {endings}")
        if path.is_dir() or not path.parent.is_dir():
            what = "is a folder" if path.is_dir() else f"has no folder {str(path.parent)!r} to go to"
            raise UsageError("--output", f"got {shortened(path)}, which {what}; needs a file in an existing folder")
        form = form or SUFFIXES[path.suffix]
    if form == "csv" and not records:
        others = ", ".join(name for name in FORMATS if name != "csv")
        raise UsageError("--format", f"got 'csv', but this result is no list of records; accepted are {others}")
    return form


def emit(given: Given, value: Reportable, *, rates: StableRates | None = None) -> None:
    """Print or write a result."""
    form = check_output(given, records=True)
    if not form:
        from tensorprog.report.terminal import print_document

        print_document(document_of(value, rates))
        return
    from tensorprog.report.render import render

    text = render(value, form, rates=rates)
    if "--output" not in given:
        sys.stdout.write(text + "\n")
        return
    try:
        Path(given.text("--output")).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError("--output", f"cannot write {shortened(given.text('--output'))}: {error.strerror}") from error
