"""Exact phase diagrams: regime and learning class over two symbols.

The window is explored cell by cell: on each convex polygon one derivation holds, and comparisons that it cannot do
without cut the polygon. Edges and corners of the polygons are explored as regions of their own, in one symbol and in
none, because what is learned often changes exactly there: muP is a point. Polygons of one phase are then joined.

No learning class is given where training is catastrophic: the derivation ends where an activation diverges.

Ref: Haas et al. 2025 (arXiv 2505.22491), Section 3, for the regimes; Yang & Hu 2021 (arXiv 2011.14522), Figure 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from tensorprog.alignment import DERIVED, Alignment
from tensorprog.arrangement import Arrangement, Loop
from tensorprog.bound import Bound
from tensorprog.errors import SettingError
from tensorprog.exponent import Exponent, ExponentLike, exponent
from tensorprog.losses import Loss
from tensorprog.optimizers import Optimizer
from tensorprog.parametrizations import Parametrization
from tensorprog.polygon import Point, Polygon, cross, rectangle, segment
from tensorprog.program import Program
from tensorprog.regimes import Learning, Regime, classify
from tensorprog.region import Chart, Region, assuming, explore
from tensorprog.sandwich import agree, uncut
from tensorprog.setting import Setting, setting
from tensorprog.symbols import bind
from tensorprog.trajectory import Trajectory, divergence

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Edge", "Phase", "PhaseDiagram", "PhaseRegion", "phase", "phase_diagram", "phase_of"]

FAR = 64
"""Half the side of the square that is explored where no window is given: ordinary programs have no corner beyond."""
MARGIN = Fraction(1, 2)
"""Kept free around the outermost breakpoint."""


@dataclass(frozen=True)
class Phase:
    """A regime, and the learning class where training is not catastrophic."""

    regime: Regime
    learning: Learning | None

    def to_dict(self) -> dict[str, str | None]:
        return {"regime": self.regime.value, "learning": self.learning and self.learning.value}

    def __str__(self) -> str:
        return self.regime.value.replace("_", " ") + (f", {self.learning.value}" if self.learning else "")


def phase_of(s: Setting) -> Phase:
    """The phase of one setting; comparisons of symbols are decided by the region in force.

    Bounds first, which are cheap: where they are of one phase, or lower ones diverge, that is the phase.
    """
    found = uncut(partial(bounded_phase, s))
    if found is None and s.optimizer.monotone:
        path = s.trajectory(watch=divergence(s.program), bound=Bound.LOWER)
        if path.stopped or path.growth is not None:
            return Phase(Regime.CATASTROPHIC, None)
        found = uncut(partial(bounded_phase, s))  # on what is left of the region
    if found is None:
        path = s.trajectory(watch=divergence(s.program))
        stopped = path.stopped or path.growth is not None
        found = Phase(Regime.CATASTROPHIC, None) if stopped else _read(s, path)
    return found


def _read(s: Setting, path: Trajectory) -> Phase:
    verdict = classify(s.program, path)
    return Phase(verdict.regime, None if verdict.regime is Regime.CATASTROPHIC else verdict.learning)


def bounded_phase(s: Setting) -> Phase | None:
    """The phase, where lower and upper bounds of all exponents are of one phase; None where they prove nothing.

    See :mod:`tensorprog.sandwich` for when they do.
    """
    upper, lower = (s.trajectory(watch=divergence(s.program), bound=b) for b in (Bound.UPPER, Bound.LOWER))
    if None in (upper.settled_at, lower.settled_at) or not agree(s, lower, upper):
        return None
    found = _read(s, upper)
    return found if found == _read(s, lower) else None


@dataclass(frozen=True)
class Edge:
    """An open segment between two points, and the phase on it."""

    start: Point
    end: Point
    phase: Phase

    def to_dict(self) -> dict[str, Any]:
        return {"from": _texts(self.start), "to": _texts(self.end), **self.phase.to_dict()}


@dataclass(frozen=True)
class PhaseRegion:
    """A connected open region of one phase.

    Args:
        outline: its corners, counter-clockwise.
        holes: corners of what it surrounds, clockwise.
    """

    phase: Phase
    outline: Loop
    holes: tuple[Loop, ...]
    cells: tuple[Polygon, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        holes = {"holes": [[_texts(p) for p in h] for h in self.holes]} if self.holes else {}
        return {**self.phase.to_dict(), "polygon": [_texts(p) for p in self.outline], **holes}


@dataclass(frozen=True)
class PhaseDiagram:
    """The phases over a window of two symbols, exact.

    Args:
        setting: with the two symbols.
        names: the symbols on the horizontal and the vertical axis.
        window: the rectangle that is covered.
        regions: open polygons; with the edges and corners they cover the window.
        edges: the boundaries between regions, and segments inside one whose phase is another.
        corners: (point, phase) where edges meet.
    """

    setting: Setting
    names: tuple[str, str]
    window: Polygon
    regions: tuple[PhaseRegion, ...]
    edges: tuple[Edge, ...]
    corners: tuple[tuple[Point, Phase], ...]

    def at(self, x: ExponentLike, y: ExponentLike) -> Phase:
        """The phase at a point, boundaries included.

        Raises:
            SettingError: outside the window.
        """
        point = tuple(exponent(v, n).const for v, n in zip((x, y), self.names, strict=True))
        where = {n: Exponent(v) for n, v in zip(self.names, point, strict=True)}
        here = (point[0], point[1])
        if not self.window.holds(here, closed=True):
            raise SettingError("point", f"({here[0]}, {here[1]})", f"lies outside the {self.window}")
        for region in self.regions:
            if any(cell.holds(here) for cell in region.cells):
                return region.phase
        return phase_of(self.setting.at(where))

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of the regions, each once, from stable to catastrophic."""
        order = [(r, None) for r in Regime]
        found = dict.fromkeys(r.phase for r in self.regions)
        kinds = list(Learning)
        return tuple(
            sorted(found, key=lambda p: (order.index((p.regime, None)), kinds.index(p.learning) if p.learning else 0))
        )

    def grid(self, columns: int, rows: int) -> np.ndarray:
        """The index in :attr:`phases` at the centres of columns x rows equal boxes, the lowest row first.

        A centre that lies on a boundary takes the phase of a neighbouring region; :meth:`at` decides such points.
        """
        import numpy as np

        (left, low), (right, high) = self.window.corners[0], self.window.corners[2]
        x = float(left) + (np.arange(columns) + 0.5) * (float(right - left) / columns)
        y = float(low) + (np.arange(rows) + 0.5) * (float(high - low) / rows)
        result = np.zeros((rows, columns), dtype=np.int8)
        for region in self.regions:
            index = self.phases.index(region.phase)
            for cell in region.cells:
                xs, ys = ([float(p[i]) for p in cell.corners] for i in (0, 1))
                here = slice(*np.searchsorted(x, (min(xs), max(xs)))), slice(*np.searchsorted(y, (min(ys), max(ys))))
                inside = np.ones((here[1].stop - here[1].start, here[0].stop - here[0].start), dtype=bool)
                for p, q in cell.edges():
                    (px, py), (qx, qy) = (tuple(map(float, c)) for c in (p, q))
                    inside &= (qx - px) * (y[here[1], None] - py) >= (qy - py) * (x[None, here[0]] - px)
                result[here[1], here[0]][inside] = index
        return result

    def to_dict(self) -> dict[str, Any]:
        """Regions, edges and corners as JSON values; coordinates are strings."""
        (left, low), (right, high) = self.window.corners[0], self.window.corners[2]
        return {
            "setting": self.setting.to_dict(),
            "symbols": list(self.names),
            "window": [[str(left), str(right)], [str(low), str(high)]],
            "regions": [r.to_dict() for r in self.regions],
            "edges": [e.to_dict() for e in self.edges],
            "corners": [{"at": _texts(p), **phase.to_dict()} for p, phase in self.corners],
        }

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the diagram with matplotlib; see :func:`tensorprog.report.phase.draw`."""
        from tensorprog.report.phase import draw

        return draw(self, ax, **options)

    def save(self, path: str) -> None:
        """Write the picture: PNG, SVG or PDF by the file's ending."""
        from tensorprog.report.phase import save

        save([self], path)

    def _repr_svg_(self) -> str:
        from tensorprog.report.phase import svg

        return svg(self)

    def __str__(self) -> str:
        from tensorprog.report import document_of
        from tensorprog.report.text import text

        return text(document_of(self))


def phase(
    program: Program,
    parametrization: str | Parametrization = "sp",
    *,
    free: Sequence[str] = ("r", "b_readout"),
    window: Sequence[Sequence[ExponentLike]] | None = None,
    optimizer: str | Optimizer | Mapping[str, Any] = "sgd",
    loss: str | Loss = "ce",
    lr_exponent: ExponentLike = 0,
    zero_readout: bool = False,
    alignment: str | Alignment = DERIVED,
) -> PhaseDiagram:
    """The exact phase diagram over two symbols.

    Args:
        free: the two symbols, horizontal then vertical; names as in :mod:`tensorprog.symbols`, or any that exponents
            of the setting contain.
        window: ((left, right), (low, high)); without it, what contains every corner, with a margin.

    Returns:
        :class:`PhaseDiagram`.

    Assumes: genericity, fixed depth, batch and steps. Without a window, no breakpoint lies beyond 64.

    Raises:
        SettingError: where ``free`` names not exactly the two symbols of the setting, or the window is malformed.

    Example:
        >>> import tensorprog as tp
        >>> d = tp.phase(tp.mlp(hidden_layers=2), "sp", free=("r", "b_readout"), optimizer="sgd", loss="ce")
        >>> str(d.at("-3/4", "1/2")), str(d.at("-1/2", "1/2")), str(d.at(0, "1/2"))
        ('controlled divergence, kernel', 'controlled divergence, feature', 'catastrophic')

    Ref: Haas et al. 2025 (arXiv 2505.22491), Section 3.
    """
    s = setting(
        program,
        parametrization,
        optimizer_=optimizer,
        loss_=loss,
        lr_exponent=lr_exponent,
        zero_readout=zero_readout,
        alignment_=alignment,
    )
    return phase_diagram(bind(s, free), free, window)


def phase_diagram(
    s: Setting, names: Sequence[str], window: Sequence[Sequence[ExponentLike]] | None = None
) -> PhaseDiagram:
    """The diagram of a setting over its two symbols."""
    if len(names) != 2 or s.symbols != frozenset(names):
        has = ", ".join(sorted(s.symbols)) or "none"
        raise SettingError("free", ", ".join(names), f"needs the two symbols of the setting, which has {has}")
    axes = (names[0], names[1])
    start = rectangle(axes, (-FAR, FAR), (-FAR, FAR)) if window is None else _window(axes, window)

    start = _clip(start, s.program.positive)
    if start.is_empty():
        raise SettingError("window", window, f"needs a part where {', '.join(map(str, s.program.positive))} > 0")

    def run(region: Region) -> Phase:
        return phase_of(s.at(region.substitution))

    cells: list[tuple[Polygon, Phase]] = []
    waiting: list[Region] = [start]
    while waiting:
        chart = Chart(waiting.pop())
        with assuming(chart):
            found = run(chart.region)
        waiting += [part for part in chart.rest if isinstance(part, Polygon)]
        assert isinstance(chart.region, Polygon)
        cells.append((chart.region, found))
    if window is None:
        view, cells = _cropped(start, cells)
        start = _clip(view, s.program.positive)
    return _assembled(s, axes, start, cells, run)


def _window(names: tuple[str, str], window: Sequence[Sequence[ExponentLike]]) -> Polygon:
    ends = [tuple(window[i]) for i in range(len(window))]
    if len(ends) != 2 or any(len(e) != 2 for e in ends):
        raise SettingError("window", window, "needs ((left, right), (low, high))")
    read = [[exponent(v, f"window of {n}") for v in e] for n, e in zip(names, ends, strict=True)]
    if not all(v.is_number for e in read for v in e):
        raise SettingError("window", window, "needs finite numbers")
    (left, right), (low, high) = ([v.const for v in e] for e in read)
    if not (left < right and low < high):
        raise SettingError("window", window, "needs left < right and low < high")
    return rectangle(names, (left, right), (low, high))


def _cropped(start: Polygon, cells: list[tuple[Polygon, Phase]]) -> tuple[Polygon, list[tuple[Polygon, Phase]]]:
    """The window that contains all corners of joined regions, with a margin; cells clipped to it."""
    plan = Arrangement([c for c, _ in cells])
    inner = [p for loop in plan.outlines([f for _, f in cells]) for p in loop if max(map(abs, p)) < FAR] or [
        (Fraction(0), Fraction(0))
    ]
    ends = [(min(p[i] for p in inner) - MARGIN, max(p[i] for p in inner) + MARGIN) for i in (0, 1)]
    # A square view: lines that cross keep their angles.
    side = max(high - low for low, high in ends)
    ends = [(low - (side - (high - low)) / 2, high + (side - (high - low)) / 2) for low, high in ends]
    view = rectangle(start.names, *ends)
    clipped = [(_clip(c, view.sides()), f) for c, f in cells]
    return view, [(c, f) for c, f in clipped if not c.is_empty()]


def _clip(cell: Polygon, forms: Iterable[Exponent]) -> Polygon:
    for form in forms:
        if not cell.is_empty():
            cell = cell.where(form)
    return cell


def _assembled(
    s: Setting, names: tuple[str, str], window: Polygon, cells: list[tuple[Polygon, Phase]], run: Any
) -> PhaseDiagram:
    plan = Arrangement([c for c, _ in cells])
    phases = [f for _, f in cells]
    edges: list[Edge] = []
    corners: dict[Point, Phase] = {}
    seams: set[int] = set()
    lines = plan.lines(phases)
    for number, line in enumerate(lines):
        sides = {phases[i] for i in line.cells}
        found = [(c.region, c.result) for c in explore(run, segment(names, line.start, line.end))]
        if {f for _, f in found} == sides:
            seams.add(number)
            continue
        for region, phase_ in found:
            ends = [_on(names, region, low) for low in (0, 1)]
            if ends[0] == ends[1]:
                corners[ends[0]] = phase_
            else:
                edges.append(Edge(ends[0], ends[1], phase_))
    for p in sorted({p for e in edges for p in (e.start, e.end)} - set(corners)):
        if window.holds(p):
            corners[p] = run(Region((), dict(zip(names, map(Exponent, p), strict=True))))
    edges = _straightened(edges, corners)
    regions = []
    for members, outline, holes in plan.joined([lines[i] for i in sorted(seams)]):
        regions.append(PhaseRegion(phases[members[0]], outline, holes, tuple(cells[i][0] for i in members)))
    return PhaseDiagram(s, names, window, tuple(regions), tuple(edges), tuple(sorted(corners.items())))


def _straightened(edges: list[Edge], corners: dict[Point, Phase]) -> list[Edge]:
    """Edges joined across corners that are no corners: the same phase goes straight on."""
    waiting, done = sorted(edges, key=lambda e: (e.start, e.end)), []
    while waiting:
        here = waiting.pop(0)
        meeting = [e for e in edges if here.end in (e.start, e.end)]
        for other in waiting:
            joins = other.start == here.end and len(meeting) == 2 and not cross(here.start, here.end, other.end)
            if joins and here.phase == other.phase == corners.get(here.end):
                del corners[here.end]
                waiting.remove(other)
                waiting.insert(0, Edge(here.start, other.end, here.phase))
                break
        else:
            done.append(here)
    return done


def _on(names: tuple[str, str], region: Region, end: int) -> Point:
    """An end of a region in one symbol (or the point itself) in the plane."""
    free = [n for n in names if n not in region.substitution]
    at = {n: region.bounds(n)[end] for n in free}
    at |= {n: e.substitute(at) for n, e in region.substitution.items()}
    return at[names[0]].const, at[names[1]].const


def _texts(p: Point) -> list[str]:
    return [str(p[0]), str(p[1])]
