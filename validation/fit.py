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

Ref: Montgomery 2017, Design and Analysis of Experiments, Sections 4.1 (blocks) and 10.8 (lack of fit).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.stats import t as student

__all__ = ["ErrorSource", "Fit", "Sizes", "fit"]

Sizes = Mapping[int, Mapping[int, float]]
"""Measured coordinate sizes: width -> seed -> size."""


class ErrorSource(Enum):
    """Where the uncertainty of a slope comes from; see the head of this module."""

    SEEDS = "seeds"
    LACK_OF_FIT = "lack of fit"
    NONE = "too few widths"


@dataclass(frozen=True)
class Fit:
    """A fitted power law A n^s.

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

    @property
    def all_zero(self) -> bool:
        """True where every size at every width is exactly zero."""
        return bool(self.zeros) and not self.widths and not self.excluded

    def at(self, width: float) -> float:
        """The fitted size at a width."""
        return float(self.prefactor * width**self.slope)


def fit(sizes: Sizes, *, confidence: float = 0.95) -> Fit:
    """Fit a power law to sizes over widths.

    Args:
        sizes: width -> seed -> size. Seeds that are missing at some width are left out everywhere.
        confidence: of the interval.
    """
    seeds = sorted(set.intersection(*(set(s) for s in sizes.values()))) if sizes else []
    kinds: dict[str, list[int]] = {"zero": [], "excluded": [], "usable": []}
    for n in sorted(sizes):
        kinds[_kind([sizes[n][s] for s in seeds])].append(n)
    widths = kinds["usable"]
    table = np.log([[sizes[n][s] for s in seeds] for n in widths]) if widths else np.zeros((0, len(seeds)))
    x = np.log(np.array(widths, dtype=float))
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
    errors = {ErrorSource.LACK_OF_FIT: (seeds * float(bend @ bend), widths - 2)}
    if seeds > 1:
        scatter = table - means[:, None] - table.mean(axis=0)[None, :] + table.mean()
        errors[ErrorSource.SEEDS] = (float((scatter**2).sum()), (widths - 1) * (seeds - 1))
    halves = {
        source: float(student.ppf((1 + confidence) / 2, freedom)) * math.sqrt(square / freedom / (seeds * spread))
        for source, (square, freedom) in errors.items()
    }
    source = max(halves, key=lambda s: halves[s])
    return slope, halves[source], source
