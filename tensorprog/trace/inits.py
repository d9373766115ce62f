"""Initial entries: their size over widths, measured on the initialised parameters and snapped to powers of n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorprog.exponent import INFINITE, Exponent
from tensorprog.trace.errors import TraceError
from tensorprog.trace.powers import EXACT, Power, power_of

if TYPE_CHECKING:
    import torch

__all__ = ["Init", "measure"]

DEVIATIONS = 4.0
"""How many standard errors an exponent, or a mean, may lie from its exact value."""
COARSE = 0.15
"""Where an exponent is known no better than this, it is taken to be a multiple of one half."""


@dataclass(frozen=True)
class Init:
    """How a weight starts: mean + random entries.

    Args:
        std: of the random entries; None where there are none.
        mean: of all entries; None where it is zero.
        declared: the exponent was declared, not measured.
    """

    std: Power | None
    mean: Power | None
    declared: bool = False

    @property
    def zero(self) -> bool:
        """Whether its random part is exactly zero."""
        return self.std is None

    @property
    def b(self) -> Exponent:
        """The init exponent: std n^-b; oo for none."""
        return INFINITE if self.std is None else -self.std.exponent

    @property
    def residual(self) -> float:
        """Measured less exact exponent of the random part."""
        return 0.0 if self.std is None else self.std.residual


def measure(
    entries: Sequence[torch.Tensor], widths: Sequence[int], name: str, where: str, declared: Exponent | None = None
) -> Init:
    """What the initial entries of a parameter, or of a block of one, are as powers of n.

    Args:
        entries: at every width.
        declared: b, where the user has declared it.

    Raises:
        TraceError: for sizes that are no power of n.
    """
    if declared is not None:
        power = None if declared.infinite else Power(-declared, math.nan, float(-declared.const))
        return Init(power, None, declared=True)
    moments = [_moments(t) for t in entries]
    stds = [std for _, std, _ in moments]
    means = [mean for mean, _, _ in moments]
    has_mean = (
        all(abs(m) > DEVIATIONS * s / math.sqrt(k) + 1e-12 for m, s, k in moments) and len({m > 0 for m in means}) == 1
    )
    spread = math.log(widths[-1] / widths[0])
    mean = None
    if has_mean:
        noise = math.hypot(*(s / abs(m) / math.sqrt(k) for m, s, k in (moments[0], moments[-1]))) / spread
        mean = _power(means, widths, noise, name, where, "mean")
    if all(s <= 1e-9 * max(abs(m), 1e-30) for m, s in zip(means, stds, strict=True)):
        return Init(None, mean)
    noise = math.hypot(_error(entries[0]), _error(entries[-1])) / spread
    return Init(_power(stds, widths, noise, name, where, "size"), mean)


def _error(t: Any) -> float:
    """The standard error of the logarithm of a root mean square, from the entries' own fourth moment."""
    squares = (t.detach().double() - t.double().mean()).square()
    size = float(squares.mean())
    return float(squares.std()) / (2 * size * math.sqrt(t.numel())) if size and t.numel() > 1 else 1.0


def _moments(t: Any) -> tuple[float, float, int]:
    x = t.detach().double()
    mean = float(x.mean())
    std = float(x.std(unbiased=False)) if x.numel() > 1 else 0.0
    if x.numel() == 1:
        return mean, 0.0, 1
    return mean, std, x.numel()


def _power(numbers: Sequence[float], widths: Sequence[int], noise: float, name: str, where: str, what: str) -> Power:
    """The power of n that measured numbers are; ``noise`` is the standard error of its exponent."""
    if DEVIATIONS * noise > COARSE:  # few entries: the nearest half is all that can be told
        found = power_of(numbers, widths, 1.0, (2,))
    else:
        found = power_of(numbers, widths, max(EXACT, DEVIATIONS * noise))
    if found is None:
        told = ", ".join(f"{x:.3g}" for x in numbers)
        raise TraceError(
            f"parameter {name}",
            where,
            f"the {what} of its initial entries is {told}, no power of the widths {', '.join(map(str, widths))}",
            "Declare it: inits={...: exponent b of std n^-b}, or oo for zeros",
        )
    return found
