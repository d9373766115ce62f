"""Nonlinearities: declared facts, the scale rules they imply, and the functions themselves.

An entry declares what the calculus needs to know of phi (parity, growth at infinity, Taylor orders at zero) next
to a numeric phi; ``tests/conformance`` holds each fact against the function. Derivatives need no entries of their
own: the facts of phi' follow from those of phi.

To add one: write a :class:`Nonlinearity` at the end of this file and list it in ``NONLINEARITIES``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from tensorprog.errors import Concentrated, Exploding, UnknownName
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
        step: phi is constant between jumps (a choice): its derivative is zero, and a change of size n^d below
            coordinates of size n^h carries a fraction n^(d - h) of them across a jump.
        concentrates: where its argument diverges, phi is largest for a vanishing share of the coordinates, for which
            there are no rules: what they count, and what makes it finite.
        explodes: where its argument diverges, phi outgrows every power of n.
    """

    parity: Parity
    degree: int
    taylor: tuple[int, ...] | None = None
    bounded: bool = False
    polynomial: bool = False
    order: int = 0
    step: bool = False
    concentrates: tuple[str, str] | None = None
    explodes: bool = False

    @property
    def derivative(self) -> Facts:
        if self.step:
            return NO_SLOPE
        taylor = None if self.taylor is None else tuple(k - 1 for k in self.taylor if k)
        parity, order = self.parity.derivative, self.order + 1
        return replace(self, parity=parity, degree=self.degree - 1, taylor=taylor, order=order)

    def growth(self, top: Exponent) -> Exponent:
        """The exponent of phi(h) for leading coordinates of size n^top."""
        if self.concentrates and top > ZERO:
            over, option = self.concentrates
            instead = f"Take a finite number of {over} ({option}), or rates at which the logits stay bounded."
            raise Concentrated(over, top, instead)
        if self.explodes and top > ZERO:
            raise Exploding(top)
        if self.bounded and top > ZERO:
            return top * 0 if not self.order else -top / 2
        if self.taylor is not None and not top > ZERO:
            return ZERO  # generic smooth function of Theta(1) coordinates
        return top * self.degree


NO_SLOPE = Facts(Parity.EVEN, degree=0, taylor=(), polynomial=True)
"""Of a function that is zero."""


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
        stops: no gradient passes it, although its value changes.
    """

    name: str
    facts: Facts
    numpy: Callable[[np.ndarray], np.ndarray]
    torch: Callable[[torch.Tensor], torch.Tensor]
    ref: str
    elementwise: bool = True
    stops: bool = False

    def derivative_facts(self, order: int) -> Facts:
        facts = self.facts
        for _ in range(order):
            facts = facts.derivative
        return facts


def apply(facts: Facts, h: Scale, what: str, near: Pattern = TRIVIAL) -> Scale:
    """The scale of phi(h): leading terms through phi, lower ones through phi' and phi''.

    With h = m + d, m the leading terms and d the lower ones: phi(m) + phi'(m) d + phi''(m) d^2. The
    leading pattern is the generic, odd or even span of m's patterns. Near zero (top < 0) a smooth phi is its Taylor
    polynomial.

    Args:
        near: the sign pattern of where a diverging h is near zero (see :func:`_unsaturated`).
    """
    if h.is_zero:
        if facts.step or (facts.taylor and facts.taylor[0] == 0):
            return Scale.source(ZERO, rule="constant", what=f"{what} at zero")
        return NOTHING
    if _polynomial(facts, h):
        return _taylor(facts, h, what)
    if rare := tuple(t for t in h if t.fraction is not ZERO):
        base = Scale((t for t in h if t.fraction is ZERO), pruned=True)
        if not base.is_zero:
            return apply(facts, base, what, near) + _where_rare(facts, base, rare, what, near)
    lead, low = h.leading(), h.lower()
    result = _leading(facts, lead, what, near)
    if low and facts.bounded and lead[0].exponent > ZERO:
        result = result + _through_saturation(facts, lead, low, what, near)
    elif low and facts.step:
        result = result + _across_jumps(facts, Scale(lead), Scale(low), what, near)
    elif low:
        first = _leading(facts.derivative, lead, f"{what}'")
        second = _leading(facts.derivative.derivative, lead, f"{what}''")
        rest = Scale(low)
        result = result + first * rest + second * rest * rest
    return result


def _where_rare(facts: Facts, base: Scale, rare: tuple[Term, ...], what: str, near: Pattern) -> Scale:
    """What terms that live on a fraction of the coordinates change in phi(base).

    Their size (RMS) does not decide: there they are higher. Below the base, or below one for a smooth function, they
    pass through its derivative. Where they are higher, the function is one of everything involved, there.
    """
    result = NOTHING
    for t in rare:
        if facts.step and t.height < base.top:
            # As for a common change, on the coordinates where this one lives.
            fraction = t.fraction + t.height - base.top
            why = Reason("jumps", what, fraction / 2 - t.exponent, (*base.leading(), t))
            result = result + Scale((Term(fraction / 2, facts.parity.span(base.leading()) * t.pattern, why, fraction),))
        elif facts.bounded and base.top > ZERO and t.height < base.top:
            result = result + _through_saturation(facts, base.leading(), (t,), what, near)
        elif t.height < base.top or (facts.taylor is not None and not t.height > ZERO):
            first = apply(facts.derivative, base, f"{what}'", near)
            second = apply(facts.derivative.derivative, base, f"{what}''", near)
            # The square lives where the term does, unlike a product of terms with coordinates of their own.
            e = t.height * 2 + t.fraction / 2
            square = Term(e, t.pattern * t.pattern, Reason("product", "", t.height, (t, t)), t.fraction)
            result = result + first * Scale((t,)) + second * Scale((square,))
        else:
            involved = (*base.leading(), t)
            e = facts.growth(t.height) + t.fraction / 2
            why = Reason("nonlin", what, e - t.exponent, involved)
            result = result + Scale((Term(e, facts.parity.span(involved), why, t.fraction),))
    return result


def _unsaturated(fraction: Exponent, lead: tuple[Term, ...], parity: Parity, near: Pattern, reason: Reason) -> Scale:
    """A function of a diverging h on the fraction n^fraction of the coordinates where h happens to be near zero.

    Its size (RMS) is n^(fraction/2), but another vector sees its mean. Which coordinates these are is independent of
    everything but h: what differs from the mean carries a random sign of its own, the pattern ``near``. There h, which
    is n^-fraction elsewhere, has coordinates of size one and no trace of what it is made of, so that the mean with
    something odd in h is n^fraction smaller still.
    """
    terms = [Term(fraction / 2, parity.span(lead) * near, reason, fraction)]
    if parity is not Parity.ODD:
        terms.append(Term(fraction, Parity.EVEN.span(lead), reason))
    if parity is not Parity.EVEN:
        terms.append(Term(fraction * 2, parity.span(lead), reason))
    return Scale(terms)


def _through_saturation(facts: Facts, lead: tuple[Term, ...], low: tuple[Term, ...], what: str, near: Pattern) -> Scale:
    """What lower terms n^d change under saturated leading ones n^h, h > 0.

    A fraction n^-h of the coordinates is near zero and moves by n^min(d, 0); for d > 0 a fraction n^(d - h) flips. The
    function and its slope stay bounded. Of a term that lives on a fraction of the coordinates, all that is true there.
    """
    h = lead[0].exponent
    result = NOTHING
    for t in low:
        flips = t.height > ZERO and not facts.order
        fraction, moved = (t.height - h, ZERO) if flips else (-h, min(t.height, ZERO))
        why = Reason("saturated", what, fraction / 2 + moved - t.height, (*lead, t))
        moving = Term(moved + t.fraction / 2, t.pattern, Reason("constant", ""), t.fraction)
        parts = _unsaturated(fraction, lead, facts.derivative.parity, near, why) * Scale((moving,))
        result = result + Scale((Term(p.exponent, p.pattern, why, p.fraction) for p in parts), pruned=True)
    return result


def _across_jumps(facts: Facts, h: Scale, d: Scale, what: str, near: Pattern) -> Scale:
    """What a change d below h moves of a step function: a fraction n^(d - h) of the values, by Theta(1) each."""
    reason = Reason("jumps", what, (d.top - h.top) / 2, h.leading())
    moved = _unsaturated(d.top - h.top, h.leading(), facts.parity.derivative, near, reason)
    return moved.shift(-d.top, "jumps", what) * d


def change(facts: Facts, h: Scale, d: Scale, what: str, near: Pattern = TRIVIAL) -> Scale:
    """The scale of phi(h + d) - phi(h).

    A change below the initial part: phi'(h) d + phi''(h) d^2 (the second order has another pattern). As large or
    larger: a generic function of everything involved; smaller terms are still carried through, because one that is
    aligned with the readout can decide the readout's propagating update.
    """
    if d.is_zero:
        return NOTHING
    if h.is_zero:
        return apply(facts, d, what, near)
    if facts.polynomial or (_polynomial(facts, h) and _polynomial(facts, d)):
        return _taylor_change(facts, h, d, what)
    if rare := tuple(t for t in d if t.fraction is not ZERO):
        common = Scale((t for t in d if t.fraction is ZERO), pruned=True)
        base = Scale(t for t in h + common if t.fraction is ZERO)
        if not base.is_zero:
            return change(facts, h, common, what, near) + _where_rare(facts, base, rare, what, near)
    if d.top < h.top:
        if facts.step:
            return _across_jumps(facts, h, d, what, near)
        slope, curvature = facts.derivative, facts.derivative.derivative
        if facts.bounded and h.top > ZERO and d.top > ZERO:
            # Saturated coordinates move only where h is within reach of d: a fraction n^(d - h) of them flips.
            reason = Reason("saturated", what, (d.top - h.top) / 2, h.leading())
            flipped = _unsaturated(d.top - h.top, h.leading(), slope.parity, near, reason)
            return flipped.shift(-d.top, "saturated", what) * d
        first, second = apply(slope, h, f"{what}'", near), apply(curvature, h, f"{what}''", near)
        return first * d + second * d * d
    return apply(facts, h + d, what, near) + apply(facts, h, what, near)


def _polynomial(facts: Facts, h: Scale) -> bool:
    return facts.polynomial or (facts.taylor is not None and h.top < ZERO)


def _leading(facts: Facts, lead: tuple[Term, ...], what: str, near: Pattern = TRIVIAL) -> Scale:
    if facts.polynomial and not facts.taylor:
        return NOTHING
    top = lead[0].exponent
    e = facts.growth(top)
    reason = Reason("nonlin", what, e - top, lead)
    if facts.bounded and facts.order and top > ZERO:
        return _unsaturated(-top, lead, facts.parity, near, reason)
    return Scale((Term(e, facts.parity.span(lead), reason),))


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
