"""Families: a derivation with free symbols, as exact cells with a closed form each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tensorprog.closed_form import ClosedForm, Interval, joined, same_label
from tensorprog.exponent import Exponent
from tensorprog.region import Cell, Region, assuming, explore
from tensorprog.report.notebook import Display

if TYPE_CHECKING:
    from tensorprog.derivation import Derivation
    from tensorprog.setting import Setting

__all__ = ["ClosedForm", "Family", "Interval", "family"]

V = TypeVar("V")


def _top(cell: Cell[Derivation], target: str, step: int) -> Exponent:
    with assuming(cell.region):
        return cell.result.scale(target, step=step).top


@dataclass(frozen=True)
class Family(Display):
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
        return joined([(c.region, c.result.regime.value) for c in self.cells], same_label)

    def learning(self) -> list[tuple[Any, str]]:
        """(region, learning class) per cell, joined as in :meth:`regimes`."""
        return joined([(c.region, c.result.learning.value) for c in self.cells], same_label)

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
    for region in s.regions(conditions):
        cells += explore(on, region)
    return Family(s, tuple(cells))
