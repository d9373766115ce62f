"""Phase diagrams as pictures (matplotlib, imported when one is drawn) and as documents."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from textwrap import wrap
from typing import Any

from tensorprog.errors import SettingError, Unsupported
from tensorprog.exponent import Exponent
from tensorprog.phase import Phase, PhaseDiagram, PhaseRegion
from tensorprog.polygon import Point
from tensorprog.regimes import Learning, Regime
from tensorprog.report.document import Bullets, Cell, Column, Document, Grid, Section

__all__ = ["SUFFIXES", "draw", "figure", "phase_document", "published", "save", "svg"]

SUFFIXES = (".png", ".svg", ".pdf")

FILLS: dict[tuple[Regime, Learning | None], str] = {
    (Regime.STABLE, Learning.TRIVIAL): "#eef4ee",
    (Regime.STABLE, Learning.KERNEL): "#cfe5d2",
    (Regime.STABLE, Learning.FEATURE): "#8fc79a",
    (Regime.STABLE, Learning.MAXIMAL): "#5fae70",
    (Regime.CONTROLLED_DIVERGENCE, Learning.TRIVIAL): "#fdf3dc",
    (Regime.CONTROLLED_DIVERGENCE, Learning.KERNEL): "#f9dfa6",
    (Regime.CONTROLLED_DIVERGENCE, Learning.FEATURE): "#f0bf5a",
    (Regime.CONTROLLED_DIVERGENCE, Learning.MAXIMAL): "#e0a02c",
    (Regime.CATASTROPHIC, None): "#e3c3c0",
}
LINES: dict[Learning | None, str] = {
    None: "#8c3b34",
    Learning.TRIVIAL: "#9a9a9a",
    Learning.KERNEL: "#4d6fa8",
    Learning.FEATURE: "#1a7a35",
    Learning.MAXIMAL: "#0b4d1e",
}
"""Edges are drawn by what is learned on them: the boundary of catastrophic training is where features are learned."""
INK = "#222222"


def published(d: PhaseDiagram) -> dict[str, Point]:
    """The registered parametrizations that lie in the window, with their places.

    A parametrization lies in the plane where values of the two symbols give all its exponents.
    """
    from tensorprog.parametrizations import PARAMETRIZATIONS

    found: dict[str, Point] = {}
    own = d.setting.exponents()
    for name, entry in PARAMETRIZATIONS.items():
        theirs = entry.assign(d.setting.program, d.setting.optimizer)
        gaps = [
            mine - other
            for w, abc in own.items()
            for mine, other in zip((abc.a, abc.b, abc.c), (theirs[w].a, theirs[w].b, theirs[w].c), strict=True)
        ]
        at = _solved(d.names, gaps)
        if at is not None and d.window.holds(at, closed=True):
            found[name] = at
    return found


def _solved(names: tuple[str, str], zeros: Sequence[Exponent]) -> Point | None:
    """The one point at which all forms vanish, or None."""
    known: dict[str, Exponent] = {}
    for form in zeros:
        form = form.substitute(known)
        if not form.coefficients:
            if form != 0:
                return None
            continue
        name, slope = form.coefficients[-1]
        value = Exponent(0, ((name, slope),)) - form
        step = {name: value / slope}
        known = {s: e.substitute(step) for s, e in known.items()} | step
    values = [known.get(n) for n in names]
    if any(v is None or v.coefficients for v in values):
        return None
    x, y = values
    assert x is not None
    assert y is not None
    return x.const, y.const


def draw(
    d: PhaseDiagram,
    ax: Any = None,
    *,
    marks: Mapping[str, Point] | None = None,
    labels: bool = True,
    title: str | None = None,
) -> Any:
    """Draw a diagram.

    Args:
        ax: matplotlib axes; without them, new ones.
        marks: named points; without them, the registered parametrizations that lie in the window.
        labels: write the phases into their regions.
        title: above the axes; without one, optimizer and loss.

    Returns:
        The axes.
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    if ax is None:
        ax = figure(1)[1][0]
    for region in d.regions:
        vertices, codes = [], []
        for loop in (region.outline, *region.holes):
            vertices += [_float(p) for p in (*loop, loop[0])]
            codes += [Outline.MOVETO, *[Outline.LINETO] * (len(loop) - 1), Outline.CLOSEPOLY]
        fill = FILLS[region.phase.regime, region.phase.learning]
        ax.add_patch(PathPatch(Outline(vertices, codes), facecolor=fill, edgecolor="none", zorder=1))
    for edge in d.edges:
        (x, y), (u, v) = _float(edge.start), _float(edge.end)
        strong = edge.phase.learning in (Learning.FEATURE, Learning.MAXIMAL)
        dashed = edge.phase.regime is Regime.CONTROLLED_DIVERGENCE
        ax.plot(
            (x, u),
            (y, v),
            color=LINES[edge.phase.learning],
            lw=2.4 if strong else 1.4,
            ls=(0, (3.5, 1.3)) if dashed else "-",
            zorder=2,
            solid_capstyle="butt",
        )
    for p, phase in d.corners:
        ax.plot(*_float(p), "o", ms=_size(phase.learning), color=LINES[phase.learning], zorder=3)
    if labels:
        for region in d.regions:
            _label(ax, d, region)
    for name, p in (published(d) if marks is None else marks).items():
        ax.plot(*_float(p), marker="D", ms=4.5, mfc="white", mec=INK, zorder=5, clip_on=False)
        ax.annotate(name, _float(p), (5, 5), textcoords="offset points", fontsize=7.5, color=INK, zorder=6)
    (left, low), (right, high) = map(_float, (d.window.corners[0], d.window.corners[2]))
    ax.set(xlim=(left, right), ylim=(low, high), xlabel=_name(d.names[0]), ylabel=_name(d.names[1]))
    ax.set_title(title if title is not None else f"{d.setting.optimizer}, {d.setting.loss}", fontsize=10)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(_halves(max(right - left, high - low)))
        axis.set_major_formatter(lambda v, _: str(Fraction(v).limit_denominator(64)).replace("-", "\N{MINUS SIGN}"))
    ax.tick_params(labelsize=8)
    return ax


def _size(learning: Learning | None) -> float:
    """Of the dot at a corner."""
    return 5 if learning in (Learning.FEATURE, Learning.MAXIMAL) else 3.5


def _halves(span: float) -> Any:
    """Ticks at multiples of 1/2, or of a whole number where there would be too many."""
    from matplotlib.ticker import MultipleLocator

    return MultipleLocator(0.5 if span <= 5 else max(1, round(span / 8)))


def _float(p: Point) -> tuple[float, float]:
    return float(p[0]), float(p[1])


NAMES = {"r": r"learning-rate exponent $r$", "c": r"learning-rate exponent $c$ (rate $n^{-c}$)"}
WORDS = {"a": "multiplier exponent", "b": "init exponent", "c": "learning-rate exponent"}


def _name(symbol: str) -> str:
    """A symbol on an axis: what it is, then how formulas write it."""
    key, _, target = symbol.partition("_")
    if symbol in NAMES or key not in WORDS or not target:
        return NAMES.get(symbol, symbol.replace("_", " "))
    return f"{WORDS[key]} of {target.replace('_', '.')}, ${key}_{{\\mathrm{{{target.replace('_', '.')}}}}}$"


def _label(ax: Any, d: PhaseDiagram, region: PhaseRegion) -> None:
    """The phase in the widest place of a region, where there is room."""
    (left, low), (right, high) = map(_float, (d.window.corners[0], d.window.corners[2]))
    x, y, room = _pole(region)
    share = room / max(right - left, high - low)
    if share < 0.035:
        return
    words = str(region.phase).replace("controlled divergence", "controlled").split(", ")
    ax.text(x, y, "\n".join(words), ha="center", va="center", fontsize=8 if share > 0.07 else 6.5, color=INK, zorder=4)


def _pole(region: PhaseRegion) -> tuple[float, float, float]:
    """The point of a region farthest from its boundary, on a grid, and that distance."""
    import numpy as np

    loops = [np.array([_float(p) for p in loop]) for loop in (region.outline, *region.holes)]
    xs, ys = loops[0][:, 0], loops[0][:, 1]
    x, y = np.meshgrid(np.linspace(xs.min(), xs.max(), 61)[1:-1], np.linspace(ys.min(), ys.max(), 61)[1:-1])
    inside, near = np.zeros(x.shape, dtype=bool), np.full(x.shape, np.inf)
    for loop in loops:
        for (px, py), (qx, qy) in zip(loop, np.roll(loop, -1, axis=0), strict=True):
            crosses = (py > y) != (qy > y)
            inside ^= crosses & (x < px + (y - py) * (qx - px) / np.where(qy == py, 1.0, qy - py))
            t = np.clip(((x - px) * (qx - px) + (y - py) * (qy - py)) / ((qx - px) ** 2 + (qy - py) ** 2), 0, 1)
            # Text is wider than high: horizontal distance counts half.
            near = np.minimum(near, np.hypot((x - px - t * (qx - px)) / 2, y - py - t * (qy - py)))
    best = np.unravel_index(np.argmax(np.where(inside, near, -1)), x.shape)
    return float(x[best]), float(y[best]), float(near[best])


def figure(panels: int) -> tuple[Any, list[Any]]:
    """A figure with square panels side by side, without a window of its own."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        needs = "Install it with: pip install 'tensorprog[validation]'."
        raise Unsupported("a picture", "it is drawn with matplotlib, which is not installed", needs) from error
    columns = min(panels, 2)
    rows = -(-panels // columns)
    fig = Figure(figsize=(4.3 * columns, 4.1 * rows + (0.5 if columns > 1 else 0.9)), layout="constrained")
    axes = list(fig.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[panels:]:
        ax.remove()
    return fig, axes[:panels]


def _legend(fig: Any, diagrams: Sequence[PhaseDiagram]) -> int:
    """The number of its rows."""
    from matplotlib.lines import Line2D

    def line(phase: Phase) -> Any:
        width = 2.4 if phase.learning in (Learning.FEATURE, Learning.MAXIMAL) else 1.4
        style = (0, (3.5, 1.3)) if phase.regime is Regime.CONTROLLED_DIVERGENCE else "-"
        return Line2D([], [], color=LINES[phase.learning], lw=width, ls=style, label=f"on the line: {phase}")

    def dot(phase: Phase) -> Any:
        size, told = _size(phase.learning), f"at the point: {phase}"
        return Line2D([], [], color=LINES[phase.learning], marker="o", ms=size, ls="none", label=told)

    def ordered(phases: Iterable[Phase]) -> list[Phase]:
        classes = [*Learning, None]
        return sorted(set(phases), key=lambda p: (list(Regime).index(p.regime), classes.index(p.learning)))

    lines = ordered(e.phase for d in diagrams for e in d.edges)
    # A corner is told where nothing else has its phase.
    told = {*lines, *(r.phase for d in diagrams for r in d.regions)}
    handles = [*map(line, lines), *map(dot, ordered(p for d in diagrams for _, p in d.corners if p not in told))]
    if not handles:
        return 0
    columns = 1 if len(diagrams) == 1 else 2  # a panel is about as wide as the longest label
    fig.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    return -(-len(handles) // columns)


def save(diagrams: Sequence[PhaseDiagram], path: str | Path, *, title: str = "", dpi: int = 160) -> None:
    """Write one picture with a panel for every diagram.

    Raises:
        SettingError: for a file ending that is none of :data:`SUFFIXES`.
    """
    if Path(path).suffix not in SUFFIXES:
        raise SettingError("picture", str(path), f"needs one of the endings {', '.join(SUFFIXES)}")
    _figure(diagrams, title).savefig(path, dpi=dpi)


def _figure(diagrams: Sequence[PhaseDiagram], title: str = "") -> Any:
    fig, axes = figure(len(diagrams))
    for d, ax in zip(diagrams, axes, strict=True):
        draw(d, ax)
        ax.set_box_aspect(1)
    lines = wrap(title or diagrams[0].setting.program.label, 58 * min(len(diagrams), 2))  # letters above a panel
    fig.suptitle("\n".join(lines), fontsize=10)
    more = max(0, len(lines) + _legend(fig, diagrams) - 2)
    fig.set_figheight(fig.get_figheight() + 0.2 * more)
    return fig


def svg(d: PhaseDiagram) -> str:
    """The picture as SVG text, for notebooks."""
    buffer = io.StringIO()
    _figure([d]).savefig(buffer, format="svg")
    return buffer.getvalue()


def phase_document(d: PhaseDiagram) -> Document:
    """Regions with their corners, edges and corners with their phases."""
    x, y = d.names

    def points(loop: Sequence[Point]) -> str:
        return " ".join(f"({p[0]}, {p[1]})" for p in loop)

    regions = [(Cell(str(r.phase)), Cell(points(r.outline))) for r in d.regions]
    edges = [(Cell(str(e.phase)), Cell(points((e.start, e.end)))) for e in d.edges]
    corners = [(Cell(str(p)), Cell(points([at]))) for at, p in d.corners]
    sections = [Section("open regions", tuple(sorted(regions, key=lambda row: str(row[0].value))))]
    sections += [Section("open edges", tuple(edges))] if edges else []
    sections += [Section("corners", tuple(corners))] if corners else []
    grid = Grid((Column("phase"), Column(f"({x}, {y})")), tuple(sections), "Exact; each row lists its corners.")
    notes = ("no learning class is given where training is catastrophic", "what is outside the window is not listed")
    return Document.of(str(d.setting), [grid, Bullets("Notes", notes)])
