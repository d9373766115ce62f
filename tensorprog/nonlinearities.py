"""Nonlinearities: declared facts, the scale rules they imply, and the functions themselves.

An entry declares what the calculus needs to know of phi (parity, growth at infinity, Taylor orders at zero) next
to a numeric phi; ``tests/conformance`` holds each fact against the function. Derivatives need no entries of their
own: the facts of phi' follow from those of phi.

To add one: write a :class:`Nonlinearity` at the end of this file and list it in ``NONLINEARITIES``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from tensorprog.errors import UnknownName
from tensorprog.exponent import ZERO, Exponent
from tensorprog.pattern import TRIVIAL, Pattern, even_span, generic_span, odd_span
from tensorprog.scale import NOTHING, Reason, Scale, Term

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["NONLINEARITIES", "Facts", "Nonlinearity", "Parity", "apply", "change", "nonlinearity"]

TAYLOR_ORDER = 3
"""Highest Taylor order kept near zero; even and odd patterns are both represented by then."""


class Parity(Enum):
    """phi(-h) = phi(h), = -phi(h), or neither; decides the pattern of phi(h)."""

    EVEN = "even"
    ODD = "odd"
    NONE = "none"

    @property
    def derivative(self) -> Parity:
        return {Parity.EVEN: Parity.ODD, Parity.ODD: Parity.EVEN, Parity.NONE: Parity.NONE}[self]

    def span(self, terms: tuple[Term, ...]) -> Pattern:
        patterns = (t.pattern for t in terms)
        spans = {Parity.EVEN: even_span, Parity.ODD: odd_span, Parity.NONE: generic_span}
        return spans[self](patterns)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the calculus knows of a scalar function.

    Args:
        parity: of the function.
        degree: phi(s h) ~ s^degree for s -> oo (relu 1, sign 0, relu' 0). Ignored where ``bounded``.
        taylor: orders of the non-zero Taylor coefficients at 0 up to ``TAYLOR_ORDER``; None for a function that
            is exactly homogeneous, such as relu.
        bounded: phi tends to constants at +-oo, so its derivatives are concentrated near zero: for
            coordinates of size n^e, e > 0, only a fraction n^-e of them is still moved.
        order: how often the declared function was differentiated.
        polynomial: the Taylor orders are all there is (identity, square).
    """

    parity: Parity
    degree: int
    taylor: tuple[int, ...] | None = None
    bounded: bool = False
    polynomial: bool = False
    order: int = 0

    @property
    def derivative(self) -> Facts:
        taylor = None if self.taylor is None else tuple(k - 1 for k in self.taylor if k)
        return Facts(self.parity.derivative, self.degree - 1, taylor, self.bounded, self.polynomial, self.order + 1)

    def growth(self, top: Exponent) -> Exponent:
        """The exponent of phi(h) for leading coordinates of size n^top."""
        if self.bounded and top > ZERO:
            return top * 0 if not self.order else -top / 2
        if self.taylor is not None and not top > ZERO:
            return ZERO  # generic smooth function of Theta(1) coordinates
        return top * self.degree


@dataclass(frozen=True)
class Nonlinearity:
    """An elementwise function with its facts.

    Args:
        name: the registry key.
        facts: what the calculus may use.
        numpy: phi on float64 arrays; the sampling tests run it.
        torch: phi on tensors; the harness trains with it (torch is imported inside).
        ref: source of the function.
        elementwise: False for the functions of :mod:`tensorprog.joint`.
    """

    name: str
    facts: Facts
    numpy: Callable[[np.ndarray], np.ndarray]
    torch: Callable[[torch.Tensor], torch.Tensor]
    ref: str
    elementwise: bool = True

    def derivative_facts(self, order: int) -> Facts:
        facts = self.facts
        for _ in range(order):
            facts = facts.derivative
        return facts


def apply(facts: Facts, h: Scale, what: str) -> Scale:
    """The scale of phi(h): leading terms through phi, lower ones through phi' and phi''.

    With h = m + d, m the leading terms and d the lower ones: phi(m) + phi'(m) d + phi''(m) d^2. The
    leading pattern is the generic, odd or even span of m's patterns. Near zero (top < 0) a smooth phi is its Taylor
    polynomial.
    """
    if h.is_zero:
        if facts.taylor and facts.taylor[0] == 0:
            return Scale.source(ZERO, rule="constant", what=f"{what} at zero")
        return NOTHING
    if _polynomial(facts, h):
        return _taylor(facts, h, what)
    lead, low = h.leading(), h.lower()
    result = _leading(facts, lead, what)
    if low and facts.bounded and lead[0].exponent > ZERO:
        result = result + _through_saturation(facts, lead, low, what)
    elif low:
        first = _leading(facts.derivative, lead, f"{what}'")
        second = _leading(facts.derivative.derivative, lead, f"{what}''")
        rest = Scale(low)
        result = result + first * rest + second * rest * rest
    return result


def _through_saturation(facts: Facts, lead: tuple[Term, ...], low: tuple[Term, ...], what: str) -> Scale:
    """What lower terms n^d change under saturated leading ones n^h, h > 0.

    A fraction n^-h of the coordinates is near zero and moves by n^min(d, 0); for d > 0 a fraction n^(d - h) flips. The
    function and its slope stay bounded.
    """
    h = lead[0].exponent
    pattern = facts.derivative.parity.span(lead)
    terms = []
    for t in low:
        d = t.exponent
        e = (d - h) / 2 if d > ZERO and not facts.order else min(d, ZERO) - h / 2
        terms.append(Term(e, pattern * t.pattern, Reason("saturated", what, e - d, (*lead, t))))
    return Scale(terms)


def change(facts: Facts, h: Scale, d: Scale, what: str) -> Scale:
    """The scale of phi(h + d) - phi(h).

    A change below the initial part: phi'(h) d + phi''(h) d^2 (the second order has another pattern). As large or
    larger: a generic function of everything involved; smaller terms are still carried through, because one that is
    aligned with the readout can decide the readout's propagating update.
    """
    if d.is_zero:
        return NOTHING
    if h.is_zero:
        return apply(facts, d, what)
    if facts.polynomial or (_polynomial(facts, h) and _polynomial(facts, d)):
        return _taylor_change(facts, h, d, what)
    if d.top < h.top:
        slope, curvature = facts.derivative, facts.derivative.derivative
        if facts.bounded and h.top > ZERO and d.top > ZERO:
            # Saturated coordinates move only where h is within reach of d: a fraction n^(d - h) of them flips.
            flips = (d.top - h.top) / 2 - d.top
            moved = Scale(
                Term(flips, slope.parity.span(h.leading()), Reason("saturated", what, flips, h.leading())) for _ in (0,)
            )
            return moved * d
        return apply(slope, h, f"{what}'") * d + apply(curvature, h, f"{what}''") * d * d
    return apply(facts, h + d, what) + apply(facts, h, what)


def _polynomial(facts: Facts, h: Scale) -> bool:
    return facts.polynomial or (facts.taylor is not None and h.top < ZERO)


def _leading(facts: Facts, lead: tuple[Term, ...], what: str) -> Scale:
    if facts.polynomial and not facts.taylor:
        return NOTHING
    top = lead[0].exponent
    e = facts.growth(top)
    return Scale((Term(e, facts.parity.span(lead), Reason("nonlin", what, e - top, lead)),))


def _power(h: Scale, k: int, what: str) -> Scale:
    if not k:
        return Scale((Term(ZERO, TRIVIAL, Reason("constant", f"{what} is a constant near zero")),))
    result = h
    for _ in range(k - 1):
        result = result * h
    return result


def _taylor(facts: Facts, h: Scale, what: str) -> Scale:
    result = NOTHING
    for k in facts.taylor or ():
        result = result + _power(h, k, what)
    return result


def _taylor_change(facts: Facts, h: Scale, d: Scale, what: str) -> Scale:
    result = NOTHING
    for k in facts.taylor or ():
        for j in range(1, k + 1):
            term = _power(d, j, what)
            result = result + (term if j == k else _power(h, k - j, what) * term)
    return result


# -- the entries -----------------------------------------------------------------------------------------------


def _np() -> Any:
    import numpy

    return numpy


def _functional() -> Any:
    from torch.nn import functional

    return functional


def _erf(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    result: np.ndarray = erf(x)
    return result


def _sigmoid(x: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    result: np.ndarray = expit(x)
    return result


RELU = Nonlinearity(
    "relu",
    Facts(Parity.NONE, degree=1),
    numpy=lambda h: _np().maximum(h, 0),
    torch=lambda h: _functional().relu(h),
    ref="Nair & Hinton 2010",
)
TANH = Nonlinearity(
    "tanh",
    Facts(Parity.ODD, degree=0, taylor=(1, 3), bounded=True),
    numpy=lambda h: _np().tanh(h),
    torch=lambda h: h.tanh(),
    ref="LeCun et al. 1998",
)
GELU = Nonlinearity(
    "gelu",
    Facts(Parity.NONE, degree=1, taylor=(1, 2)),
    numpy=lambda h: h * (1 + _erf(h / math.sqrt(2))) / 2,
    torch=lambda h: _functional().gelu(h),
    ref="Hendrycks & Gimpel 2016 (arXiv 1606.08415)",
)
SILU = Nonlinearity(
    "silu",
    Facts(Parity.NONE, degree=1, taylor=(1, 2)),
    numpy=lambda h: h * _sigmoid(h),
    torch=lambda h: _functional().silu(h),
    ref="Elfwing et al. 2017 (arXiv 1702.03118)",
)
IDENTITY = Nonlinearity(
    "identity",
    Facts(Parity.ODD, degree=1, taylor=(1,), polynomial=True),
    numpy=lambda h: h,
    torch=lambda h: h,
    ref="deep linear networks",
)

NONLINEARITIES: dict[str, Nonlinearity] = {f.name: f for f in (RELU, TANH, GELU, SILU, IDENTITY)}

SIGN = Facts(Parity.ODD, degree=0)
"""sign(g), the elementwise map of sign-type optimizers: odd, homogeneous of degree 0."""


def nonlinearity(name: str | Nonlinearity) -> Nonlinearity:
    """Look up a nonlinearity by name.

    Raises:
        UnknownName: listing the registered names.
    """
    if isinstance(name, Nonlinearity):
        return name
    if name not in NONLINEARITIES:
        raise UnknownName("activation", name, NONLINEARITIES)
    return NONLINEARITIES[name]
