"""The largest stable global learning-rate exponent, exact.

The one-parameter family "multiply every learning rate by n^r" is explored symbolically from r = +oo downwards: on each
cell the regime is constant, so the suprema are cell boundaries. No grid, no bisection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tensorprog.errors import Unsupported
from tensorprog.exponent import INFINITE, ZERO, ZERO_SIZE, Exponent, symbol
from tensorprog.losses import Loss
from tensorprog.optimizers import Optimizer
from tensorprog.parametrizations import Parametrization
from tensorprog.program import Program, Role
from tensorprog.region import Region, descend
from tensorprog.setting import Setting, setting
from tensorprog.trajectory import PATIENCE, Step, Trajectory, diverged, trajectory

__all__ = ["StableRates", "Supremum", "max_stable_lr", "stable_rates"]

LR = "lr"
"""The symbol of the family; an internal name, free in every setting that is explored."""


@dataclass(frozen=True)
class Supremum:
    """The supremum of a set of exponents that reaches down to -oo.

    Args:
        exponent: -oo where the set is empty, oo where it is everything.
        attained: whether the supremum itself belongs to the set.
    """

    exponent: Exponent
    attained: bool

    def __str__(self) -> str:
        return f"{self.exponent}" + ("" if self.attained or self.exponent.infinite else " (not attained)")


@dataclass(frozen=True)
class StableRates:
    """Three suprema of the global learning-rate exponent r.

    Args:
        stable: not catastrophic.
        updates: moreover all effective and propagating updates except the logits' are bounded.
        logits: moreover the logits are bounded.
    """

    setting: Setting
    stable: Supremum
    updates: Supremum
    logits: Supremum

    @property
    def exponent(self) -> Exponent:
        """The largest exponent that is not catastrophic."""
        return self.stable.exponent

    @property
    def bounded_updates_exponent(self) -> Exponent:
        return self.updates.exponent

    @property
    def bounded_logits_exponent(self) -> Exponent:
        return self.logits.exponent

    def to_dict(self) -> dict[str, Any]:
        return {
            "max_stable_lr_exponent": str(self.stable.exponent),
            "max_stable_lr_attained": self.stable.attained,
            "bounded_updates_lr_exponent": str(self.updates.exponent),
            "bounded_updates_lr_attained": self.updates.attained,
            "bounded_logits_lr_exponent": str(self.logits.exponent),
            "bounded_logits_lr_attained": self.logits.attained,
        }

    def __str__(self) -> str:
        return f"stable up to {self.stable}, bounded updates up to {self.updates}, bounded logits up to {self.logits}"


def max_stable_lr(
    program: Program,
    parametrization: str | Parametrization = "sp",
    *,
    optimizer: str | Optimizer = "sgd",
    loss: str | Loss = "ce",
    zero_readout: bool = False,
) -> StableRates:
    """The largest global learning-rate exponents that are not catastrophic, with bounded updates, with bounded logits.

    Returns:
        :class:`StableRates` with ``exponent``, ``bounded_updates_exponent`` and ``bounded_logits_exponent``: a factor
        n^r on every learning rate of the parametrization stays stable for r up to them.

    Assumes: genericity, fixed depth, batch and steps.

    Raises:
        Unsupported: where the parametrization has free symbols of its own.

    Example:
        >>> import tensorprog as tp
        >>> rates = tp.max_stable_lr(tp.mlp(hidden_layers=2), "sp", optimizer="sgd", loss="ce")
        >>> str(rates.exponent), str(rates.bounded_logits_exponent)
        ('-1/2', '-1')

    Ref: Haas et al. 2025 (arXiv 2505.22491), Section 3.
    """
    return stable_rates(setting(program, parametrization, optimizer_=optimizer, loss_=loss, zero_readout=zero_readout))


def stable_rates(s: Setting) -> StableRates:
    """The suprema for a setting; its own learning-rate exponent is ignored (the family replaces it)."""
    s = replace(s, lr_exponent=ZERO, steps=1)
    if s.symbols:
        raise Unsupported(
            f"max_stable_lr with free symbols {', '.join(sorted(s.symbols))}",
            "it explores the one symbol lr_exponent",
            "Give numbers, or derive with the symbols and read the regimes off the cells.",
        )
    base = replace(s, lr_exponent=symbol(LR))
    suprema: list[Supremum] = []
    for violated in (_unstable, _moved, _unbounded):  # each condition implies the one before
        suprema.append(_supremum(base, violated, suprema[-1].exponent if suprema else INFINITE))
    return StableRates(s, *suprema)


Violation = Callable[[Step, Program], bool]


def _unstable(step: Step, program: Program) -> bool:
    return diverged(step, program)


def _moved(step: Step, program: Program) -> bool:
    """Some update other than the logits' diverges."""
    inner = [site.product for site in program.sites if site.weight.role is not Role.READOUT]
    parts = (part[i] for i in inner for part in (step.effective, step.propagating) if step.t)
    return _unstable(step, program) or any(scale.top > ZERO for scale in parts)


def _unbounded(step: Step, program: Program) -> bool:
    return _moved(step, program) or step.total(program.output).top > ZERO


def _supremum(base: Setting, violated: Violation, below: Exponent) -> Supremum:
    """Descend from r = ``below`` to the first cell without a violation; its upper end is the supremum.

    Descending is cheap: above the supremum a run ends at its first violation, and leading terms alone (lower bounds)
    usually prove it. Only a cell where they prove nothing is derived in full.
    """

    def run(region: Region, leading_only: bool) -> Trajectory:
        s = base.at(region.substitution)
        return trajectory(
            s.program,
            s.exponents(),
            s.optimizer,
            s.loss,
            steps=1,
            limit=PATIENCE + len(s.program.weights),
            stop=lambda step: violated(step, s.program),
            leading_only=leading_only,
        )

    def holds(region: Region) -> bool:
        bound = run(region, leading_only=True)
        if bound.stopped or bound.growing:
            return False
        path = run(region, leading_only=False)
        return path.settled_at is not None and not path.stopped

    if below == ZERO_SIZE:
        return Supremum(ZERO_SIZE, False)
    cell = descend(holds, LR, until=bool, below=below)
    if cell is None:
        return Supremum(ZERO_SIZE, False)
    _, high = cell.region.bounds(LR)
    if high == INFINITE:
        return Supremum(INFINITE, False)
    return Supremum(high, LR in cell.region.substitution)
