"""Laws of exact exponents."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from tensorprog.errors import ExponentError, Undecided
from tensorprog.exponent import INFINITE, ZERO, ZERO_SIZE, Exponent, exponent, known_le, largest, symbol
from tests.property.strategies import NAMES, forms, numbers, points, rationals


@given(forms, forms, forms)
def test_addition_is_a_commutative_group(x: Exponent, y: Exponent, z: Exponent) -> None:
    assert x + y == y + x
    assert (x + y) + z == x + (y + z)
    assert x + ZERO == x
    assert x - x == ZERO
    assert -(-x) == x
    assert x - y == x + (-y)


@given(forms, forms, rationals, rationals)
def test_scaling_is_linear(x: Exponent, y: Exponent, p: Fraction, q: Fraction) -> None:
    assert (x + y) * p == x * p + y * p
    assert x * (p + q) == x * p + x * q
    assert x * p * q == x * (p * q)
    assert p * x == x * p
    if p:
        assert x * p / p == x


@given(forms, rationals)
def test_plain_numbers_mix_with_exponents(x: Exponent, q: Fraction) -> None:
    assert x + q == q + x == x + Exponent(q)
    assert q - x == Exponent(q) - x
    assert Exponent(q) == q


@given(forms, points, forms)
def test_substitution_is_a_homomorphism(x: Exponent, point: dict[str, Exponent], y: Exponent) -> None:
    assert (x + y).substitute(point) == x.substitute(point) + y.substitute(point)
    assert (-x).substitute(point) == -x.substitute(point)
    value = x.const + sum((q * point[s].const for s, q in x.coefficients), Fraction(0))
    assert x.substitute(point) == value


@given(forms, forms, points)
def test_substitution_composes(x: Exponent, y: Exponent, point: dict[str, Exponent]) -> None:
    inner = {"c": y}
    assert x.substitute(inner).substitute(point) == x.substitute({**point, "c": y.substitute(point)})


@given(forms)
def test_print_and_parse_are_inverse(x: Exponent) -> None:
    assert exponent(str(x)) == x
    assert exponent(f"  {x} ") == x
    assert exponent(f"({x})/3 - 2*({x})") == x * Fraction(-5, 3)


@given(forms)
def test_sympy_out_and_in_are_inverse(x: Exponent) -> None:
    assert exponent(x.to_sympy()) == x


@given(forms)
def test_equal_values_hash_alike(x: Exponent) -> None:
    assert hash(exponent(str(x))) == hash(x)
    assert x.symbols == frozenset(s for s, _ in x.coefficients)


@given(rationals)
def test_equality_with_plain_numbers_agrees_with_hashing(q: Fraction) -> None:
    """Python asks equal objects to hash alike; a set of exponents may not contain 1 twice."""
    assert Exponent(q) == q
    assert hash(Exponent(q)) == hash(q)


@given(numbers, numbers, numbers)
def test_order_is_total_on_rationals(x: Exponent, y: Exponent, z: Exponent) -> None:
    assert (x < y) + (x == y) + (x > y) == 1
    assert (x <= y) == (x < y or x == y) == known_le(x, y)
    assert (x >= y) == (y <= x)
    assert not (x < y and y < z) or x < z
    assert (x < y) == (x + z < y + z) == (-y < -x)
    assert (x < y) == (x.const < y.const)


@given(st.lists(numbers))
def test_largest_is_the_maximum(many: list[Exponent]) -> None:
    assert largest(many) == (max(e.const for e in many) if many else ZERO_SIZE)


@given(forms)
def test_infinities_bound_everything(x: Exponent) -> None:
    assert ZERO_SIZE < x < INFINITE
    assert x + ZERO_SIZE == ZERO_SIZE
    assert x + INFINITE == INFINITE
    assert -INFINITE == ZERO_SIZE
    assert largest([ZERO_SIZE, x]) == x


def test_opposite_infinities_do_not_add() -> None:
    with pytest.raises(ExponentError):
        ZERO_SIZE + INFINITE


@given(forms, forms)
def test_order_of_forms_needs_a_region(x: Exponent, y: Exponent) -> None:
    """Without a region only forms with a constant difference compare; the others say which form is undecided."""
    difference = x - y
    if difference.is_number:
        assert x.compare(y) == (difference.const > 0) - (difference.const < 0)
    else:
        with pytest.raises(Undecided) as caught:
            x.compare(y)
        assert caught.value.form == difference
        assert not known_le(x, y)


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf"), np.float64(0.5), np.float32(1), sympy.Float("0.5")])
def test_floats_are_refused(value: object) -> None:
    with pytest.raises(ExponentError):
        exponent(value)


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: Exponent(0.1), id="constructor"),  # type: ignore[arg-type]
        pytest.param(lambda: Exponent(1) + 0.1, id="sum"),  # type: ignore[operator]
        pytest.param(lambda: 0.1 - Exponent(1), id="difference"),  # type: ignore[operator]
        pytest.param(lambda: Exponent(1) * 0.1, id="product"),  # type: ignore[operator]
        pytest.param(lambda: Exponent(1) / 0.1, id="quotient"),  # type: ignore[operator]
    ],
)
def test_no_operation_lets_a_float_in(build: object) -> None:
    """0.1 is not 1/10: a float that slips in through arithmetic would make every comparison downstream wrong."""
    with pytest.raises((TypeError, ExponentError)):
        build()  # type: ignore[operator]


BAD = [
    "", " ", "1/0", "c/0", "1/(1 - 1)", "0/0", "1e3", "1.5e0*c", "nan", "inf", "-inf", "infinity", "1 - oo", "2*oo",
    "c*c", "c/c", "1/c", "c**2", "2**3", "1//2", "7 % 2", "1 2", "1/2 3", "c d", "1,2", "(1, 2)", "[1]", "f(c)",
    "c.d", "c[0]", "True", "None", "'1'", "1j", "1 if c else 2", "c < 1", "lambda: 1", "__import__('os')", "½",
    "1/", "/2", ".", "-", "+", "1..2", "c +", "0x10", "1_000", "x" * 500, "1 +" * 300 + "1", "(" * 300 + "1" + ")" * 300,
]  # fmt: skip


@pytest.mark.parametrize("text", BAD, ids=lambda t: repr(t[:20]))
def test_nonsense_is_refused(text: str) -> None:
    """Nothing that is not an affine form in ordinary symbols is read, and nothing is ever executed."""
    with pytest.raises(ExponentError) as caught:
        exponent(text, "lr_exponent")
    assert "lr_exponent" in str(caught.value)
    assert "accepted are" in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [None, True, np.True_, 1j, [], (), {}, b"1", sympy.pi, sympy.sqrt(2), sympy.nan, sympy.zoo, sympy.I,
     sympy.Symbol("c") ** 2, 1 / sympy.Symbol("c"), sympy.Max(1, sympy.Symbol("c")), sympy.Float("0.5") * sympy.Symbol("c"),
     sympy.Matrix([1]), sympy.true],
    ids=str,
)  # fmt: skip
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(ExponentError):
        exponent(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1/2", Fraction(1, 2)),
        ("-1/2", Fraction(-1, 2)),
        ("- 1/2", Fraction(-1, 2)),
        ("+3", Fraction(3)),
        (" 4 / 8 ", Fraction(1, 2)),
        ("0.25", Fraction(1, 4)),
        ("1/2/3", Fraction(1, 6)),
        ("--1", Fraction(1)),
        ("-(1 - 2)*3/4", Fraction(3, 4)),
    ],
)
def test_rationals_are_read_exactly(text: str, value: Fraction) -> None:
    assert exponent(text) == value


def test_forms_are_read_in_any_order() -> None:
    c, r = symbol("c"), symbol("r")
    assert exponent("1 - c") == 1 - c
    assert exponent("r/2 + 3*(c - 1/3) - r") == c * 3 - r / 2 - 1
    assert exponent("0*c + c - c") == ZERO
    assert exponent(sympy.Symbol("r") * 2 - sympy.Rational(1, 3)) == r * 2 - Fraction(1, 3)
    assert exponent(sympy.oo) == INFINITE
    assert exponent(-sympy.oo) == ZERO_SIZE


@given(st.sampled_from(NAMES), st.sampled_from(["oo", "-oo", "+oo"]))
def test_infinity_is_only_read_alone(name: str, text: str) -> None:
    assert exponent(text) == (ZERO_SIZE if text[0] == "-" else INFINITE)
    with pytest.raises(ExponentError):
        exponent(f"{name} + {text.lstrip('+-')}")


@pytest.mark.parametrize("value", [np.int64(3), sympy.Integer(3), 3, Fraction(3), "3", "6/2", Exponent(3)], ids=repr)
def test_every_exact_integer_is_read(value: object) -> None:
    """numpy's integers are as exact as Python's: a loop over ``np.arange`` must not be turned away."""
    assert exponent(value) == 3
