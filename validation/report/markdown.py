"""Markdown: a comment for a pull request, what does not agree first.

GitHub takes comments of 65,536 characters. Where the tables of all cases would not fit, those in which everything
agrees are left out, and the text says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from validation.measure import Quantity
from validation.report import crossings, words
from validation.report.provenance import Provenance
from validation.verdict import Verdict

if TYPE_CHECKING:
    from validation.run import Finding, Validation

__all__ = ["FITS", "markdown"]

FITS = 60_000
"""Characters; what a comment may have, with room for words around the report."""
NAMED = 100
"""Findings that do not agree and have a line of their own."""
CROSSED = 30
"""Crossing widths that have one."""


def markdown(validation: Validation, made: Provenance) -> str:
    """The report as GitHub-flavoured Markdown.

    Args:
        made: where the numbers come from.
    """
    grouped = [(name, words.ordered(found)) for name, found in words.by_case(validation)]
    head = _join([*_head(validation), *_unsettled(validation), *_cases(grouped), *_crossings(validation)])
    foot = _join(_foot(validation, made))
    # What does not agree is kept longest.
    tables = {name: _join(_case(name, found, against=validation.against is not None)) for name, found in grouped}
    kept: set[str] = set()
    room = FITS - len(head) - len(foot)
    for name, _ in sorted(grouped, key=lambda g: not words.unsettled(g[1])):
        if len(tables[name]) > room:
            break
        room -= len(tables[name])
        kept.add(name)
    parts = [head, *(table for name, table in tables.items() if name in kept)]
    if len(kept) < len(grouped):
        left_out = words.cases(len(grouped) - len(kept))
        parts.append(f"Left out here: the tables of {left_out}; validation.html has them.\n")
    return "\n".join([*parts, foot])


def _join(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Text for a table cell."""
    return escape(" ".join(text.split())).replace("|", "\\|")


def escape(text: str) -> str:
    """Text in which nothing is markup: names come from whoever built the case."""
    return re.sub(r"([\\`*_\[\]<>&~])", r"\\\1", text)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """A table; columns in ``right`` hold numbers. Cells are Markdown already."""
    numbers = set(right)
    rule = ["---:" if i in numbers else "---" for i in range(len(head))]
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)] + [""]


# -- parts -----------------------------------------------------------------------------------------------------------


def _head(validation: Validation) -> list[str]:
    lines = [f"## {words.headline(validation)}", ""]
    if warning := words.judged_against(validation):
        lines += [f"**{escape(warning)}**", ""]
    counts = words.counted(validation.findings)
    lines += _table([words.VERBS[v] for v in counts], [[f"**{n}** {words.MARKS[v]}" for v, n in counts.items()]])
    widths = ", ".join(map(str, validation.widths))
    steps = ", ".join(map(str, validation.steps))
    lines += [
        "Predicted exponents of coordinate sizes in the width against slopes measured on trained networks: "
        f"widths {widths}; {validation.seeds} seeds; initialisation and steps {steps}; {escape(validation.device)}.",
        "",
    ]
    if lost := words.failed(validation):
        lines += ["**Without measurements:**", "", *(f"- {escape(line)}" for line in lost), ""]
    return lines


def _unsettled(validation: Validation) -> list[str]:
    found = words.unsettled(validation.findings)
    if not found:
        return []
    rows = [
        [
            f"{words.MARKS[f.verdict]} {f.verdict.value}",
            cell(f.case.name),
            cell(words.where(f)),
            words.predicted(f),
            "" if f.prediction.regime else words.measured(f),
            cell(f.judgement.reason),
        ]
        for f in found[:NAMED]
    ]
    head = ("verdict", "case", "what", "predicted", "measured", "why")
    more = [f"and {len(found) - NAMED} more", ""] if len(found) > NAMED else []
    return ["### What does not agree", "", *_table(head, rows, (3, 4)), *more]


def _cases(grouped: Sequence[tuple[str, list[Finding]]]) -> list[str]:
    if not grouped:
        return []
    rows = []
    for name, found in grouped:
        counts = words.counted(found)
        case = found[0].case
        numbers = [str(counts[v]) for v in Verdict]
        rows.append([cell(name), cell(f"{words.trained(case)}; {words.learning_rate(case)}"), *numbers])
    head = ("case", "trained as", *(words.MARKS[v] for v in Verdict))
    return ["### What was claimed", "", *_table(head, rows, (2, 3, 4))]


def _crossings(validation: Validation) -> list[str]:
    """Sizes whose terms cross at a measured width, folded."""
    found = [c for c in validation.crossings if c.relevant and not c.extrapolated]
    if not found:
        return []
    head = ("case", "what", "crossing width (95%)", "above", "below", "what leads below")
    rows = [
        [
            cell(c.case),
            cell(crossings.size(c)),
            crossings.told(c),
            words.power(c.leading.exponent),
            words.power(c.subleading.exponent),
            cell(crossings.below(c)),
        ]
        for c in found[:CROSSED]
    ]
    more = [f"and {len(found) - CROSSED} more", ""] if len(found) > CROSSED else []
    return [
        f"<details><summary><b>Crossing widths</b>: {len(found)} among the measured widths</summary>",
        "",
        f"{escape(crossings.LAW)}.",
        "",
        *_table(head, rows),
        *more,
        "</details>",
        "",
    ]


def _case(name: str, findings: list[Finding], *, against: bool) -> list[str]:
    """One case, folded: a row per quantity, a column per step."""
    case = findings[0].case
    tally = " ".join(f"{n} {words.MARKS[v]}" for v, n in words.counted(findings).items() if n)
    steps = words.steps_of(findings)
    cells: dict[tuple[str, Quantity], dict[int, Finding]] = {}
    for f in findings:
        cells.setdefault((f.prediction.site, f.prediction.quantity), {})[f.prediction.step] = f
    rows, previous = [], None
    for (site, q), found in cells.items():
        numbers = [_number(found[t]) if t in found else "" for t in steps]
        rows.append([cell(site) if site != previous else "", words.quantity(q), *numbers])
        previous = site
    # HTML inside, so names are escaped for it.
    title = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    told = f"Claim: {case.claim}. " if case.claim else f"Derived: {words.derived(case)}. "
    claim = "" if against else escape(told)  # a claim is about the case's own parametrization
    head = ("site", "quantity", *steps.values())
    return [
        f"<details><summary><b>{title}</b>: {tally}</summary>",
        "",
        f"{claim}Predicted exponent: measured slope ± 95%.",
        "",
        *_table(head, rows, range(2, len(head))),
        "</details>",
        "",
    ]


def _number(f: Finding) -> str:
    if f.prediction.regime is not None:
        return f"{'; '.join(filter(None, (words.predicted(f), words.growth(f))))} {words.MARKS[f.verdict]}"
    return f"{words.predicted(f)}: {words.measured(f)} {words.MARKS[f.verdict]}"


def _foot(validation: Validation, made: Provenance) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    command = ["```", made.command, "```", ""] if made.command else []
    seconds = f", {made.seconds:.0f} s of training" if made.networks else ""
    where = f"records in `{made.records}`, every plot in validation.html"
    return [*command, f"{versions}; {escape(validation.device)}{seconds}; {where}."]
