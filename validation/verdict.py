"""Verdicts: does a measured slope agree with the predicted exponent?

Predicted exponents lie on a lattice (multiples of 1/2, or of 1/4 where the parametrization has such exponents), so a
prediction p has nearest rivals p - gap and p + gap. With [low, high] the confidence interval of the slope, widened on
both sides by the allowance for finite width, gap / 5 (0.1 for a gap of 1/2):

    agrees        the widened interval contains p and neither rival
    disagrees     the widened interval does not contain p
    inconclusive  it contains p and a rival too: more seeds or larger widths would decide

The allowance is fixed before measuring: a slope at finite width carries corrections of relative order n^{-1/2}. Exact
zero (-oo) is judged exactly. There is no verdict from fewer than three widths, and none that agrees where runs
diverged.

Where a straight line does not agree and the theory knows a correction n^q below the prediction, :func:`assess` looks
twice more, always in this order:

    two terms     the leading slope of a two-term fit, in which the correction leads nowhere above the middle width, is
                  judged by the same rule; if it agrees, the prediction does
    still bent    a slope between the correction's exponent and the prediction that does not fall, or one that rises
                  significantly towards the prediction, has not arrived: inconclusive, with the width from which on
                  the correction bends it by less than the allowance; unless both terms are equal only far beyond the
                  measured widths

A correction can only lower a local slope, so a measured slope above its prediction is never excused. The rates of wrong
verdicts of the whole procedure on synthetic laws are measured by :mod:`validation.error_rates`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from math import gcd, lcm

from tensorprog.exponent import Exponent
from tensorprog.setting import Setting
from validation.claims import Key
from validation.fit import Correction, ErrorSource, Fit, Sizes, curvature, fit, fit_two_terms
from validation.two_powers import two_powers

__all__ = [
    "ALLOWANCE",
    "MIN_WIDTHS",
    "Judgement",
    "Part",
    "Verdict",
    "assess",
    "judge",
    "judge_regime",
    "judge_sum",
    "rival_gap",
]

MIN_WIDTHS = 3
LATEST = 2
"""A correction that would take over only beyond so many times the largest width excuses nothing: the measured law is
then the correction's own, and that is a rival."""
ALLOWANCE = Fraction(1, 5)
"""Allowance for finite-width corrections to a slope, in units of the distance to the nearest rival."""


class Verdict(Enum):
    """How a measured slope relates to the predicted exponent."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Judgement:
    """A verdict and why, in one line; for an inconclusive one, what would decide."""

    verdict: Verdict
    reason: str


def rival_gap(setting: Setting) -> Fraction:
    """The spacing of the lattice that predicted exponents lie on, at most 1/2.

    Exponents arise from a, b, c and the axes' sizes by sums, maxima, and halves of sizes (central-limit sums), so
    they are multiples of the greatest common divisor of all of these.
    """
    values = [Fraction(1, 2)]
    for w, abc in setting.exponents().items():
        values += [e.const for e in (abc.a, abc.b, abc.c) if e.is_number]
        values += [axis.size.const / 2 for axis in (w.out, w.into)]
    return _gcd(v for v in values if v)


def _gcd(values: Iterable[Fraction]) -> Fraction:
    found = list(values)
    return Fraction(gcd(*(v.numerator for v in found)), lcm(*(v.denominator for v in found)))


def assess(
    sizes: Sizes,
    predicted: Exponent,
    corrections: Sequence[Exponent] = (),
    gap: Fraction = Fraction(1, 2),
    *,
    transient: Exponent | None = None,
) -> tuple[Fit, Judgement]:
    """Fit measured sizes and judge them, with the corrections that the theory knows; see the head of this module.

    Args:
        corrections: exponents below the predicted one, largest first.
        transient: an exponent above the predicted one that a saturating function shows at first.

    Returns:
        The fit that decided and its judgement.
    """
    plain = fit(sizes)
    own = judge(plain, predicted, gap)
    p, allowance = float(predicted.const), float(ALLOWANCE * gap)
    if own.verdict is Verdict.AGREES or predicted.infinite or not plain.decidable:
        return plain, own
    wrong = own.verdict is Verdict.DISAGREES
    if wrong and transient is not None and p < plain.slope < float(transient.const) + allowance:
        why = f"a bounded function of something that grows as n^{transient}: it shows that slope until it saturates"
        return plain, Judgement(Verdict.INCONCLUSIVE, f"{why}; larger widths would decide")
    if not corrections:
        return plain, own
    below = float((predicted - corrections[0]).const)
    two = fit_two_terms(sizes, below)
    if two is not None and two.correction is not None:
        judged = judge(two, predicted, gap)
        if judged.verdict is Verdict.AGREES:
            note = f"with a correction n^{corrections[0]} that leads below width {_round(two.correction.crossing)}"
            return two, Judgement(Verdict.AGREES, f"{judged.reason}; {note}")
    bend, between = curvature(sizes), p - below + allowance < plain.slope < p
    if wrong and plain.slope < p and (bend > 0 or (between and bend == 0)):
        law = two_powers(sizes, p, p - below)
        equal = Correction(below, math.inf if law is None else law.crossing.value)
        if equal.crossing <= LATEST * max(plain.widths):
            why = f"between {predicted} and its correction n^{corrections[0]}, which bends the slope"
            enough = f"it would decide from width {_round(_enough(equal, allowance))} on"
            return plain, Judgement(Verdict.INCONCLUSIVE, f"{why}: {enough}")
    return plain, own


def _enough(correction: Correction, allowance: float) -> float:
    """The width from which on a correction bends the slope by less than the allowance."""
    if correction.below <= allowance:
        return correction.crossing
    return float(correction.crossing * (correction.below / allowance - 1) ** (1 / (2 * correction.below)))


def judge(fit: Fit, predicted: Exponent, gap: Fraction = Fraction(1, 2)) -> Judgement:
    """Judge a fitted slope against a predicted exponent whose nearest rivals are ``gap`` away."""
    measured = len(fit.widths) + len(fit.zeros) + len(fit.excluded)
    if measured < MIN_WIDTHS:
        return Judgement(Verdict.INCONCLUSIVE, f"{measured} widths were measured, a slope needs at least {MIN_WIDTHS}")
    if predicted.infinite < 0:
        if fit.all_zero:
            return Judgement(Verdict.AGREES, "exactly zero at every width and seed")
        return Judgement(Verdict.DISAGREES, "predicted to be exactly zero, but it is not")
    if fit.all_zero:
        return Judgement(Verdict.DISAGREES, f"exactly zero, but predicted as n^{predicted}")
    if fit.excluded or fit.zeros:
        widths = ", ".join(str(n) for n in (*fit.excluded, *fit.zeros))
        return Judgement(Verdict.INCONCLUSIVE, f"not finite, or zero, at width {widths}: no power law to fit")
    return _judge_slope(fit, float(predicted.const), float(gap))


def _judge_slope(fit: Fit, p: float, gap: float) -> Judgement:
    allowance = float(ALLOWANCE) * gap
    low, high = fit.low - allowance, fit.high + allowance
    if not low <= p <= high:
        return Judgement(Verdict.DISAGREES, f"off by {fit.slope - p:+.2f}, more than its error and {allowance:g}")
    if p - gap < low and high < p + gap:
        return Judgement(Verdict.AGREES, f"within {abs(fit.slope - p):.2f}, rivals {gap:g} away are excluded")
    return Judgement(Verdict.INCONCLUSIVE, f"a rival {gap:g} away is not excluded: {_need(fit, p, gap, allowance)}")


def _need(fit: Fit, p: float, gap: float, allowance: float) -> str:
    """What would bring the interval between the rivals: seeds where they scatter, widths where the curve is bent."""
    room = gap - allowance - abs(fit.slope - p)
    if fit.source is ErrorSource.SEEDS and room > 0:
        factor = ((fit.high - fit.low) / 2 / room) ** 2
        return f"about {factor:.1f} times the seeds would decide"
    return "more and larger widths would decide"


def judge_regime(values: Mapping[Key, Sizes], gap: Fraction = Fraction(1, 2)) -> tuple[Key | None, Judgement]:
    """Does training diverge with the width? The verdict on a catastrophic claim.

    It does where some value grows, its interval above the allowance for finite width, or is not finite at the largest
    width. It does not where every value's interval excludes growth by the smallest exponent there can be.

    Args:
        values: measured sizes of activations before the readout and of their updates.

    Returns:
        The fastest growing value and the judgement.
    """
    allowance = float(ALLOWANCE * gap)
    fits = {key: fit(sizes) for key, sizes in values.items()}
    measured = {n for sizes in values.values() for n in sizes}
    if len(measured) < MIN_WIDTHS:
        return None, Judgement(Verdict.INCONCLUSIVE, f"{len(measured)} widths were measured, needs {MIN_WIDTHS}")
    burst = [key for key, f in fits.items() if max(measured) in f.excluded]
    if burst:
        return burst[0], Judgement(Verdict.AGREES, f"values are not finite at width {max(measured)}")
    steepest = max((k for k in fits if fits[k].decidable), key=lambda k: fits[k].low, default=None)
    if steepest is None:
        return None, Judgement(Verdict.INCONCLUSIVE, "no value has sizes to fit a power law to")
    low, high = fits[steepest].low, max(f.high for f in fits.values() if f.decidable)
    if low > allowance:
        return steepest, Judgement(Verdict.AGREES, f"a value before the readout grows at least as n^{low:.2f}")
    if high < float(gap) - allowance:
        return steepest, Judgement(Verdict.DISAGREES, f"every value before the readout stays below n^{high:.2f}")
    return steepest, Judgement(Verdict.INCONCLUSIVE, "growth is neither shown nor excluded: larger widths would decide")


@dataclass(frozen=True)
class Part:
    """One of the measured terms whose sum a quantity is, exactly."""

    name: str
    fit: Fit
    predicted: Exponent
    verdict: Verdict


def judge_sum(own: Judgement, predicted: Exponent, parts: list[Part], gap: Fraction = Fraction(1, 2)) -> Judgement:
    """Reconsider a quantity that disagrees and is the exact sum of parts with different exponents.

    At finite width the smaller power still bends the slope of the sum: with r the smaller parts over the largest, the
    local slope lies up to d r / (1 + r) below the leading exponent, d the difference of the exponents. Where that
    bend is larger than the allowance, the sum cannot decide, and its parts, which are judged on their own, must: if
    none of them disagrees, the sum is inconclusive, with the width from which on it would not be. If any part
    disagrees, so does the sum.
    """
    live = [p for p in parts if not p.predicted.infinite]
    if own.verdict is not Verdict.DISAGREES or len(live) < 2 or any(p.verdict is Verdict.DISAGREES for p in parts):
        return own
    lead = max(live, key=lambda p: p.predicted)
    rest = [p for p in live if p.predicted < lead.predicted]
    if predicted != lead.predicted or not rest:
        return own
    width = min(lead.fit.widths)
    allowance = float(ALLOWANCE * gap)
    second = max(rest, key=lambda p: p.fit.at(width))
    d = float((lead.predicted - second.predicted).const)
    ratio = sum(p.fit.at(width) for p in rest) / lead.fit.at(width)
    if d * ratio / (1 + ratio) <= allowance:
        return own
    enough = width * (ratio * (d - allowance) / allowance) ** (1 / d)
    return Judgement(
        Verdict.INCONCLUSIVE,
        f"its part {second.name} (n^{second.predicted}) still bends the slope; no part disagrees on its own, "
        f"the sum decides from width {_round(enough)} on",
    )


def _round(width: float) -> str:
    """A width to two significant digits."""
    return f"{int(float(f'{width:.1e}')):,}"
