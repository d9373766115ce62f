"""Regions of symbol space, and the exploration that splits them where a comparison is undecided.

A region is a relatively open polyhedron: strict inequalities ``g_i(s) > 0`` on some symbols, the others being
eliminated by substitution (an equality is never kept as a constraint). On such a region a non-constant affine
form is positive everywhere, negative everywhere, or takes both signs, so every comparison has one of three
answers. Which one is a linear program, solved exactly: by Farkas' lemma ``f >= 0`` on the closure of a
non-empty ``{g_i > 0}`` iff ``f = l_0 + sum_i l_i g_i`` with all ``l_i >= 0``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Generic, TypeVar

from tensorprog.errors import RegionError, Undecided
from tensorprog.exponent import INFINITE, ZERO, Exponent, Linear, Table, current_region, symbol
from tensorprog.simplex import combine, minimum

__all__ = ["Cell", "Chart", "Region", "assuming", "explore", "explored", "interval", "run_at"]

T = TypeVar("T")


@dataclass(frozen=True)
class Region:
    """A relatively open polyhedron in symbol space.

    Args:
        positive: forms that are > 0 on the region.
        substitution: eliminated symbols as forms in the remaining ones (from equalities).

    Example:
        >>> from tensorprog.exponent import symbol
        >>> r = symbol("r")
        >>> region = Region().where(-r - 1)          # r < -1
        >>> region.sign(r)
        -1
        >>> str(region)
        'r < -1'
    """

    positive: tuple[Exponent, ...] = ()
    substitution: Mapping[str, Exponent] = field(default_factory=dict)
    _ranges: dict[Linear, tuple[Exponent, Exponent]] = field(default_factory=dict, compare=False, repr=False)

    def sign(self, form: Exponent) -> int:
        """The constant sign (-1, 0, +1) of an affine form on the region.

        Raises:
            Undecided: where the form takes both signs; it carries the form.
        """
        form = form.substitute(self.substitution)
        if not form.coefficients:
            return (form.const > 0) - (form.const < 0)
        answer = self._known_sign(form)
        if not answer:
            raise Undecided(form)
        return answer

    def known_le(self, a: Exponent, b: Exponent) -> bool:
        """True where ``a <= b`` is certain on the region."""
        form = (a - b).substitute(self.substitution)
        if not form.coefficients:
            return form.num <= 0
        return self._known_sign(form) < 0

    def _known_sign(self, form: Exponent) -> int:
        """The sign of a form that is not constant; 0 where it takes both."""
        low, high = self.range(form.linear)
        if not low.infinite and low.num * form.den + form.num * low.den >= 0:
            return 1
        if not high.infinite and high.num * form.den + form.num * high.den <= 0:
            return -1
        return 0

    def range(self, linear: Linear) -> tuple[Exponent, Exponent]:
        """(infimum, supremum) of a linear part on the region."""
        found = self._ranges.get(linear)
        if found is None:
            found = self._ranges[linear] = -self._supremum(linear.negative), self._supremum(linear)
            self._ranges[linear.negative] = -found[1], -found[0]
        return found

    def _supremum(self, linear: Linear) -> Exponent:
        form = Exponent(0, linear.items)
        if len(linear.items) == 1 and all(len(g.coefficients) == 1 for g in self.positive):
            # One symbol at a time: at its bound.
            name, slope = linear.items[0]
            low, high = Region(tuple(g for g in self.positive if g.coefficients[0][0] == name)).bounds(name)
            return (high if slope > 0 else low) * slope
        # The dual program: f <= q on the closure iff q - f is a non-negative combination of the g_i (Farkas).
        names = sorted(form.symbols.union(*(g.symbols for g in self.positive)))
        columns = [_row(g, names) for g in self.positive]
        least = minimum(columns, _row(-form, names), [g.const for g in self.positive])
        return INFINITE if least is None else Exponent(least[0])

    def is_empty(self) -> bool:
        """True where no point satisfies all strict inequalities."""
        # {g_i > 0} is empty iff some convex combination of the g_i is <= 0 (Motzkin).
        if not self.positive:
            return False
        return _motzkin_empty(self.positive)

    def where(self, form: Exponent) -> Region:
        """The part of the region on which ``form > 0``."""
        return Region(_irredundant((*self.positive, form.substitute(self.substitution))), self.substitution)

    def where_zero(self, form: Exponent) -> Region:
        """The part of the region on which ``form = 0``: one symbol is eliminated."""
        form = form.substitute(self.substitution)
        name, factor = form.coefficients[-1]
        solved = (form - Exponent(0, ((name, factor),))) * (Fraction(-1) / factor)
        step = {name: solved}
        substitution = {s: e.substitute(step) for s, e in self.substitution.items()} | step
        positive = tuple(g.substitute(step) for g in self.positive)
        return Region(_irredundant(positive), substitution)

    def interior(self) -> dict[str, Exponent]:
        """A point of the region: the remaining symbols with rational values."""
        names = sorted(frozenset().union(*(g.symbols for g in self.positive)))
        if len(names) == 1:
            low, high = self.bounds(names[0])
            if low.infinite or high.infinite:
                inner = high - Fraction(1, 8) if low.infinite and not high.infinite else max(low, ZERO) + 1
            else:
                inner = (low + high) / 2
            return _Point({names[0]: inner})
        # Homogenised: find (x, t) with g_i(x, t) >= 1 and t >= 1; then x / t lies inside.
        columns = []
        for sign in (1, -1):
            for i in range(len(names)):
                columns.append([sign * _row(g, names)[i] for g in self.positive] + [Fraction(0)])
        columns.append([g.const for g in self.positive] + [Fraction(1)])
        rows = len(self.positive) + 1
        columns += [[Fraction(-int(i == j)) for i in range(rows)] for j in range(rows)]
        solution = combine(columns, [Fraction(1)] * rows)
        if solution is None:
            raise RegionError(f"the region {self} is empty")
        t = solution[2 * len(names)]
        return _Point({s: Exponent((solution[i] - solution[len(names) + i]) / t) for i, s in enumerate(names)})

    def bounds(self, name: str) -> tuple[Exponent, Exponent]:
        """(infimum, supremum) of a symbol on a region in this one symbol."""
        if name in self.substitution:
            value = self.substitution[name]
            return value, value
        low, high = Exponent(0, (), -1), Exponent(0, (), 1)
        for g in self.positive:
            if g.symbols - {name}:
                raise RegionError(f"bounds of {name}: the region {self} has other symbols")
            slope = g.coefficients[0][1]
            edge = Exponent(-g.const / slope)
            if slope > 0:
                low = max(low, edge)
            else:
                high = min(high, edge)
        return low, high

    def contains(self, point: Mapping[str, Exponent]) -> bool:
        """True where the point (symbol -> rational) lies in the region."""
        return all(g.substitute(point) > 0 for g in self.positive) and all(
            e.substitute(point) == point[s] for s, e in self.substitution.items()
        )

    def __str__(self) -> str:
        parts = [f"{s} = {e}" for s, e in sorted(self.substitution.items())]
        for g in self.positive:
            if len(g.coefficients) == 1:
                name, q = g.coefficients[0]
                parts.append(f"{name} {'>' if q > 0 else '<'} {-g.const / q}")
            else:
                parts.append(f"{g} > 0")
        return ", ".join(parts) if parts else "everywhere"


def _irredundant(forms: Iterable[Exponent]) -> tuple[Exponent, ...]:
    """Drop constraints that the others imply, in order, so that regions stay small along a split path."""
    forms = tuple(forms)
    names = {s for g in forms for s in g.symbols}
    if len(names) == 1:
        return _interval(forms, names.pop())
    kept: list[Exponent] = []
    for g in forms:
        if not g.coefficients and g.const > 0:
            continue
        if g.coefficients:
            g = g / abs(g.coefficients[0][1])
            if g in kept or _farkas(g, tuple(kept)):
                continue
            # One at a time: of two constraints that imply each other (an empty region's do), one must stay.
            for h in tuple(kept):
                rest = [k for k in kept if k is not h]
                if _farkas(h, (*rest, g)):
                    kept = rest
        kept.append(g)
    return tuple(kept)


def _interval(forms: tuple[Exponent, ...], name: str) -> tuple[Exponent, ...]:
    """The (at most two) binding constraints on one symbol."""
    ends: dict[bool, Exponent] = {}
    for g in forms:
        if not g.coefficients:
            if g.const <= 0:
                return (g,)
            continue
        g = g / abs(g.coefficients[0][1])
        rising = g.coefficients[0][1] > 0
        # x + q > 0 and -x + q > 0 both bind the tighter the smaller q is.
        if rising not in ends or g.const < ends[rising].const:
            ends[rising] = g
    return tuple(ends.values())


def _row(form: Exponent, names: list[str]) -> list[Fraction]:
    values = dict(form.coefficients)
    return [values.get(s, Fraction(0)) for s in names]


def _farkas(form: Exponent, positive: tuple[Exponent, ...]) -> bool:
    """Is ``form = l_0 + sum l_i g_i`` with ``l >= 0`` solvable?"""
    names = sorted(form.symbols.union(*(g.symbols for g in positive)) if positive else form.symbols)
    columns = [[*_row(g, names), g.const] for g in positive]
    columns.append([Fraction(0)] * len(names) + [Fraction(1)])
    return combine(columns, [*_row(form, names), form.const]) is not None


def _motzkin_empty(positive: tuple[Exponent, ...]) -> bool:
    """{g_i > 0} is empty iff sum l_i g_i = -s with l >= 0 not all zero and s >= 0."""
    names = sorted(frozenset().union(*(g.symbols for g in positive)))
    columns = [[*_row(g, names), g.const, Fraction(1)] for g in positive]
    columns.append([Fraction(0)] * len(names) + [Fraction(1), Fraction(0)])
    return combine(columns, [Fraction(0)] * (len(names) + 1) + [Fraction(1)]) is not None


class _Point(dict[str, Exponent]):
    """A point; symbols that no constraint mentions are zero."""

    def get(self, key: str, default: object = None) -> Exponent:
        return super().get(key, Exponent(0))


class Chart:
    """A region that shrinks to the cell around a witness while a computation compares forms on it.

    The first comparison of a form whose sign is not constant on the region cuts the region: the computation goes on
    in the part that contains the witness, the other parts are set aside in ``rest``. So no run is ever repeated.

    Args:
        region: where it starts.
        witness: a point of it, or on its boundary.
        cuts: False to raise Undecided instead of cutting the region.
    """

    def __init__(self, region: Region, witness: Mapping[str, Exponent] | None = None, *, cuts: bool = True) -> None:
        self.region, self.cuts = region, cuts
        self.rest: list[Region] = []
        self._witness = _Point() if not cuts else region.interior() if witness is None else _Point(witness)
        self._signs: dict[Exponent, int] = {}
        self._suprema: Mapping[Linear, tuple[int, int]] = Table(self._supremum)

    def sign(self, form: Exponent) -> int:
        known = self._signs.get(form)
        if known is None:
            known = self._signs[form] = self._decide(form)
        return known

    def known_le(self, a: Exponent, b: Exponent) -> bool:
        """Never cuts: what is asked here is optional."""
        num, den = self._suprema[a.linear.minus[b.linear]]
        return bool(den) and num * a.den * b.den + (a.num * b.den - b.num * a.den) * den <= 0

    def _supremum(self, linear: Linear) -> tuple[int, int]:
        """As numerator and denominator; (1, 0) for an unbounded part."""
        form = Exponent(0, linear.items).substitute(self.region.substitution)
        if not form.coefficients:
            return form.num, form.den
        high = self.region.range(form.linear)[1] + form.const
        return (1, 0) if high.infinite else (high.num, high.den)

    def _decide(self, form: Exponent) -> int:
        try:
            return self.region.sign(form)
        except Undecided:
            if not self.cuts:
                raise
            here = self.region
        form = form.substitute(here.substitution)
        side = form.substitute(self._witness).const
        inside, outside = (-form, form) if side < 0 else (form, -form)
        self.rest += [here.where_zero(form), here.where(outside)]
        self.region = here.where(inside)
        self._suprema = Table(self._supremum)
        if not side:
            self._witness = self.region.interior()
        return -1 if side < 0 else 1


@contextmanager
def assuming(region: Region | Chart) -> Iterator[None]:
    """Decide comparisons of exponents on ``region`` inside the ``with`` block."""
    token = current_region.set(region)
    try:
        yield
    finally:
        current_region.reset(token)


@dataclass(frozen=True)
class Cell(Generic[T]):
    """One cell of an exploration: a region and the result that holds on all of it."""

    region: Region
    result: T


def explore(run: Callable[[Region], T], region: Region) -> list[Cell[T]]:
    """The cells of :func:`explored`, all of them."""
    return list(explored(run, region))


def explored(run: Callable[[Region], T], region: Region) -> Iterator[Cell[T]]:
    """Run a computation on every cell of a region, splitting where a comparison is undecided.

    ``run`` gets the region it starts on (for its substitution) and compares forms on a :class:`Chart`; the parts that
    the chart sets aside are explored next. The result is a finite partition of the region, because a derivation
    compares finitely many forms.
    """
    waiting = [region]
    while waiting:
        chart = Chart(waiting.pop())
        start = chart.region
        with assuming(chart):
            result = run(start)
        waiting += chart.rest
        yield Cell(chart.region, result)


def interval(name: str, low: Exponent, high: Exponent) -> Region:
    """The open interval low < name < high; infinite ends are no constraint."""
    x = symbol(name)
    ends = ([] if low.infinite else [x - low]) + ([] if high.infinite else [high - x])
    return Region(tuple(ends))


def run_at(run: Callable[[Region], T], region: Region, witness: Mapping[str, Exponent]) -> Cell[T]:
    """Run a computation on the cell of a region that contains a point, or beside a point on a boundary."""
    chart = Chart(region, witness)
    with assuming(chart):
        result = run(region)
    return Cell(chart.region, result)
