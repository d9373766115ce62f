"""Alignment: whether a sum over a wide axis obeys the law of large numbers or the central limit, derived or assumed.

The calculus derives it from sign flips, product by product. Everett et al. assume it for the products of weights with
data. With weights W_0 + Delta W and inputs x_0 + Delta x, their exponents are

    alpha   Delta W x_0        u   Delta W Delta x        omega   W_0 Delta x

and "full" is alpha = u = 1, "none" alpha = u = 1/2, both with omega = 1/2, in every layer. As an option next to the
derived alignment it says how much of an exponent rests on the assumption.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tensorprog.contraction import moment
from tensorprog.errors import UnknownName
from tensorprog.exponent import ZERO, Exponent
from tensorprog.pattern import TRIVIAL, Layout
from tensorprog.program import Axis
from tensorprog.scale import NOTHING, Reason, Scale, Term

__all__ = ["ALIGNMENTS", "DERIVED", "Alignment", "alignment"]


class Contraction(Protocol):
    """sum_i x_i y_i over an axis, as :func:`tensorprog.contraction.moment`."""

    def __call__(
        self, x: Scale, y: Scale, axis: Axis, what: str, layout: Layout, *, only_mean: bool = False
    ) -> Scale: ...


@dataclass(frozen=True)
class Alignment:
    """How weights are contracted with what they act on.

    Args:
        name: the registry key.
        updates: the inner product <in, x> or <out, dh> of a piece of an update with the vector it acts on, forward or
            backward.
        initial: the inner product of an initial weight with the vector it acts on: of a readout with x (omega), and
            the law-of-large-numbers part of <x, W_0^T y> that the back-reaction in W_0 x is made of. The fresh field of
            a wide matrix is a central-limit sum in any case.
        meaning: in words.
        ref: where it is assumed.

    Nothing else is overridden: inner products of a program's own (attention logits), norms and nonlinearities.
    """

    name: str
    updates: Contraction
    initial: Contraction
    meaning: str
    ref: str = ""

    def __str__(self) -> str:
        return self.name


def _aligned(x: Scale, y: Scale, axis: Axis, what: str, layout: Layout, *, only_mean: bool = False) -> Scale:
    return _assumed(x, y, axis.size, "aligned", what)


def _unaligned(x: Scale, y: Scale, axis: Axis, what: str, layout: Layout, *, only_mean: bool = False) -> Scale:
    return NOTHING if only_mean else _assumed(x, y, axis.size / 2, "unaligned", what)


def _assumed(x: Scale, y: Scale, gain: Exponent, rule: str, what: str) -> Scale:
    rule = rule if gain != ZERO else "finite-sum"
    return Scale(
        Term(s.exponent + t.exponent + gain, TRIVIAL, Reason(rule, what, gain, (s, t)))
        for s in x.leading()
        for t in y.leading()
    )


EVERETT = "Everett et al. 2024 (arXiv 2407.05872), Section 3"

DERIVED = Alignment("derived", moment, moment, "from the sign symmetries of the initial weights")
FULL = Alignment("full", _aligned, _unaligned, "updates are aligned with what they act on, W_0 is not", EVERETT)
NONE = Alignment("none", _unaligned, _unaligned, "neither updates nor W_0 are aligned with what they act on", EVERETT)

ALIGNMENTS: dict[str, Alignment] = {entry.name: entry for entry in (DERIVED, FULL, NONE)}


def alignment(name: str | Alignment) -> Alignment:
    """Look up an alignment by name.

    Raises:
        UnknownName: listing the registered names.
    """
    if isinstance(name, Alignment):
        return name
    if name not in ALIGNMENTS:
        raise UnknownName("alignment", name, ALIGNMENTS)
    return ALIGNMENTS[name]
