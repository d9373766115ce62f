"""Markdown (GitHub flavour): one table per section, since Markdown has no spanning rows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tensorprog.report.document import Bullets, Cell, Document, Facts, Grid, Paragraph, Section, Steps

__all__ = ["markdown"]


def markdown(document: Document) -> str:
    """A document as Markdown."""
    blocks = [f"## {escape(document.title)}"] if document.title else []
    for block in document.blocks:
        match block:
            case Paragraph(body):
                blocks.append(escape(body))
            case Facts(facts):
                lines = []
                for fact in facts:
                    lines.append(f"- **{escape(fact.name)}**: {escape(fact.value)}")
                    lines += [f"  - {escape(line)}" for line in fact.support]
                blocks.append("\n".join(lines))
            case Grid():
                blocks += _grid(block)
            case Bullets(title, items, numbered):
                marks = [f"{i}." if numbered else "-" for i in range(1, len(items) + 1)]
                blocks.append(f"**{escape(title)}**")
                blocks.append("\n".join(f"{m} {escape(item)}" for m, item in zip(marks, items, strict=True)))
            case Steps(title, steps):
                blocks.append(f"**{escape(title)}**")
                lines = []
                for step in steps:
                    lines.append(f"- {escape(step.size)}: `{step.text}`")
                    lines += [f"  - {escape(note)}" for note in step.notes]
                blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def escape(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*|<>\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", text)


def _grid(grid: Grid) -> Iterator[str]:
    if grid.caption:
        yield escape(grid.caption)
    for section in grid.sections:
        if section.title:
            yield f"**{escape(section.title)}**"
        yield _table(grid, section)
    if grid.notes:
        yield "\n".join(f"- {escape(note)}" for note in grid.notes)


def _table(grid: Grid, section: Section) -> str:
    titles = [escape(f"{c.group} {c.title}".strip()) for c in grid.columns]
    rows = [[_cell(c) for c in row] for row in section.rows]
    widths = [max(3, len(t), *(len(row[i]) for row in rows)) for i, t in enumerate(titles)]
    right = [c.numeric for c in grid.columns]

    def line(cells: list[str]) -> str:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)]
    return "\n".join([line(titles), line(rule), *map(line, rows)])


def _cell(cell: Cell) -> str:
    return "" if cell.value is None else escape(cell.text())
