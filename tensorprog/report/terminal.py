"""The terminal: the plain text layout in colour, fitted to the width, through rich."""

from __future__ import annotations

import sys

from tensorprog.report.document import Document, Style
from tensorprog.report.text import layout

__all__ = ["print_document"]

STYLES: dict[Style, str] = {
    "": "",
    "good": "green",
    "warn": "yellow",
    "bad": "red",
    "dim": "dim",
    "strong": "bold",
}


def print_document(document: Document) -> None:
    """Print to a terminal in colour; as plain text where stdout is none."""
    if not sys.stdout.isatty():
        from tensorprog.report.text import text

        print(text(document))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    rule = "\u2500" if console.encoding.lower().startswith("utf") else "-"
    for line in layout(document, console.width, rule):
        console.print(
            Text.assemble(*((part, STYLES[style]) for part, style in line)), no_wrap=True, overflow="ignore", crop=False
        )
