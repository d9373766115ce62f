"""Closed forms: exponents as piecewise affine functions of symbols, recognised and compared exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from tensorprog.errors import RegionError, SettingError, Undecided
from tensorprog.exponent import Exponent, exponent, known_le, largest
from tensorprog.region import Region, assuming, explore

if TYPE_CHECKING:
    import sympy

__all__ = ["ClosedForm", "Interval", "closed_form", "joined", "same_label"]

V = TypeVar("V")


@dataclass(frozen=True)
class ClosedForm:
    """A piecewise affine exponent in symbols: (region, form) pieces that partition the assumptions.

    Args:
        pieces: the forms of neighbouring cells that agree are kept apart; :attr:`forms` lists distinct ones.
    """

    pieces: tuple[tuple[Region, Exponent], ...]

    @property
    def forms(self) -> tuple[Exponent, ...]:
        """The distinct forms that hold on full-dimensional cells, in order of appearance."""
        least = min(len(region.substitution) for region, _ in self.pieces)
        return tuple(dict.fromkeys(f for region, f in self.pieces if len(region.substitution) == least))

    def at(self, **values: Any) -> Exponent:
        """The exponent at a point of symbol space.

        Raises:
            SettingError: where the point lies outside the assumptions or misses a symbol.
        """
        point = {k: exponent(v, k) for k, v in values.items()}
        for region, form in self.pieces:
            try:
                inside = region.contains(point)
            except Undecided as error:
                raise SettingError("point", values, f"needs a value for every symbol ({error})") from None
            if inside:
                return form.substitute(point)
        raise SettingError("point", values, "lies outside the assumptions")

    def _is_extreme(self, sign: int) -> bool:
        """Is the piecewise form the maximum (+1) or minimum (-1) of its distinct forms?"""
        forms = self.forms
        if any(f.infinite for f in forms):
            return False
        for region, form in self.pieces:
            with assuming(region):
                local = [g.substitute(region.substitution) for g in forms]
                here = form.substitute(region.substitution)
                if here.infinite or not all(known_le(g * sign, here * sign) for g in local):
                    return False
                if here not in local:
                    return False
        return True

    def to_sympy(self) -> sympy.Expr:
        """As a single form, ``Max``, ``Min``, a ``Max`` of ``Min`` or ``Piecewise``: recognised exactly."""
        import sympy

        if (groups := self.lattice) is not None:
            return sympy.Max(*(sympy.Min(*(f.to_sympy() for f in group)) for group in groups))
        branches = [
            (form.to_sympy(), part.to_sympy() if isinstance(part, Interval) else _condition(part))
            for part, form in self.joined()
        ]
        return sympy.Piecewise(*branches)

    @cached_property
    def lattice(self) -> tuple[tuple[Exponent, ...], ...] | None:
        """Groups of forms such that the exponent is the largest over groups of the smallest form of each.

        One group is a ``Min``, groups of one form a ``Max``. Every continuous piecewise affine function on a convex set
        is of this kind; None for one that is not continuous, -oo or written no shorter than its pieces.

        Ref: Ovchinnikov 2002 (Beitraege zur Algebra und Geometrie 43), Theorem 2.1.
        """
        forms = self.forms
        if any(f.infinite for _, f in self.pieces):
            return None
        if len(forms) == 1 or self._is_extreme(1):
            return tuple((f,) for f in forms) if self._holds(tuple((f,) for f in forms)) else None
        if self._is_extreme(-1):
            return (forms,)
        above: dict[frozenset[Exponent], None] = {}
        least = min(len(region.substitution) for region, _ in self.pieces)
        for region, form in self.pieces:
            if len(region.substitution) == least:
                with assuming(region):
                    here = form.substitute(region.substitution)
                    local = {f: f.substitute(region.substitution) for f in forms}
                    above[frozenset(f for f in forms if known_le(here, local[f]))] = None
        # A group that contains another one is never larger than it.
        groups = [g for g in above if not any(h < g for h in above)]
        found = tuple(tuple(f for f in forms if f in g) for g in groups)
        short = sum(map(len, found)) <= len(self.joined()) + len(forms)
        return found if short and self._holds(found) else None

    def _holds(self, groups: Sequence[Sequence[Exponent]]) -> bool:
        """Is the exponent the largest over groups of the smallest form of each, on every piece?"""
        for region, form in self.pieces:
            with assuming(region):
                here = form.substitute(region.substitution)
                local = [[f.substitute(region.substitution) for f in g] for g in groups]
                if not all(any(known_le(f, here) for f in g) for g in local):
                    return False
                if not any(all(known_le(here, f) for f in g) for g in local):
                    return False
        return True

    def equals(self, other: ClosedForm | Any) -> bool:
        """Is it the same function where both are defined? Decided exactly, cell by cell.

        Args:
            other: a closed form, or what :func:`closed_form` reads, such as ``"Max(r - 1/2, 3*r + 1/2)"``.

        Example:
            >>> closed_form("Max(a, b) + 1").equals("Max(a + 1, b + 1)")
            True
        """
        theirs = other if isinstance(other, ClosedForm) else closed_form(other)
        for mine, form in self.pieces:
            for region, value in theirs.pieces:
                common = _intersection(mine, region)
                if common is None:
                    continue
                if form.infinite or value.infinite:
                    if form.infinite != value.infinite:
                        return False
                elif (form - value).substitute(common.substitution) != 0:
                    return False
        return True

    def where(self) -> list[tuple[Exponent, tuple[str, ...]]]:
        """(form, regions) for every distinct form: where it holds, neighbouring regions joined where that is convex.

        Regions of a continuous function are closed: on a common boundary both forms hold.
        """
        found: dict[Exponent, list[str]] = {}
        closed = self.lattice is not None
        least = min(len(region.substitution) for region, _ in self.pieces)
        for part, form in self.joined():
            if closed and isinstance(part, Region):
                if len(part.substitution) > least:
                    continue
                found.setdefault(form, []).append(str(part).replace(" > ", " >= ").replace(" < ", " <= "))
            elif not (closed and isinstance(part, Interval) and part.low == part.high and len(self.pieces) > 1):
                text = str(part)
                found.setdefault(form, []).append(text.replace(" < ", " <= ") if closed else text)
        return [(form, tuple(parts)) for form, parts in found.items()]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        import sympy

        whole = self.to_sympy()
        return {
            "formula": str(whole),
            "latex": sympy.latex(whole),
            "pieces": [{"form": str(form), "where": list(parts)} for form, parts in self.where()],
        }

    def _repr_latex_(self) -> str:
        import sympy

        return f"$\\displaystyle {sympy.latex(self.to_sympy())}$"

    def joined(self) -> list[tuple[Any, Exponent]]:
        """(region, form) with neighbouring one-symbol pieces of one form joined."""

        def same(below: Exponent, above: Exponent, at: Exponent, single: int) -> bool:
            if below == above or not single:
                return below == above
            # Only a number on a single point may be absorbed by a form; two forms never merge.
            number, form = (below, above) if single < 0 else (above, below)
            return number.is_number and form.substitute(dict.fromkeys(form.symbols, at)) == number

        return joined(_merged(self.pieces), same)

    def __str__(self) -> str:
        return str(self.to_sympy())


def _condition(region: Region) -> Any:
    import sympy

    parts = [sympy.Gt(g.to_sympy(), 0) for g in region.positive]
    parts += [
        sympy.Eq(sympy.Symbol(s, real=True), e.to_sympy(), evaluate=False) for s, e in region.substitution.items()
    ]
    return sympy.And(*parts) if parts else sympy.true


def closed_form(expression: Any) -> ClosedForm:
    """Read sums, rational multiples, ``Max`` and ``Min`` of symbols: text, a sympy expression or an exponent.

    Raises:
        SettingError: for anything else.

    Example:
        >>> str(closed_form("Max(r, 2*r) - Min(r, 0)"))
        'Max(0, 2*r)'
    """
    import sympy

    try:
        tree = expression.to_sympy() if isinstance(expression, Exponent) else sympy.sympify(expression)
    except (sympy.SympifyError, TypeError, SyntaxError, AttributeError) as error:
        raise SettingError("closed form", str(expression), "is not an expression") from error

    def value(node: Any) -> Exponent:
        if isinstance(node, sympy.Max):
            return largest(map(value, node.args))
        if isinstance(node, sympy.Min):
            return -largest(-value(a) for a in node.args)
        if isinstance(node, sympy.Add):
            return sum(map(value, node.args), Exponent(0))
        if isinstance(node, sympy.Mul) and len(node.args) == 2 and node.args[0].is_Rational:
            return value(node.args[1]) * exponent(node.args[0]).const
        return exponent(node, "closed form")

    def run(region: Region) -> Exponent:
        return value(tree).substitute(region.substitution)

    # Cells where a tie is an equality only carry the form of a neighbour: the substitution is part of the region.
    return ClosedForm(tuple((c.region, c.result) for c in explore(run, Region())))


def _intersection(a: Region, b: Region) -> Region | None:
    """The common points of two regions, or None."""
    result = a
    try:
        for s, e in b.substitution.items():
            form = (exponent(s) - e).substitute(result.substitution)
            if form.coefficients:
                result = result.where_zero(form)
            elif form != 0:
                return None
        for g in b.positive:
            form = g.substitute(result.substitution)
            if form.coefficients:
                result = result.where(form)
            elif form <= 0:
                return None
        if any(not g.coefficients and g <= 0 for g in result.positive):
            return None
    except RegionError:
        return None
    return None if result.is_empty() else result


def _merged(pieces: Sequence[tuple[Region, Exponent]]) -> list[tuple[Region, Exponent]]:
    """Pieces of one form joined across a common facet, wherever their union is convex.

    Two open cells P, g > 0 and P, g < 0 with one form, and the cell P, g = 0 between them on which it holds too, are P.
    """
    waiting = list(pieces)
    again = True
    while again:
        again = False
        for i, (a, form) in enumerate(waiting):
            for j in range(i + 1, len(waiting)):
                b, other = waiting[j]
                facet = _facing(a, b) if other == form else None
                if facet is None:
                    continue
                rest = tuple(g for g in a.positive if g != facet)
                wall = Region(rest, a.substitution).where_zero(facet)
                flat = wall.substitution
                between = [k for k, (r, _) in enumerate(waiting) if r.substitution == flat and _within(r, wall)]
                if not between or any((waiting[k][1] - form).substitute(wall.substitution) != 0 for k in between):
                    continue
                gone = {i, j, *between}
                waiting = [(Region(rest, a.substitution), form), *(p for k, p in enumerate(waiting) if k not in gone)]
                again = True
                break
            if again:
                break
    return waiting


def _facing(a: Region, b: Region) -> Exponent | None:
    """The one constraint of a whose opposite is in b, where all others agree."""
    if a.substitution != b.substitution:
        return None
    mine = [g for g in a.positive if g not in b.positive]
    theirs = [g for g in b.positive if g not in a.positive]
    return mine[0] if len(mine) == len(theirs) == 1 and mine[0] == -theirs[0] else None


def _within(part: Region, whole: Region) -> bool:
    with assuming(part):
        return all(known_le(-g, Exponent(0)) for g in whole.positive)


@dataclass(frozen=True)
class Interval:
    """An interval of one symbol with open or closed ends; a point where both ends are equal."""

    name: str
    low: Exponent
    high: Exponent
    low_in: bool
    high_in: bool

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.name} = {self.low}"
        left = "" if self.low.infinite else f"{self.low} {'<=' if self.low_in else '<'} "
        right = "" if self.high.infinite else f" {'<=' if self.high_in else '<'} {self.high}"
        return f"{left}{self.name}{right}" if left or right else "everywhere"

    def to_sympy(self) -> Any:
        import sympy

        x = sympy.Symbol(self.name, real=True)
        if self.low == self.high:
            return sympy.Eq(x, self.low.to_sympy(), evaluate=False)
        parts = []
        if not self.low.infinite:
            parts.append((sympy.Ge if self.low_in else sympy.Gt)(x, self.low.to_sympy()))
        if not self.high.infinite:
            parts.append((sympy.Le if self.high_in else sympy.Lt)(x, self.high.to_sympy()))
        return sympy.And(*parts)


def joined(cells: Sequence[tuple[Region, V]], same: Callable[[V, V, Exponent, int], bool]) -> list[tuple[Any, V]]:
    """Join intervals and points of one symbol that touch and carry the same value; else the cells as they are.

    Args:
        same: (value below, value above, the point where they touch, which of them is a single point: -1 the one below,
            1 the one above, 0 neither) -> whether one piece can carry both.
    """
    names = {s for region, _ in cells for s in (*region.substitution, *(n for g in region.positive for n in g.symbols))}
    if len(names) != 1:
        return list(cells)
    (name,) = names
    spans = []
    for region, value in cells:
        low, high = region.bounds(name)
        closed = name in region.substitution
        spans.append((Interval(name, low, high, closed, closed), value))
    spans.sort(key=lambda s: (s[0].low.infinite, s[0].low.const, not s[0].low_in))
    merged = [spans[0]]
    for here, value in spans[1:]:
        before, carried = merged[-1]
        single = -1 if before.low == before.high else int(here.low == here.high)
        if before.high == here.low and same(carried, value, here.low, single):
            # A point takes over the form of the interval it touches.
            kept = value if before.low == before.high else carried
            merged[-1] = (Interval(name, before.low, here.high, before.low_in, here.high_in), kept)
        else:
            merged.append((here, value))
    return list(merged)


def same_label(below: str, above: str, at: Exponent, single: int) -> bool:
    """For :func:`joined`: labels join where they are equal."""
    return below == above
