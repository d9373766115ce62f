"""Convex polygons in two symbols, exact: the regions of a phase diagram.

A bounded region in two symbols is known by its corners, so the range of a form on it is read off them and a cut is a
walk around the boundary: no linear program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tensorprog.errors import RegionError
from tensorprog.exponent import Exponent, Linear, symbol
from tensorprog.region import Region

__all__ = ["Point", "Polygon", "cross", "rectangle", "segment"]

Point = tuple[Fraction, Fraction]


@dataclass(frozen=True)
class Polygon(Region):
    """The open convex polygon with the given corners.

    Args:
        names: the symbols on the two axes.
        corners: counter-clockwise.

    Example:
        >>> from tensorprog.exponent import exponent
        >>> square = rectangle(("r", "b"), (0, 1), (0, 1))
        >>> half = square.where(exponent("r - b"))
        >>> [tuple(map(str, p)) for p in half.corners]
        [('0', '0'), ('1', '0'), ('1', '1')]
        >>> half.sign(exponent("r + b"))
        1
    """

    names: tuple[str, str] = ("x", "y")
    corners: tuple[Point, ...] = ()

    def value(self, form: Exponent, at: Point) -> Fraction:
        """The form at a point."""
        return _value(form, self.names, at)

    def _supremum(self, linear: Linear) -> Exponent:
        form = Exponent(0, linear.items)
        return Exponent(max(self.value(form, p) for p in self.corners))

    def where(self, form: Exponent) -> Polygon:
        values = [self.value(form, p) for p in self.corners]
        kept: list[Point] = []
        for i, (p, here) in enumerate(zip(self.corners, values, strict=True)):
            q, there = self.corners[i - 1], values[i - 1]
            if (here > 0 > there) or (there > 0 > here):
                t = there / (there - here)
                kept.append((q[0] + t * (p[0] - q[0]), q[1] + t * (p[1] - q[1])))
            if here >= 0:
                kept.append(p)
        return Polygon(names=self.names, corners=tuple(kept))

    def where_zero(self, form: Exponent) -> Region:
        ends = sorted(p for p in self.where(form).corners if not self.value(form, p))
        return segment(self.names, ends[0], ends[-1])

    def is_empty(self) -> bool:
        return len(self.corners) < 3

    def interior(self) -> dict[str, Exponent]:
        middle = [sum((p[i] for p in self.corners), Fraction(0)) / len(self.corners) for i in (0, 1)]
        return {name: Exponent(at) for name, at in zip(self.names, middle, strict=True)}

    def edges(self) -> list[tuple[Point, Point]]:
        """Counter-clockwise."""
        return [(p, self.corners[(i + 1) % len(self.corners)]) for i, p in enumerate(self.corners)]

    def sides(self) -> list[Exponent]:
        """Forms that are positive inside and zero on an edge each."""
        x, y = map(symbol, self.names)
        return [(y - p[1]) * (q[0] - p[0]) - (x - p[0]) * (q[1] - p[1]) for p, q in self.edges()]

    def holds(self, point: Point, *, closed: bool = False) -> bool:
        """True where the point lies inside, or (``closed``) on the boundary."""
        turns = [cross(p, q, point) for p, q in self.edges()]
        return all(t > 0 for t in turns) or (closed and all(t >= 0 for t in turns))

    def __str__(self) -> str:
        return "polygon " + " ".join(f"({x}, {y})" for x, y in self.corners)


def rectangle(names: tuple[str, str], x: Sequence[Fraction | int], y: Sequence[Fraction | int]) -> Polygon:
    """The rectangle x[0] < first symbol < x[1], y[0] < second symbol < y[1].

    Raises:
        RegionError: where it is empty.
    """
    (left, right), (low, high) = ([Fraction(v) for v in ends] for ends in (x, y))
    if not (left < right and low < high):
        raise RegionError(f"the window {left} < {names[0]} < {right}, {low} < {names[1]} < {high} is empty")
    return Polygon(names=names, corners=((left, low), (right, low), (right, high), (left, high)))


def segment(names: tuple[str, str], p: Point, q: Point) -> Region:
    """The open segment between two points as a region in one symbol, the other eliminated."""
    along = 0 if p[0] != q[0] else 1
    low, high = sorted((p, q), key=lambda point: point[along])
    free, bound = names[along], names[1 - along]
    slope = (high[1 - along] - low[1 - along]) / (high[along] - low[along])
    line = symbol(free) * slope + (low[1 - along] - slope * low[along])
    return Region((symbol(free) - low[along], -symbol(free) + high[along]), {bound: line})


def cross(o: Point, p: Point, q: Point) -> Fraction:
    """Twice the signed area of the triangle o, p, q: positive where it turns left."""
    return (p[0] - o[0]) * (q[1] - o[1]) - (p[1] - o[1]) * (q[0] - o[0])


def _value(form: Exponent, names: tuple[str, str], at: Point) -> Fraction:
    result = form.const
    for name, slope in form.coefficients:
        result += slope * at[names.index(name)]
    return result
