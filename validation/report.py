"""Reports: predicted against measured exponents, as a terminal table, JSON, CSV and a figure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from validation.measure import OUTPUT, Quantity
from validation.verdict import Verdict

if TYPE_CHECKING:
    from validation.run import Finding, Validation

__all__ = ["STYLES", "frame", "renderable", "text", "write"]

STYLES = {Verdict.AGREES: "green", Verdict.DISAGREES: "bold red", Verdict.INCONCLUSIVE: "yellow"}
MARKS = {Verdict.AGREES: "✓", Verdict.DISAGREES: "✗", Verdict.INCONCLUSIVE: "?"}
ORDER = list(Quantity)
SHORT = {Quantity.LOGIT_UPDATE: "logit update", Quantity.LOSS_GRADIENT: "chi"}


def by_case(validation: Validation) -> Iterator[tuple[str, list[Finding]]]:
    """Findings grouped by case, in order."""
    for name, group in groupby(validation.findings, key=lambda f: f.case.name):
        yield name, list(group)


def renderable(validation: Validation) -> RenderableType:
    """Tables of every judged number, one per case, and the summary line; print it with a rich console."""
    blocks: list[RenderableType] = []
    for _, findings in by_case(validation):
        blocks += [_table(findings), Text("")]
    notes = [f for f in validation.findings if f.verdict is not Verdict.AGREES]
    for f in notes:
        p = f.prediction
        where = f"{f.case.name}, step {p.step}, {p.site} {p.quantity.value}"
        blocks.append(Text.assemble((f.verdict.value, STYLES[f.verdict]), f"  {where}: {f.judgement.reason}"))
    if notes:
        blocks.append(Text(""))
    blocks.append(_summary(validation))
    return Group(*blocks)


def _table(findings: list[Finding]) -> RenderableType:
    case = findings[0].case
    widths, seeds = findings[0].sizes, next(iter(findings[0].sizes.values()))
    # Narrow enough for 80 columns with three steps: output that is piped has no more.
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    table.add_column("site", no_wrap=True)
    table.add_column("quantity", no_wrap=True)
    steps = sorted({f.prediction.step for f in findings})
    for t in steps:
        table.add_column("", justify="right", style="cyan", no_wrap=True)
        table.add_column(f"step {t}" if t else "start", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True, min_width=2)
    cells: dict[tuple[str, Quantity], dict[int, Finding]] = {}
    for f in findings:
        cells.setdefault((f.prediction.site, f.prediction.quantity), {})[f.prediction.step] = f
    sites = [*dict.fromkeys(f.prediction.site for f in findings if f.prediction.site != OUTPUT), OUTPUT]
    previous = None
    for site, quantity in sorted(cells, key=lambda c: (sites.index(c[0]), ORDER.index(c[1]))):
        row: list[RenderableType] = [site if site != previous else "", SHORT.get(quantity, quantity.value)]
        previous = site
        for t in steps:
            row += _cells(cells[site, quantity].get(t))
        table.add_row(*row)
    note = f"predicted exponent, measured slope ± 95%; widths {', '.join(map(str, widths))}; seeds {len(seeds)}"
    return Group(Text.assemble((case.name, "bold"), f": {case.claim}"), Text(note, "dim"), table)


def _cells(f: Finding | None) -> list[RenderableType]:
    if f is None:
        return ["", "", ""]
    return [str(f.prediction.exponent), measured(f), Text(MARKS[f.verdict], STYLES[f.verdict])]


def measured(f: Finding) -> str:
    """The slope and half the width of its interval, for people."""
    if f.fit.all_zero:
        return "exactly 0"
    if not isfinite(f.fit.slope):
        return "not finite"
    slope = round(f.fit.slope, 2) + 0.0  # no minus zero
    half = (f.fit.high - f.fit.low) / 2
    return f"{slope:.2f}±{half:.2f}" if half < 10 else f"{slope:.2f}"


def _summary(validation: Validation) -> Text:
    counts = [(f"{validation.count(v)} {v.value}", STYLES[v] if validation.count(v) else "dim") for v in Verdict]
    line = Text.assemble("predictions: ")
    for i, (part, style) in enumerate(counts):
        line.append(", " if i else "").append(part, style)
    line.append(f"; {validation.trained} networks trained")
    if validation.resumed:
        line.append(f", {validation.resumed} taken from {validation.records}")
    return line


def text(validation: Validation) -> str:
    """The tables without colour."""
    buffer = StringIO()
    Console(file=buffer, width=120, force_terminal=False).print(renderable(validation))
    return buffer.getvalue()


def frame(validation: Validation) -> Any:
    """One row per measured size, with the prediction, the slope, its interval and the verdict it belongs to."""
    import pandas as pd

    return pd.DataFrame.from_records(list(_rows(validation.findings)))


def _rows(findings: Iterable[Finding]) -> Iterator[dict[str, Any]]:
    for f in findings:
        p = f.prediction
        for width, seeds in f.sizes.items():
            for seed, size in seeds.items():
                yield {
                    "case": f.case.name,
                    "site": p.site,
                    "quantity": p.quantity.value,
                    "step": p.step,
                    "width": width,
                    "seed": seed,
                    "size": size,
                    "predicted": str(p.exponent),
                    "slope": f.fit.slope,
                    "low": f.fit.low,
                    "high": f.fit.high,
                    "verdict": f.verdict.value,
                }


def write(validation: Validation, out: Path) -> dict[str, Path]:
    """Write ``validation.json``, ``validation.csv`` and the figure as PNG and PDF; returns the paths by kind."""
    from validation.figure import figure

    out.mkdir(parents=True, exist_ok=True)
    files = {kind: out / f"validation.{kind}" for kind in ("json", "csv", "png", "pdf")}
    files["json"].write_text(json.dumps(validation.to_dict(), indent=1) + "\n", encoding="utf-8")
    frame(validation).to_csv(files["csv"], index=False)
    drawn = figure(validation)
    drawn.savefig(files["png"], dpi=160)
    drawn.savefig(files["pdf"])
    return files
