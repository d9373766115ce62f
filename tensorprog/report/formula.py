"""Closed forms as documents."""

from __future__ import annotations

from tensorprog.formula import Formula, Formulas
from tensorprog.report.document import Block, Cell, Column, Document, Grid, Section

__all__ = ["formulas_document"]


def formulas_document(f: Formulas) -> Document:
    """A closed form for every target; for a single one also where each of its pieces holds."""
    when = "at initialisation" if not f.step else f"after step {f.step}"
    caption = f"Exponents of coordinate sizes (RMS) {when}, in the symbols {', '.join(sorted(f.setting.symbols))}."
    rows = tuple((Cell(m.target), Cell(str(m), math=m.to_latex())) for m in f.members)
    blocks: list[Block] = [Grid((Column("exponent"), Column("closed form")), (Section("", rows),), caption)]
    if len(f.members) == 1:
        blocks += _pieces(f.members[0])
    return Document.of(str(f.setting), blocks)


def _pieces(f: Formula) -> list[Block]:
    pieces = f.form.where()
    if len(pieces) < 2:
        return []
    rows = [(Cell(form), Cell(part)) for form, parts in pieces for part in parts]
    return [Grid((Column("piece"), Column("where")), (Section("", tuple(rows)),))]
