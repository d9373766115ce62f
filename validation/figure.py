"""The figure, to print: measured sizes with fitted and predicted slopes for a few cases, an overview for many.

    slopes      rows are cases, columns quantities; one dot a seed
    overview    one row a case: measured slope minus predicted exponent of every number, with its interval and verdict

All panels of slopes span the same number of decades, so a slope looks the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from tensorprog.exponent import Exponent
from validation.drawing import DASHED, FAINT, GRID, INK, STYLE, horizontal_grid, through_centre, typeset
from validation.measure import OUTPUT, Quantity
from validation.report.words import MARKS, VERBS, by_case, cases, counted, deviation, measured, ordered, unsettled
from validation.verdict import ALLOWANCE, Verdict

if TYPE_CHECKING:
    from validation.run import Finding, Validation

__all__ = ["figure"]

ALLOWED = "#dcebdd"
STEP_COLOURS = ("#1f5fa8", "#c8641b", "#4b8b3b", "#7a4fa3")
COLOURS = {Verdict.AGREES: "#2e7d32", Verdict.DISAGREES: "#c62828", Verdict.INCONCLUSIVE: "#b26a00"}
FORMULAS = {
    Quantity.EFFECTIVE: r"$(W_t - W_0)\,x_t$",
    Quantity.PROPAGATING: r"$W_0\,(x_t - x_0)$",
    Quantity.FEATURE: r"$a_t - a_0$",  # of attention logits only
    Quantity.LOGIT_UPDATE: r"$f_t - f_0$",
}
MARGIN, HEADROOM = 0.16, 0.6
"""Decades kept free around the data, and above it for the numbers in a panel."""
ROWS = 8
"""With more cases than this, the figure is the overview."""

COLUMNS, PANELS = 13, 64
"""With more quantities than this every case gets rows of its own; with more panels the figure is the overview."""
WRAPPED = 7
"""Panels in a row of a case with rows of its own."""
LETTERS = 13
"""Letters of a vertical label that fit into an inch."""

Column = tuple[str, Quantity]


def figure(validation: Validation) -> Figure | None:
    """Draw the slopes of a few cases or the overview of many; None where there is nothing to draw.

    The figure is not registered with pyplot, so it needs no display and no closing.
    """
    shown = [f for f in validation.findings if _is_update(f)]
    regimes = [f for f in validation.findings if f.prediction.quantity is Quantity.REGIME]
    if not shown and not regimes:
        return None
    with mpl.rc_context(STYLE):
        if len({f.case.name for f in validation.findings}) > ROWS:
            return _overview(validation)
        if len(_columns(shown)) <= COLUMNS:
            return _slopes(shown, regimes)
        panels = len({(f.case.name, f.prediction.site, f.prediction.quantity) for f in shown})
        return _overview(validation) if panels > PANELS else _wrapped([*shown, *regimes])


def _is_update(f: Finding) -> bool:
    """Is it an update of a weight, of the logits, or of attention logits, which no weight writes?"""
    if f.prediction.quantity is Quantity.FEATURE:
        return f.prediction.site in dict(f.case.setting.program.observed)
    return f.prediction.quantity in FORMULAS


# -- slopes ----------------------------------------------------------------------------------------------------------


def _slopes(shown: Sequence[Finding], regimes: Sequence[Finding]) -> Figure:
    """The updates of every weight and the change of the logits after each step; below, cases with a regime to show."""
    names = list(dict.fromkeys(f.case.name for f in shown))
    columns = _columns(shown)
    wide = len(columns) or min(len(regimes), 4)
    colours = _colours([*shown, *regimes])
    rows = len(names) + -(-len(regimes) // wide)
    # Two inches a panel.
    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.05, rect=(0, 0.3 / (1.75 * rows), 1, 1 - 0.3 / (1.75 * rows)))
    drawn = Figure(figsize=(max(1.15 + 1.95 * wide, 4.5), 0.95 + 1.75 * rows), layout=layout)
    axes = drawn.subplots(rows, wide, squeeze=False)
    _cases(axes[: len(names)], shown, names, columns, colours)
    decades = max([_decades([f]) for f in regimes], default=1.0)
    for i in range(wide * (rows - len(names))):
        ax = axes[len(names) + i // wide][i % wide]
        _panel(ax, regimes[i : i + 1], decades, colours)
        if i < len(regimes):
            ax.set_title(f"{_label(regimes[i])}\nfastest growing value", fontsize=8, pad=7)
            ax.set_xlabel("width $n$")
    _sized(drawn)
    ncols = 6 if wide > 3 else 2
    drawn.legend(handles=_legend(colours), loc="lower center", ncols=ncols, frameon=False, fontsize=8, handlelength=2.2)
    return drawn


def _wrapped(shown: Sequence[Finding]) -> Figure:
    """The same for networks of many weights: each case in rows of its own, one panel a quantity."""
    rows: list[tuple[str, list[Column]]] = []
    for name in dict.fromkeys(f.case.name for f in shown):
        columns = _columns([f for f in shown if f.case.name == name])
        rows += [(name, columns[i : i + WRAPPED]) for i in range(0, len(columns), WRAPPED)]
    labels = {f.case.name: _label(f) for f in shown}
    if len(set(labels.values())) < len(labels):  # cases that differ in their networks
        labels = {name: "\n".join(wrap(name, 18)) for name in labels}
    colours = _colours(shown)
    height = 0.95 + 1.95 * len(rows)
    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.06, rect=(0, 0.3 / height, 1, 1 - 0.3 / height))
    drawn = Figure(figsize=(1.15 + 1.95 * WRAPPED, height), layout=layout)
    axes = drawn.subplots(len(rows), WRAPPED, squeeze=False)

    def of(name: str, column: Column) -> list[Finding]:
        return [f for f in shown if (f.case.name, f.prediction.site, f.prediction.quantity) == (name, *column)]

    decades = max((_decades(of(name, column)) for name, columns in rows for column in columns), default=1.0)
    for (name, columns), line in zip(rows, axes, strict=True):
        for j, ax in enumerate(line):
            found = of(name, columns[j]) if j < len(columns) else []
            _panel(ax, found, decades, colours)
            if found:
                site, quantity = columns[j]
                ax.set_title(f"{_site(site)}\n{FORMULAS.get(quantity, 'fastest growing value')}", fontsize=8, pad=7)
                ax.set_xlabel("width $n$")
        line[0].set_ylabel(labels[name], fontsize=8.5, labelpad=7)
    _sized(drawn)
    drawn.legend(handles=_legend(colours), loc="lower center", ncols=6, frameon=False, fontsize=8, handlelength=2.2)
    return drawn


def _sized(drawn: Figure) -> None:
    """Say what the vertical axes are, in as many lines as the figure's height asks for."""
    words = "coordinate size (root mean square over entries, probe batch)"
    drawn.supylabel("\n".join(wrap(words, int(LETTERS * drawn.get_figheight()))), fontsize=8.5, color=FAINT)


def _site(name: str) -> str:
    return "logits" if name == OUTPUT else name


def _cases(
    axes: Any, shown: Sequence[Finding], names: Sequence[str], columns: Sequence[Column], colours: Mapping[int, str]
) -> None:
    """A row of panels for every case."""
    panels = {
        (name, column): [f for f in shown if (f.case.name, f.prediction.site, f.prediction.quantity) == (name, *column)]
        for name in names
        for column in columns
    }
    decades = max([_decades(found) for found in panels.values()], default=1.0)
    for j, column in enumerate(columns):
        last = max(i for i, name in enumerate(names) if panels[name, column])
        for i, name in enumerate(names):
            _panel(axes[i][j], panels[name, column], decades, colours)
            axes[i][j].tick_params(labelbottom=i == last)
        axes[last][j].set_xlabel("width $n$")
        axes[0][j].set_title(f"{_site(column[0])}\n{FORMULAS[column[1]]}", fontsize=9, pad=7)
    for i, name in enumerate(names):
        words = _label(next(f for f in shown if f.case.name == name))
        axes[i][0].set_ylabel(words, fontsize=8.5, labelpad=7)


def _columns(shown: Sequence[Finding]) -> list[Column]:
    """Columns follow the deepest network; what belongs to the whole network comes last."""
    deepest = max((f.case.setting.program.sites for f in shown), key=len, default=())
    sites = list(dict.fromkeys([*(s.name for s in deepest), *(f.prediction.site for f in shown)]))

    def place(column: Column) -> tuple[bool, int, int]:
        site, quantity = column
        return site == OUTPUT, sites.index(site), list(FORMULAS).index(quantity)

    return sorted({(f.prediction.site, f.prediction.quantity) for f in shown}, key=place)


def _panel(ax: Axes, found: Sequence[Finding], decades: float, colours: Mapping[int, str]) -> None:
    if not found:  # not predicted for this case
        ax.set_axis_off()
        return
    ax.set_xscale("log")
    ax.set_yscale("log")
    drawable = [f for f in found if f.fit.means]
    if not drawable:
        ax.text(0.5, 0.5, measured(found[0]), transform=ax.transAxes, ha="center", color=FAINT)
        ax.xaxis.set_major_locator(NullLocator())
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
    horizontal_grid(ax)


def _series(ax: Axes, f: Finding, colour: str) -> None:
    widths, means = np.array(f.fit.widths, dtype=float), np.array(f.fit.means)
    for n in f.fit.widths:
        sizes = list(f.sizes[n].values())
        ax.plot([n] * len(sizes), sizes, ".", color=colour, alpha=0.45, markersize=3.6, markeredgewidth=0)
    curve = np.geomspace(0.94 * widths[0], widths[-1] / 0.94, 2 if f.fit.correction is None else 30)
    ax.plot(curve, [f.fit.at(n) for n in curve], color=colour, linewidth=1.0)
    if f.prediction.exponent.is_number and f.prediction.regime is None:
        ends = widths[[0, -1]] * np.array([0.83, 1 / 0.83])
        line = through_centre(ends, widths, means, f.prediction.exponent)
        ax.plot(ends, line, color=INK, linewidth=0.8, linestyle=DASHED, zorder=1.5)
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

    claims = (f.prediction.stated if f.prediction.regime else _power(f.prediction.exponent) for f in found)
    predicted = list(dict.fromkeys(claims))
    write(0, f"predicted {', '.join(predicted)}", INK)
    for i, f in enumerate(found, start=1):
        write(i, typeset(measured(f)), colours[f.prediction.step], indent=0.09)
        write(i, MARKS[f.verdict], COLOURS[f.verdict])


def _power(e: Exponent) -> str:
    return "0" if e.infinite else rf"$n^{{{e}}}$"


def _label(f: Finding) -> str:
    s = f.case.setting
    known = {"mup": "µP", "adam": "Adam", "muon": "Muon", "signsgd": "SignSGD"}
    names = [s.parametrization.name, s.optimizer.name, s.loss.name]
    return ", ".join(known.get(n, n.upper()) for n in names) + "\n" + rf"$\eta\propto$ {_power(s.lr_exponent)}"


def _colours(found: Sequence[Finding]) -> dict[int, str]:
    """One colour per step."""
    steps = sorted({f.prediction.step for f in found})
    return {t: STEP_COLOURS[i % len(STEP_COLOURS)] for i, t in enumerate(steps)}


def _legend(colours: Mapping[int, str]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=colour, marker="o", markersize=4, linewidth=1.0, label=f"step {t}, fit")
        for t, colour in colours.items()
    ]
    handles.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=DASHED, label="predicted slope"))
    handles.append(Line2D([], [], color=FAINT, marker=".", alpha=0.6, linestyle="", label="one seed"))
    return handles


# -- overview --------------------------------------------------------------------------------------------------------

PAGE = 45
"""Cases in one column of the overview; a page has two."""
REACH = 0.8
"""Largest deviation drawn in its place; what is further off stands at the edge as an arrow."""
APART = 0.95
"""Where numbers without a slope stand: exact zeros, regimes, sizes that are not finite."""
DOTS = {Verdict.AGREES: ("o", 2.0), Verdict.DISAGREES: ("X", 4.4), Verdict.INCONCLUSIVE: ("D", 3.4)}


def _overview(validation: Validation) -> Figure:
    """Every judged number at a glance, cases from top to bottom."""
    grouped = [(name, ordered(found)) for name, found in by_case(validation)]
    # What does not agree is never left out; stable, so that the order stays otherwise.
    kept = {name for name, _ in sorted(grouped, key=lambda g: not unsettled(g[1]))[: 2 * PAGE]}
    rows = [g for g in grouped if g[0] in kept]
    halves = [rows] if len(rows) <= PAGE else [rows[: (len(rows) + 1) // 2], rows[(len(rows) + 1) // 2 :]]
    height = 1.5 + 0.19 * len(halves[0])
    layout = ConstrainedLayoutEngine(w_pad=0.08, rect=(0, 0.3 / height, 1, 1 - 0.3 / height))
    drawn = Figure(figsize=(7.2 if len(halves) == 1 else 12.5, height), layout=layout)
    axes = drawn.subplots(1, len(halves), squeeze=False)[0]
    for ax, half in zip(axes, halves, strict=True):
        _forest(ax, half)
    counts = counted(validation.findings)
    told = ", ".join(f"{n} {VERBS[v]}" for v, n in counts.items())
    left_out = [found for name, found in grouped if name not in kept]
    agreeing = "" if any(map(unsettled, left_out)) else " in which every number agrees"
    notes = [f"not drawn: {cases(len(left_out))}{agreeing}"] if left_out else []
    notes += [f"judged against the predictions of {validation.against}"] if validation.against else []
    title = f"{cases(len(grouped))}, {len(validation.findings)} predicted numbers: {told}"
    drawn.suptitle("\n".join([title, *notes]), fontsize=9.5)
    handles = _verdicts()
    drawn.legend(handles=handles, loc="lower center", ncols=4, frameon=False, fontsize=8)
    return drawn


def _forest(ax: Axes, rows: Sequence[tuple[str, list[Finding]]]) -> None:
    """One row a case; in it the numbers of the case stand in the order of the tables, one below the other."""
    for i, (_, found) in enumerate(rows):
        if i % 2:
            ax.axhspan(i - 0.5, i + 0.5, color="#f6f6f6", linewidth=0, zorder=0)
        allowed = float(ALLOWANCE * found[0].gap)
        ax.fill_betweenx([i - 0.5, i + 0.5], -allowed, allowed, color=ALLOWED, linewidth=0, zorder=0.5)
    for v in Verdict:
        points = [
            (i + 0.72 * ((k + 0.5) / len(found) - 0.5), f)
            for i, (_, found) in enumerate(rows)
            for k, f in enumerate(found)
            if f.verdict is v
        ]
        _marks(ax, v, points)
    for at, style in ((-0.5, ":"), (0.0, "-"), (0.5, ":"), (0.88, "-")):
        ax.axvline(at, color=FAINT if at < REACH else GRID, linewidth=0.6, linestyle=style, zorder=0.8)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(-REACH - 0.04, 1.04)
    ax.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=6.5)
    ax.set_xticks([-0.5, -0.25, 0, 0.25, 0.5, APART], ["−1/2", "−1/4", "0", "1/4", "1/2", "no slope"])
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", top=True, labeltop=True)
    ax.set_xlabel("measured slope − predicted exponent")


def _marks(ax: Axes, verdict: Verdict, points: Sequence[tuple[float, Finding]]) -> None:
    """The numbers with one verdict; points are (place on the vertical axis, finding)."""
    colour = COLOURS[verdict]
    shape, size = DOTS[verdict]

    def put(x: Sequence[float], y: Sequence[float], marker: str, size: float) -> None:
        if y:  # an empty line that is not clipped takes part in the layout, at the origin of the page
            ax.plot(x, y, marker, color=colour, markersize=size, markeredgewidth=0, zorder=3, clip_on=False)

    placed = [(y, f, off) for y, f in points if (off := deviation(f)) is not None]
    near = [(y, f, off) for y, f, off in placed if abs(off) <= REACH]
    lows = [max(f.fit.low - f.fit.slope + off, -REACH) for _, f, off in near]
    highs = [min(f.fit.high - f.fit.slope + off, REACH) for _, f, off in near]
    faint = 0.35 if verdict is Verdict.AGREES else 0.8
    ax.hlines([y for y, *_ in near], lows, highs, colour, linewidth=0.6, alpha=faint)
    put([off for *_, off in near], [y for y, *_ in near], shape, size)
    for side, arrow in ((-1, "<"), (1, ">")):
        beyond = [y for y, _, off in placed if off * side > REACH]
        put([side * REACH] * len(beyond), beyond, arrow, 4.2)
    apart = [y for y, f in points if deviation(f) is None]
    put([APART] * len(apart), apart, shape, size)


def _verdicts() -> list[Line2D]:
    handles = []
    for v, (shape, size) in DOTS.items():
        style: dict[str, Any] = {"color": COLOURS[v], "linestyle": "", "markeredgewidth": 0}
        handles.append(Line2D([], [], marker=shape, markersize=size + 1, label=VERBS[v], **style))
    handles.append(Line2D([], [], color=ALLOWED, linewidth=6, label="allowance for finite width"))
    return handles
