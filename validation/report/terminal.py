"""The terminal: tables of predicted against measured exponents; with many cases one line each, and what does not agree.

Everything fits 80 columns, which is what output that is piped has.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from validation.measure import OUTPUT, Quantity
from validation.report.words import (
    MARKS,
    STYLES,
    by_case,
    counted,
    deviation,
    failed,
    growth,
    judged_against,
    measured,
    ordered,
    predicted,
    quantity,
    steps_of,
    unsettled,
    where,
)
from validation.verdict import Verdict

if TYPE_CHECKING:
    from validation.run import Finding, Validation

__all__ = ["renderable", "text"]

TABLES = 8
"""With more cases than this, each is one line."""
NOTES, PER_CASE = 40, 4
"""More findings that do not agree are counted, not listed: the other reports have them all. Next to the overview each
case has a few."""
COLUMNS = 80


def renderable(validation: Validation) -> RenderableType:
    """What was judged, what does not agree and why, and the summary line; print it with a rich console."""
    cases = list(by_case(validation))
    blocks: list[RenderableType] = []
    if warning := judged_against(validation):
        blocks += [Text(warning, "bold"), Text("")]
    if len(cases) > TABLES:
        blocks += [_overview(cases, validation), Text("")]
    else:
        for _, findings in cases:
            blocks += [_case(findings, against=validation.against is not None), Text("")]
    blocks += _notes(unsettled(validation.findings), PER_CASE if len(cases) > TABLES else NOTES)
    if lost := failed(validation):
        blocks += [*(Text.assemble(("no measurement", "yellow"), f"  {line}") for line in lost), Text("")]
    blocks.append(_summary(validation))
    return Group(*blocks)


def text(validation: Validation) -> str:
    """The same without colour."""
    buffer = StringIO()
    Console(file=buffer, width=COLUMNS, force_terminal=False).print(renderable(validation))
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


# -- few cases -------------------------------------------------------------------------------------------------------


def _case(findings: list[Finding], *, against: bool) -> RenderableType:
    case = findings[0].case
    title = Text.assemble((case.name, "bold"), f": {case.claim}" if case.claim and not against else "")
    if any(f.prediction.quantity is Quantity.REGIME for f in findings):
        return Group(title, *map(_regime, findings))
    sizes = next((f.sizes for f in findings if f.sizes), {})
    seeds = max(map(len, sizes.values()), default=0)
    note = f"predicted exponent, measured slope ± 95%; {_grid(tuple(sizes), seeds)}"
    return Group(title, Text(note, "dim"), _table(findings))


def _grid(widths: Sequence[int], seeds: int) -> str:
    if not widths:
        return "nothing was measured"
    return f"widths {min(widths)} to {max(widths)}, {seeds} {'seed' if seeds == 1 else 'seeds'}"


def _regime(f: Finding) -> Text:
    """A predicted regime is one line: there is no exponent to hold a slope against."""
    said = growth(f) or "nothing was measured"
    if f.fit.excluded:
        said = f"values are not finite at width {', '.join(map(str, f.fit.excluded))}"
    mark = (MARKS[f.verdict], STYLES[f.verdict])
    return Text.assemble(f"predicted {predicted(f)} by step {f.prediction.step}; {said} ", mark)


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    table.add_column("site", no_wrap=True)
    table.add_column("quantity", no_wrap=True)
    steps = steps_of(findings)
    for name in steps.values():
        table.add_column("", justify="right", style="cyan", no_wrap=True)
        table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True, min_width=2)
    cells: dict[tuple[str, Quantity], dict[int, Finding]] = {}
    for f in ordered(findings):
        cells.setdefault((f.prediction.site, f.prediction.quantity), {})[f.prediction.step] = f
    previous = None
    for (site, q), found in cells.items():
        row: list[RenderableType] = [site if site != previous else "", quantity(q)]
        previous = site
        for t in steps:
            row += _cells(found.get(t))
        table.add_row(*row)
    return table


def _cells(f: Finding | None) -> list[RenderableType]:
    if f is None:
        return ["", "", ""]
    # "-oo" and not "exactly 0", which the measured column says, and which would not fit three steps.
    return [f.prediction.stated, measured(f), Text(MARKS[f.verdict], STYLES[f.verdict])]


# -- many cases ------------------------------------------------------------------------------------------------------


def _overview(cases: Sequence[tuple[str, list[Finding]]], validation: Validation) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    table.add_column("case", no_wrap=True, overflow="ellipsis")
    for verdict in Verdict:
        table.add_column(Text(MARKS[verdict], STYLES[verdict]), justify="right", no_wrap=True)
    table.add_column("furthest off", no_wrap=True, overflow="ellipsis")
    for name, findings in cases:
        numbers = [
            Text(str(n or "·"), STYLES[v] if n and v is not Verdict.AGREES else "" if n else "dim")
            for v, n in counted(findings).items()
        ]
        table.add_row(name, *numbers, _furthest(findings))
    note = f"furthest off: measured slope minus predicted exponent @ step; {_grid(validation.widths, validation.seeds)}"
    return Group(table, Text(note, "dim"))


def _furthest(findings: Sequence[Finding]) -> str:
    """The number that is furthest from its prediction, among those with the worst verdict."""
    worst = unsettled(findings)
    rest = [f for f in findings if not worst or f.verdict is worst[0].verdict]
    off = [(abs(d), d, f) for f in rest if (d := deviation(f)) is not None]
    if not off:
        return where(rest[0]) if worst else "regime as predicted" if _regimes(findings) else "exactly as predicted"
    _, d, f = max(off, key=lambda o: o[0])
    p = f.prediction
    site = "" if p.site == OUTPUT else f"{p.site} "
    return f"{d:+.2f} {site}{quantity(p.quantity)} @{p.step}"


def _regimes(findings: Sequence[Finding]) -> bool:
    return all(f.prediction.quantity is Quantity.REGIME for f in findings)


# -- below the tables ------------------------------------------------------------------------------------------------


def _notes(open_: Sequence[Finding], per_case: int) -> list[RenderableType]:
    """What does not agree and why, by case; cases with a disagreement first."""
    blocks: list[RenderableType] = []
    groups: dict[str, list[Finding]] = {}
    for f in open_:
        groups.setdefault(f.case.name, []).append(f)
    shown = 0
    for name, found in groups.items():
        part = found[: min(per_case, NOTES - shown)]
        if not part:
            break
        shown += len(part)
        more = f", {len(found) - len(part)} more" if len(found) > len(part) else ""
        blocks += [Text.assemble((name, "bold"), (more, "dim")), *map(_note, part)]
    if shown < len(open_):
        blocks.append(Text(f"{len(open_)} in all, see validation.html", "dim"))
    return [*blocks, Text("")] if blocks else []


def _note(f: Finding) -> RenderableType:
    numbers = f"predicted {predicted(f)}, measured {measured(f)}"
    if f.prediction.quantity is Quantity.REGIME:
        numbers = f"predicted {predicted(f)}"
    words = Text.assemble((f.verdict.value, STYLES[f.verdict]), f"  {where(f)}: {numbers}; {f.judgement.reason}")
    return Padding(words, (0, 0, 0, 2))


def _summary(validation: Validation) -> Text:
    counts = counted(validation.findings)
    line = Text("predictions: ")
    for i, (v, n) in enumerate(counts.items()):
        line.append(", " if i else "").append(f"{n} {v.value}", STYLES[v] if n else "dim")
    line.append(f"; {validation.trained} networks trained")
    if validation.resumed:
        line.append(f", {validation.resumed} taken from {validation.records}")
    return line
