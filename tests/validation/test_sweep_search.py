"""The search for the smallest unstable and the optimal learning rate, on outcomes that are known functions of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tensorprog.errors import UnknownName
from tensorprog.losses import LOSSES, loss
from validation.sweep.criterion import (
    ACCURACY,
    ACTIVATIONS,
    BLOW_UP,
    CRITERIA,
    LOSS,
    RISE,
    Criterion,
    criterion,
    default_criterion,
)
from validation.sweep.search import BELOW_OPTIMUM, FARTHEST, RESOLUTION, Found, crossing, search, vertex
from validation.sweep.trial import Outcome


def outcome(
    *,
    growth: float = 1.0,
    held_out: float = 1.0,
    losses: tuple[float, ...] = (2.0, 1.0),
    accuracy: float = 0.9,
    failure: str = "",
) -> Outcome:
    return Outcome("", {}, losses, growth, held_out, accuracy, chance=0.15, failure=failure)


def bowl(bottom: float) -> Callable[[float], float]:
    return lambda k: 1 + 0.1 * (k - bottom) ** 2


def run(
    grow: Callable[[float], float], loss: Callable[[float], float], start: int = 0, *, limit: int = 200
) -> tuple[Found, list[float]]:
    """Answer a search by activations with growth and held-out loss as functions of k; also what was asked, in order."""
    steps = search(ACTIVATIONS, start)
    wanted, asked = next(steps), []
    while len(asked) < limit:
        asked += wanted
        try:
            wanted = steps.send({k: outcome(growth=grow(k), held_out=loss(k)) for k in wanted})
        except StopIteration as end:
            return end.value, asked
    raise AssertionError("the search does not end")


def power(threshold: float, steepness: float = 2.0) -> Callable[[float], float]:
    """Growth that crosses the limit at k = threshold."""
    return lambda k: BLOW_UP * 2 ** (steepness * (k - threshold))


# -- search


@pytest.mark.parametrize("threshold", [-3.3, -0.01, 0.0, 0.5, 2.71, 17.2])
@pytest.mark.parametrize("start", [-9, 0, 4])
def test_a_threshold_is_found_from_anywhere(threshold: float, start: int) -> None:
    found, asked = run(power(threshold), bowl(threshold - 2), start)
    assert math.log2(found.threshold) == pytest.approx(threshold, abs=1e-9)  # the excess is linear in k: exact
    assert found.octave == math.floor(threshold) + 1
    assert len(asked) == len(set(asked)) == len(found.outcomes)


def test_the_bracket_is_an_eighth_of_an_octave() -> None:
    found, _ = run(lambda k: math.inf if k > 1.3 else 1.0, bowl(-1))
    assert math.log2(found.threshold) == pytest.approx(1.3, abs=RESOLUTION / 2)
    fine = sorted(k for k in found.outcomes if 1 <= k <= 2)
    assert min(np.diff(fine)) == RESOLUTION


@pytest.mark.parametrize("bottom", [-4.8, -1.0, 0.3, 1.9])
@pytest.mark.parametrize("start", [-6, 0, 5])
def test_the_optimum_of_a_parabola_is_exact(bottom: float, start: int) -> None:
    found, asked = run(power(4.5), bowl(bottom), start)
    assert math.log2(found.optimum) == pytest.approx(bottom, abs=1e-9)
    assert min(asked) <= round(bottom) - BELOW_OPTIMUM


def test_an_optimum_past_the_threshold_is_the_largest_stable_learning_rate() -> None:
    found, _ = run(power(2.3), lambda k: -k)
    assert math.log2(found.optimum) == 2.25


def test_the_lowest_of_several_thresholds_counts() -> None:
    """Training that fails at 2^1, recovers at 2^2 and fails for good at 2^5: networks that die come back finite."""
    found, _ = run(lambda k: 100.0 if 0.6 < k < 1.5 or k > 4.2 else 1.0, bowl(-2), start=6)
    assert 0.5 < math.log2(found.threshold) < 0.625  # the line between a tiny growth and a huge one
    assert found.octave == 1
    found, _ = run(lambda k: 100.0 if 0.3 < k < 0.4 or k > 0.9 else 1.0, bowl(-2))
    assert 0.8 < math.log2(found.threshold) < 1.0  # narrower than the bisection sees: never tried


def test_where_nothing_is_unstable_or_nothing_is_stable() -> None:
    never, asked = run(lambda k: 1.0, bowl(0))
    assert never.threshold == math.inf
    assert FARTHEST <= max(asked) <= FARTHEST + 2
    always, asked = run(lambda k: 100.0, bowl(0))
    assert always.threshold == 0
    assert math.isnan(always.optimum)
    assert -FARTHEST - 2 <= min(asked) <= -FARTHEST


def test_a_loss_that_falls_for_ever_does_not_keep_the_search_going() -> None:
    found, asked = run(power(0.5), lambda k: k)
    assert min(asked) == -FARTHEST
    assert math.log2(found.optimum) == -FARTHEST


def test_losses_that_are_not_finite_are_never_optimal() -> None:
    found, _ = run(power(1.5), lambda k: bowl(-1)(k) if k <= 0 else math.nan)
    assert math.log2(found.optimum) == pytest.approx(-1)
    # With a nan held-out loss the outcome is not finite: unstable, whatever the activations did.
    assert 0 < math.log2(found.threshold) < RESOLUTION


def test_a_failed_trial_ends_the_search_without_a_threshold() -> None:
    steps = search(ACTIVATIONS, 3)
    wanted = next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send({k: outcome(failure="out of memory" if k == 3 else "") for k in wanted})
    found = end.value.value
    assert math.isnan(found.threshold)
    assert math.isnan(found.optimum)
    assert found.octave == 3


def test_one_octave_above_the_threshold_is_tried_for_the_figure() -> None:
    _, asked = run(power(1.5), bowl(-1), start=-4)
    assert max(asked) == 3


def test_crossing_and_vertex_by_hand() -> None:
    assert crossing((0, -1), (1, 3)) == 0.25
    assert crossing((0, -math.inf), (1, 3)) == 0.5
    assert crossing((0, -1), (1, math.inf)) == 0.5
    assert vertex((0, 1, 3), (9, 4, 0)) == pytest.approx(3)  # (k - 3)^2
    assert vertex((0, 1, 2), (5, 1, 5)) == 1
    assert vertex((0, 1, 2), (1, 1, 1)) == 1


# -- criteria


def test_criteria_by_hand() -> None:
    assert ACTIVATIONS.excess(outcome(growth=BLOW_UP * math.e)) == pytest.approx(1)
    assert ACTIVATIONS.excess(outcome(growth=BLOW_UP / math.e)) == pytest.approx(-1)
    assert LOSS.excess(outcome(losses=(2.0, 2 * RISE * math.e, 0.1))) == pytest.approx(1)
    assert LOSS.stable(outcome(losses=(2.0, 2.4)))
    assert LOSS.unstable(outcome(losses=(2.0, 2.6)))
    assert ACCURACY.unstable(outcome(accuracy=0.14))
    assert ACCURACY.stable(outcome(accuracy=0.16))
    assert ACCURACY.excess(outcome(accuracy=0.0)) == math.inf


@pytest.mark.parametrize("chosen", CRITERIA.values(), ids=list(CRITERIA))
def test_what_is_not_finite_is_unstable_and_what_failed_is_neither(chosen: Criterion) -> None:
    fine = outcome()
    assert chosen.stable(fine)
    for wild in (
        outcome(growth=math.inf),
        outcome(held_out=math.nan),
        outcome(losses=(2.0, math.nan)),
        outcome(losses=(2.0, math.inf)),
    ):
        assert chosen.excess(wild) == math.inf
        assert chosen.unstable(wild)
    failed = outcome(failure="out of memory")
    assert not chosen.stable(failed)
    assert not chosen.unstable(failed)


def test_the_criterion_follows_from_how_the_loss_grows() -> None:
    assert {name: default_criterion(loss(name)).name for name in LOSSES} == {
        name: "loss" if loss(name).degree else "activations" for name in LOSSES
    }
    assert default_criterion(loss("mse")) is LOSS
    assert default_criterion(loss("ce")) is ACTIVATIONS
    with pytest.raises(UnknownName, match="criterion: got 'vibes'; accepted are activations, loss, accuracy"):
        criterion("vibes")
