"""Two powers: the prefactors of a sum of two powers of n whose exponents are derived, and the width where they cross.

The law has two unknowns, A and B, or A and the crossing width n*; d = p - q > 0 is known:

    size^2 = A^2 n^{2p} + B^2 n^{2q}        n* = (B / A)^{1/d}
    log size = log A + p log n + log(1 + (n* / n)^{2d}) / 2 + (seed) + error

It is fitted like the two-term law of :mod:`validation.fit`, but with both exponents fixed. For each n* the fit is
linear; S(n*) is its sum of squares at the best log A. With k seeds, Student's quantile t and a mean square s^2, the
interval is the profile

    { n* : S(n*) <= S_min + t^2 s^2 / k }

and s^2 is one of three, whichever gives the widest interval: the lack of fit; the scatter between seeds; and that
scatter along the derivative of the law by log n* alone, with k - 1 degrees of freedom, which is larger where whole
seeds have more of one term than others. The intervals of A and B are profiles too, wider by the scatter of the level of
whole seeds; from one seed they are about that seed. n* = 0 (B = 0) and n* = oo (A = 0) count as values: where the
profile reaches one of them, the widths do not show that term, and there is a bound on the other side only.

Ref: Bates & Watts 1988, Nonlinear Regression Analysis, Section 6.1 (profiles); Wegner 1972 (Phys. Rev. B 5, 4529).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.stats import t as student

from validation.fit import ErrorSource, Fit, Sizes, bends, fit, logarithms, mean_square

__all__ = ["FEWEST_WIDTHS", "Estimate", "Line", "Sight", "TwoPowers", "two_parts", "two_powers"]

FEWEST_WIDTHS = 3
"""Two unknowns and one degree of freedom to see how well they fit."""
GRID = 501
NEGLIGIBLE = 1e-6
"""A term whose square is a smaller share than this at every width is as good as none."""
MOST = 700.0
"""The largest number whose exponential is a float."""


class Sight(Enum):
    """Which of the two terms the measured widths show; the values are the names in JSON.

    OTHER: the slopes are not those of the law. NOTHING: fewer than three widths with positive finite sizes.
    """

    BOTH = "both"
    LEADING = "leading only"
    SUBLEADING = "sub-leading only"
    NEITHER = "undecided"
    OTHER = "another law"
    NOTHING = "not measured"


@dataclass(frozen=True)
class Estimate:
    """A positive number and its confidence interval; 0 and inf are honest ends of it."""

    value: float
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Line:
    """A straight line, and the lowest and the highest slope that a law allows it."""

    fit: Fit
    low: float
    high: float


@dataclass(frozen=True)
class TwoPowers:
    """A fitted law size^2 = A^2 n^{2p} + B^2 n^{2q}.

    Args:
        p, q: its exponents, p > q.
        leading, subleading: A and B.
        crossing: n*, the width at which both terms are equal; below it the sub-leading one is the larger.
        source: which error the intervals come from.
        lines: straight lines through the measured sizes, with the slopes that the law allows them.
    """

    p: float
    q: float
    leading: Estimate
    subleading: Estimate
    crossing: Estimate
    source: ErrorSource
    lines: tuple[Line, ...]

    def holds(self, allowance: float) -> bool:
        """Whether every measured slope is one that the law allows.

        Args:
            allowance: by how much an interval may miss: corrections that the law does not have.
        """
        return all(x.fit.low - allowance <= x.high and x.low <= x.fit.high + allowance for x in self.lines)

    @property
    def sight(self) -> Sight:
        """Which terms are distinguishable from 0."""
        seen = (self.crossing.high != math.inf, self.crossing.low > 0)
        return {
            (True, True): Sight.BOTH,
            (True, False): Sight.LEADING,
            (False, True): Sight.SUBLEADING,
            (False, False): Sight.NEITHER,
        }[seen]

    def terms_at(self, width: float) -> tuple[float, float]:
        """Both terms at a width, A n^p and B n^q."""
        return self.leading.value * width**self.p, self.subleading.value * width**self.q

    def at(self, width: float) -> float:
        """The fitted size at a width."""
        return math.hypot(*self.terms_at(width))


def two_powers(sizes: Sizes, p: float, q: float, *, confidence: float = 0.95) -> TwoPowers | None:
    """Fit the prefactors of two powers and the width where they cross; see the head of this module.

    Args:
        sizes: width -> seed -> size. Seeds that are missing at some width are left out everywhere.
        p, q: the exponents, p > q; both are taken as given.
        confidence: of the intervals.

    Returns:
        The law; None where fewer than three widths have sizes, or some size is zero or not finite.

    Raises:
        ValueError: where p is not above q.
    """
    if not p > q:
        raise ValueError(f"the leading exponent is {p}, the other {q}; needs the leading one to be larger")
    plain = fit(sizes, confidence=confidence)
    if len(plain.widths) < FEWEST_WIDTHS or plain.excluded or plain.zeros:
        return None
    x, table = logarithms(sizes, plain.widths, plain.seeds)
    profile = _profile(table.mean(axis=1), x, p, q)
    squares = profile.squares
    best = int(squares.argmin())
    errors = [mean_square(table, float(squares.min()), len(x) - 2, confidence)]
    if len(plain.seeds) > 1:
        ratio = min(max(profile.ratios[best], profile.ratios[1]), profile.ratios[-2])
        errors.append(_ratios(table, x - x.mean(), p - q, ratio, confidence))
    source, square, quantile = max(errors, key=lambda e: e[2] * math.sqrt(e[1]))
    room = squares.min() + quantile**2 * square / len(plain.seeds) - squares
    halves = np.sqrt(np.maximum(room, 0) / len(x) + _level(table, confidence) ** 2)
    possible = room >= 0

    def estimate(logs: np.ndarray) -> Estimate:
        ends = (logs - halves)[possible].min(), (logs + halves)[possible].max()
        return Estimate(_exp(logs[best]), *map(_exp, ends))

    ends = _ends(profile.crossings, room)
    crossing = Estimate(_exp(profile.crossings[best]), *map(_exp, ends))
    lines = (Line(plain, q, p),)
    return TwoPowers(p, q, estimate(profile.leading), estimate(profile.subleading), crossing, source, lines)


def two_parts(leading: Sizes, other: Sizes, p: float, q: float, *, confidence: float = 0.95) -> TwoPowers | None:
    """The width where two parts of a sum are equal, each measured on its own, whatever their correlation.

    For every network log n* = log n + log(size of the other / size of the leading part) / d. The mean over networks has
    two errors, what seeds differ and what widths differ (where the powers are not exactly these), and the interval is
    the wider one; so for log A = log size - p log n, and log B.

    Args:
        leading, other: sizes of the parts, width -> seed -> size, at the same networks.
        p, q: their exponents, p > q.
        confidence: of the intervals.

    Returns:
        The law; None where fewer than three widths have positive finite sizes of both parts.
    """
    common = {
        n: {s: (leading[n][s], other[n][s]) for s in leading[n].keys() & other[n].keys()}
        for n in leading.keys() & other.keys()
    }
    ratios = {n: {s: b / a if a else math.nan for s, (a, b) in row.items()} for n, row in common.items()}
    plain = fit(ratios, confidence=confidence)
    if len(plain.widths) < FEWEST_WIDTHS or plain.excluded or plain.zeros:
        return None
    sizes = [{n: {s: row[s][i] for s in plain.seeds} for n, row in common.items()} for i in (0, 1)]
    x, first = logarithms(sizes[0], plain.widths, plain.seeds)
    _, second = logarithms(sizes[1], plain.widths, plain.seeds)
    first, second = first - p * x[:, None], second - q * x[:, None]
    crossing, source = _mean((second - first) / (p - q), confidence)
    a, b = (_mean(table, confidence)[0] for table in (first, second))
    own = [Line(fit(part, confidence=confidence), e, e) for part, e in zip(sizes, (p, q), strict=True)]
    return TwoPowers(p, q, a, b, crossing, source, (*own, Line(plain, q - p, q - p)))


def _mean(table: np.ndarray, confidence: float) -> tuple[Estimate, ErrorSource]:
    """exp of the mean of a table [widths, seeds] of logarithms that should be constant."""
    found = [(ErrorSource.LACK_OF_FIT, table.mean(axis=1)), (ErrorSource.SEEDS, table.mean(axis=0))]
    errors = [
        (float(v.std(ddof=1)) / math.sqrt(len(v)) * float(student.ppf((1 + confidence) / 2, len(v) - 1)), source)
        for source, v in found
        if len(v) > 1
    ]
    half, source = max(errors, key=lambda e: e[0])
    middle = float(table.mean())
    return Estimate(*(_exp(v) for v in (middle, middle - half, middle + half))), source


@dataclass(frozen=True)
class _Profile:
    """The best fit for every n*, from 0 to oo.

    Args:
        ratios: log R, the squares' ratio at the middle width, increasing.
        crossings: log n*.
        leading, subleading: log A and log B there; -oo for a term that is absent.
        squares: sum of squares of the means' residuals.
    """

    ratios: np.ndarray
    crossings: np.ndarray
    leading: np.ndarray
    subleading: np.ndarray
    squares: np.ndarray


def _profile(means: np.ndarray, x: np.ndarray, p: float, q: float) -> _Profile:
    d, middle = p - q, float(x.mean())
    # log R, R the ratio of the squares at the middle; beyond these ends one of the terms is negligible at every width.
    end = 2 * d * float(np.abs(x - middle).max()) - math.log(NEGLIGIBLE)
    coarse = np.linspace(-end, end, GRID)
    best = coarse[int(_squares(means, x, p, d, coarse)[1].argmin())]
    fine = np.linspace(best - coarse[1] + coarse[0], best + coarse[1] - coarse[0], GRID)
    logs = np.unique(np.concatenate([coarse, fine]))
    a, squares = _squares(means, x, p, d, logs)
    alone = [(float(rest.mean()), float(((rest - rest.mean()) ** 2).sum())) for rest in (means - p * x, means - q * x)]
    (a_alone, s_first), (b_alone, s_last) = alone
    return _Profile(
        np.concatenate([[-math.inf], logs, [math.inf]]),
        np.concatenate([[-math.inf], logs / (2 * d) + middle, [math.inf]]),
        np.concatenate([[a_alone], a, [-math.inf]]),
        np.concatenate([[-math.inf], a + logs / 2 + d * middle, [b_alone]]),
        np.concatenate([[s_first], squares, [s_last]]),
    )


def _squares(means: np.ndarray, x: np.ndarray, p: float, d: float, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log A and the sum of squares for every log R."""
    rest = (means - p * x)[None, :] - bends(logs, d, x - x.mean())
    a = rest.mean(axis=1)
    return a, ((rest - a[:, None]) ** 2).sum(axis=1)


def _ratios(
    table: np.ndarray, centred: np.ndarray, d: float, ratio: float, confidence: float
) -> tuple[ErrorSource, float, float]:
    """What seeds differ in the ratio of the two terms, all widths of a seed alike: (source, mean square, quantile).

    The scatter between seeds along the derivative of the law by log R, (k - 1) degrees of freedom: if every network
    scatters on its own, its mean square is that of all the scatter, and larger if whole seeds have more of one term.
    """
    seeds = table.shape[1]
    # The derivative of log(1 + R z) / 2 by log R, up to a factor: R z / (1 + R z).
    share = np.exp(-np.logaddexp(0.0, 2 * d * centred - ratio))
    slope = share - share.mean()
    own = (table - table.mean(axis=1)[:, None]).T @ slope
    square = float(own @ own) / float(slope @ slope) / (seeds - 1)
    return ErrorSource.SEEDS, square, float(student.ppf((1 + confidence) / 2, seeds - 1))


def _level(table: np.ndarray, confidence: float) -> float:
    """Half the interval of the mean level of all seeds: every network of a seed may be larger than those of another."""
    seeds = table.shape[1]
    if seeds < 2:
        return 0.0
    error = float(table.mean(axis=0).std(ddof=1)) / math.sqrt(seeds)
    return error * float(student.ppf((1 + confidence) / 2, seeds - 1))


def _ends(crossings: np.ndarray, room: np.ndarray) -> tuple[float, float]:
    """The first and the last log n* with room, between grid points by interpolation."""
    inside = np.flatnonzero(room >= 0)
    first, last = int(inside[0]), int(inside[-1])

    def between(i: int, j: int) -> float:
        """Where the room ends between i, which has some, and j, which has none."""
        if not math.isfinite(crossings[j]) or not math.isfinite(crossings[i]):
            return float(crossings[i])
        share = room[i] / (room[i] - room[j])
        return float(crossings[i] + share * (crossings[j] - crossings[i]))

    return (
        float(crossings[first]) if not first else between(first, first - 1),
        float(crossings[last]) if last == len(crossings) - 1 else between(last, last + 1),
    )


def _exp(value: float) -> float:
    """exp, with inf for what is too large for a float."""
    return math.exp(value) if value < MOST else math.inf
