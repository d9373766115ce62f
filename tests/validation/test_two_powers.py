"""Prefactors of two known powers and the width where they cross, on synthetic laws whose numbers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from validation.error_rates import SUMS, Sum, coverage
from validation.fit import ErrorSource, Sizes
from validation.two_powers import Estimate, Sight, TwoPowers, two_parts, two_powers

WIDTHS = (128, 256, 512, 1024, 2048)


def law(star: float, *, p: float = 0.5, q: float = 0.0) -> Sizes:
    """size^2 = (2 n^p)^2 + (2 star^{p-q} n^q)^2, without noise."""
    return {n: dict.fromkeys(range(4), 2 * math.hypot(n**p, star ** (p - q) * n**q)) for n in WIDTHS}


def fitted(sizes: Sizes, p: float = 0.5, q: float = 0.0, confidence: float = 0.95) -> TwoPowers:
    found = two_powers(sizes, p, q, confidence=confidence)
    assert found is not None
    return found


# -- one size, two terms in quadrature


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.0), (0.0, -0.5), (1.0, 0.0), (0.0, -0.25), (1.5, 0.0)])
def test_an_exact_law_is_recovered(p: float, q: float) -> None:
    f = fitted(law(300, p=p, q=q), p, q)
    assert f.sight is Sight.BOTH
    assert f.crossing.value == pytest.approx(300, rel=1e-3)
    assert f.leading.value == pytest.approx(2, rel=1e-3)
    assert f.subleading.value == pytest.approx(2 * 300 ** (p - q), rel=1e-3)
    assert f.crossing.high / f.crossing.low < 1.01
    a, b = f.terms_at(300)
    assert a == pytest.approx(b, rel=1e-3)
    assert f.at(1024) == pytest.approx(law(300, p=p, q=q)[1024][0], rel=1e-3)


def test_by_hand() -> None:
    """Three widths 1, 4, 16 with squares n + 4: A = 1, B = 2, so n* = 4."""
    f = fitted({n: {0: math.sqrt(n + 4)} for n in (1, 4, 16)})
    assert (f.leading.value, f.subleading.value, f.crossing.value) == pytest.approx((1, 2, 4), rel=1e-3)


def test_one_power_alone_gives_a_bound() -> None:
    draw = np.random.default_rng(3)
    only_first = fitted(Sum(0.0, 0.05).sizes(draw))
    assert only_first.sight is Sight.LEADING
    assert only_first.crossing.low == 0
    assert only_first.subleading.low == 0
    assert 0 < only_first.crossing.high < 128
    only_second = fitted({n: {s: float(3 * np.exp(0.05 * draw.standard_normal())) for s in range(4)} for n in WIDTHS})
    assert only_second.sight is Sight.SUBLEADING
    assert only_second.crossing.high == math.inf
    assert only_second.leading.low == 0
    assert only_second.crossing.low > 2048


def test_noise_that_hides_both_is_undecided() -> None:
    """Slope about a quarter, between both powers, with scatter that allows either."""
    wild = {n: {s: n**0.25 * 6.0 ** ((-1) ** (i + s)) for s in (0, 1)} for i, n in enumerate(WIDTHS)}
    f = fitted(wild)
    assert f.sight is Sight.NEITHER
    assert (f.crossing.low, f.crossing.high) == (0, math.inf)


def test_slopes_outside_both_powers_do_not_hold() -> None:
    for slope, holds in ((0.75, False), (0.5, True), (0.2, True), (0.0, True), (-0.3, False)):
        assert fitted({n: dict.fromkeys(range(3), n**slope) for n in WIDTHS}).holds(0.1) is holds


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {n: {0: 1.0} for n in WIDTHS[:2]},
        law(300) | {512: dict.fromkeys(range(4), 0.0)},
        law(300) | {512: {0: math.nan, 1: 1.0, 2: 1.0, 3: 1.0}},
    ],
)
def test_too_little_to_fit(sizes: Sizes) -> None:
    assert two_powers(sizes, 0.5, 0.0) is None


def test_the_leading_exponent_must_lead() -> None:
    with pytest.raises(ValueError, match="needs the leading one to be larger"):
        two_powers(law(300), 0.0, 0.0)


@pytest.mark.parametrize("each", SUMS, ids=str)
def test_intervals_cover_at_about_their_rate(each: Sum) -> None:
    """What docs/validation.md states, on fewer trials: they are the widest of three and cover a little more than asked.

    Where whole seeds have more of one term than others, the scatter over all widths understates the error: without the
    third one the intervals of 95% cover less than 85% there.
    """
    assert min(coverage(each, 0.95, trials=120)) >= 0.9
    half = coverage(each, 0.5, trials=120)
    assert min(half) >= 0.38
    assert half[0] <= 0.76


def test_a_wrong_exponent_moves_the_crossing_out_of_the_interval() -> None:
    """What the coverage test can see: fitted with another sub-leading exponent, the same laws are missed."""
    draw = np.random.default_rng(7)
    found = [fitted(Sum(300, 0.03).sizes(draw), 0.5, -0.5) for _ in range(50)]
    assert sum(300 in f.crossing for f in found) < 15


def test_more_seeds_and_less_noise_narrow_the_interval() -> None:
    def spread(noise: float, seeds: int) -> float:
        draw = np.random.default_rng(5)
        found = [fitted(Sum(300, noise, seeds=seeds).sizes(draw)).crossing for _ in range(20)]
        return float(np.median([math.log(e.high / e.low) for e in found]))

    assert spread(0.1, 12) < 0.7 * spread(0.1, 3)
    assert spread(0.02, 4) < 0.4 * spread(0.1, 4)


# -- two parts, measured one by one


def apart(star: float, noise: float, seeds: int, draw: np.random.Generator) -> tuple[Sizes, Sizes]:
    def part(prefactor: float, power: float) -> Sizes:
        level = np.exp(noise * draw.standard_normal(seeds))
        return {
            n: {
                s: float(prefactor * n**power * level[s] * np.exp(noise * draw.standard_normal())) for s in range(seeds)
            }
            for n in WIDTHS
        }

    return part(2.0, 0.5), part(2.0 * star**0.5, 0.0)


def test_parts_by_hand() -> None:
    """Two seeds with n* = 10 and 40: their geometric mean is 20, and t(0.975, 1) = 12.706 times the error log(2)."""
    leading = {n: {0: n**0.5, 1: n**0.5} for n in WIDTHS}
    other = {n: {0: 10**0.5, 1: 40**0.5} for n in WIDTHS}
    f = two_parts(leading, other, 0.5, 0.0)
    assert f is not None
    assert f.crossing.value == pytest.approx(20)
    assert math.log(f.crossing.high / 20) == pytest.approx(12.7062 * math.log(2), rel=1e-4)
    assert (f.leading.value, f.subleading.value) == pytest.approx((1, 20**0.5))
    assert (f.source, f.sight) == (ErrorSource.SEEDS, Sight.BOTH)


@pytest.mark.parametrize("seeds", [2, 4])
def test_intervals_of_parts_cover(seeds: int) -> None:
    draw = np.random.default_rng(11)
    hits = {0.95: 0, 0.5: 0}
    for _ in range(200):
        parts = apart(300, 0.1, seeds, draw)
        for confidence in hits:
            f = two_parts(*parts, 0.5, 0.0, confidence=confidence)
            assert f is not None
            hits[confidence] += 300 in f.crossing
    assert hits[0.95] / 200 >= 0.93
    assert 0.42 <= hits[0.5] / 200 <= 0.8


def test_parts_need_the_same_networks_and_hold_only_at_their_powers() -> None:
    leading, other = apart(300, 0.0, 3, np.random.default_rng(0))
    few = {n: {0: row[0]} for n, row in other.items() if n > 256}
    f = two_parts(leading, few, 0.5, 0.0)
    assert f is not None
    assert f.lines[0].fit.widths == (512, 1024, 2048)
    assert two_parts(leading, {n: row for n, row in other.items() if n > 512}, 0.5, 0.0) is None
    assert two_parts(leading, {n: dict.fromkeys(row, 0.0) for n, row in other.items()}, 0.5, 0.0) is None
    assert f.holds(0.1)
    for p, q in ((1.0, 0.0), (1.0, 0.5)):  # the second has the right ratio, of wrong powers
        wrong = two_parts(leading, other, p, q)
        assert wrong is not None
        assert not wrong.holds(0.1)


def test_estimates_contain_their_ends() -> None:
    e = Estimate(2.0, 0.0, math.inf)
    assert 0.0 in e
    assert 1e300 in e
    assert -1.0 not in e
