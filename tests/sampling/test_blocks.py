"""Contractions over one factor of a product axis: random programs, and the cases that decided the rules."""

from __future__ import annotations

import pytest

from tensorprog.calculus import sizes
from tensorprog.program import Builder
from tests.sampling.blocks import measure

PROGRAMS = 20


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_random_programs_scale_as_derived(seed: int) -> None:
    samples = measure(seed)
    assert len(samples) > 4
    assert [s for s in samples if not s.agrees] == []


def test_a_logit_meets_its_own_summands() -> None:
    """a_i = sum_j q_ij k_ij: against q k it is sum_i a_i^2; over the heads alone a part n^(-1/4) of a_i is aligned."""
    b = Builder()
    one = b.data("one")
    heads, dim = b.axis("heads", "3/4"), b.axis("dim", "1/4")
    both = b.product(heads, dim)
    q, k = (b.matmul(b.weight(name, both, one.axis or both), one) for name in "qk")
    a = b.moment(q, k, dim)
    weighted = b.multiply(b.multiply(q, k), a)
    squares = b.moment(a, a)
    whole = b.moment(b.multiply(q, a), k)
    shared = b.moment(weighted, b.matmul(b.weight("ones", both, one.axis or both), one), heads)
    per_dim = b.moment(b.multiply(q, a), k, heads)
    derived = sizes(b)
    assert str(derived[a.index].top) == "1/8"  # central limit over d
    assert str(derived[squares.index].top) == "1"  # n^(3/4) of them
    assert str(derived[whole.index].top) == "1"
    assert str(derived[shared.index].top) == "1/2"  # against an independent vector: central limit, n^(3/8 + 1/8)
    assert str(derived[per_dim.index].top) == "3/4"  # aligned with itself: n^(1/8 + 3/4 - 1/8)
