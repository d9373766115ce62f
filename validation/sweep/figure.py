"""The figure of a sweep: loss against learning rate, the same rescaled by the prediction, and the rates over widths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from tensorprog.exponent import Exponent
from validation.drawing import DASHED, FAINT, INK, STYLE, horizontal_grid, through_centre, typeset
from validation.report.words import MARKS
from validation.sweep.report import lowest, measured

if TYPE_CHECKING:
    from validation.fit import Fit, Sizes
    from validation.sweep.run import Sweep

__all__ = ["figure"]

NARROW, WIDE = 0.12, 0.86
"""Part of the colour map from the smallest width to the largest: its ends are too light and too dark."""
TOP, STAGGER = 0.97, 0.02
"""Height, as a fraction of the panel, of the first width's threshold, and how much lower each next one is."""


def figure(result: Sweep) -> Figure:
    """Draw three panels; the figure is not registered with pyplot, so it needs no display and no closing."""
    colours = _colours(result)
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05, wspace=0.04, rect=(0, 0.075, 1, 0.925))
        drawn = Figure(figsize=(9.6, 3.5), layout=layout)
        plain, rescaled, over = drawn.subplots(1, 3, width_ratios=(1, 1, 0.92))
        limits = _limits(result)
        _losses(plain, result, colours, limits, rescale=0.0)
        predicted = result.threshold.predicted
        if predicted.is_number:
            _losses(rescaled, result, colours, limits, rescale=-float(predicted.const))
        _rates(over, result, colours)
        plain.set_title("held-out loss", fontsize=9, loc="left")
        rescaled.set_title("the same, rescaled by the prediction", fontsize=9, loc="left")
        over.set_title("learning rates over width", fontsize=9, loc="left")
        plain.set_ylabel(f"loss after {result.template.steps} steps")
        plain.set_xlabel(r"learning rate $\eta$")
        rescaled.set_xlabel(_rescaled(predicted))
        rescaled.tick_params(labelleft=False)
        drawn.suptitle(str(result.setting), fontsize=9.5, x=0.01, ha="left")
        drawn.legend(
            handles=_legend(result, colours),
            loc="lower center",
            ncols=20,
            frameon=False,
            fontsize=7.5,
            handlelength=1.6,
            columnspacing=1.3,
        )
    return drawn


def _colours(result: Sweep) -> dict[int, Any]:
    shades = np.linspace(NARROW, WIDE, len(result.widths))
    return dict(zip(result.widths, mpl.colormaps["viridis_r"](shades), strict=True))


def _limits(result: Sweep) -> tuple[float, float]:
    """Losses that are shown: means of the stable ones, all lower ones, and room above for the marks of thresholds."""
    points = [point for n in result.widths for point in _curve(result, n)]
    high = max((float(np.mean(losses)) for _, losses, fine in points if fine), default=1.0)
    low = min((v for _, losses, _ in points for v in losses if math.isfinite(v)), default=0.0)
    room = 0.06 * (high - low or 1.0)
    return low - room, high + 4 * room


def _curve(result: Sweep, width: int) -> list[tuple[float, list[float], bool]]:
    """(learning rate, held-out losses of the seeds, all stable) at the octaves that every seed has tried.

    Up to the second one past the stable ones: a search that starts far above the threshold tries many.
    """
    found = [result.found[width, s].outcomes for s in result.seeds]
    shared = sorted(k for k in set.intersection(*(set(known) for known in found)) if k == int(k))
    stable = result.threshold.criterion.stable
    points = [
        (2.0**k, [known[k].held_out for known in found], all(stable(known[k]) for known in found)) for k in shared
    ]
    past = [i for i, (_, _, fine) in enumerate(points) if not fine]
    return points[: past[0] + 2] if past else points


def _losses(
    ax: Axes, result: Sweep, colours: Mapping[int, Any], limits: tuple[float, float], *, rescale: float
) -> None:
    """One curve a width through the mean over seeds; learning rates are multiplied by n^rescale."""
    ax.set_xscale("log")
    ax.set_ylim(*limits)
    for n in result.widths:
        curve = _curve(result, n)
        if not curve:
            continue
        lrs = np.array([lr for lr, _, _ in curve]) * n**rescale
        table = np.array([losses for _, losses, _ in curve])
        edge = sum(stable for _, _, stable in curve)
        ax.fill_between(lrs[:edge], table[:edge].min(1), table[:edge].max(1), color=colours[n], alpha=0.13, linewidth=0)
        best = _optimum_mark(result, n, rescale)
        means = [*zip(lrs[:edge], table[:edge].mean(1), strict=True)]
        # The optimum lies between octaves, and past the last stable one where lower losses are not stable.
        beyond = [best] if best is not None and means and best[0] > means[-1][0] else []
        ax.plot(*zip(*means, *beyond, strict=True), color=colours[n], linewidth=1.3)
        # Past the edge the mean means little: one seed may have blown up and another one come back.
        for lr, losses in zip(lrs[edge:], table[edge:], strict=True):
            inside = [v if math.isfinite(v) and v < limits[1] else math.nan for v in losses]
            ax.plot([lr] * len(inside), inside, "x", color=colours[n], markersize=3.6, markeredgewidth=0.8, alpha=0.8)
        rates = [v * n**rescale for v in result.threshold.rates[n].values()]
        _threshold_mark(ax, rates, colours[n], limits, place=result.widths.index(n))
        if best is not None:
            ax.plot(*best, "o", color=colours[n], markersize=5, markeredgecolor="white", markeredgewidth=0.8, zorder=4)
    ax.xaxis.set_major_locator(LogLocator(base=10, numticks=6))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    horizontal_grid(ax)


def _threshold_mark(ax: Axes, rates: list[float], colour: Any, limits: tuple[float, float], *, place: int) -> None:
    """The smallest unstable learning rates' range over seeds and geometric mean, at the top of the panel."""
    finite = [v for v in rates if math.isfinite(v) and v > 0]
    if not finite:
        return
    height = limits[0] + (TOP - STAGGER * place) * (limits[1] - limits[0])  # ranges of neighbours overlap
    mean = float(np.exp(np.log(finite).mean()))
    ax.plot([min(finite), max(finite)], [height, height], color=colour, linewidth=1.0, solid_capstyle="butt")
    ax.plot(mean, height, "v", color=colour, markersize=5, markeredgecolor="white", markeredgewidth=0.6, zorder=4)


def _optimum_mark(result: Sweep, width: int, rescale: float) -> tuple[float, float] | None:
    """(geometric mean of the seeds' optima, rescaled; mean loss there)."""
    rates = np.array(list(result.optima[width].values()))
    stable = [(math.log(lr), float(np.mean(losses))) for lr, losses, fine in _curve(result, width) if fine]
    if not np.all(np.isfinite(rates)) or not stable:
        return None
    at = float(np.log(rates).mean())
    octaves, losses = zip(*stable, strict=True)
    inside = at <= octaves[-1]
    loss = np.interp(at, octaves, losses) if inside else np.mean([lowest(result, width, s) for s in result.seeds])
    return math.exp(at) * width**rescale, float(loss)


def _rates(ax: Axes, result: Sweep, colours: Mapping[int, Any]) -> None:
    """Smallest unstable and optimal learning rates over widths, their fits, and the predicted slope."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    judged = result.threshold
    _law(ax, judged.rates, judged.fit, colours, "v", judged.predicted)
    _law(ax, result.optima, result.optimum, colours, "o", None)
    mark = MARKS[result.verdict].replace("?", "inconclusive")
    power = _power(judged.predicted)
    words = [
        f"smallest unstable: predicted {power}",
        f"measured {typeset(measured(judged.fit))} {mark}",
        f"optimal: measured {typeset(measured(result.optimum))}",
    ]
    ax.text(0.03, 0.035, "\n".join(words), transform=ax.transAxes, va="bottom", fontsize=7.5, linespacing=1.5)
    low, high = ax.get_ylim()
    ax.set_ylim(low / (high / low) ** 0.32, high)  # room for the numbers
    ax.set_xlabel("width $n$")
    ax.xaxis.set_major_locator(FixedLocator(result.widths))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=12))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    horizontal_grid(ax)


def _law(
    ax: Axes, rates: Sizes, fitted: Fit, colours: Mapping[int, Any], marker: str, predicted: Exponent | None
) -> None:
    """Seeds, means, the fitted power law, and the predicted slope through the centre of the points."""
    for n, by_seed in rates.items():
        finite = [v for v in by_seed.values() if math.isfinite(v) and v > 0]
        ax.plot([n] * len(finite), finite, ".", color=colours[n], alpha=0.5, markersize=3.6, markeredgewidth=0)
    if not fitted.means:
        return
    widths, means = np.array(fitted.widths, dtype=float), np.array(fitted.means)
    ends = widths[[0, -1]] * np.array([0.85, 1 / 0.85])
    if math.isfinite(fitted.slope):
        ax.plot(ends, fitted.prefactor * ends**fitted.slope, color=FAINT, linewidth=1.0, zorder=1.6)
    if predicted is not None and predicted.is_number:
        line = through_centre(ends, widths, means, predicted)
        ax.plot(ends, line, color=INK, linewidth=0.9, linestyle=DASHED, zorder=1.5)
    for n, mean in zip(fitted.widths, means, strict=True):
        ax.plot(n, mean, marker, color=colours[n], markersize=5, markeredgecolor="white", markeredgewidth=0.6, zorder=3)


def _power(e: Exponent) -> str:
    return rf"$n^{{{e}}}$" if e.is_number else str(e)


def _rescaled(predicted: Exponent) -> str:
    if not predicted.is_number:
        return "no finite threshold is predicted"
    power = str(-predicted)
    return r"$\eta \cdot n$" if power == "1" else rf"$\eta \cdot n^{{{power}}}$"


def _legend(result: Sweep, colours: Mapping[int, Any]) -> list[Line2D]:
    return [
        *(
            Line2D([], [], color=colours[n], linewidth=1.8, label=f"$n$ = {n}" if n == result.widths[0] else f"{n}")
            for n in result.widths
        ),
        Line2D([], [], color=FAINT, marker="o", linestyle="", markersize=4.5, label="optimal"),
        Line2D([], [], color=FAINT, marker="v", linestyle="", markersize=4.5, label="smallest unstable"),
        Line2D([], [], color=FAINT, marker="x", linestyle="", markersize=4, label="past it, each seed"),
        Line2D([], [], color=FAINT, linewidth=1.0, label="fit"),
        Line2D([], [], color=INK, linewidth=0.9, linestyle=DASHED, label="predicted slope"),
    ]
