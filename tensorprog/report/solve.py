"""Solutions of the inverse problem as documents."""

from __future__ import annotations

from tensorprog.derivation import assumptions
from tensorprog.report.document import Block, Bullets, Cell, Column, Document, Grid, Paragraph, Section
from tensorprog.solve import Solutions

__all__ = ["solutions_document"]


def solutions_document(found: Solutions) -> Document:
    """The requirements, the polyhedra that meet them and one point, or the conflict."""
    blocks: list[Block] = [Bullets("Required", found.requirements)]
    if found:
        blocks.append(Bullets("Solutions", tuple(found.told())))
        rows = tuple((Cell(name), Cell(e.a), Cell(e.b), Cell(e.c)) for name, e in found.exponents().items())
        columns = (Column("weight"), *(Column(key, numeric=True) for key in "abc"))
        caption = "One of them: effective weight n^-a w, init std n^-b, learning rate n^-c."
        blocks.append(Grid(columns, (Section("", rows),), caption))
    else:
        blocks.append(Paragraph("There is no solution. These requirements exclude each other, and no fewer of them:"))
        blocks.append(Bullets("Conflict", found.conflict))
    return Document.of(
        f"{found.setting}: {', '.join(found.free)}", [*blocks, Bullets("Assumes", assumptions(found.setting))]
    )
