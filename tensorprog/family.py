"""Families: a derivation with free symbols, as exact cells with a closed form each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tensorprog.errors import SettingError
from tensorprog.exponent import Exponent, exponent, known_le
from tensorprog.region import Cell, Region, assuming, assumptions, explore

if TYPE_CHECKING:
    import sympy

    from tensorprog.derivation import Derivation
    from tensorprog.setting import Setting

__all__ = ["ClosedForm", "Family", "Interval", "family"]

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
            except Exception as error:
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
        """As a single form, ``Max``, ``Min`` or ``Piecewise`` (recognised exactly, by linear programs)."""
        import sympy

        forms = self.forms
        for sign, combine in ((1, sympy.Max), (-1, sympy.Min)):
            if self._is_extreme(sign):
                return combine(*(f.to_sympy() for f in forms))
        branches = [
            (form.to_sympy(), part.to_sympy() if isinstance(part, Interval) else _condition(part))
            for part, form in self.joined()
        ]
        return sympy.Piecewise(*branches)

    def joined(self) -> list[tuple[Any, Exponent]]:
        """(region, form) with neighbouring one-symbol pieces of one form joined."""

        def same(below: Exponent, above: Exponent, at: Exponent) -> bool:
            if below == above:
                return True
            names = below.symbols | above.symbols
            point = dict.fromkeys(names, at)
            # Only a number on a single point may be absorbed by a form; two forms never merge.
            return bool(below.is_number != above.is_number) and below.substitute(point) == above.substitute(point)

        return _joined(self.pieces, same)

    def __str__(self) -> str:
        return str(self.to_sympy())


def _top(cell: Cell[Derivation], target: str, step: int) -> Exponent:
    with assuming(cell.region):
        return cell.result.scale(target, step=step).top


def _condition(region: Region) -> Any:
    import sympy

    parts = [sympy.Gt(g.to_sympy(), 0) for g in region.positive]
    parts += [
        sympy.Eq(sympy.Symbol(s, real=True), e.to_sympy(), evaluate=False) for s, e in region.substitution.items()
    ]
    return sympy.And(*parts) if parts else sympy.true


@dataclass(frozen=True)
class Family:
    """Derivations over symbol space.

    Args:
        setting: with its symbols.
        cells: a partition of the assumed region; on each, one :class:`~tensorprog.derivation.Derivation` holds with
            exponents affine in the symbols.
    """

    setting: Setting
    cells: tuple[Cell[Derivation], ...]

    def __iter__(self) -> Iterator[Cell[Derivation]]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    def closed_form(self, target: str, *, step: int = 1) -> ClosedForm:
        """One exponent as a piecewise affine form: ``closed_form("readout.effective", step=1)``.

        Example:
            >>> import sympy, tensorprog as tp
            >>> r = sympy.Symbol("r")
            >>> f = tp.derive(tp.mlp(hidden_layers=1), "sp", optimizer="sgd", lr_exponent=r, assume=["r <= 0"])
            >>> str(f.closed_form("input.effective", step=2))
            'Max(2*r, r - 1/2)'
        """
        return ClosedForm(tuple((c.region, _top(c, target, step)) for c in self.cells))

    def regimes(self) -> list[tuple[Any, str]]:
        """(region, regime) per cell; neighbouring one-symbol cells of one regime are joined."""
        return _joined([(c.region, c.result.regime.value) for c in self.cells], _same_label)

    def learning(self) -> list[tuple[Any, str]]:
        """(region, learning class) per cell, joined as in :meth:`regimes`."""
        return _joined([(c.region, c.result.learning.value) for c in self.cells], _same_label)

    def to_dict(self) -> dict[str, Any]:
        """The cells as JSON values."""
        cells = []
        for cell in self.cells:
            with assuming(cell.region):  # reasons compare the terms behind them
                cells.append({"region": str(cell.region), **cell.result.to_dict()})
        return {"symbols": sorted(self.setting.symbols), "cells": cells}

    def __str__(self) -> str:
        lines = [str(self.setting)]
        lines += [f"  {region}: {regime}" for region, regime in self.regimes()]
        return "\n".join(lines)


def family(s: Setting, run: Callable[[Setting], Derivation], conditions: Sequence[Any]) -> Family:
    """Explore symbol space under the assumed conditions."""

    def on(region: Region) -> Derivation:
        result = run(s.at(region.substitution))
        # The reported tops are part of the result: read here, they split the cell where they are undecided.
        assert result.steps
        return result

    cells: list[Cell[Derivation]] = []
    for region in assumptions(conditions):
        cells += explore(on, region)
    return Family(s, tuple(cells))


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


def _joined(cells: Sequence[tuple[Region, V]], same: Callable[[V, V, Exponent], bool]) -> list[tuple[Any, V]]:
    """Join intervals and points of one symbol that touch and carry the same value; else the cells as they are.

    Args:
        same: (value below, value above, the point where they touch) -> whether one piece can carry both.
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
        if before.high == here.low and same(carried, value, here.low):
            # A point takes over the form of the interval it touches.
            kept = value if before.low == before.high else carried
            merged[-1] = (Interval(name, before.low, here.high, before.low_in, here.high_in), kept)
        else:
            merged.append((here, value))
    return list(merged)


def _same_label(below: str, above: str, at: Exponent) -> bool:
    return below == above
