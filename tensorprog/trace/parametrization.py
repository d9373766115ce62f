"""What was read off a model, as a parametrization: exponents of single weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tensorprog.optimizers import Optimizer
from tensorprog.parametrizations import ABC, Parametrization
from tensorprog.program import Program, Weight

__all__ = ["Measured"]


@dataclass(frozen=True)
class Measured(Parametrization):
    """Exponents by weight name; names may be those of roles, such as a module called ``readout``.

    Args:
        table: (a, b, c) of every weight.
    """

    table: Mapping[str, ABC] = field(default_factory=dict)

    def assign(self, program: Program, optimizer: Optimizer) -> dict[Weight, ABC]:
        """The table, with overrides."""
        return self._override({w: self.table[w.name] for w in program.weights}, program)

    def __str__(self) -> str:
        return self.name
