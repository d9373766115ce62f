"""Error rates: how often the verdict is wrong, on synthetic laws whose exponent is known.

A trial draws sizes n^p at the quick suite's widths with log-normal noise per network and per seed, perhaps with a
correction B n^{p-1/2} in quadrature whose crossing width lies below, at the lower end of, or inside the measured
widths, and judges a right and two wrong claims:

    false alarm     the right claim disagrees
    miss            a claim off by one half agrees
    undecided       inconclusive, of the right claim and of the wrong ones

A crossing width is wrong where its interval does not contain it: so are the prefactors of both terms. Both terms
scatter on their own in every network, and perhaps whole seeds have more of one of them.

``python -m validation.error_rates`` prints the tables of the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tensorprog.exponent import exponent
from validation.fit import Sizes
from validation.two_powers import two_powers
from validation.verdict import Verdict, assess

__all__ = ["LAWS", "SUMS", "Law", "Rates", "Sum", "coverage", "error_rates"]

WIDTHS = (128, 256, 512, 1024, 2048)


@dataclass(frozen=True)
class Law:
    """A synthetic law.

    Args:
        noise: standard deviation of log size per network.
        crossing: width at which the correction equals the leading term; 0 for a pure power law.
        known: whether the theory knows of a correction (it may know of one that is not there).
        seeds: networks per width.
    """

    noise: float
    crossing: float = 0.0
    known: bool = True
    seeds: int = 3

    def sizes(self, generator: np.random.Generator, slope: float = 0.5) -> Sizes:
        """One trial's sizes: width -> seed -> size."""
        blocks = 0.2 * generator.standard_normal(self.seeds)
        return {
            n: {
                s: float(
                    n**slope
                    * np.sqrt(1 + self.crossing / n)
                    * np.exp(blocks[s] + self.noise * generator.standard_normal())
                )
                for s in range(self.seeds)
            }
            for n in WIDTHS
        }


@dataclass(frozen=True)
class Rates:
    """Fractions of trials."""

    false_alarm: float
    miss: float
    undecided_right: float
    undecided_wrong: float


LAWS = (
    Law(0.05, known=False),
    Law(0.05),
    Law(0.15, known=False),
    Law(0.15),
    Law(0.3, known=False),
    Law(0.3),
    Law(0.05, crossing=32),
    Law(0.15, crossing=32),
    Law(0.05, crossing=128),
    Law(0.15, crossing=128),
    Law(0.05, crossing=512),
    Law(0.15, crossing=512),
    Law(0.15, crossing=2048),
)


def error_rates(law: Law, *, trials: int = 1000, seed: int = 0) -> Rates:
    """Judge the right claim 1/2 and the wrong ones 0 and 1 on that many trials of a law."""
    generator = np.random.default_rng(seed)
    right: list[Verdict] = []
    wrong: list[Verdict] = []
    for _ in range(trials):
        sizes = law.sizes(generator)
        for claim in ("1/2", "0", "1"):
            p = exponent(claim)
            _, judged = assess(sizes, p, [p - exponent("1/2")] if law.known else [])
            (right if claim == "1/2" else wrong).append(judged.verdict)
    return Rates(
        right.count(Verdict.DISAGREES) / trials,
        wrong.count(Verdict.AGREES) / len(wrong),
        right.count(Verdict.INCONCLUSIVE) / trials,
        wrong.count(Verdict.INCONCLUSIVE) / len(wrong),
    )


def rows(trials: int = 1000) -> Iterator[list[str]]:
    """The table of the documentation, header first."""
    yield ["noise", "correction equal at", "false alarms", "misses", "undecided, right", "undecided, wrong"]
    for law in LAWS:
        r = error_rates(law, trials=trials)
        at = f"n = {law.crossing:g}" if law.crossing else "none" + (" (but known to the theory)" if law.known else "")
        rates = (r.false_alarm, r.miss, r.undecided_right, r.undecided_wrong)
        yield [f"{law.noise:g}", at, *(f"{100 * rate:.1f} %" for rate in rates)]


# -- crossing widths


@dataclass(frozen=True)
class Sum:
    """A synthetic sum of two powers in quadrature, (2 n^{1/2})^2 + (2 crossing^{1/2})^2.

    Args:
        crossing: the width at which both are equal.
        noise: standard deviation of the logarithm of either term per network, and of the level per seed.
        own: of the ratio of the terms per seed.
        seeds: networks per width.
    """

    crossing: float
    noise: float
    own: float = 0.0
    seeds: int = 4

    def sizes(self, generator: np.random.Generator) -> Sizes:
        """One trial's sizes: width -> seed -> size."""
        level = np.exp(self.noise * generator.standard_normal(self.seeds))
        ratio = np.exp(self.own * generator.standard_normal(self.seeds))

        def size(n: int, s: int) -> float:
            a, b = np.exp(self.noise * generator.standard_normal(2))
            return float(2 * level[s] * np.hypot(a * n**0.5, b * ratio[s] * self.crossing**0.5))

        return {n: {s: size(n, s) for s in range(self.seeds)} for n in WIDTHS}


SUMS = tuple(Sum(n, *scatter) for scatter in ((0.1, 0.0), (0.03, 0.2)) for n in (20, 300, 2000))


def coverage(law: Sum, confidence: float, *, trials: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """How often the intervals contain the true crossing width, the leading and the sub-leading prefactor."""
    generator = np.random.default_rng(seed)
    hits = np.zeros(3)
    for _ in range(trials):
        found = two_powers(law.sizes(generator), 0.5, 0.0, confidence=confidence)
        assert found is not None
        hits += [law.crossing in found.crossing, 2.0 in found.leading, 2 * law.crossing**0.5 in found.subleading]
    crossing, leading, subleading = (float(v) for v in hits / trials)
    return crossing, leading, subleading


def crossing_rows(trials: int = 1000) -> Iterator[list[str]]:
    """The table of the documentation for crossing widths, header first."""
    asked = (0.5, 0.8, 0.95)
    yield ["noise", "of the ratio, per seed", "crossing width", *(f"{100 * c:.0f} % intervals" for c in asked)]
    for law in SUMS:
        rates = (coverage(law, c, trials=trials)[0] for c in asked)
        numbers = (f"{law.noise:g}", f"{law.own:g}", f"{law.crossing:g}")
        yield [*numbers, *(f"{100 * rate:.1f} %" for rate in rates)]


if __name__ == "__main__":
    for row in [*rows(), *crossing_rows()]:
        print("| " + " | ".join(row) + " |")
