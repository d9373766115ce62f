"""Powers of the width: exact exponents read off numbers at several widths.

A number that is c n^e at every width gives log-ratios e log(n'/n); e is snapped to the simplest rational that lies
within what the numbers leave open, and what is left is reported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tensorprog.exponent import ZERO_SIZE, Exponent

__all__ = ["EXACT", "Power", "power_of"]

EXACT = 0.05
"""How far the exponent of a number without noise may lie from a rational: sizes in code are rounded to multiples."""
DENOMINATORS = (1, 2, 3, 4, 6, 8)


@dataclass(frozen=True)
class Power:
    """constant * n^exponent.

    Args:
        exponent: exact; -oo for numbers that are all zero.
        constant: the number at the largest width over n^exponent.
        measured: the least-squares slope of the logarithms.
    """

    exponent: Exponent
    constant: float
    measured: float

    @property
    def residual(self) -> float:
        """Measured less exact exponent."""
        return 0.0 if self.exponent.infinite else self.measured - float(self.exponent.const)


def power_of(
    numbers: Sequence[float],
    widths: Sequence[int],
    tolerance: float = EXACT,
    denominators: Sequence[int] = DENOMINATORS,
) -> Power | None:
    """The power of n that numbers at several widths are; None where they are no power of n.

    Args:
        numbers: one per width; their signs must agree and do not matter.
        widths: at least two, different.
        tolerance: of the exponent, from noise.
        denominators: of the rationals to try, simplest first.

    Example:
        >>> str(power_of([0.125, 0.0625], [64, 256]).exponent)
        '-1/2'
        >>> power_of([1.0, -1.0], [64, 256]) is None
        True
    """
    if all(x == 0 for x in numbers):
        return Power(ZERO_SIZE, 0.0, 0.0)
    if not all(math.isfinite(x) and x for x in numbers) or len({x > 0 for x in numbers}) > 1:
        return None
    x, y = [math.log(n) for n in widths], [math.log(abs(v)) for v in numbers]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)
    span = max(x) - min(x)
    for denominator in denominators:
        e = Fraction(round(slope * denominator), denominator)
        worst = max(abs((b - my) - float(e) * (a - mx)) for a, b in zip(x, y, strict=True))
        if abs(slope - e) <= tolerance and worst <= tolerance * span:
            return Power(Exponent(e), numbers[-1] / widths[-1] ** float(e), slope)
    return None
