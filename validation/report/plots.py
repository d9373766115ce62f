"""Plots inside the HTML report: small SVG, written by hand, coloured by the page's style sheet.

A dot is a stroke of no length with round ends: three times smaller than a circle element, and a page has thousands.
Sizes are in pixels at the page's scale.

    panel    sizes over the width, one dot a seed, the fitted law and the predicted slope; both axes logarithmic
    strip    measured slope minus predicted exponent of every number of a case
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from validation.report.words import deviation
from validation.verdict import ALLOWANCE, Verdict

if TYPE_CHECKING:
    from validation.run import Finding

__all__ = ["CLASSES", "REACH", "decades", "panel", "scale", "strip"]

CLASSES = {Verdict.AGREES: "good", Verdict.DISAGREES: "bad", Verdict.INCONCLUSIVE: "warn"}

# -- panels ----------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 190, 116
LEFT, RIGHT, TOP, BOTTOM = 32, 182, 6, 98
MARGIN = 0.12
"""Decades kept free above and below the data."""
CURVE = 12
"""Pieces of a fitted law with two terms."""
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def decades(found: Iterable[Finding]) -> float:
    """The decades that the drawable sizes of some findings span."""
    sizes = [v for f in found for v in _drawable(f)]
    return math.log10(max(sizes) / min(sizes)) if sizes else 0.0


def _drawable(f: Finding) -> list[float]:
    return [v for n in f.fit.widths for v in f.sizes[n].values()]


class _Axes:
    """Logarithmic axes: sizes and widths to pixels."""

    def __init__(self, widths: Sequence[int], sizes: Sequence[float], span: float) -> None:
        self.span = span + 2 * MARGIN
        logs = [math.log10(v) for v in sizes]
        self.low = (max(logs) + min(logs) - self.span) / 2
        self.first, self.last = math.log(widths[0]), math.log(widths[-1])

    def x(self, width: float) -> float:
        at = (math.log(width) - self.first) / (self.last - self.first or 1.0)
        return LEFT + 6 + (RIGHT - LEFT - 12) * at

    def y(self, size: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (math.log10(size) - self.low) / self.span

    def line(self, points: Iterable[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{self.x(n):.1f},{self.y(v):.1f}" for n, v in points)


def panel(found: Sequence[Finding], span: float, colours: Mapping[int, int], title: str) -> str:
    """One quantity at one site after several steps; empty where nothing can be drawn.

    Args:
        span: decades of the vertical axis, the same for all panels of a case, so that slopes look the same.
        colours: step -> the number of its colour in the style sheet.
        title: for readers who do not see it.
    """
    drawable = [f for f in found if f.fit.widths]
    if not drawable:
        return ""
    widths = sorted({n for f in drawable for n in f.fit.widths})
    axes = _Axes(widths, [v for f in drawable for v in _drawable(f)], span)
    parts = [*_frame(axes, widths)]
    for f in drawable:
        parts += _series(axes, f, colours[f.prediction.step])
    return (
        f'<svg class="panel" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_attribute(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _frame(axes: _Axes, widths: Sequence[int]) -> Iterator[str]:
    low, high = math.ceil(axes.low), math.floor(axes.low + axes.span)
    every = max(1, math.ceil((high - low + 1) / 5))
    grid = ""
    for k in range(low, high + 1, every):
        y = axes.y(10.0**k)
        grid += f"M{LEFT},{y:.1f}H{RIGHT}"
        yield f'<text x="{LEFT - 4}" y="{y + 3:.1f}" class="e">10{str(k).translate(SUPERSCRIPTS)}</text>'
    ticks = "".join(f"M{axes.x(n):.1f},{BOTTOM}v3" for n in widths)
    yield f'<path class="g" d="{grid}"/><path class="x" d="M{LEFT},{BOTTOM}H{RIGHT}{ticks}"/>'
    yield from (
        f'<text x="{axes.x(n):.1f}" y="{BOTTOM + 13}">{n}</text>' for n in dict.fromkeys((widths[0], widths[-1]))
    )


def _series(axes: _Axes, f: Finding, colour: int) -> Iterator[str]:
    widths = f.fit.widths
    if f.prediction.regime is None and f.prediction.exponent.is_number and len(widths) > 1:
        # The predicted slope has no prefactor of its own: it is drawn through the centre of the measured points.
        p = float(f.prediction.exponent.const)
        middle = sum(map(math.log, widths)) / len(widths)
        centre = sum(map(math.log, f.fit.means)) / len(widths)
        ends = [(n, math.exp(centre + p * (math.log(n) - middle))) for n in (widths[0], widths[-1])]
        yield f'<path class="p" d="{axes.line(ends)}"/>'
    if math.isfinite(f.fit.slope):
        pieces = 1 if f.fit.correction is None else CURVE
        ratio = widths[-1] / widths[0]
        curve = [widths[0] * ratio ** (i / pieces) for i in range(pieces + 1)]
        yield f'<path class="l s{colour}" d="{axes.line((n, f.fit.at(n)) for n in curve)}"/>'
    dots = "".join(_dot(axes.x(n), axes.y(v)) for n in widths for v in f.sizes[n].values())
    yield f'<path class="o s{colour}" d="{dots}"/>'


def _dot(x: float, y: float) -> str:
    return f"M{x:.1f},{y:.1f}h.01"


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


# -- strips ----------------------------------------------------------------------------------------------------------

REACH = 0.75
"""Largest deviation that a strip shows; what is further off is an arrow at the edge."""
STRIP, ROW = 340, 30
CENTRE, HALF, APART = 142, 136, 296
"""Where no deviation is, how many pixels the reach has, and where numbers without a slope stand."""
RIVALS = (-0.5, 0.5)
STACK, COLUMNS = 4, 7
"""Marks of numbers without a slope: how many stand above each other, and side by side."""


def scale() -> str:
    """The scale of strips, for the head of their column."""
    words = "".join(
        f'<text x="{_place(v):.0f}" y="10">{name}</text>' for v, name in ((-0.5, "−½"), (0.0, "0"), (0.5, "+½"))
    )
    words += f'<text x="{(APART + STRIP) / 2:.0f}" y="10">no slope</text>'
    return f'<svg class="strip" viewBox="0 0 {STRIP} 13" width="{STRIP}" height="13" aria-hidden="true">{words}</svg>'


def strip(findings: Sequence[Finding]) -> str:
    """Every number of a case: how far its slope is from the prediction, with its interval, coloured by verdict."""
    marks: dict[Verdict, list[str]] = {v: [] for v in Verdict}
    bars: dict[Verdict, list[str]] = {v: [] for v in Verdict}
    apart = 0
    for i, f in enumerate(findings):
        off, y = deviation(f), 4 + (ROW - 8) * (i + 0.5) / len(findings)
        if off is None:
            x, y = APART + 4 + 5.5 * min(apart // STACK, COLUMNS), 6 + 6 * (apart % STACK)
            marks[f.verdict].append(_mark(f.verdict, x, y))
            apart += 1
        elif abs(off) > REACH:
            side = math.copysign(1, off)
            marks[f.verdict].append(
                f"M{_place(off) - 3 * side:.0f},{y - 2.5:.1f}l{3 * side:.0f},2.5l{-3 * side:.0f},2.5"
            )
        else:
            low, high = (_place(v - f.fit.slope + off) for v in (f.fit.low, f.fit.high))
            bars[f.verdict].append(f"M{low:.1f},{y:.1f}H{high:.1f}")
            marks[f.verdict].append(_mark(f.verdict, _place(off), y))
    grid = "".join(f"M{_place(v):.1f},0V{ROW}" for v in RIVALS)
    parts = [f'<path class="g" d="{grid}"/><path class="x" d="M{CENTRE},0V{ROW}"/>']
    allowed = float(ALLOWANCE * findings[0].gap) / REACH * HALF
    parts.insert(0, f'<rect class="b" x="{CENTRE - allowed:.1f}" width="{2 * allowed:.1f}" height="{ROW}"/>')
    for v in Verdict:
        if bars[v]:
            parts.append(f'<path class="w {CLASSES[v]}" d="{"".join(bars[v])}"/>')
        if marks[v]:
            parts.append(f'<path class="m {CLASSES[v]}" d="{"".join(marks[v])}"/>')
    box = f'viewBox="0 0 {STRIP} {ROW}" width="{STRIP}" height="{ROW}"'
    return f'<svg class="strip" {box} aria-hidden="true">{"".join(parts)}</svg>'


def _place(off: float) -> float:
    return CENTRE + HALF * max(-1.0, min(1.0, off / REACH))


def _mark(verdict: Verdict, x: float, y: float) -> str:
    """A dot, a cross or a ring: told apart without colour too."""
    match verdict:
        case Verdict.AGREES:
            return _dot(x, y)
        case Verdict.DISAGREES:
            return f"M{x - 2.2:.1f},{y - 2.2:.1f}l4.4,4.4m0,-4.4l-4.4,4.4"
        case Verdict.INCONCLUSIVE:
            return f"M{x - 2:.1f},{y:.1f}a2,2 0 1 0 4,0a2,2 0 1 0 -4,0"
