"""Arrangements: convex polygons that tile a window, their common edges, and the unions of some of them."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tensorprog.polygon import Point, Polygon, cross

__all__ = ["Arrangement", "Line", "Loop"]

Loop = tuple[Point, ...]
Side = tuple[Point, Point]


@dataclass(frozen=True)
class Line:
    """A straight piece of common boundary.

    Args:
        sides: the elementary edges it consists of, each as (start, end) with the lower point first.
        cells: the cells beside it.
    """

    sides: tuple[Side, ...]
    cells: frozenset[int]

    @property
    def start(self) -> Point:
        return self.sides[0][0]

    @property
    def end(self) -> Point:
        return self.sides[-1][1]


class Arrangement:
    """Cells and their elementary edges: edges are split where a corner of another cell lies on them."""

    def __init__(self, cells: Sequence[Polygon]) -> None:
        self.cells = cells
        points = sorted({p for c in cells for p in c.corners})
        self.left: dict[Side, int] = {}
        for i, cell in enumerate(cells):
            for p, q in cell.edges():
                for side in _split(p, q, points):
                    self.left[side] = i

    def shared(self) -> Iterator[tuple[Side, int, int]]:
        """(edge with the lower point first, the two cells beside it)."""
        for (p, q), i in self.left.items():
            other = self.left.get((q, p))
            if p < q and other is not None:
                yield (p, q), i, other

    def lines(self, labels: Sequence[Hashable]) -> list[Line]:
        """Maximal straight pieces of common boundary with the same labels on its sides."""
        groups: dict[Hashable, list[tuple[Side, int, int]]] = {}
        for side, i, j in self.shared():
            key = (_line(*side), labels[i], labels[j])
            groups.setdefault(key, []).append((side, i, j))
        result = []
        for members in groups.values():
            members.sort()
            run = [members[0]]
            for before, here in itertools.pairwise(members):
                if before[0][1] != here[0][0]:
                    result.append(_made(run))
                    run = []
                run.append(here)
            result.append(_made(run))
        return result

    def outlines(self, labels: Sequence[Hashable]) -> list[Loop]:
        """The boundaries of the unions of neighbouring cells with one label."""
        seams = [Line((side,), frozenset((i, j))) for side, i, j in self.shared() if labels[i] == labels[j]]
        return [loop for _, outline, holes in self.joined(seams) for loop in (outline, *holes)]

    def joined(self, seams: Iterable[Line]) -> list[tuple[list[int], Loop, tuple[Loop, ...]]]:
        """Unions of cells across the seams: (members, outline, holes)."""
        parent = list(range(len(self.cells)))

        def root(i: int) -> int:
            while parent[i] != i:
                parent[i] = parent[parent[i]]
                i = parent[i]
            return i

        inner: set[Side] = set()
        for line in seams:
            for p, q in line.sides:
                inner |= {(p, q), (q, p)}
                parent[root(self.left[p, q])] = root(self.left[q, p])
        groups: dict[int, list[int]] = {}
        for i in range(len(self.cells)):
            groups.setdefault(root(i), []).append(i)
        result = []
        for members in groups.values():
            mine = set(members)
            loops = _loops([side for side, i in self.left.items() if i in mine and side not in inner])
            outer = max(loops, key=_area)
            result.append((members, outer, tuple(loop for loop in loops if loop is not outer)))
        return result


def _split(p: Point, q: Point, points: Sequence[Point]) -> Iterator[Side]:
    low, high = min(p, q), max(p, q)
    on = [m for m in points if low < m < high and not cross(p, q, m)]
    chain = [low, *on, high]
    if p != low:
        chain.reverse()
    yield from itertools.pairwise(chain)


def _line(p: Point, q: Point) -> tuple[Fraction, Fraction, Fraction]:
    """a x + b y = c, normalised."""
    a, b = q[1] - p[1], p[0] - q[0]
    scale = a or b
    return a / scale, b / scale, (a * p[0] + b * p[1]) / scale


def _made(run: Sequence[tuple[Side, int, int]]) -> Line:
    return Line(tuple(side for side, _, _ in run), frozenset(i for _, *pair in run for i in pair))


def _loops(sides: Iterable[Side]) -> list[Loop]:
    """Directed edges chained into closed loops, corners between collinear edges left out."""
    leaving: dict[Point, list[Point]] = {}
    for p, q in sides:
        leaving.setdefault(p, []).append(q)
    loops = []
    while leaving:
        start = min(leaving)
        loop = [start]
        while True:
            here = loop[-1]
            ends = leaving[here]
            # Where loops touch, the sharpest left turn keeps each of them simple.
            step = ends.pop(_sharpest(loop[-2] if len(loop) > 1 else None, here, ends))
            if not ends:
                del leaving[here]
            if step == start:
                break
            loop.append(step)
        n = len(loop)
        loops.append(tuple(p for i, p in enumerate(loop) if cross(loop[i - 1], p, loop[(i + 1) % n])))
    return loops


def _sharpest(before: Point | None, here: Point, ends: Sequence[Point]) -> int:
    if before is None or len(ends) == 1:
        return 0

    def turn(i: int) -> tuple[bool, Fraction]:
        side = cross(before, here, ends[i])
        ahead = sum(((here[k] - before[k]) * (ends[i][k] - here[k]) for k in (0, 1)), Fraction(0))
        # Left turns first; the sharper, the further back they point.
        return side > 0, -ahead if side > 0 else ahead

    return max(range(len(ends)), key=turn)


def _area(loop: Loop) -> Fraction:
    return sum((cross(loop[0], p, q) for p, q in itertools.pairwise(loop)), Fraction(0))
