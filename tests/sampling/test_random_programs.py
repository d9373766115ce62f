"""The test that finds wrong rules: random programs, derived against measured."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tensorprog.calculus import sizes
from tensorprog.exponent import ONE, Exponent
from tensorprog.program import Builder, Value
from tests.sampling.programs import SEEDS, TOLERANCE, WIDTHS, generate, run, sample


def check(first: int, last: int) -> None:
    wrong, errors, values = [], [], 0
    for seed in range(first, last):
        for s in sample(generate(seed), seed):
            values += 1
            errors.append(s.error)
            if not s.agrees:
                wrong.append((seed, s))
    assert not wrong, "\n".join(f"program {seed}: {s}" for seed, s in wrong)
    # Power: a test that cannot tell 1/4 apart is no test. Heavy-tailed products of scalars are the few exceptions.
    sharp = np.mean(np.array(errors) * 4 + TOLERANCE < 0.5)
    assert sharp > 0.9
    assert values > 7 * (last - first)


@pytest.mark.parametrize("block", range(8))
def test_derived_exponents_match_measured_slopes(block: int) -> None:
    check(25 * block, 25 * (block + 1))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(8))
def test_many_more_programs(block: int) -> None:
    check(1000 + 100 * block, 1000 + 100 * (block + 1))


# -- counterexamples and subtle cases, each found by sampling or by argument, kept by name -------------


def sources(names: str, matrices: str = "") -> tuple[Builder, list[Value], list]:
    b = Builder()
    one = b.data("one")
    vectors = [b.matmul(b.weight(f"{name}0", b.width, one.axis), one) for name in names.split()]
    return b, vectors, [b.weight(f"{name}{k}", b.width, b.width) for k, name in enumerate(matrices.split())]


def slope(b: Builder, value: Value, widths: tuple[int, ...] = WIDTHS) -> float:
    (found,) = [s for s in sample(b, 7, widths) if s.index == value.index]
    assert found.error < 0.1
    return found.slope


def derived(b: Builder, value: Value) -> str:
    return str(sizes(b)[value.index].top)


def test_joint_flip_only() -> None:
    """<b, relu(a b)>: no flip of b alone is odd, the joint flip of a and b is. Odd/even tracking says n."""
    b, (u, v), _ = sources("u v")
    m = b.moment(v, b.apply("relu", b.multiply(u, v)))
    assert derived(b, m) == "1/2"
    assert abs(slope(b, m) - 0.5) < 0.2


def test_local_flip_only() -> None:
    """<u, relu(W relu(u))>: both share u's overall sign, but no coordinate of u reaches its own coordinate."""
    b, (u,), (w,) = sources("u", "W")
    m = b.moment(u, b.apply("relu", b.matmul(w, b.apply("relu", u))))
    assert derived(b, m) == "1/2"
    assert abs(slope(b, m) - 0.5) < 0.2


def test_mixing_levels() -> None:
    """<W u, W relu(V relu(u))>: counterexample to patterns with two levels (local and global), which say n.

    The two fields have covariance <u, y>/n, and <u, y> is a central-limit sum.
    """
    b, (u,), (w, v) = sources("u", "W V")
    y = b.apply("relu", b.matmul(v, b.apply("relu", u)))
    m = b.moment(b.matmul(w, u), b.matmul(w, y))
    assert str(sizes(b, levels=2)[m.index].top) == "1"
    assert derived(b, m) == "1/2"
    assert abs(slope(b, m) - 0.5) < 0.2


def test_back_reaction_of_the_transpose() -> None:
    """<W W^T y, y> = |W^T y|^2 is a law-of-large-numbers sum, <W W y, y> is not."""
    b, (y,), (w,) = sources("y", "W")
    there = b.moment(b.matmul(w, b.matmul(w, y, transposed=True)), y)
    twice = b.moment(b.matmul(w, b.matmul(w, y)), y)
    assert (derived(b, there), derived(b, twice)) == ("1", "1/2")
    assert abs(slope(b, there) - 1.0) < 0.1
    assert abs(slope(b, twice) - 0.5) < 0.2


def test_back_reaction_through_a_nonlinearity() -> None:
    """W relu(W^T y) = y/2 + fresh: the derivative of relu has a mean (Stein's lemma)."""
    b, (y,), (w,) = sources("y", "W")
    m = b.moment(b.matmul(w, b.apply("relu", b.matmul(w, y, transposed=True))), y)
    assert derived(b, m) == "1"
    values = run(b, 512, 3)[m.index] / 512
    assert abs(values.mean() - 0.5) < 0.05


def test_back_reaction_keeps_the_character() -> None:
    """<W W^T u, relu(W^T relu(u))>: counterexample (program 1091) to a back-reaction along whole vectors.

    W^T u overlaps with the earlier field of relu(u), so a rule without characters returns relu(u), mean included, and
    says n. Only the odd character of relu(u), which is u itself, reaches W^T u.
    """
    b, (u,), (w,) = sources("u", "W")
    other = b.matmul(w, b.apply("relu", u), transposed=True)
    m = b.moment(b.matmul(w, b.matmul(w, u, transposed=True)), b.apply("relu", other))
    assert derived(b, m) == "1/2"
    assert abs(slope(b, m) - 0.5) < 0.2


def test_no_back_reaction_from_an_even_function() -> None:
    """W (W^T y)^2 has no component along y: the derivative of an even function has no mean."""
    b, (y,), (w,) = sources("y", "W")
    back = b.matmul(w, y, transposed=True)
    m = b.moment(b.matmul(w, b.multiply(back, back)), y)
    assert derived(b, m) == "1/2"
    assert abs(slope(b, m) - 0.5) < 0.25


def test_fresh_field_of_a_mean() -> None:
    """W relu(u) and W relu(v) share a field through their means: LLN although u and v are independent."""
    b, (u, v), (w,) = sources("u v", "W")
    x, y = (b.matmul(w, b.apply("relu", z)) for z in (u, v))
    m = b.moment(x, y)
    assert derived(b, m) == "1"
    assert abs(slope(b, m) - 1.0) < 0.1


def test_deterministic() -> None:
    first, second = (sample(generate(5), 5, WIDTHS[:2], SEEDS // 4) for _ in range(2))
    assert first == second


# -- saturation: where a diverging vector is near zero


@pytest.mark.parametrize("k", ["1/8", "1/4", "3/8"])
def test_a_saturated_function_keeps_a_mean_not_a_size(k: str) -> None:
    """<tanh(u), tanh(u + n^k v)>: u is seen on a fraction n^-k of the coordinates only.

    Their size (RMS) is n^(-k/2), and taking it for the mean says n^(1 - k/2); found by training networks.
    """
    widths = (256, 1024, 4096, 16384)
    b, (u, v, w), _ = sources("u v w")
    x, y = (b.apply("tanh", value) for value in (u, b.add(u, b.scaled(v, k))))
    other = b.apply("tanh", b.add(u, b.scaled(w, k)))
    small = b.apply("tanh", b.add(b.add(u, b.scaled(v, k)), b.scaled(w, "-1/8")))
    size = Exponent(Fraction(k))
    expected = {(x, y): ONE - size, (y, other): ONE - size * 2, (v, y): ONE, (w, small): ONE * 7 / 8 - size}
    for pair, aligned in expected.items():
        m, e = b.moment(*pair), max(aligned, ONE / 2)
        assert sizes(b)[m.index].top == e
        assert abs(slope(b, m, widths) - float(e.const)) < 0.1


def test_saturation_is_seen_through_a_matrix() -> None:
    """<W tanh(u), W tanh(u + n^(1/4) v)>, and another layer of the same: covariances are means."""
    widths = (64, 128, 256, 512, 1024)
    b, (u, v), (w,) = sources("u v", "W")
    x, y = (b.matmul(w, b.apply("tanh", value)) for value in (u, b.add(u, b.scaled(v, "1/4"))))
    deeper = b.apply("tanh", b.add(b.scaled(y, "1/4"), x))
    for pair in ((x, y), (b.apply("tanh", x), deeper)):
        m = b.moment(*pair)
        assert derived(b, m) == "3/4"
        assert abs(slope(b, m, widths) - 0.75) < 0.1
