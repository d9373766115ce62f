"""Documents: what a report says, before anybody decides how it looks.

A report is built once, as blocks, and rendered as text, Markdown, LaTeX or HTML. A cell keeps its exponent as a value,
so that each format can write it in its own notation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tensorprog.exponent import Exponent

__all__ = [
    "Block",
    "Bullets",
    "Cell",
    "Column",
    "Document",
    "Fact",
    "Facts",
    "Grid",
    "Paragraph",
    "Section",
    "Step",
    "Steps",
]

Style = Literal["", "good", "warn", "bad", "dim", "strong"]


@dataclass(frozen=True)
class Cell:
    """One entry of a grid.

    Args:
        value: text, an exponent, or None for "does not apply".
        style: how much it matters; colours where there are any.
        short: a shorter text, for terminals where the full one does not fit.
        below: True for a supremum that is not attained: values below ``value``.
        mark: a footnote mark after the value.
        math: the text as LaTeX mathematics, where it is a formula.
    """

    value: str | Exponent | None = None
    style: Style = ""
    short: str = ""
    below: bool = False
    mark: str = ""
    math: str = ""

    def text(self, *, short: bool = False) -> str:
        """The cell in plain ASCII."""
        if self.value is None:
            return "."
        base = self.short if short and self.short else str(self.value)
        return f"{'<' if self.below else ''}{base}{self.mark}"


@dataclass(frozen=True)
class Column:
    """A column of a grid.

    Args:
        title: its heading.
        group: neighbours with one group share a heading above.
        numeric: aligned to the right.
        short: (title, group) for terminals where the full ones do not fit.
    """

    title: str
    group: str = ""
    numeric: bool = False
    short: tuple[str, str] | None = None


@dataclass(frozen=True)
class Section:
    """Rows under a common title; an empty title has no line of its own."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Grid:
    """A table: columns, rows in sections, a caption that says what the numbers are, and footnotes."""

    columns: tuple[Column, ...]
    sections: tuple[Section, ...]
    caption: str = ""
    notes: tuple[str, ...] = ()

    def groups(self) -> Iterator[tuple[str, int]]:
        """(group, number of neighbouring columns), in order."""
        start = 0
        for i in range(1, len(self.columns) + 1):
            here = self.columns[start].group
            if i == len(self.columns) or not here or self.columns[i].group != here:
                yield here, i - start
                start = i


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str
    style: Style = ""


@dataclass(frozen=True)
class Fact:
    """A name, its value, and lines of support."""

    name: str
    value: str
    style: Style = ""
    support: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """Names and values in two columns."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Bullets:
    """A titled list."""

    title: str
    items: tuple[str, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Step:
    """One line of a derivation: a size, what has it, and why."""

    size: str
    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Steps:
    """A derivation, one step a line."""

    title: str
    steps: tuple[Step, ...]


Block = Paragraph | Facts | Grid | Bullets | Steps


@dataclass(frozen=True)
class Document:
    """A titled report."""

    title: str
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, title: str, blocks: Iterable[Block]) -> Document:
        return cls(title, tuple(blocks))
