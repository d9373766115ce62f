"""A table of many settings as a document: what a paper prints."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import signature
from itertools import groupby
from typing import Any

from tensorprog.architectures import ARCHITECTURES
from tensorprog.exponent import Exponent, exponent
from tensorprog.regimes import Regime
from tensorprog.report.derivation import REGIME_STYLES
from tensorprog.report.document import Cell, Column, Document, Grid, Paragraph, Section, Style
from tensorprog.stability import Supremum
from tensorprog.table import Row, Table

__all__ = ["table_document"]

ROW_KEYS = ("parametrization", "lr_exponent", "alignment")
SECTION_KEYS = ("optimizer", "optimizer_options", "loss", "loss_options")
SHORT = {Regime.CONTROLLED_DIVERGENCE: ("controlled", "contr."), Regime.CATASTROPHIC: ("catastrophic", "catas.")}

SHORT_ROLES = {"input": "in", "hidden": "hid", "readout": "out", "vector": "vec"}

UNSETTLED = "*"

NOTES = {
    "r": "r: every learning rate is multiplied by n^r.",
    "alignment": "alignment of weights with what they act on: derived; or assumed as by Everett et al., full: updates "
    "are aligned, none: they are not; initial weights are in neither.",
    "update": "effective: (W_t - W_0) x_t; propagating: W_0 (x_t - x_0); the largest of the layers of a role.",
    "controlled": "controlled: controlled divergence, of logits or saturated values that training tolerates.",
    "largest": "largest r: stable, not catastrophic; updates, moreover all updates before the readout bounded; "
    "logits, moreover the logits bounded.",
    "below": "<r: the largest exponent is not attained.",
    "unsettled": f"{UNSETTLED} the exponents never settle: shown after step 1.",
}


def table_document(table: Table) -> Document:
    """One grid: a section for each model, optimizer and loss, a row for each parametrization and learning rate."""
    if not table.rows:
        return Document.of("No settings", [Paragraph("The table is empty.")])
    shared, varying = _shared(table)
    title = _describe(shared)
    caption = f"Exponents e of coordinate sizes n^e, {_when(table)}."
    sections = []
    errors: list[str] = []
    for key, rows in groupby(table.rows, key=lambda row: [row.asked.get(k) for k in varying]):
        name = _describe(dict(zip(varying, key, strict=True)), every=True)
        sections.append(Section(name, tuple(_row(row, table.roles, _several(table), errors) for row in rows)))
    notes = (*_notes(table), *(f"[{i}] {error}." for i, error in enumerate(errors, 1)))
    grid = Grid(tuple(_columns(table.roles, _several(table))), tuple(sections), caption, notes)
    return Document.of(title, [grid])


def _shared(table: Table) -> tuple[dict[str, Any], list[str]]:
    """What all rows have in common, and the keys of the sections."""
    keys = [k for k in dict.fromkeys(k for row in table.rows for k in row.asked) if k not in ROW_KEYS]
    values = {k: {str(row.asked.get(k)) for row in table.rows} for k in keys}
    shared = {k: table.rows[0].asked.get(k) for k in keys if len(values[k]) == 1 and k not in SECTION_KEYS}
    return shared, [k for k in keys if k not in shared]


def _describe(settings: dict[str, Any], *, every: bool = False) -> str:
    """Settings in words: ``mlp, 2 hidden layers, relu``; flags only where they are set.

    Args:
        every: tell choices of nothing and exponents that have their defaults, too: they are what tells sections apart.
    """
    make = ARCHITECTURES.get(str(settings.get("model")))
    options = signature(make).parameters.values() if make else ()
    usual = {p.name: str(p.default) for p in options if isinstance(p.default, Exponent)}
    parts = []
    for key, value in settings.items():
        if value is None or value is False:
            continue
        words = key.replace("_", " ")
        if value is True:
            parts.append(words)
        elif isinstance(value, int):
            parts.append(f"{value} {words.removesuffix('s') if value == 1 else words}")
        elif not every and (value == "none" or str(value) == usual.get(key)):
            continue
        elif key.endswith("_exponent") or value == "none":
            parts.append(f"{words} {value}")
        else:
            parts.append(str(value))
    return ", ".join(parts)


def _when(table: Table) -> str:
    asked = {row.step for row in table.rows if row.step is not None}
    settled = {row.derivation.path.settled_at or 1 for row in table.rows if row.derivation and row.derivation.settled}
    if len(asked) == 1 and not asked <= settled:
        return f"after step {asked.pop()}"
    return "in the settled state" if asked else "none derived"


def _several(table: Table) -> bool:
    """Is alignment anything but derived, so that it needs a column?"""
    return any("alignment" in row.asked for row in table.rows)


def _columns(roles: tuple[str, ...], aligned: bool) -> Iterator[Column]:
    yield Column("parametrization")
    yield Column("r", numeric=True)
    if aligned:
        yield Column("alignment", short=("align", ""))
    yield Column("regime")
    yield Column("learning", short=("learns", ""))
    for role in roles:
        yield Column(role, "effective", numeric=True, short=(SHORT_ROLES.get(role, role), "effective"))
    for role in _propagating(roles):
        yield Column(role, "propagating", numeric=True, short=(SHORT_ROLES.get(role, role), "propag."))
    yield Column("logits", numeric=True, short=("f", ""))
    for name, short in (("stable", "stab"), ("updates", "upd"), ("logits", "f")):
        yield Column(name, "largest r", numeric=True, short=(short, "largest r"))


def _propagating(roles: tuple[str, ...]) -> list[str]:
    """Weights that read data have nothing to propagate."""
    return [role for role in roles if role in ("hidden", "readout")]


def _row(row: Row, roles: tuple[str, ...], aligned: bool, errors: list[str]) -> tuple[Cell, ...]:
    label = [Cell(str(row.asked["parametrization"])), Cell(_lr(row))]
    label += [Cell(str(row.asked["alignment"]))] if aligned else []
    rates = row.rates
    suprema = [_supremum(s) for s in (rates.stable, rates.updates, rates.logits)] if rates else [Cell()] * 3
    if row.derivation is None or row.exponents is None:
        if row.error not in errors:
            errors.append(row.error)
        empty = [Cell()] * (len(roles) + len(_propagating(roles)) + 2)
        return (*label, Cell(f"error [{errors.index(row.error) + 1}]", "bad"), *empty, *suprema)
    regime = row.derivation.regime
    long, short = SHORT.get(regime, (regime.value, ""))
    mark = "" if row.derivation.settled else UNSETTLED
    numbers = [row.largest("effective", role) for role in roles]
    numbers += [row.largest("propagating", role) for role in _propagating(roles)]
    return (
        *label,
        Cell(long, REGIME_STYLES[regime], short=short, mark=mark),
        Cell(row.derivation.learning.value),
        *(_number(e, REGIME_STYLES[regime]) for e in (*numbers, row.exponents.logits)),
        *suprema,
    )


def _lr(row: Row) -> str | Exponent:
    text = str(row.asked["lr_exponent"])
    return text if row.error else exponent(text)


def _number(e: Exponent | None, diverging: Style) -> Cell:
    return Cell(e, diverging if e is not None and Exponent(0) < e else "")


def _supremum(s: Supremum) -> Cell:
    return Cell(s.exponent, below=not s.attained and not s.exponent.infinite)


def _notes(table: Table) -> Iterator[str]:
    derived = [row.derivation for row in table.rows if row.derivation]
    rates = [row.rates for row in table.rows if row.rates]
    yield NOTES["r"]
    if _several(table):
        yield NOTES["alignment"]
    yield NOTES["update"]
    if any(d.regime is Regime.CONTROLLED_DIVERGENCE for d in derived):
        yield NOTES["controlled"]
    yield NOTES["largest"]
    if any(not s.attained and not s.exponent.infinite for r in rates for s in (r.stable, r.updates, r.logits)):
        yield NOTES["below"]
    if any(not d.settled for d in derived):
        yield NOTES["unsettled"]
