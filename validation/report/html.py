"""HTML: one self-contained page to attach to a pull request; no scripts, nothing to load, readable in print and in the
dark.

The page says first what was found, then what does not agree and why, then case by case every number. Cases in which
everything agrees are folded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from tensorprog.derivation import assumptions
from tensorprog.report.html import inline
from validation.measure import Quantity
from validation.report import crossings, words
from validation.report.plots import CLASSES, decades, panel, scale, strip
from validation.report.provenance import Provenance, cases_of
from validation.verdict import Verdict

if TYPE_CHECKING:
    from validation.run import Finding, Validation

__all__ = ["PLOTTED", "html"]

PLOTTED = 100
"""Cases with plots, 20 to 40 KB each: a page of several hundred cases would not load well. Those that do not agree
come first."""
LISTED = 60
"""Findings that do not agree and are shown at once; the others are folded."""
UNFOLDED = 4
"""Up to so many cases, or so many of them that do not agree, are unfolded."""
COLOURS = 6
POWER = re.compile(r"n\^(-?\d+(?:[./]\d+)?)")


def html(validation: Validation, made: Provenance) -> str:
    """The report as a page.

    Args:
        made: where the numbers come from.
    """
    views = _views(validation)
    open_ = words.unsettled(validation.findings)
    return _template().render(
        headline=words.headline(validation),
        against=words.judged_against(validation),
        failures=words.failed(validation),
        counts=[(n, words.VERBS[v], CLASSES[v] if v is _telling(validation) else "") for v, n in _counts(validation)],
        crossings=[c for c in validation.crossings if c.relevant],
        law=crossings.LAW,
        far=crossings.FAR,
        open=open_[:LISTED],
        more=open_[LISTED:],
        views=views,
        left_out=[v for v in views if not v.plotted],
        scale=Markup(scale()),
        validation=validation,
        made=made,
        minutes=made.seconds / 60,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        assumptions=[*dict.fromkeys(a for c in cases_of(validation) for a in assumptions(c.base))],
        rule=words.RULE,
        limits=words.LIMITS,
        constants=[(c.name, c.constants) for c in cases_of(validation)],
        data=[*dict.fromkeys(words.data(c) for c in cases_of(validation))],
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("validation.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        formulas=formulas,
        measured=lambda f: number(words.measured(f)),
        slope=lambda f: number(words.measured(f).partition("±")[0]),
        drift=lambda f: "" if f.fit.drift is None else number(words.fixed(f.fit.drift, signed=True)),
        interval=lambda f: number(words.interval(f)),
        predicted=lambda f: formulas(words.predicted(f)),
        fitted=lambda f: formulas(words.fitted(f)),
        where=words.where,
        cases=words.cases,
        quantity=lambda f: words.quantity(f.prediction.quantity),
        style=lambda v: CLASSES[v],
        mark=lambda v: words.MARKS[v],
        size=crossings.size,
        told=crossings.told,
        below=crossings.below,
        power=lambda e: formulas(words.power(e)),
        listed=lambda values: ", ".join(map(str, values)),
        off=_off,
        locals=_locals,
    )
    return environment.get_template("page.html.j2")


def formulas(text: str) -> Markup:
    """Escaped text with powers of n, indices and minus signs set in HTML."""
    return Markup(inline(POWER.sub(r"n^(\1)", text)))  # inline() escapes


def number(text: str) -> str:
    """A measured number with a proper minus sign and blanks around the plus-minus."""
    return text.replace("-", "−").replace("±", " ± ")


def _off(f: Finding) -> str:
    off = words.deviation(f)
    return "" if off is None else number(words.fixed(off, signed=True))


def _locals(f: Finding) -> str:
    """Slopes between neighbouring widths."""
    return "\u2002".join(number(words.fixed(v)) for v in f.fit.local)  # en spaces


def _counts(validation: Validation) -> list[tuple[Verdict, int]]:
    return list(words.counted(validation.findings).items())


def _telling(validation: Validation) -> Verdict:
    """The verdict whose count is coloured: one number tells how the validation went."""
    counts = dict(_counts(validation))
    order = (Verdict.DISAGREES, Verdict.AGREES, Verdict.INCONCLUSIVE)
    return next((v for v in order if counts[v]), Verdict.AGREES)


# -- cases -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Panel:
    """One plot and the numbers under it."""

    site: str
    quantity: str
    svg: Markup
    findings: Sequence[Finding]
    powers: Markup


@dataclass(frozen=True)
class View:
    """What the template needs to know of one case."""

    name: str
    anchor: str
    trained: str
    rate: str
    claim: str
    derived: str
    data: str
    findings: Sequence[Finding]
    counts: Sequence[tuple[Verdict, int]]
    strip: Markup
    panels: Sequence[Panel]
    colours: dict[int, int]
    unfolded: bool
    plotted: bool

    @property
    def agrees(self) -> bool:
        """True where every number does."""
        return not words.unsettled(self.findings)


def _views(validation: Validation) -> list[View]:
    grouped = [(name, words.ordered(found)) for name, found in words.by_case(validation)]
    # Stable: cases that do not agree come first, the others in their order.
    plotted = {name for name, _ in sorted(grouped, key=lambda g: not words.unsettled(g[1]))[:PLOTTED]}
    open_ = [name for name, found in grouped if words.unsettled(found)]
    unfolded = {name for few in ([name for name, _ in grouped], open_) if len(few) <= UNFOLDED for name in few}
    anchors: dict[str, str] = {}
    views = []
    for name, found in grouped:
        case = found[0].case
        slug = re.sub(r"[^\w.-]+", "-", name).strip("-") or "case"
        anchor = slug if slug not in anchors else f"{slug}-{len(anchors)}"
        anchors[anchor] = name
        colours = _colours(found)
        views.append(
            View(
                name,
                anchor,
                words.trained(case),
                words.learning_rate(case),
                # A claim is about the case's own parametrization.
                "" if validation.against else case.claim,
                "" if validation.against else words.derived(case),
                words.data(case),
                found,
                list(words.counted(found).items()),
                Markup(strip(found)),
                _panels(found, colours) if name in plotted else [],
                colours,
                name in unfolded,
                name in plotted,
            )
        )
    return views


def _colours(found: Sequence[Finding]) -> dict[int, int]:
    """The number of each step's colour; initialisation has the faint one, 0."""
    later = sorted({f.prediction.step for f in found} - {0})
    return {0: 0, **{t: 1 + i % (COLOURS - 1) for i, t in enumerate(later)}}


def _panels(found: Sequence[Finding], colours: dict[int, int]) -> list[Panel]:
    groups: dict[tuple[str, Quantity], list[Finding]] = {}
    for f in found:
        groups.setdefault((f.prediction.site, f.prediction.quantity), []).append(f)
    span = max([1.0, *map(decades, groups.values())])
    panels = []
    for (site, q), group in groups.items():
        svg = panel(group, span, colours, f"{site} {words.quantity(q)} over the width")
        powers = ", ".join(dict.fromkeys(words.power(f.prediction.exponent) for f in group))
        title, said = (site, words.quantity(q)), powers
        if q is Quantity.REGIME:
            title, said = ("", "fastest growing value"), words.predicted(group[0])
        panels.append(Panel(*title, Markup(svg), group, formulas(said)))
    return panels
