"""The figure: measured sizes over widths, the fitted power law and the predicted slope, one panel per quantity.

Rows are cases, columns quantities. All panels span the same number of decades, so a slope looks the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from tensorprog.exponent import Exponent
from validation.measure import OUTPUT, Quantity
from validation.report import measured
from validation.verdict import Verdict

if TYPE_CHECKING:
    from validation.run import Finding, Validation

__all__ = ["figure"]

INK, FAINT = "#222222", "#8c8c8c"
STEP_COLOURS = ("#1f5fa8", "#c8641b", "#4b8b3b", "#7a4fa3")
MARKS = {
    Verdict.AGREES: ("✓", "#2e7d32"),
    Verdict.DISAGREES: ("✗", "#c62828"),
    Verdict.INCONCLUSIVE: ("?", "#b26a00"),
}
FORMULAS = {
    Quantity.EFFECTIVE: r"$(W_t - W_0)\,x_t$",
    Quantity.PROPAGATING: r"$W_0\,(x_t - x_0)$",
    Quantity.LOGIT_UPDATE: r"$f_t - f_0$",
}
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "mathtext.fontset": "stix",
    "pdf.fonttype": 42,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}
MARGIN, HEADROOM = 0.16, 0.6
"""Decades kept free around the data, and above it for the numbers in a panel."""

Column = tuple[str, Quantity]


def figure(validation: Validation) -> Figure:
    """Draw the effective and propagating updates of every weight, and the change of the logits, after each step."""
    shown = [f for f in validation.findings if f.prediction.quantity in FORMULAS]
    cases = list(dict.fromkeys(f.case.name for f in shown))
    columns: list[Column] = list(dict.fromkeys((f.prediction.site, f.prediction.quantity) for f in shown))
    columns.sort(key=lambda c: c[0] == OUTPUT)
    panels = {
        (name, column): [f for f in shown if (f.case.name, f.prediction.site, f.prediction.quantity) == (name, *column)]
        for name in cases
        for column in columns
    }
    colours = _colours(shown)
    decades = max([_decades(found) for found in panels.values()], default=1.0)
    with mpl.rc_context(STYLE):
        # Two inches a panel; the figure is not registered with pyplot, so it needs no display and no closing.
        layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.05, rect=(0, 0.035, 1, 0.965))
        drawn = Figure(figsize=(1.15 + 1.95 * len(columns), 0.95 + 1.75 * len(cases)), layout=layout)
        axes = drawn.subplots(len(cases), len(columns), sharex=True, squeeze=False)
        for i, name in enumerate(cases):
            for j, column in enumerate(columns):
                _panel(axes[i][j], panels[name, column], decades, colours)
                if i == 0:
                    axes[i][j].set_title(f"{_site(column[0])}\n{FORMULAS[column[1]]}", fontsize=9, pad=7)
                if i == len(cases) - 1:
                    axes[i][j].set_xlabel("width $n$")
            axes[i][0].set_ylabel(_label(next(f for f in shown if f.case.name == name)), fontsize=8.5, labelpad=7)
        drawn.supylabel("coordinate size (root mean square over entries, probe batch)", fontsize=8.5, color=FAINT)
        drawn.legend(handles=_legend(colours), loc="lower center", ncols=6, frameon=False, fontsize=8, handlelength=2.2)
    return drawn


def _panel(ax: Axes, found: Sequence[Finding], decades: float, colours: Mapping[int, str]) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    drawable = [f for f in found if f.fit.means]
    if not drawable:
        ax.text(0.5, 0.5, measured(found[0]) if found else "", transform=ax.transAxes, ha="center", color=FAINT)
        ax.yaxis.set_major_locator(NullLocator())
        return
    for f in drawable:
        _series(ax, f, colours[f.prediction.step])
    _limits(ax, drawable, decades)
    _numbers(ax, found, colours)
    widths = drawable[0].fit.widths
    ax.xaxis.set_major_locator(FixedLocator(widths[:: 2 if len(widths) > 3 else 1]))
    ax.xaxis.set_minor_locator(FixedLocator(widths))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.xaxis.set_minor_formatter(FuncFormatter(lambda v, _: ""))
    ax.yaxis.set_major_locator(LogLocator(base=10, numticks=4))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.grid(axis="y", color="#e9e9e9", linewidth=0.5)
    ax.set_axisbelow(True)


def _series(ax: Axes, f: Finding, colour: str) -> None:
    widths, means = np.array(f.fit.widths, dtype=float), np.array(f.fit.means)
    for n in f.fit.widths:
        sizes = list(f.sizes[n].values())
        ax.plot([n] * len(sizes), sizes, ".", color=colour, alpha=0.45, markersize=3.6, markeredgewidth=0)
    ends = widths[[0, -1]] * np.array([0.94, 1 / 0.94])
    ax.plot(ends, f.fit.prefactor * ends**f.fit.slope, color=colour, linewidth=1.0)
    if f.prediction.exponent.is_number:
        # The predicted slope has no prefactor of its own: it is drawn through the centre of the measured points.
        centre, size = np.exp(np.log(widths).mean()), np.exp(np.log(means).mean())
        ends = widths[[0, -1]] * np.array([0.83, 1 / 0.83])
        line = size * (ends / centre) ** float(f.prediction.exponent.const)
        ax.plot(ends, line, color=INK, linewidth=0.8, linestyle=(0, (4, 2.5)), zorder=1.5)
    ax.plot(widths, means, "o", color=colour, markersize=3.8, markeredgecolor="white", markeredgewidth=0.5, zorder=3)


def _limits(ax: Axes, found: Sequence[Finding], decades: float) -> None:
    sizes = np.log10([v for f in found for n in f.fit.widths for v in f.sizes[n].values()])
    free = decades - (sizes.max() - sizes.min())
    low = sizes.min() - free / 2 - MARGIN
    ax.set_ylim(10**low, 10 ** (low + decades + 2 * MARGIN + HEADROOM))


def _decades(found: Sequence[Finding]) -> float:
    sizes = [v for f in found for n in f.fit.widths for v in f.sizes[n].values()]
    return float(np.log10(max(sizes) / min(sizes))) if sizes else 0.0


def _numbers(ax: Axes, found: Sequence[Finding], colours: Mapping[int, str]) -> None:
    """Predicted exponent and measured slopes, in the corner that the curves leave free."""
    falling = found[0].prediction.exponent < Exponent(0)
    x, side = (0.98, "right") if falling else (0.03, "left")

    def write(line: int, words: str, colour: str, indent: float = 0.0) -> None:
        at = (x - indent if falling else x + indent, 0.985 - 0.115 * line)
        ax.text(*at, words, transform=ax.transAxes, ha=side, va="top", color=colour, fontsize=7.5)

    predicted = list(dict.fromkeys(_power(f.prediction.exponent) for f in found))
    write(0, f"predicted {', '.join(predicted)}", INK)
    for i, f in enumerate(found, start=1):
        number = measured(f).replace("-", "−").replace("±", " ± ")
        write(i, number, colours[f.prediction.step], indent=0.09)
        write(i, *MARKS[f.verdict])


def _power(e: Exponent) -> str:
    return "0" if e.infinite else rf"$n^{{{e}}}$"


def _site(name: str) -> str:
    return "logits" if name == OUTPUT else name


def _label(f: Finding) -> str:
    s = f.case.setting
    known = {"mup": "µP", "adam": "Adam", "muon": "Muon", "signsgd": "SignSGD"}
    names = [s.parametrization.name, s.optimizer.name, s.loss.name]
    return ", ".join(known.get(n, n.upper()) for n in names) + rf"$\quad\eta\propto$ {_power(s.lr_exponent)}"


def _colours(found: Sequence[Finding]) -> dict[int, str]:
    """One colour per step."""
    steps = sorted({f.prediction.step for f in found})
    return {t: STEP_COLOURS[i % len(STEP_COLOURS)] for i, t in enumerate(steps)}


def _legend(colours: Mapping[int, str]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=colour, marker="o", markersize=4, linewidth=1.0, label=f"step {t}, fit")
        for t, colour in colours.items()
    ]
    handles.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (4, 2.5)), label="predicted slope"))
    handles.append(Line2D([], [], color=FAINT, marker=".", alpha=0.6, linestyle="", label="one seed"))
    return handles
