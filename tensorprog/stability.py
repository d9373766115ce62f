"""The largest stable global learning-rate exponent, exact.

The one-parameter family "multiply every learning rate by n^r" is explored symbolically from r = +oo downwards: on each
cell every exponent is an affine form in r and the regime is constant, so the suprema are cell boundaries. No grid, no
bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from tensorprog.alignment import Alignment
from tensorprog.bound import Bound
from tensorprog.errors import BeyondRules, Unsupported
from tensorprog.exponent import INFINITE, ZERO, ZERO_SIZE, Exponent, symbol
from tensorprog.losses import Loss
from tensorprog.optimizers import Optimizer
from tensorprog.parametrizations import Parametrization
from tensorprog.program import Program
from tensorprog.region import Region, interval, run_at
from tensorprog.report.notebook import Display
from tensorprog.setting import Setting, setting
from tensorprog.trajectory import Step

__all__ = [
    "Bounded",
    "StableRates",
    "Supremum",
    "bounded_logits",
    "bounded_updates",
    "holds",
    "largest_rate",
    "max_stable_lr",
    "stable_rates",
]

LR = "lr"
"""The symbol of the family; an internal name, free in every setting that is explored."""


@dataclass(frozen=True)
class Supremum:
    """The supremum of a set of exponents that reaches down to -oo.

    Args:
        exponent: -oo where the set is empty, oo where it is everything.
        attained: whether the supremum itself belongs to the set.
        limit: why nothing is known of larger exponents, where no rule ends the set.
    """

    exponent: Exponent
    attained: bool
    limit: str = ""

    def __str__(self) -> str:
        return f"{self.exponent}" + ("" if self.attained or self.exponent.infinite else " (not attained)")


@dataclass(frozen=True)
class StableRates(Display):
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
            **({"limit": self.stable.limit} if self.stable.limit else {}),
        }

    def __str__(self) -> str:
        return f"stable up to {self.stable}, bounded updates up to {self.updates}, bounded logits up to {self.logits}"


def max_stable_lr(
    program: Program,
    parametrization: str | Parametrization = "sp",
    *,
    optimizer: str | Optimizer | Mapping[str, Any] = "sgd",
    loss: str | Loss = "ce",
    zero_readout: bool = False,
    alignment: str | Alignment = "derived",
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
    return stable_rates(
        setting(
            program,
            parametrization,
            optimizer_=optimizer,
            loss_=loss,
            zero_readout=zero_readout,
            alignment_=alignment,
        )
    )


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
    for bounded in (_activations, bounded_updates, bounded_logits):  # each condition implies the one before
        suprema.append(_supremum(base, bounded, suprema[-1].exponent if suprema else INFINITE))
    stable, *others = suprema
    return StableRates(s, stable, *(replace(sup, limit="") for sup in others))


Bounded = Callable[[Step, Program], Iterator[Exponent]]
"""What must not diverge at a step, as exponents."""


def _activations(step: Step, program: Program) -> Iterator[Exponent]:
    return (step.now[i].top for i in program.read_values())


def bounded_updates(step: Step, program: Program) -> Iterator[Exponent]:
    """Activations, and all updates other than the logits'."""
    yield from _activations(step, program)
    if step.t:
        for site in program.sites:
            if site.product not in program.logit_terms:
                yield site.of(step.effective).top
                yield site.of(step.propagating).top


def bounded_logits(step: Step, program: Program) -> Iterator[Exponent]:
    """All of these and the logits."""
    yield from bounded_updates(step, program)
    yield step.now[program.output].top


def largest_rate(
    family: Callable[[Exponent], Setting], bounded: Bounded = bounded_logits, below: Exponent = INFINITE
) -> Supremum:
    """The largest r, up to ``below``, with which ``bounded`` holds in a family of settings with parameter r."""
    return _supremum(family(symbol(LR)), bounded, below)


def holds(s: Setting, bounded: Bounded) -> bool:
    """Whether ``bounded`` holds in a setting without symbols, and training settles."""
    return _probe(s, bounded, Region()).holds


@dataclass(frozen=True)
class _Probe:
    """Whether the condition holds on a cell and, where not, the exponents that must fall to zero for it to hold.

    Args:
        limit: why it is not known to hold, where there are no rules.
    """

    holds: bool
    excess: tuple[Exponent, ...] = ()
    limit: str = ""

    @property
    def crossing(self) -> Exponent | None:
        """The largest r at which the excess, continued as an affine form, would vanish: a good guess, no more."""
        zeros = [-e.const / slope for e in self.excess for _, slope in e.coefficients if slope > 0]
        return Exponent(min(zeros)) if zeros else None


def _probe(base: Setting, bounded: Bounded, region: Region) -> _Probe:
    """Derive on a region, with leading terms alone (lower bounds) first: they prove most violations, cheaply.

    Where an optimizer divides by what it remembers or by norms over several weights, they are no bounds.
    """
    s = base.at(region.substitution)

    def excess(step: Step) -> tuple[Exponent, ...]:
        return tuple(e for e in bounded(step, s.program) if e > ZERO)

    for bound in (Bound.LOWER, Bound.EXACT) if s.optimizer.monotone else (Bound.EXACT,):
        try:
            path = s.trajectory(stop=lambda step: bool(excess(step)), bound=bound)
        except BeyondRules as error:
            return _Probe(False, (error.top,), error.limit)
        if path.stopped:
            return _Probe(False, excess(path.steps[-1]))
        if path.growth is not None:
            return _Probe(False, (path.growth,))
    return _Probe(path.settled_at is not None)


FAR = Exponent(1 << 20)
"""A learning-rate exponent beyond every breakpoint of programs of ordinary size (else the search comes back)."""
NEAR = Exponent(Fraction(1, 512))
"""So close to the end of an interval a witness lies: below the spacing of the breakpoints of ordinary programs."""


class _Search:
    """The supremum of the r on which a condition holds, given that it holds below wherever it holds.

    From above, cell by cell. A violating cell says where its excess would vanish; that point is tried next. If it
    violates too, so does everything above it; if not, and the cell right above it does, it is the supremum. Either way
    the answer rests on derivations at that point and on the cells beside it, not on the guess.
    """

    def __init__(self, probe: Callable[[Region], _Probe]) -> None:
        self._probe = probe
        self.limited = False

    def probe(self, region: Region) -> _Probe:
        found = self._probe(region)
        self.limited |= bool(found.limit)
        return found

    def point(self, r: Exponent) -> bool:
        return self.probe(Region().where_zero(symbol(LR) - r)).holds

    def edge(self, low: Exponent, high: Exponent, *, upper: bool) -> tuple[Exponent, Exponent, _Probe]:
        """The cell of an open interval at its upper or lower end."""
        while True:
            if high.infinite:
                witness = FAR if low.infinite else max(FAR, low + 1)
            else:
                step = NEAR if low.infinite else min(NEAR, (high - low) / 8)
                witness = high - step if upper else low + step
            cell = run_at(self.probe, interval(LR, low, high), {LR: witness})
            bottom, top = cell.region.bounds(LR)
            if (upper and top == high) or (not upper and bottom == low):
                return bottom, top, cell.result
            low, high = (top, high) if upper else (low, bottom)

    def run(self, below: Exponent) -> Supremum:
        """The supremum, and why nothing is known above it where that is so."""
        found = self._run(below)
        if found.exponent.infinite or not self.limited:
            return found
        return replace(found, limit=self.edge(found.exponent, INFINITE, upper=False)[2].limit)

    def _run(self, below: Exponent) -> Supremum:
        high, guided = below, True
        if not high.infinite and self.point(high):
            return Supremum(high, True)
        while True:
            bottom, _, found = self.edge(ZERO_SIZE, high, upper=True)
            if found.holds:
                return Supremum(high, False)
            if bottom.infinite:
                return Supremum(ZERO_SIZE, False)
            guess = found.crossing if guided else None
            if guess is not None and guess < bottom:
                if not self.point(guess):
                    high = guess
                    continue
                if not self.edge(guess, bottom, upper=False)[2].holds:
                    return Supremum(guess, True)
                guided = False  # the excess is not convex here: walk the cells between
            high = bottom
            if self.point(high):
                return Supremum(high, True)


def _supremum(base: Setting, bounded: Bounded, below: Exponent) -> Supremum:
    if below == ZERO_SIZE:
        return Supremum(ZERO_SIZE, False)
    return _Search(lambda region: _probe(base, bounded, region)).run(below)
