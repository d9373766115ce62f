"""The figure of crossing widths, to print: measured sizes, the two powers, their sum, and where they cross.

One panel a size: dots are networks. Of a fit, the sum of both powers goes through the measured sizes; of parts, each
power goes through its own measured part, and the measured sum is drawn beside them. The vertical line is the crossing
width, the band its 95% interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatterSciNotation, LogLocator, NullLocator

from tensorprog.exponent import Exponent
from validation.crossing import Crossing
from validation.drawing import FAINT, INK, STYLE, horizontal_grid
from validation.fit import Sizes, fit
from validation.report.crossings import rounded, size
from validation.two_powers import Sight

__all__ = ["figure"]

ABOVE, BELOW, BAND = "#1f5fa8", "#c8641b", "#efe6cf"
PANELS, PER_ROW, LINE = 12, 4, 36
WORDLESS = 0.7
"""The part of a panel's height that the words above leave free."""
NEAR = 8.0
"""The factor by which a crossing may lie outside the measured widths and be drawn."""


def figure(crossings: Sequence[Crossing]) -> Figure | None:
    """Draw the crossings at measured widths, else those near them, of many the best known; None where there are none.

    The figure is not registered with pyplot, so it needs no display and no closing.
    """
    near = [c for c in crossings if _is_near(c)]
    near = [c for c in near if not c.extrapolated] or near
    best = {id(c) for c in sorted(near, key=_uncertainty)[:PANELS]}
    shown = [c for c in near if id(c) in best]
    if not shown:
        return None
    rows = -(-len(shown) // PER_ROW)
    columns = -(-len(shown) // rows)
    height = 0.75 + 2.35 * rows
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, rect=(0, 0.42 / height, 1, 1 - 0.42 / height))
        drawn = Figure(figsize=(max(0.5 + 2.6 * columns, 5.6), height), layout=layout)
        axes = drawn.subplots(rows, columns, squeeze=False)
        for i, ax in enumerate(axes.flat):
            if i < len(shown):
                _panel(ax, shown[i])
            else:
                ax.set_axis_off()
        drawn.supylabel("coordinate size (RMS over entries)", fontsize=8.5, color=FAINT)
        drawn.legend(handles=_legend(shown), loc="lower center", ncols=5, frameon=False, fontsize=8)
    return drawn


def _is_near(c: Crossing) -> bool:
    n = c.width
    if n is None or c.sight is not Sight.BOTH:
        return False
    return min(c.sizes) / NEAR <= n.value <= max(c.sizes) * NEAR


def _uncertainty(c: Crossing) -> float:
    assert c.width is not None
    return math.log(c.width.high / c.width.low)


def _panel(ax: Axes, c: Crossing) -> None:
    assert c.law is not None
    assert c.width is not None
    ax.set_xscale("log")
    ax.set_yscale("log")
    n = c.width
    widths = np.array(sorted(c.sizes), dtype=float)
    left, right = 0.8 * min(widths[0], n.value), 1.25 * max(widths[-1], n.value)
    grid = np.geomspace(left, right, 60)
    terms = np.array([c.law.terms_at(float(w)) for w in grid])
    if c.parts is None:
        _dots(ax, c.sizes, INK)
        ax.plot(grid, np.hypot(terms[:, 0], terms[:, 1]), color=INK, linewidth=1.0)
    else:
        for sizes, colour in zip(c.parts, (ABOVE, BELOW), strict=True):
            _dots(ax, sizes, colour)
        total = fit(c.sizes)
        ax.plot(total.widths, total.means, "-", color=INK, linewidth=0.8, alpha=0.6)
        _dots(ax, c.sizes, INK)
    ax.plot(grid, terms[:, 0], color=ABOVE, linewidth=1.0, linestyle=(0, (5, 2)))
    ax.plot(grid, terms[:, 1], color=BELOW, linewidth=1.0, linestyle=(0, (2, 1.6)))
    ax.set_xlim(left, right)
    low, high = ax.get_ylim()
    ax.set_ylim(low, low * (high / low) ** (1 / WORDLESS))
    ax.axvspan(max(n.low, left), min(n.high, right), ymax=WORDLESS, color=BAND, zorder=0, linewidth=0)
    ax.axvline(n.value, ymax=WORDLESS, color=FAINT, linewidth=0.8, zorder=0.5)
    _words(ax, c)
    ax.xaxis.set_major_locator(FixedLocator(_ticks(left, right)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    few = math.log10(high / low) < 1.5  # a decade or less between the ends of the data
    ax.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5) if few else (1,), numticks=6))
    ax.yaxis.set_major_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(9, 9)))
    ax.yaxis.set_minor_locator(NullLocator())
    horizontal_grid(ax)
    ax.set_xlabel("width $n$")
    title = "\n".join([*wrap(c.case, LINE), *wrap(size(c), LINE)])
    ax.set_title(title.replace("$", r"\$"), fontsize=8, pad=5)


def _ticks(left: float, right: float) -> list[float]:
    """Powers of two, five at most."""
    powers = [2.0**k for k in range(math.ceil(math.log2(left)), math.floor(math.log2(right)) + 1)]
    return powers[:: -(-len(powers) // 5)]


def _dots(ax: Axes, sizes: Sizes, colour: str) -> None:
    for n, row in sizes.items():
        values = [v for v in row.values() if 0 < v < math.inf]
        ax.plot([n] * len(values), values, ".", color=colour, alpha=0.6, markersize=4, markeredgewidth=0, zorder=3)


def _words(ax: Axes, c: Crossing) -> None:
    assert c.width is not None
    n = c.width
    lines = [
        (f"n* = {rounded(n.value)} ({rounded(n.low)} to {rounded(n.high)})", INK),
        *(
            (f"{_power(p.exponent)}  {_short(p.what)}", colour)
            for p, colour in ((c.leading, ABOVE), (c.subleading, BELOW))
        ),
    ]
    at = 0.985
    for words, colour in lines:
        short = words if len(words) <= LINE + 8 else words[: LINE + 7] + "…"
        ax.text(0.03, at, short, transform=ax.transAxes, ha="left", va="top", color=colour, fontsize=6.8)
        at -= 0.1


def _short(what: str) -> str:
    """The kind of a term, without its formula where it has a long one."""
    return what.partition(" of <")[0]


def _power(e: Exponent) -> str:
    return rf"$n^{{{e}}}$"


def _legend(shown: Sequence[Crossing]) -> list[Line2D | Patch]:
    fits, parts = any(c.parts is None for c in shown), any(c.parts is not None for c in shown)
    what = " or ".join(["fitted"] * fits + ["measured"] * parts) + " sum"
    return [
        Line2D([], [], color=INK, marker=".", linewidth=1.0, label=what),
        Line2D([], [], color=ABOVE, linewidth=1.0, linestyle=(0, (5, 2)), label="leading, $A\\,n^p$"),
        Line2D([], [], color=BELOW, linewidth=1.0, linestyle=(0, (2, 1.6)), label="sub-leading, $B\\,n^q$"),
        Patch(color=BAND, label="crossing width, 95%"),
        Line2D([], [], color=FAINT, marker=".", linestyle="", label="one network"),
    ]
