"""The rules for elementwise functions on hand cases: u, v, w are independent random signs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorprog.exponent import ZERO, Exponent, exponent
from tensorprog.nonlinearities import IDENTITY, NONLINEARITIES, RELU, SIGN, TANH, Facts, Nonlinearity, apply, change
from tensorprog.pattern import TRIVIAL, affine
from tensorprog.scale import NOTHING, Scale
from tests.property.strategies import live_scales, scale, scales

U, V, W = 1, 2, 4

SMOOTH = [f for f in NONLINEARITIES.values() if f.facts.taylor is not None]
BOUNDED = [f for f in NONLINEARITIES.values() if f.facts.bounded]
EVERY = list(NONLINEARITIES.values())


def of(function: Nonlinearity, *pairs: tuple[object, object]) -> Scale:
    return apply(function.facts, scale(*pairs), function.name)  # type: ignore[arg-type]


def moved(function: Nonlinearity, h: Scale, d: Scale) -> Scale:
    return change(function.facts, h, d, function.name)


# -- patterns of phi(h)


def test_relu_of_one_field() -> None:
    """relu(u) = |u|/2 + u/2: one part without sign and one with u's."""
    assert of(RELU, (0, U)) == scale((0, affine(0, [U])))
    assert of(RELU, ("1/2", U)) == scale(("1/2", affine(0, [U])))


def test_tanh_of_one_field_is_odd() -> None:
    assert of(TANH, (0, U)) == scale((0, U))


def test_tanh_of_two_fields_keeps_the_joint_sign() -> None:
    """tanh(u + v) contains u v^2 and u^2 v, never u v."""
    assert of(TANH, (0, U), (0, V)) == scale((0, affine(U, [U ^ V])))
    assert of(RELU, (0, U), (0, V)) == scale((0, affine(0, [U, V])))


def test_derivatives_change_parity() -> None:
    """tanh'(u) is even: it carries no sign; relu'(u) is neither."""
    assert apply(TANH.derivative_facts(1), scale((0, U)), "") == scale((0, TRIVIAL))
    assert apply(RELU.derivative_facts(1), scale((0, U)), "") == scale((0, affine(0, [U])))
    assert apply(SIGN, scale(("-3/4", U)), "") == scale((0, U))


def test_lower_terms_go_through_the_derivatives() -> None:
    """relu(u + n^-1/4 v) = relu(u) + relu'(u) v n^-1/4 + relu''(u) v^2 n^-1/2."""
    got = of(RELU, (0, U), ("-1/4", V))
    assert got == scale((0, affine(0, [U])), ("-1/4", affine(V, [U])), ("-1/2", affine(0, [U])))
    # The last one is no news: relu(u) has at least its size and its patterns.
    assert {t.exponent for t in got} == {Exponent(0), exponent("-1/4")}


def test_small_arguments_of_a_smooth_function() -> None:
    """tanh(n^-1/2 u) = n^-1/2 u - n^-3/2 u^3/3: the cube has the sign of u and is smaller."""
    assert of(TANH, ("-1/2", U)) == scale(("-1/2", U))
    for f in SMOOTH:
        if 2 in f.facts.taylor:  # type: ignore[operator]
            assert of(f, ("-1/2", U)) == scale(("-1/2", U), (-1, TRIVIAL))


def test_relu_is_homogeneous() -> None:
    for e in ("-2", "-1/4", "0", "3/4"):
        assert of(RELU, (e, U)).top == exponent(e)


@pytest.mark.parametrize("function", EVERY, ids=lambda f: f.name)
def test_nothing_in_nothing_out(function: Nonlinearity) -> None:
    """phi(0) = 0 for every registered function, and no change makes no change."""
    assert apply(function.facts, NOTHING, "") == NOTHING
    assert moved(function, scale((0, U)), NOTHING) == NOTHING


# -- changes


def test_small_change_keeps_second_order() -> None:
    """relu'(u) d + relu''(u) d^2: the square has lost the sign of d, the first order has not."""
    got = moved(RELU, scale((0, U)), scale(("-1/4", V)))
    assert got == scale(("-1/4", affine(V, [U])), ("-1/2", affine(0, [U])))


def test_change_of_a_linear_map_is_the_change() -> None:
    d = scale(("1/4", V), (0, U))
    assert moved(IDENTITY, scale((0, W)), d) == d
    assert of(IDENTITY, ("1/4", V), (0, U)) == d


def test_large_change_carries_small_terms_through() -> None:
    """The trap of section 3: n^-1/4 v under a change of size n^0 stays, times a function of the leading terms."""
    got = moved(RELU, scale((0, U)), scale((0, W), ("-1/4", V)))
    assert got.top == ZERO
    assert any(t.exponent == exponent("-1/4") and (t.pattern * affine(V, [])).has_mean for t in got)


def test_change_from_nothing() -> None:
    d = scale((0, V))
    for f in EVERY:
        assert moved(f, NOTHING, d) == apply(f.facts, d, "")


@given(live_scales, live_scales)
def test_relu_moves_at_most_as_much_as_its_argument(h: Scale, d: Scale) -> None:
    """relu is 1-Lipschitz, and so are tanh and the identity."""
    for f in (RELU, IDENTITY, TANH):
        assert not moved(f, h, d).top > d.top


@given(scales, live_scales)
def test_new_value_is_covered_by_old_value_and_change(h: Scale, d: Scale) -> None:
    """|phi(h + d)| <= |phi(h)| + |phi(h + d) - phi(h)| in sizes."""
    for f in EVERY:
        after = apply(f.facts, h + d, "").top
        assert not after > max(apply(f.facts, h, "").top, moved(f, h, d).top)


# -- bounded functions


@pytest.mark.parametrize("function", BOUNDED, ids=lambda f: f.name)
@given(h=live_scales)
def test_a_bounded_function_is_bounded(function: Nonlinearity, h: Scale) -> None:
    """|tanh| <= 1 however its argument diverges; lower terms that diverge too can only flip some coordinates."""
    assert not apply(function.facts, h, "").top > ZERO


@pytest.mark.parametrize("function", BOUNDED, ids=lambda f: f.name)
@given(h=scales, d=live_scales)
def test_a_bounded_function_changes_by_at_most_its_range(function: Nonlinearity, h: Scale, d: Scale) -> None:
    assert not moved(function, h, d).top > ZERO


@pytest.mark.parametrize("function", BOUNDED, ids=lambda f: f.name)
@given(h=live_scales)
def test_the_slope_of_a_bounded_function_is_bounded(function: Nonlinearity, h: Scale) -> None:
    for order in (1, 2):
        assert not apply(function.derivative_facts(order), h, "").top > ZERO


def test_two_diverging_terms_in_tanh() -> None:
    """The minimal case: tanh(n^1/2 u + n^1/4 v) is +-1 with corrections, not n^1/4."""
    assert of(TANH, ("1/2", U), ("1/4", V)).top == ZERO


def test_saturated_pre_activation_moves_a_few_coordinates() -> None:
    """tanh(n u + n^1/2 v) - tanh(n u): a fraction n^-1/2 of coordinates flips, RMS n^-1/4."""
    assert moved(TANH, scale((1, U)), scale(("1/2", V))).top == exponent("-1/4")


# -- facts


@given(st.sampled_from([f.facts for f in EVERY]), st.integers(0, 3))
def test_derived_facts(facts: Facts, order: int) -> None:
    derived = facts
    for _ in range(order):
        derived = derived.derivative
    assert derived.order == order
    assert derived.degree == facts.degree - order
    if facts.taylor is not None:
        assert derived.taylor == tuple(k - order for k in facts.taylor if k >= order)
