"""Between bounds: what a lower and an upper derivation prove together, cheaply and without splitting regions.

Each is a bound as long as both agree on whatever is divided by: gradients, unless the optimizer says that larger ones
never make an update smaller, and what norms and saturating functions read. At initialisation they agree, and where they
have agreed up to one step, they are bounds at the next.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from tensorprog.errors import BeyondRules, Undecided
from tensorprog.exponent import current_region, known_le
from tensorprog.region import Chart, assuming
from tensorprog.trajectory import Trajectory

if TYPE_CHECKING:
    from tensorprog.setting import Setting

__all__ = ["agree", "uncut"]

T = TypeVar("T")


def agree(s: Setting, lower: Trajectory, upper: Trajectory, until: int | None = None) -> bool:
    """Do two trajectories certainly agree on all denominators?

    Args:
        lower, upper: trajectories of the setting by :class:`~tensorprog.bound.Bound`.
        until: compare the steps before this one; without it, all.
    """
    steps = max(len(lower.steps), len(upper.steps)) if until is None else until
    if any(path.settled_at is None and len(path.steps) < steps for path in (lower, upper)):
        return False
    for t in range(steps):
        below, above = lower.at(t), upper.at(t)
        if below.perturbed:
            return False  # what is seen at perturbed weights is not compared
        for i in s.program.limited:
            if not all(any(known_le(x.exponent, y.exponent) for y in below.now[i]) for x in above.now[i]):
                return False
        if not s.optimizer.monotone and not all(known_le(g, below.gradients[w]) for w, g in above.gradients.items()):
            return False
    return True


def uncut(ask: Callable[[], T | None]) -> T | None:
    """What a computation finds without cutting the region in force; None where it would have to, or there is none."""
    here = current_region.get()
    if isinstance(here, Chart):
        with assuming(Chart(here.region, cuts=False)), suppress(Undecided, BeyondRules):
            return ask()
    return None
