"""Learning-rate sweeps: the smallest unstable and the optimal learning rate over widths, measured and judged.

``sweep`` does all of it; the modules are its steps: trial (one network), criterion (what unstable means), search (the
learning rates to try), crew (processes), run (fit and verdict), report and figure.
"""

from __future__ import annotations

from validation.sweep.criterion import CRITERIA, Criterion
from validation.sweep.run import PROBE, SEEDS, STEPS, WIDTHS, Sweep, Threshold, sweep

__all__ = ["CRITERIA", "PROBE", "SEEDS", "STEPS", "WIDTHS", "Criterion", "Sweep", "Threshold", "sweep"]
