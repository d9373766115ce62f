"""Closed forms agree with direct derivations at random rational points, boundaries included."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest
import sympy

import tensorprog as tp
from tensorprog.closed_form import closed_form
from tensorprog.derive import derive_setting
from tensorprog.errors import SettingError
from tensorprog.exponent import Exponent, exponent

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


# -- symbols in the sizes of axes and in multipliers

P = sympy.Symbol("p")
AXES = [
    (lambda p: tp.transformer(1, ff_exponent=p), "mup", "block.1.mlp.in.effective", 2, "sgd"),
    (lambda p: tp.transformer(1, ff_exponent=p), "sp", "block.1.mlp.out.propagating", 2, "adam"),
    (lambda p: tp.transformer(1, ff_exponent=p, gated_mlp=True), "sp-full-align", "block.1.mlp.out.feature", 2, "sgd"),
    (lambda p: tp.transformer(1, head_dim_exponent=p / 4), "mup", "block.1.attention.logits.feature", 2, "sgd"),
    (lambda p: tp.resnet_mlp(1, experts="softmax", experts_exponent=p), "mup", "block.1.out.feature", 2, "adam"),
    (lambda p: tp.resnet_mlp(1, branch_exponent=p - 1), "sp", "logits", 2, "adam"),
    (lambda p: tp.lora(tp.mlp(2), rank_exponent=p), "sp", "hidden.1.lora.B.effective", 2, "muon"),
]


@pytest.mark.parametrize(("make", "scaling", "target", "step", "optimizer"), AXES)
def test_sizes_of_axes_may_be_symbols(make: Any, scaling: str, target: str, step: int, optimizer: str) -> None:
    """Closed forms over 0 < p agree with derivations at numbers, where layers are square included."""
    f = tp.formula(make(P), scaling, target, step=step, optimizer=optimizer)
    for value in ("1/7", "1/2", "1", "101/97", "3/2", "2", "3"):
        d = tp.derive(make(exponent(value)), scaling, optimizer=optimizer, steps=step)
        assert f.at(p=value) == d.scale(target, step=step).top, value


def test_pieces_end_where_forms_meet() -> None:
    """A form never takes over the neighbour whose end it meets."""
    f = tp.formula(AXES[0][0](P), "mup", AXES[0][2], step=2, optimizer="sgd")
    assert {str(form): parts for form, parts in f.form.where()} == {"(1/2)*p - 1/2": ("0 <= p <= 1",), "0": ("1 <= p",)}
    for part, form in f.form.joined():
        for value in (Fraction(k, 8) for k in range(1, 32)):
            inside = part.low <= value <= part.high and (value != part.low or part.low_in)
            if inside and (value != part.high or part.high_in):
                assert form.substitute({"p": Exponent(value)}) == f.at(p=value), (part, value)


def test_phases_over_the_size_of_an_axis() -> None:
    program = tp.resnet_mlp(1, ff_exponent=P)
    d = tp.phase(program, "sp", free=("r", "p"), optimizer="adam")
    for r, p in ((-2, "1/2"), (-1, "1/2"), ("-5/4", "5/4"), ("-9/8", "3/4"), (-1, 1), ("-3/2", 1)):
        at = tp.derive(tp.resnet_mlp(1, ff_exponent=p), "sp", optimizer="adam", lr_exponent=r)
        assert d.at(r, p).regime is at.regime
        assert d.at(r, p).learning in (at.learning, None)
    with pytest.raises(SettingError, match="lies outside"):
        d.at(-1, "-1/4")
    with pytest.raises(SettingError, match=r"window: .*needs a part where p > 0"):
        tp.phase(program, "sp", free=("r", "p"), optimizer="adam", window=((-1, 0), (-2, -1)))


def test_axes_of_symbols_grow() -> None:
    net = tp.transformer(1, ff_exponent=P)
    assert net.symbols == {"p"}
    assert net.substitute({"p": exponent(1)}).symbols == frozenset()
    with pytest.raises(tp.TensorprogError, match="no point satisfies the assumptions p < 0, p > 0"):
        tp.derive(net, assume=["p < 0"])
    with pytest.raises(tp.TensorprogError, match="max_stable_lr with free symbols p is not supported"):
        tp.max_stable_lr(net)
    with pytest.raises(tp.TensorprogError, match="not affine in its symbols"):
        tp.resnet_mlp(1, experts="softmax", experts_exponent="q", gate_exponent="g")


def test_bad_requests_are_named() -> None:
    net = tp.mlp(hidden_layers=1)
    for bad in ({"target": "x"}, {"free": ["zz"]}, {"free": []}, {"step": -1}, {"step": True}):
        with pytest.raises(tp.TensorprogError):
            tp.formula(net, "sp", **{"target": "logits", "free": ["r"], **bad})
    with pytest.raises(tp.TensorprogError):
        closed_form("sin(r)")
