"""Constants: what the theory does not fix, chosen by one rule for every setting.

Exponents do not depend on the constants, but the widths from which on they show do. Three rules bring these within
reach:

    base width      all parts of all sums are comparable at n0 = 4, far below the measured widths, so that at these the
                    part with the largest exponent leads already: at n = 128 by a factor 5 per half power
    base lr         such that the first feature change of the last hidden layer follows 0.25 (n / n0)^e with e its
                    predicted exponent: found by bisection at one small width. Smaller, and updates drown in the initial
                    logits; larger, and training is chaotic
    output scale    keeps the logits far below one while features move. With logits of order one a network soon learns
                    what there is to learn in the labels, a wider one sooner, and the mean of chi over a batch changes
                    with the width although its size does not. Where training beyond the edge feeds diverging logits
                    back (MSE), they are large instead: they shall outgrow the targets within the measured widths

Constants are fixed before the measured networks are trained, from other seeds and one width: no slope enters them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from tensorprog.derivation import Derivation
from tensorprog.derive import derive_setting
from tensorprog.exponent import Exponent
from tensorprog.setting import Setting
from validation.data import Data
from validation.measure import rms
from validation.realize import Network, Realization
from validation.train import train

__all__ = ["Constants", "calibrated", "calibrated_beyond"]

BASE_WIDTH = 4
SMALL_LOGITS = 1e-5
"""Small enough for logits that grow as n from the base width to stay below 0.1 at width 2048."""
LARGER_LOGITS = 1.0
CALIBRATION_WIDTH = 128
CALIBRATION_SEED = 1 << 16
"""No measured network has it."""
FEATURE_CHANGE = 0.25
LATEST_STEP = 3
"""Features that have not moved until then are taken not to move."""
BISECTIONS = 6
LARGEST_RATE = 1e12


@dataclass(frozen=True)
class Constants:
    """See :class:`validation.realize.Realization`."""

    base_lr: float
    output_scale: float = SMALL_LOGITS
    base_width: int = BASE_WIDTH


def calibrated(setting: Setting, data: Data, *, output_scale: float = SMALL_LOGITS) -> Constants:
    """The constants of a setting by the rules at the head of this module.

    Where no feature ever moves, nothing is to be calibrated and the base learning rate is 1.
    """
    derived = derive_setting(replace(setting, steps=max(setting.steps, LATEST_STEP)))
    moving = _first_move(derived)
    if moving is None:
        return Constants(1.0, output_scale)
    steps, exponent = moving
    wanted = FEATURE_CHANGE * (CALIBRATION_WIDTH / BASE_WIDTH) ** float(exponent.const)

    def enough(rate: float) -> bool:
        # A rate at which training diverges is too large, not too small.
        return not _feature_change(setting, data, Constants(rate, output_scale), steps) < wanted

    rate = 1e-4
    while not enough(rate) and rate < LARGEST_RATE:
        rate *= 8
    low, high = rate / 8, rate
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return Constants(float(f"{math.sqrt(low * high):.2g}"), output_scale)


def calibrated_beyond(at_edge: Setting, data: Data) -> Constants:
    """The constants for training beyond the edge, calibrated at it.

    A loss that grows feeds diverging logits back, and they are to outgrow the targets within the measured widths.
    """
    return calibrated(at_edge, data, output_scale=LARGER_LOGITS if at_edge.loss.degree else SMALL_LOGITS)


def _first_move(derived: Derivation) -> tuple[int, Exponent] | None:
    """The first step after which the last hidden layer's features have moved, and the exponent of their change."""
    program = derived.setting.program
    hidden = [s for s in program.sites if s.activation != program.output]
    for t in range(1, LATEST_STEP + 1) if hidden else ():
        e = derived.step(t).sites[hidden[-1].name].feature
        if e is not None and not e.infinite:
            return t, e
    return None


def _feature_change(setting: Setting, data: Data, constants: Constants, steps: int) -> float:
    """RMS of x_t - x_0 of the last hidden layer of the calibration network after some steps."""
    real = Realization(
        CALIBRATION_WIDTH,
        sizes=data.sizes,
        base_width=constants.base_width,
        base_lr=constants.base_lr,
        output_scale=constants.output_scale,
        seed=CALIBRATION_SEED,
    )
    network = Network(setting.program, setting.exponents(), real)
    last = [s for s in setting.program.sites if s.activation != setting.program.output][-1].activation
    probe = data.probe_batch().to("cpu", torch.float32).x
    with torch.no_grad():
        before = network.values(probe)[last]
    batches = (data.batch_at(real.seed, t).to("cpu", torch.float32) for t in range(steps))
    optimizer = setting.optimizer.torch(network.groups(), real.width / real.base_width)
    train(network, optimizer, setting.loss, batches)
    with torch.no_grad():
        return rms(network.values(probe)[last] - before)
