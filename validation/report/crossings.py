"""Crossing widths, told: a line for every size whose sub-leading term leads at a measured width, the others counted."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from validation.crossing import Crossing
from validation.measure import OUTPUT
from validation.report.provenance import command
from validation.report.words import failed, judged_against, quantity
from validation.two_powers import Estimate, Sight

if TYPE_CHECKING:
    from validation.run import Validation

__all__ = ["LAW", "below", "counted", "document", "renderable", "rounded", "size", "text", "told", "write"]

STEM = "crossing"
COLUMNS = 120
LAW = "size ~ A n^p above the crossing width n* = (B/A)^(1/(p-q)), B n^q below it; p, q derived, A, B measured"
FAR = "*"
"""Marks an estimate outside the measured widths."""


def size(c: Crossing) -> str:
    """Which size it is: site, quantity and step."""
    site = "" if c.site == OUTPUT else f"{c.site} "
    return f"{site}{quantity(c.quantity)}, {f'step {c.step}' if c.step else 'initialisation'}"


def told(c: Crossing) -> str:
    """The crossing width with its 95% interval, or the bound that the measured widths give."""
    n = c.width
    match c.sight:
        case Sight.BOTH if n is not None:
            far = f" {FAR}" if c.extrapolated else ""
            return f"{rounded(n.value)} ({rounded(n.low)} to {rounded(n.high)}){far}"
        case Sight.LEADING if n is not None:
            return f"below {rounded(n.high)}"
        case Sight.SUBLEADING if n is not None:
            return f"beyond {rounded(n.low)}"
        case Sight.NEITHER:
            return "undecided"
        case Sight.OTHER:
            return "neither law"
    return "not measured"


def below(c: Crossing) -> str:
    """What leads below the crossing width and, where it has a name, what does above it."""
    return c.subleading.what if c.parts is None else f"{c.subleading.what}; above, {c.leading.what}"


def rounded(width: float) -> str:
    """Three digits, two from a million on."""
    if not math.isfinite(width):
        return "oo"
    if width >= 1e6:
        return f"{width:.1e}".replace("e+0", "e").replace("e+", "e")
    return f"{float(f'{width:.3g}'):,g}"


def counted(crossings: Iterable[Crossing]) -> list[str]:
    """What is not listed, in words."""
    few: dict[str, int] = {}
    for c in crossings:
        few[_kind(c)] = few.get(_kind(c), 0) + 1
    return [f"{n} {_plural(n)}: {kind}" for kind, n in few.items()]


def _plural(count: int) -> str:
    return "size" if count == 1 else "sizes"


def _kind(c: Crossing) -> str:
    if c.sight is Sight.OTHER:
        return "the measured slopes are not those of the two powers"
    if c.sight is Sight.NOTHING:
        return "fewer than three widths have positive finite sizes"
    if c.sight is Sight.NEITHER:
        return "the measured widths do not tell the two terms apart"
    if c.sight is Sight.LEADING:
        return "the leading term explains every width, the sub-leading one is not seen"
    return "the terms cross below the measured widths"


# -- the terminal ----------------------------------------------------------------------------------------------------


def renderable(validation: Validation, *, every: bool = False) -> RenderableType:
    """The crossings by case and what is left out; print it with a rich console.

    Args:
        every: list those as well whose sub-leading term leads at no measured width.
    """
    blocks: list[RenderableType] = []
    if warning := judged_against(validation):
        blocks += [Text(warning, "bold"), Text("")]
    if not validation.crossings:
        blocks.append(Text("No measured size has a sub-leading power that the derivation knows of."))
    for name, group in groupby(validation.crossings, key=lambda c: c.case):
        found = list(group)
        listed = [c for c in found if every or c.relevant]
        blocks.append(Text(name, "bold"))
        blocks += [_table(listed)] if listed else []
        blocks += [Text(line, "dim") for line in counted(c for c in found if c not in listed)]
        blocks.append(Text(""))
    if lost := failed(validation):
        blocks += [*(Text.assemble(("no measurement", "yellow"), f"  {line}") for line in lost), Text("")]
    blocks.append(Text(f"{LAW}; {FAR}: outside the measured ones, {_grid(validation)}", "dim"))
    return Group(*blocks)


def text(validation: Validation, *, every: bool = False) -> str:
    """The same without colour."""
    buffer = StringIO()
    Console(file=buffer, width=COLUMNS, force_terminal=False).print(renderable(validation, every=every))
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


def _table(listed: Sequence[Crossing]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), collapse_padding=True)
    table.add_column("size")
    for head in ("crossing width (95%)", "above", "below"):
        table.add_column(head, no_wrap=True)
    table.add_column("what leads below")
    for c in listed:
        powers = (f"n^({p.exponent})" for p in (c.leading, c.subleading))
        table.add_row(*map(Text, (size(c), told(c), *powers, below(c))))
    return table


def _grid(validation: Validation) -> str:
    widths, seeds = validation.widths, validation.seeds
    return f"widths {min(widths)} to {max(widths)}, {seeds} {'seed' if seeds == 1 else 'seeds'}"


# -- files -----------------------------------------------------------------------------------------------------------


def document(validation: Validation, out: Path) -> dict[str, Any]:
    """The JSON object of ``tensorprog crossing``.

    Args:
        out: the folder of the records.
    """
    return {
        "crossings": [c.to_dict() for c in validation.crossings],
        "records": str(validation.records),
        "command": command(validation, out),
        "against": validation.against,
        "widths": list(validation.widths),
        "seeds": validation.seeds,
        "steps": list(validation.steps),
        "device": validation.device,
        "failures": [vars(f) for f in validation.failures],
        "files": {kind: str(path) for kind, path in validation.files.items()},
    }


FIELDS = (
    *("case", "site", "quantity", "step", "p", "q", "leading", "subleading", "from", "shown", "diverges"),
    *("extrapolated", "width", "low", "high", "A", "A_low", "A_high", "B", "B_low", "B_high"),
)


def write(validation: Validation, out: Path) -> dict[str, Path]:
    """Write the crossings as JSON and CSV, and the figure where there is something to draw; returns paths by kind."""
    from validation.crossing_figure import figure

    out.mkdir(parents=True, exist_ok=True)
    files = {kind: out / f"{STEM}.{kind}" for kind in ("json", "csv")}
    buffer = StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_row, validation.crossings))
    files["csv"].write_text(buffer.getvalue(), encoding="utf-8")
    drawn = figure(validation.crossings)
    if drawn is not None:
        for kind in ("png", "pdf"):
            files[kind] = out / f"{STEM}.{kind}"
            drawn.savefig(files[kind], dpi=160)
    validation.files.update(files)
    files["json"].write_text(json.dumps(document(validation, out), indent=1) + "\n", encoding="utf-8")
    return files


def _row(c: Crossing) -> Mapping[str, Any]:
    """Infinite bounds are inf here, which tables can hold."""
    row: dict[str, Any] = {
        "case": c.case,
        "site": c.site,
        "quantity": c.quantity.value,
        "step": c.step,
        "p": c.leading.exponent,
        "q": c.subleading.exponent,
        "leading": c.leading.what,
        "subleading": c.subleading.what,
        "from": "fit" if c.parts is None else "parts",
        "shown": c.sight.value,
        "diverges": c.diverges,
        "extrapolated": c.extrapolated,
    }
    if c.law is not None:
        row |= _named("A", c.law.leading) | _named("B", c.law.subleading)
    return row if c.width is None else row | dict(zip(("width", "low", "high"), _digits(c.width), strict=True))


def _named(name: str, e: Estimate) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), _digits(e), strict=True))


def _digits(e: Estimate) -> list[float]:
    return [float(f"{v:.4g}") for v in (e.value, e.low, e.high)]
