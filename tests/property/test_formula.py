"""Closed forms agree with direct derivations at random rational points, boundaries included."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

import tensorprog as tp
from tensorprog.closed_form import closed_form
from tensorprog.derive import derive_setting
from tensorprog.exponent import Exponent

CASES = [
    ("readout.effective", 1, "sgd", ("c", "b_readout")),
    ("logits", 2, "sgd", ("r", "b_readout")),
    ("hidden.1.feature", 2, "adam", ("r", "b_readout")),
    ("logits", 1, "adam", ("r", "epsilon_exponent")),
    ("hidden.1.effective", 1, "muon", ("c_hidden", "b_hidden")),
]


@pytest.mark.parametrize(("target", "step", "optimizer", "free"), CASES)
def test_points_agree_with_direct_derivations(target: str, step: int, optimizer: str, free: tuple[str, str]) -> None:
    net = tp.mlp(hidden_layers=2)
    f = tp.formula(net, "sp", target, free=free, step=step, optimizer=optimizer)
    draw = random.Random(target)
    for denominator in (1, 2, 2, 3, 5, 97, 101):
        values = {name: Fraction(draw.randint(-2 * denominator, 2 * denominator), denominator) for name in free}
        s = f.setting.at({name: Exponent(v) for name, v in values.items()})
        d = derive_setting(s)
        assert f.at(**values) == d.scale(target, step=step).top, values


# Comparing many pieces with many takes long: the second case has 67.
@pytest.mark.parametrize(("target", "step", "optimizer", "free"), [CASES[0], *CASES[2:]])
def test_the_recognised_expression_is_the_same_function(
    target: str, step: int, optimizer: str, free: tuple[str, str]
) -> None:
    f = tp.formula(tp.mlp(hidden_layers=2), "sp", target, free=free, step=step, optimizer=optimizer)
    if "Piecewise" not in str(f):
        assert f.equals(f.to_sympy())
        assert f.form.equals(f.form)
        assert not f.equals(f.to_sympy() + 1)


def test_r_of_yang_and_hu() -> None:
    """Yang & Hu 2021, Section 3.2: the features of one hidden layer move by n^-r at the first step of SGD,

    r = min(a_2 + b_2, 2 a_2 + c_2 ...) + c_1 - ...: here with all of a, b, c of the layers below free.
    """
    net = tp.mlp(hidden_layers=1)
    f = tp.formula(net, "sp", "input.feature", free=("a_input", "c_input", "a_readout", "b_readout"), step=1)
    assert f.equals("-(a_readout + b_readout) - 2*a_input - c_input")


def test_sgd_updates_are_shifted_by_the_abc_symmetry() -> None:
    """(a, b, c) -> (a + t, b - t, c - 2t) leaves every closed form as it is."""
    net = tp.mlp(hidden_layers=2)
    shifted = tp.parametrizations.SP.where("hidden", a="t", b="1/2 - t", c="-2*t")
    for target in ("hidden.1.effective", "hidden.1.feature", "logits"):
        with_t = tp.formula(net, shifted, target, free=["r"], step=2)
        assert with_t.equals(tp.formula(net, "sp", target, free=["r"], step=2)), target


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Max(a, b) + 1", "Max(a + 1, b + 1)"),
        ("Max(a, Max(b, c))", "Max(Max(a, b), c)"),
        ("Min(a, b) + Max(a, b)", "a + b"),
        ("Max(0, 2*r)", "2*Max(0, r)"),
        ("Max(r, 0) - Max(-r, 0)", "r"),
    ],
)
def test_equality_is_decided_exactly(one: str, other: str) -> None:
    assert closed_form(one).equals(other)
    assert not closed_form(one).equals(f"{other} + Max(0, a - 7)")
    assert closed_form(str(closed_form(one))).equals(one)


def test_pieces_say_where_they_hold() -> None:
    f = tp.formula(tp.mlp(hidden_layers=2), "sp", "readout.effective", free=("c", "b_readout"))
    assert str(f) == "Max(1 - c, -2*b_readout - 3*c + 2, -b_readout - 2*c + 2)"
    assert {str(form): parts for form, parts in f.form.where()} == {
        "-2*b_readout - 3*c + 2": ("-b_readout - c >= 0",),
        "-b_readout - 2*c + 2": ("b_readout + c >= 0, -b_readout - c + 1 >= 0",),
        "-c + 1": ("b_readout + c - 1 >= 0",),
    }
    assert f.to_latex().startswith(r"\max")
    assert f.to_markdown().startswith("`readout.effective` after step 1: $")


def test_bad_requests_are_named() -> None:
    net = tp.mlp(hidden_layers=1)
    for bad in ({"target": "x"}, {"free": ["zz"]}, {"free": []}, {"step": -1}, {"step": True}):
        with pytest.raises(tp.TensorprogError):
            tp.formula(net, "sp", **{"target": "logits", "free": ["r"], **bad})
    with pytest.raises(tp.TensorprogError):
        closed_form("sin(r)")
