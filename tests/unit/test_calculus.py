"""The rules of products with initial weights and updates, on hand cases and by adjointness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorprog.calculus import Calculus, Piece
from tensorprog.exponent import ZERO, Exponent, exponent
from tensorprog.nonlinearities import IDENTITY, RELU, Nonlinearity, apply
from tensorprog.pattern import TRIVIAL, Pattern, affine
from tensorprog.program import Axis, Weight
from tensorprog.scale import NOTHING, Scale, moment
from tests.property.strategies import live_scales, numbers, scale, term

WIDE, NARROW, DATA = Axis("width", exponent(1)), Axis("narrow", exponent("1/2")), Axis("x")

FIRST, HIDDEN, LAST = Weight("input", WIDE, DATA), Weight("hidden", WIDE, WIDE), Weight("readout", Axis("y"), WIDE)
"""Bits in order: input's output 1, hidden's output 2, hidden's input 4, readout's input 8."""

ONE = scale((0, TRIVIAL))
N = Exponent(1)


def calculus(**initial: object) -> Calculus:
    std = {FIRST: ZERO, HIDDEN: exponent("-1/2"), LAST: exponent("-1/2")}
    std |= {w: exponent(initial[w.name]) for w in std if w.name in initial}
    return Calculus([FIRST, HIDDEN, LAST], std)


def test_input_layer_is_a_source() -> None:
    assert calculus(input="-1/4").initial_product(FIRST, ONE) == scale(("-1/4", 1))


def test_fresh_field_has_lost_the_local_signs() -> None:
    """W u carries W's own row sign and a mixed copy of u's: it is unrelated to u coordinate by coordinate."""
    calc = calculus()
    u = calc.initial_product(FIRST, ONE)
    wu = calc.initial_product(HIDDEN, u)
    assert wu.top == ZERO
    assert not any((s.pattern * t.pattern).has_mean for s in wu for t in u)
    assert moment(u, wu, N, "").top == exponent("1/2")


def test_readout_sums_unaligned_features_by_the_central_limit() -> None:
    calc = calculus()
    u = calc.initial_product(FIRST, ONE)
    assert calc.initial_product(LAST, u).top == ZERO
    own = calc.initial_product(LAST, ONE, transposed=True)
    assert calc.initial_product(LAST, own).top == exponent(0)  # n * n^-1/2 * n^-1/2: aligned with itself


def test_back_reaction() -> None:
    """W^T W u = u + fresh: <W^T W u, u> = |W u|^2 obeys the law of large numbers."""
    calc = calculus()
    u = calc.initial_product(FIRST, ONE)
    back = calc.initial_product(HIDDEN, calc.initial_product(HIDDEN, u), transposed=True)
    assert back.top == ZERO
    assert moment(back, u, N, "").top == N


def test_no_back_reaction_without_the_field() -> None:
    """W^T u, u never having met W, is as good as random."""
    calc = calculus()
    u = calc.initial_product(FIRST, ONE)
    assert moment(calc.initial_product(HIDDEN, u, transposed=True), u, N, "").top == exponent("1/2")


@pytest.mark.parametrize("transposed", [False, True])
def test_a_zero_weight_gives_exactly_nothing(transposed: bool) -> None:
    calc = calculus(hidden="-oo")
    assert calc.initial_product(HIDDEN, ONE, transposed) == NOTHING
    assert calc.initial_product(FIRST, NOTHING) == NOTHING


def test_update_pieces_are_applied_as_rank_one() -> None:
    """n^-1 out in^T x = n^-1 out <in, x>, transposed with the factors exchanged; equal pieces count once."""
    calc = calculus()
    u = calc.initial_product(FIRST, ONE)
    v = calc.initial_product(LAST, ONE, transposed=True)
    piece = Piece(scale((-1, TRIVIAL)), v, u, 0)
    calc.add_piece(HIDDEN, piece)
    calc.add_piece(HIDDEN, Piece(piece.coefficient, piece.out, piece.into, 1))
    assert len(calc.pieces[HIDDEN]) == 1
    assert calc.update_product(HIDDEN, u, initial=NOTHING) == v.shift(ZERO, "", "")  # n^-1 * n
    assert calc.update_product(HIDDEN, v, True, initial=NOTHING).top == exponent("-1")  # n^-1 * n * n^-1/2 * n^-1/2
    assert calc.update_product(HIDDEN, v, initial=NOTHING).top == exponent("-3/2")  # <u, v> is a central-limit sum, n^0


local = st.builds(affine, st.sampled_from([0, 1, 8, 9]), st.lists(st.sampled_from([1, 8, 9]), max_size=2))
vectors = st.lists(st.builds(term, numbers, local), min_size=1, max_size=3).map(Scale)
"""Vectors that have not met W: functions of an input column and a readout row."""


@given(vectors, vectors, st.booleans())
def test_a_product_and_its_transpose_are_adjoint(x: Scale, y: Scale, first: bool) -> None:
    """<W x, y> = <x, W^T y> in size, whichever product the program computes first."""
    calc = calculus()
    forward = calc.initial_product(HIDDEN, x) if first else None
    back = calc.initial_product(HIDDEN, y, transposed=True)
    forward = forward or calc.initial_product(HIDDEN, x)
    assert moment(forward, y, N, "").top == moment(x, back, N, "").top


@given(vectors, vectors, numbers, st.sampled_from([RELU, IDENTITY]))
def test_adjointness_where_the_vector_knows_the_product(x: Scale, z: Scale, e: Exponent, phi: Nonlinearity) -> None:
    """y = phi(W x) + z: <W x, y> is fresh field against itself on one side, all back-reaction on the other."""
    calc = calculus()
    forward = calc.initial_product(HIDDEN, x)
    y = apply(phi.facts, forward, "").shift(e, "", "") + z
    back = calc.initial_product(HIDDEN, y, transposed=True)
    assert moment(forward, y, N, "").top == moment(x, back, N, "").top


@given(live_scales)
def test_size_of_a_fresh_field(x: Scale) -> None:
    assert calculus().initial_product(HIDDEN, x).top == x.top


def test_axes_of_two_sizes() -> None:
    """W: n^1/2 x n: W x gains n^1/2, W^T y gains n^1/4."""
    down = Weight("down", NARROW, WIDE)
    calc = Calculus([down], {down: exponent("-1/2")})
    assert calc.initial_product(down, ONE).top == ZERO
    again = Calculus([down], {down: exponent("-1/2")})
    assert again.initial_product(down, ONE, transposed=True).top == exponent("-1/4")


def test_scalars_have_no_sign() -> None:
    calc = calculus()
    u = calc.initial_product(FIRST, ONE)
    assert [t.pattern for t in calc.initial_product(LAST, u)] == [Pattern()]
