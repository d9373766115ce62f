"""Fits: the exponent of a power law from sizes measured at several widths, with seeds as replicates.

The model is log size = log A + s log n + (seed) + error. The slope s is the least-squares slope through the means over
seeds. Its error has two sources, each with its own interval, and the wider interval is reported:

    seeds         what seeds scatter about each other from width to width: the residual mean square of the two-way table
                  widths x seeds, with (K - 1)(k - 1) degrees of freedom for K widths and k seeds. Seeds are blocks,
                  because all widths of a seed see the same batches.
    lack of fit   what the means scatter about the line: k times their mean square, with K - 2 degrees of freedom.
                  A bent curve shows here, however little the seeds scatter.

    interval      s +- t(degrees of freedom) sqrt(mean square / (k sum (log n - mean log n)^2))

Taking the wider one covers at least 95%. Natural logarithms throughout; the slope does not depend on the base.

The two-term fit adds a correction whose exponent the theory knows (:mod:`tensorprog.subleading`), d below the leading
one. Terms of different sign patterns are uncorrelated and add in quadrature:

    log size = log A + s log n + log(1 + R (n / m)^-2d) / 2,      0 <= R <= 1

with m the geometric middle of the widths, so that R <= 1 says: at the middle the leading term leads. Without this bound
every power law n^p would also be the correction to some n^{p + d} far away, and no claim could be refuted. For each R
the fit is linear; the interval of s is the union over R of the slopes whose sum of squares stays within t^2 mean
squares of the best one (profile likelihood).

Ref: Montgomery 2017, Design and Analysis of Experiments, Sections 4.1 (blocks) and 10.8 (lack of fit); Bates & Watts
1988, Nonlinear Regression Analysis, Section 6.1 (profiles); Wegner 1972 (Phys. Rev. B 5, 4529), corrections to scaling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from scipy.stats import t as student

__all__ = [
    "Correction",
    "ErrorSource",
    "Fit",
    "Sizes",
    "bends",
    "curvature",
    "fit",
    "fit_two_terms",
    "logarithms",
    "mean_square",
]

Sizes = Mapping[int, Mapping[int, float]]
"""Measured coordinate sizes: width -> seed -> size."""


class ErrorSource(Enum):
    """Where the uncertainty of a slope comes from; see the head of this module."""

    SEEDS = "seeds"
    LACK_OF_FIT = "lack of fit"
    NONE = "too few widths"


@dataclass(frozen=True)
class Correction:
    """The second term of a two-term fit.

    Args:
        below: d > 0, how far its exponent is below the leading one.
        crossing: the width at which both terms are equal; 0 where the fit has no second term.
    """

    below: float
    crossing: float

    def bend(self, width: float) -> float:
        """By how much it lowers the local slope at a width: d r / (1 + r), r the ratio of the squares."""
        ratio = float((self.crossing / width) ** (2 * self.below))
        return self.below * ratio / (1 + ratio)


@dataclass(frozen=True)
class Fit:
    """A fitted power law A n^s, or the leading term of a two-term law.

    Args:
        slope: s; nan where fewer than two widths have positive finite sizes at every seed.
        low, high: confidence interval of the slope; infinite where there is no error estimate.
        prefactor: A.
        source: which error the interval comes from.
        widths, seeds: those that were used.
        means: geometric mean over seeds, per used width.
        local: slopes between neighbouring widths.
        drift: slope without the smallest width minus slope: what is left of finite-width effects. None below 3 widths.
        zeros: widths where the size is exactly zero at every seed; left out.
        excluded: widths with a nan, an infinity or a zero at some seed; left out.
        correction: the second term, where one was fitted.
    """

    slope: float
    low: float
    high: float
    prefactor: float
    source: ErrorSource
    widths: tuple[int, ...]
    seeds: tuple[int, ...]
    means: tuple[float, ...]
    local: tuple[float, ...]
    drift: float | None
    zeros: tuple[int, ...]
    excluded: tuple[int, ...]
    correction: Correction | None = None

    @property
    def decidable(self) -> bool:
        """True where sizes at three or more widths are positive and finite, and none is not."""
        return len(self.widths) > 2 and not self.zeros and not self.excluded

    @property
    def all_zero(self) -> bool:
        """True where every size at every width is exactly zero."""
        return bool(self.zeros) and not self.widths and not self.excluded

    def at(self, width: float) -> float:
        """The fitted size at a width."""
        leading = float(self.prefactor * width**self.slope)
        if self.correction is None:
            return leading
        return leading * math.sqrt(1 + (self.correction.crossing / width) ** (2 * self.correction.below))


def fit(sizes: Sizes, *, confidence: float = 0.95) -> Fit:
    """Fit a power law to sizes over widths.

    Args:
        sizes: width -> seed -> size. Seeds that are missing at some width are left out everywhere.
        confidence: of the interval.
    """
    seeds, kinds = _sorted_out(sizes)
    widths = kinds["usable"]
    x, table = logarithms(sizes, widths, seeds)
    slope, half, source = _slope(x, table, confidence)
    means = table.mean(axis=1) if widths else np.zeros(0)
    return Fit(
        slope=slope,
        low=slope - half,
        high=slope + half,
        prefactor=float(np.exp(means.mean() - slope * x.mean())) if len(widths) > 1 else math.nan,
        source=source,
        widths=tuple(widths),
        seeds=tuple(seeds),
        means=tuple(float(v) for v in np.exp(means)),
        local=tuple(float(v) for v in np.diff(means) / np.diff(x)),
        drift=_slope(x[1:], table[1:], confidence)[0] - slope if len(widths) > 2 else None,
        zeros=tuple(kinds["zero"]),
        excluded=tuple(kinds["excluded"]),
    )


def _sorted_out(sizes: Sizes) -> tuple[list[int], dict[str, list[int]]]:
    """The seeds that exist at every width, and the widths by what can be done with them."""
    seeds = sorted(set.intersection(*(set(s) for s in sizes.values()))) if sizes else []
    kinds: dict[str, list[int]] = {"zero": [], "excluded": [], "usable": []}
    for n in sorted(sizes):
        kinds[_kind([sizes[n][s] for s in seeds])].append(n)
    return seeds, kinds


def logarithms(sizes: Sizes, widths: Sequence[int], seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """log n [widths] and log size [widths, seeds]."""
    table = np.log([[sizes[n][s] for s in seeds] for n in widths]) if widths else np.zeros((0, len(seeds)))
    return np.log(np.array(widths, dtype=float)), table


def _kind(values: Sequence[float]) -> str:
    if values and not any(values):
        return "zero"
    return "usable" if values and all(math.isfinite(v) and v > 0 for v in values) else "excluded"


def _slope(x: np.ndarray, table: np.ndarray, confidence: float) -> tuple[float, float, ErrorSource]:
    """(slope, half width of the interval, its source) of a table of logarithms, widths x seeds."""
    widths, seeds = table.shape
    if widths < 2 or not seeds:
        return math.nan, math.inf, ErrorSource.NONE
    centred = x - x.mean()
    spread = float(centred @ centred)
    means = table.mean(axis=1)
    slope = float(centred @ means) / spread
    if widths < 3:
        return slope, math.inf, ErrorSource.NONE
    bend = means - means.mean() - slope * centred
    source, square, quantile = mean_square(table, float(bend @ bend), widths - 2, confidence)
    return slope, quantile * math.sqrt(square / (seeds * spread)), source


def mean_square(table: np.ndarray, bend: float, freedom: int, confidence: float) -> tuple[ErrorSource, float, float]:
    """The mean square with the wider interval: (its source, the mean square, Student's quantile).

    Args:
        bend: sum of squares of the means' residuals, with ``freedom`` degrees of freedom (none where that is 0).
    """
    widths, seeds = table.shape
    errors = {ErrorSource.LACK_OF_FIT: (seeds * bend, freedom)} if freedom > 0 else {}
    if seeds > 1:
        scatter = table - table.mean(axis=1)[:, None] - table.mean(axis=0)[None, :] + table.mean()
        errors[ErrorSource.SEEDS] = (float((scatter**2).sum()), (widths - 1) * (seeds - 1))
    found = [
        (source, square / dof, float(student.ppf((1 + confidence) / 2, dof)))
        for source, (square, dof) in errors.items()
    ]
    return max(found, key=lambda e: e[2] * math.sqrt(e[1]))


def bends(logs: np.ndarray, below: float, centred: np.ndarray) -> np.ndarray:
    """log(1 + R (n / m)^-2d) / 2 [ratios, widths]: what a second term adds to the logarithm of the first.

    Args:
        logs: log R, R the ratio of the squares at the middle width.
        below: d, how far its exponent is below the leading one.
        centred: log(n / m).
    """
    result: np.ndarray = np.logaddexp(0.0, logs[:, None] - 2 * below * centred[None, :]) / 2
    return result


FEWEST_TWO_TERM_WIDTHS = 5
"""A two-term law has three parameters: fewer widths leave less than two degrees of freedom to see that it fails."""


def fit_two_terms(sizes: Sizes, below: float, *, confidence: float = 0.95) -> Fit | None:
    """Fit the leading term of a two-term law; see the head of this module.

    Args:
        below: d, how far the correction's exponent is below the leading one.

    Returns:
        The fit, its slope that of the leading term; None where there are too few usable widths.
    """
    plain = fit(sizes, confidence=confidence)
    if len(plain.widths) < FEWEST_TWO_TERM_WIDTHS or plain.excluded or plain.zeros:
        return None
    x, table = logarithms(sizes, plain.widths, plain.seeds)
    means, centred = table.mean(axis=1), x - x.mean()
    spread = float(centred @ centred)
    # R from no second term to as large as the first in the middle; evenly in its logarithm beyond the first steps.
    shares = np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 60)])
    with np.errstate(divide="ignore"):
        curves = bends(np.log(shares), below, centred)
    residual = means[None, :] - curves
    residual = residual - residual.mean(axis=1)[:, None]
    slopes = residual @ centred / spread
    squares = ((residual - slopes[:, None] * centred[None, :]) ** 2).sum(axis=1)
    best = int(squares.argmin())
    source, square, quantile = mean_square(table, float(squares[best]), len(x) - 3, confidence)
    # k SSE(s, R) <= k SSE_min + t^2 mean square: an interval of slopes around each conditional fit that can reach it.
    room = squares[best] + quantile**2 * square / len(plain.seeds) - squares
    halves = np.sqrt(np.maximum(room, 0) / spread)
    possible = room >= 0
    slope, share = float(slopes[best]), float(shares[best])
    middle = math.exp(float(x.mean()))
    return replace(
        plain,
        slope=slope,
        low=float((slopes - halves)[possible].min()),
        high=float((slopes + halves)[possible].max()),
        prefactor=math.exp(float((means - curves[best]).mean()) - slope * float(x.mean())),
        source=source,
        correction=Correction(below, middle * share ** (1 / (2 * below))),
    )


def curvature(sizes: Sizes, *, confidence: float = 0.95) -> int:
    """Does the slope change over the widths? +1 where it rises significantly, -1 where it falls, 0 otherwise.

    The sign of the coefficient of (log n)^2 in a quadratic fit, where its interval excludes 0.
    """
    plain = fit(sizes)
    if len(plain.widths) < 4 or plain.excluded or plain.zeros:
        return 0
    x, table = logarithms(sizes, plain.widths, plain.seeds)
    centred = x - x.mean()
    basis = np.vander(centred, 3)
    coefficients = np.linalg.lstsq(basis, table.mean(axis=1), rcond=None)[0]
    bend = table.mean(axis=1) - basis @ coefficients
    _, square, quantile = mean_square(table, float(bend @ bend), len(x) - 3, confidence)
    half = quantile * math.sqrt(square / len(plain.seeds) * float(np.linalg.inv(basis.T @ basis)[0, 0]))
    return 0 if abs(coefficients[0]) <= half else int(np.sign(coefficients[0]))
