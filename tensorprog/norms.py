"""Norm layers as scale rules: x over its root mean square, its change, and its transpose.

``mean(x, y, what)`` is the mean of the product over what is normalised (a whole axis, or one factor of it), as a
vector that is constant there.
"""

from __future__ import annotations

from collections.abc import Callable

from tensorprog.scale import NOTHING, Scale

__all__ = ["Mean", "normalized", "normalized_change", "normalized_gradient"]

Mean = Callable[[Scale, Scale, str], Scale]


def normalized(x: Scale) -> Scale:
    """x / rms(x): patterns stay, the largest term becomes Theta(1)."""
    return x if x.is_zero else x.shift(-x.top, "norm", "/ rms(x)")


def normalized_change(x: Scale, d: Scale, mean: Mean) -> Scale:
    """(x + d) / rms(x + d) - x / rms(x).

    A change below x: d / r plus y times the relative change of r, (2 <x, d> + <d, d>) / (2 <x, x>). As large or larger:
    the difference of two vectors of size one, which do not cancel. The change of 1/r itself is no use there: it is as
    large as 1/r, while the new 1/r is small.
    """
    if d.is_zero or x.is_zero:
        return normalized(d)
    if not d.top < x.top:
        return normalized(x + d) + normalized(x)
    relative = mean(x, d, "<x, Delta x>") + mean(d, d, "<Delta x, Delta x>")
    return d.shift(-x.top, "norm", "/ rms(x)") + normalized(x) * relative.shift(-x.top * 2, "norm", "/ rms(x)^2")


def normalized_gradient(x: Scale, d: Scale, mean: Mean) -> Scale:
    """(d - y mean(y d)) / rms(x) with y = x / rms(x); zero where x is: a negligible epsilon divides it."""
    if x.is_zero or d.is_zero:
        return NOTHING
    y = normalized(x)
    return (d + y * mean(y, d, "<y, .>")).shift(-x.top, "norm", "/ rms(x)")
