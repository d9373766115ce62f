"""Formats: one function from a result to text for each. To add one, list it in ``FORMATS``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tensorprog.derivation import Derivation
from tensorprog.errors import UnknownName, Unsupported
from tensorprog.report import document_of
from tensorprog.report.html import html
from tensorprog.report.latex import latex
from tensorprog.report.markdown import markdown
from tensorprog.report.text import text
from tensorprog.stability import StableRates
from tensorprog.table import Table

if TYPE_CHECKING:
    from tensorprog.report import Reportable

__all__ = ["FORMATS", "SUFFIXES", "render"]


def _json(value: Reportable, rates: StableRates | None) -> str:
    data = value.to_dict(rates=rates) if isinstance(value, Derivation) else value.to_dict()
    if isinstance(value, StableRates):
        data = {"setting": value.setting.to_dict(), **data}
    return json.dumps(data, indent=2)


def _csv(value: Reportable, rates: StableRates | None) -> str:
    if not isinstance(value, Derivation | Table):
        raise Unsupported(
            "csv", "only tables and derivations are lists of records", "Use json, text, md, latex or html."
        )
    return _lines(value.records())


def _lines(records: Iterable[dict[str, Any]]) -> str:
    rows = list(records)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().removesuffix("\n")


FORMATS: dict[str, Callable[[Reportable, StableRates | None], str]] = {
    "text": lambda value, rates: text(document_of(value, rates)),
    "md": lambda value, rates: markdown(document_of(value, rates)),
    "latex": lambda value, rates: latex(document_of(value, rates)),
    "csv": _csv,
    "json": _json,
    "html": lambda value, rates: html(document_of(value, rates)),
}

SUFFIXES = {".txt": "text", ".md": "md", ".tex": "latex", ".csv": "csv", ".json": "json", ".html": "html"}
"""File name endings and the format they stand for."""


def render(value: Reportable, format: str = "text", *, rates: StableRates | None = None) -> str:
    """A result in a format, without a trailing newline.

    Args:
        value: a derivation, family, explanation, table, or the suprema of the learning rate.
        format: a key of ``FORMATS``.
        rates: suprema to add to a derivation.

    Raises:
        UnknownName: listing the formats.
        Unsupported: for CSV of something that is no list of records.

    Example:
        >>> import tensorprog as tp
        >>> render(tp.max_stable_lr(tp.mlp()), "md").splitlines()[6]
        '- **bounded logits**: r \\\\<= -1: moreover the logits stay bounded'
    """
    if format not in FORMATS:
        raise UnknownName("format", format, FORMATS)
    return FORMATS[format](value, rates)
