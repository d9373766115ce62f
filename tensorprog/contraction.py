"""Contractions over a product axis: heads x head dimension, experts x their neurons.

A vector on such an axis has coordinates (i, j). A factor of a product may depend on i alone (an attention logit of head
i), and its random signs stand in a block of their own (:mod:`tensorprog.pattern`). Take a sum over j of a character
with L in block 0, A in the block of j and B in the block of i, over axes of size n^s_j and n^s_i:

* L = A = 0: every summand has the same sign, n^s_j; what is left depends on i through B;
* L = A (not 0): a factor on j alone was itself a sum over i, and contains the very summand it meets here (a sum without
  it would be independent of it): a part n^(-s_i / 2) of the factor is aligned, n^(s_j - s_i / 2), and L and A cancel;
* otherwise the signs are random, n^(s_j / 2); what is left is odd in L and B.

A contraction over the whole axis takes one factor after the other. So a head's logit a_i = sum_j q_ij k_ij is a
central-limit sum, and sum_ij a_i q_ij k_ij = sum_i a_i^2 a law of large numbers over the heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from tensorprog.exponent import Exponent
from tensorprog.pattern import TRIVIAL, Layout, Pattern
from tensorprog.program import Axis
from tensorprog.scale import Reason, Scale, Term
from tensorprog.scale import moment as plain_moment

__all__ = ["mean", "moment", "projections", "spread"]


def moment(
    x: Scale, y: Scale, axis: Axis, what: str, layout: Layout, *, over: Axis | None = None, only_mean: bool = False
) -> Scale:
    """sum x y over an axis, or over one factor of it: then the result is a vector on the other factor.

    Args:
        x, y: coordinate sizes on the axis.
        what: the contraction in formulas, for explanations.
        layout: of the bits of their patterns.
        over: the factor that is summed over; None for the whole axis.
        only_mean: keep sums that are larger than the central limit over the whole axis.
    """
    if axis.blocks:
        return Scale(_blocks(x, y, axis, what, layout, over, only_mean))
    if over is None or over.wide:
        return plain_moment(x, y, axis.size, what, only_mean=only_mean)
    return (x * y).explained("finite-sum", what, compose=True)


def mean(x: Scale, y: Scale, axis: Axis, what: str, layout: Layout, *, over: Axis | None = None) -> Scale:
    """The mean of x y over an axis or one factor of it, as a vector on the axis, constant along what was averaged."""
    along = over or axis
    result = moment(x, y, axis, what, layout, over=over).shift(-along.size, "norm", f"/ {along.name}")
    return spread(result, axis.block(axis.other(over)) if over else 0, layout)


def spread(x: Scale, block: int, layout: Layout) -> Scale:
    """A vector on one factor of a product axis as a vector on the axis, constant along the other factor."""
    if not block or all(t.pattern == TRIVIAL for t in x):
        return x
    return Scale((Term(t.exponent, _spread(t.pattern, block, layout), t.reason, t.fraction) for t in x), pruned=True)


@lru_cache(maxsize=1 << 16)
def projections(pattern: Pattern, layout: Layout) -> tuple[Pattern, ...]:
    """The characters in block 0 that can be aligned with a pattern on a product axis: alone, or through a block."""
    if not max(pattern.offset, pattern.free, *pattern.basis, 0) >> layout.span:
        return (pattern,)

    def through(which: int) -> Pattern:
        return pattern.image(lambda v: layout.block(v, 0) ^ layout.block(v, which))

    return tuple(dict.fromkeys((pattern.image(lambda v: layout.block(v, 0)), through(1), through(2))))


@lru_cache(maxsize=1 << 16)
def _spread(pattern: Pattern, block: int, layout: Layout) -> Pattern:
    by = layout.span * block
    return Pattern(pattern.offset << by, pattern.free << by, tuple(row << by for row in pattern.basis))


def _blocks(
    x: Scale, y: Scale, axis: Axis, what: str, layout: Layout, over: Axis | None, only_mean: bool
) -> Iterator[Term]:
    summed = over or axis.factors[1]
    kept = axis.other(summed)
    for s in x:
        for t in y:
            e = s.exponent + t.exponent
            for gain, pattern, aligned in _partial(s.pattern * t.pattern, axis, summed, layout):
                if over is not None:
                    yield _term(e, gain, pattern, summed.size, what, s, t)
                    continue
                lln = pattern.has_mean
                if lln or aligned or not only_mean:
                    total = gain + (kept.size if lln else kept.size / 2)
                    yield _term(e, total, TRIVIAL, axis.size, what, s, t)


def _term(e: Exponent, gain: Exponent, pattern: Pattern, size: Exponent, what: str, s: Term, t: Term) -> Term:
    rule = "lln" if gain == size else "clt" if gain == size / 2 else "blocks"
    return Term(e + gain, pattern, Reason(rule, what, gain, (s, t)))


@lru_cache(maxsize=1 << 16)
def _partial(p: Pattern, axis: Axis, summed: Axis, layout: Layout) -> tuple[tuple[Exponent, Pattern, bool], ...]:
    """(gain, pattern on the other factor, aligned) of a sum over one factor; see the head of this module."""
    if p == TRIVIAL:
        return ((summed.size, TRIVIAL, True),)
    j = axis.block(summed)
    i = 3 - j
    found: list[tuple[Exponent, Pattern, bool]] = []
    constant = p.where(lambda v: layout.block(v, 0) | layout.block(v, j) << layout.span)
    if constant is not None:
        found.append((summed.size, constant.image(lambda v: layout.block(v, i)), True))
    itself = p.where(lambda v: layout.block(v, 0) ^ layout.block(v, j))
    if itself is not None and itself != constant:
        gain = summed.size - axis.other(summed).size / 2
        found.append((gain, itself.image(lambda v: layout.block(v, i)), True))
    found.append((summed.size / 2, p.image(lambda v: layout.block(v, 0) ^ layout.block(v, i)), False))
    return tuple(found)
