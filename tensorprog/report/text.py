"""Plain text: aligned columns, ASCII only, no wrapping of tables.

The layout yields lines of (text, style) segments, so that a terminal can print the same lines in colour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tensorprog.report.document import Bullets, Cell, Document, Facts, Grid, Paragraph, Steps, Style

__all__ = ["Line", "layout", "text"]

Line = list[tuple[str, Style]]

WRAP = 100
"""Columns of running text where the width is not known."""


def text(document: Document) -> str:
    """A document as plain text."""
    return "\n".join("".join(part for part, _ in line).rstrip() for line in layout(document))


def layout(document: Document, width: int | None = None, rule: str = "-") -> Iterator[Line]:
    """The lines of a document.

    Args:
        width: of the terminal; None where there is none. Tables that do not fit are set closer, then with short words.
        rule: the character of the line under a table's head.
    """
    wrap = min(width or WRAP, WRAP)
    yield [(line, "strong") for line in [document.title] if line]
    for block in document.blocks:
        yield []
        match block:
            case Paragraph(body, style):
                for line in textwrap.wrap(body, wrap):
                    yield [(line, style)]
            case Facts():
                yield from _facts(block, wrap)
            case Grid():
                yield from _grid(block, width, rule, wrap)
            case Bullets(title, items, numbered):
                yield [(title, "strong")]
                for i, item in enumerate(items, 1):
                    yield from _hanging(f"  [{i}] " if numbered else "  - ", item, wrap, "")
            case Steps():
                yield from _steps(block, wrap)


def _hanging(head: str, body: str, wrap: int, style: Style) -> Iterator[Line]:
    lines = textwrap.wrap(body, max(wrap - len(head), 20), break_long_words=False, break_on_hyphens=False) or [""]
    for i, line in enumerate(lines):
        yield [(head if not i else " " * len(head), ""), (line, style)]


def _facts(block: Facts, wrap: int) -> Iterator[Line]:
    margin = max(len(f.name) for f in block.facts) + 2
    for fact in block.facts:
        yield from _hanging(fact.name.ljust(margin), fact.value, wrap, fact.style)
        for line in fact.support:
            yield from _hanging(" " * margin + "- ", line, wrap, "")


def _steps(block: Steps, wrap: int) -> Iterator[Line]:
    yield [(block.title, "strong")]
    margin = max((len(s.size) for s in block.steps), default=0) + 2
    for step in block.steps:
        first, *more = _hanging(step.size.ljust(margin), step.text, wrap, "")
        yield [(step.size.ljust(margin), "strong"), *first[1:]]
        yield from more
        for note in step.notes:
            yield from _hanging(" " * (margin + 2), note, wrap, "dim")


# -- tables --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sheet:
    """A grid as strings, with the width of every column."""

    grid: Grid
    cells: list[list[list[str]]]
    widths: list[int]
    gap: int

    @property
    def total(self) -> int:
        return sum(self.widths) + self.gap * (len(self.widths) - 1)


def _sheet(grid: Grid, gap: int, short: bool) -> _Sheet:
    if short:
        columns = (replace(c, title=c.short[0], group=c.short[1]) if c.short else c for c in grid.columns)
        grid = replace(grid, columns=tuple(columns))
    cells = [[[c.text(short=short) for c in row] for row in s.rows] for s in grid.sections]
    widths = [len(c.title) for c in grid.columns]
    for row in (row for section in cells for row in section):
        widths = [max(w, len(t)) for w, t in zip(widths, row, strict=True)]
    at = 0
    for group, span in grid.groups():
        missing = len(group) - sum(widths[at : at + span]) - gap * (span - 1)
        if missing > 0:
            widths[at] += missing
        at += span
    return _Sheet(grid, cells, widths, gap)


def _grid(grid: Grid, width: int | None, rule: str, wrap: int) -> Iterator[Line]:
    for line in textwrap.wrap(grid.caption, wrap):
        yield [(line, "dim")]
    sheet = _sheet(grid, 2, False)
    if width is not None and sheet.total > width:
        sheet = _sheet(grid, 1, False)
    if width is not None and sheet.total > width:
        sheet = _sheet(grid, 1, True)
    yield from _head(sheet, rule)
    for section, rows in zip(grid.sections, sheet.cells, strict=True):
        if section.title:
            if section is not grid.sections[0]:
                yield []
            yield [(section.title, "strong")]
        for cells, texts in zip(section.rows, rows, strict=True):
            yield _row(sheet, cells, texts)
    if grid.notes:
        yield []
    for note in grid.notes:
        yield from _hanging("", note, wrap, "dim")


def _head(sheet: _Sheet, rule: str) -> Iterator[Line]:
    columns, gap = sheet.grid.columns, " " * sheet.gap
    if any(c.group for c in columns):
        parts, at = [], 0
        for group, span in sheet.grid.groups():
            size = sum(sheet.widths[at : at + span]) + sheet.gap * (span - 1)
            parts.append(f" {group} ".center(size, rule) if len(group) + 2 <= size and group else group.center(size))
            at += span
        yield [(gap.join(parts), "dim")]
    titles = [c.title.rjust(w) if c.numeric else c.title.ljust(w) for c, w in zip(columns, sheet.widths, strict=True)]
    yield [(gap.join(titles), "strong")]
    yield [(rule * sheet.total, "dim")]


def _row(sheet: _Sheet, cells: tuple[Cell, ...], texts: list[str]) -> Line:
    line: Line = []
    for column, size, cell, shown in zip(sheet.grid.columns, sheet.widths, cells, texts, strict=True):
        if line:
            line.append((" " * sheet.gap, ""))
        style: Style = "dim" if cell.value is None else cell.style
        line.append((shown.rjust(size) if column.numeric else shown.ljust(size), style))
    return line
