"""Search: the smallest unstable and the optimal learning rate of one network, by adaptive refinement.

Learning rates are 2^k. First the whole octaves: k walks until the lowest unstable octave has a stable one below it, and
the lowest held-out loss two octaves below it. Then the bracket between the last stable octave and the first unstable
one is bisected to an eighth of an octave. No predicted exponent enters: a search starts where the search at the next
smaller width ended.

    threshold    where the criterion's excess crosses zero, linear in k between the ends of the bracket; the middle of
                 the bracket where the excess is not finite
    optimum      among the stable learning rates: the vertex of the parabola through the lowest held-out loss and its
                 two neighbours, against k; the lowest one itself where it is the largest stable learning rate
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from validation.sweep.criterion import Criterion
from validation.sweep.trial import Outcome

__all__ = ["Found", "Search", "crossing", "optimum", "search", "threshold", "vertex"]

WINDOW = (-3, -2, -1, 0, 1)
"""Octaves tried at once, from where the first unstable one is expected."""
BELOW_OPTIMUM = 2
"""Octaves below the best one: enough to see that the loss rises again."""
RESOLUTION = 1 / 8
FARTHEST = 32
"""Octaves from the start after which a threshold is taken not to exist."""

Search = Generator[list[float], Mapping[float, Outcome], "Found"]
"""Yields the k that it needs, is sent their outcomes, returns what it found."""


@dataclass(frozen=True)
class Found:
    """What a search found.

    Args:
        outcomes: k -> outcome, of every learning rate that was tried.
        octave: the first unstable octave, where the next search starts.
        threshold: the smallest unstable learning rate; inf where none is unstable, 0 where none is stable, nan where a
            trial failed.
        optimum: the learning rate of the lowest held-out loss among the stable ones; nan where none is stable.
    """

    outcomes: Mapping[float, Outcome]
    octave: int
    threshold: float
    optimum: float


def search(criterion: Criterion, start: int) -> Search:
    """Search from an octave on, in both directions."""
    known: dict[float, Outcome] = {}
    wanted: list[float] = [start + step for step in WINDOW]
    while wanted:
        known.update((yield wanted))
        if any(o.failure for o in known.values()):
            return Found(known, start, math.nan, math.nan)
        wanted = [k for k in _wanted(criterion, start, known) if k not in known]
    first = _first_unstable(criterion, known)
    return Found(known, start if first is None else int(first), threshold(criterion, known), optimum(criterion, known))


def _wanted(criterion: Criterion, start: int, known: Mapping[float, Outcome]) -> list[float]:
    """The next k to try: octaves first, then the bisection; none where all is found."""
    octaves = sorted(k for k in known if k == int(k))
    first = _first_unstable(criterion, known)
    if first is None:
        return [octaves[-1] + 1, octaves[-1] + 2] if octaves[-1] < start + FARTHEST else []
    stable = [k for k in octaves if k < first]
    if not stable:
        return [octaves[0] - 1, octaves[0] - 2] if octaves[0] > start - FARTHEST else []
    best = min(stable, key=lambda k: known[k].held_out)
    if best - octaves[0] < BELOW_OPTIMUM and octaves[0] > start - FARTHEST:
        return [octaves[0] - 1]
    if octaves[-1] == first:
        return [first + 1]
    low, high = _bracket(criterion, known, first)
    return [(low + high) / 2] if high - low > RESOLUTION else []


def _first_unstable(criterion: Criterion, known: Mapping[float, Outcome]) -> float | None:
    """The lowest unstable octave."""
    return min((k for k, o in known.items() if k == int(k) and criterion.unstable(o)), default=None)


def _bracket(criterion: Criterion, known: Mapping[float, Outcome], first: float) -> tuple[float, float]:
    """(highest stable, lowest unstable k) in the octave below the first unstable one, as far as it was bisected.

    Within that octave too, the lowest unstable learning rate counts: all below it are stable.
    """
    high = min(k for k, o in known.items() if first - 1 < k <= first and criterion.unstable(o))
    low = max(k for k in known if k < high)
    return low, high


def threshold(criterion: Criterion, known: Mapping[float, Outcome]) -> float:
    """See :attr:`Found.threshold`."""
    first = _first_unstable(criterion, known)
    if first is None:
        return math.inf
    if not any(k < first for k in known):
        return 0.0
    low, high = _bracket(criterion, known, first)
    return float(2 ** crossing((low, criterion.excess(known[low])), (high, criterion.excess(known[high]))))


def crossing(stable: tuple[float, float], unstable: tuple[float, float]) -> float:
    """Where a line through two points (k, excess) crosses zero; the middle where an excess is not finite."""
    (low, below), (high, above) = stable, unstable
    if not (math.isfinite(below) and math.isfinite(above)):
        return (low + high) / 2
    return low + (high - low) * -below / (above - below)


def optimum(criterion: Criterion, known: Mapping[float, Outcome]) -> float:
    """See :attr:`Found.optimum`."""
    first = _first_unstable(criterion, known)
    top = math.inf if first is None else min(k for k, o in known.items() if k > first - 1 and criterion.unstable(o))
    stable = sorted(k for k, o in known.items() if k < top and math.isfinite(o.held_out))
    if not stable:
        return math.nan
    place = min(range(len(stable)), key=lambda i: known[stable[i]].held_out)
    best = stable[place]
    if 0 < place < len(stable) - 1:
        near = stable[place - 1 : place + 2]
        best = vertex(near, [known[k].held_out for k in near])
    return float(2**best)


def vertex(x: Sequence[float], y: Sequence[float]) -> float:
    """Where the parabola through three points is lowest; the middle one is the lowest of them.

    With the slopes s of the two chords, s_1 <= 0 <= s_2, the vertex lies where the derivative, linear between the
    chords' centres, is zero.
    """
    (a, b, c), (fa, fb, fc) = x, y
    left, right = (fb - fa) / (b - a), (fc - fb) / (c - b)
    if left == right:  # all three are equal
        return b
    return (a + b) / 2 - left * (c - a) / 2 / (right - left)
