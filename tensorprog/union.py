"""Unions of regions, told as few convex sets.

An exploration answers cell by cell, and what holds on many cells is a union. It is convex where it is all of its
envelope: the points that satisfy every constraint of a piece that all the other pieces satisfy, too.

Ref: Bemporad, Fukuda & Torrisi 2001 (Computational Geometry 18), Theorem 3: the envelope decides convexity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tensorprog.errors import Undecided
from tensorprog.exponent import ZERO, Exponent, symbol
from tensorprog.region import Region

__all__ = ["Convex", "convex_sets"]


@dataclass(frozen=True)
class Convex:
    """A convex polyhedron: a relatively open region and those of its facets that belong to it.

    Args:
        closed: constraints ``g > 0`` of the region that hold as ``g >= 0``.
    """

    region: Region
    closed: frozenset[Exponent] = frozenset()

    def __str__(self) -> str:
        parts = [f"{s} = {e}" for s, e in sorted(self.region.substitution.items())]
        for g in self.region.positive:
            text = str(Region((g,)))
            parts.append(text.replace(" > ", " >= ").replace(" < ", " <= ") if g in self.closed else text)
        return ", ".join(parts) or "everywhere"

    def faces(self) -> Iterator[Region]:
        """The relatively open regions it consists of: its interior, and where facets that belong to it meet."""
        return _faces(self.region, [g for g in self.region.positive if g in self.closed])

    def contains(self, point: Mapping[str, Exponent]) -> bool:
        """Is a point (symbol -> rational) in it?"""
        values = ((g, g.substitute(point)) for g in self.region.positive)
        return all(v > 0 or (g in self.closed and v == 0) for g, v in values) and all(
            e.substitute(point) == point[s] for s, e in self.region.substitution.items()
        )

    def corner(self) -> dict[str, Exponent]:
        """A point on as many of its facets as meet; a symbol that is missing may take any value."""
        face = max(self.faces(), key=lambda r: len(r.substitution))
        inner = face.interior()
        rest = {s: e.substitute({n: inner.get(n, ZERO) for n in e.symbols}) for s, e in face.substitution.items()}
        return inner | rest

    def includes(self, part: Region) -> bool:
        """Does a relatively open region lie in it?"""
        if any(_extremes(part, symbol(s) - e) != (ZERO, ZERO) for s, e in self.region.substitution.items()):
            return False
        for g in self.region.positive:
            low, high = _extremes(part, g)
            # On a relatively open region a form that is never negative is positive or zero everywhere.
            if low < 0 or (low == high == 0 and g not in self.closed):
                return False
        return True


def convex_sets(regions: Sequence[Region]) -> list[Convex]:
    """The union of relatively open regions as few convex sets, larger dimensions first."""
    pieces = sorted(regions, key=lambda r: len(r.substitution))
    waiting, found = pieces, list[Convex]()
    while waiting:
        whole = _envelope(waiting, pieces)
        if whole is None:
            group, whole = list[Region](), Convex(waiting[0])
            for piece in waiting:
                if (not group or not whole.includes(piece)) and (larger := _envelope([*group, piece], pieces)):
                    group, whole = [*group, piece], larger
        found.append(whole)
        waiting = [piece for piece in waiting if not whole.includes(piece)]
    return found


def _envelope(group: Sequence[Region], union: Sequence[Region]) -> Convex | None:
    """The smallest set around a group that its constraints describe; None where the union lacks a part."""
    equal = {symbol(s) - e: None for piece in group for s, e in piece.substitution.items()}
    sides = [*equal, *(-g for g in equal), *dict.fromkeys(g for piece in group for g in piece.positive)]
    valid = dict.fromkeys(g for g in sides if all(_extremes(piece, g)[0] >= 0 for piece in group))
    region = Region()
    for g in valid:
        if -g in valid and _sign(region, g) != 0:
            region = region.where_zero(g)
    for g in valid:
        if _sign(region, g) is None:
            region = region.where(g)
    if not _covered(region, union):
        return None
    result = Convex(region)
    for g in region.positive:
        # With a facet come its ends, where it meets facets that belong to the set.
        if all(_covered(face, union) for face in _faces(_face(region, g), list(result.closed))):
            result = Convex(region, result.closed | {g})
    return result if all(map(result.includes, group)) else None


def _faces(region: Region, closed: Sequence[Exponent]) -> Iterator[Region]:
    if region.is_empty():
        return
    yield region
    for i, g in enumerate(closed):
        yield from _faces(_face(region, g), closed[i + 1 :])


def _face(region: Region, g: Exponent) -> Region:
    """The region where one of its constraints is an equality instead."""
    rest = Region(tuple(h for h in region.positive if h != g), region.substitution)
    return rest.where_zero(g)


def _extremes(region: Region, form: Exponent) -> tuple[Exponent, Exponent]:
    """(infimum, supremum) of an affine form on a region."""
    form = form.substitute(region.substitution)
    if not form.coefficients:
        return form, form
    low, high = region.range(form.linear)
    return low + form.const, high + form.const


def _sign(region: Region, form: Exponent) -> int | None:
    """The sign of an affine form on a region; None where it has several."""
    try:
        return region.sign(form)
    except Undecided:
        return None


def _covered(region: Region, union: Sequence[Region]) -> bool:
    """Does a relatively open region lie in the union of others?"""
    for i, piece in enumerate(union):
        outside = _without(region, piece)
        if outside != [region]:
            # Depth first: most regions that are not covered have a part that meets no other piece.
            return all(_covered(part, union[i + 1 :]) for part in outside)
    return False


def _without(region: Region, piece: Region) -> list[Region]:
    """The points of a region outside another one, as disjoint regions."""
    outside: list[Region] = []
    inside = region
    for form, equal in [
        *((symbol(s) - e, True) for s, e in piece.substitution.items()),
        *((g, False) for g in piece.positive),
    ]:
        sign = _sign(inside, form)
        if sign is None:
            wall, above, below = inside.where_zero(form), inside.where(form), inside.where(-form)
            outside += [above, below] if equal else [wall, below]
            inside = wall if equal else above
        elif (sign != 0) if equal else (sign <= 0):
            return [region]
    return outside
