"""Mixtures of experts: routers, gates, choices, growing numbers of experts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorprog as tp
from tensorprog.errors import SettingError, TensorprogError, UnknownName, Unsupported
from tensorprog.exponent import exponent
from tensorprog.joint import CHOICES, GATE, WIDE_GATE
from tensorprog.nonlinearities import apply, change
from tensorprog.parametrizations import parametrization
from tensorprog.pattern import affine
from tensorprog.report.derivation import rates_document
from tensorprog.report.text import text
from tensorprog.scale import NOTHING, Scale
from tests.property.strategies import scale

TOP = CHOICES["top-1"]
U, V = 1, 2


def sizes(program: tp.Program, scalings: Any, step: int = 3, **options: Any) -> dict[str, tuple[str, str]]:
    d = tp.derive(program, scalings, steps=step, **options)
    return {name: (str(s.activation), str(s.effective)) for name, s in d.steps[step].sites.items()}


def test_a_router_of_finitely_many_experts_is_readout_like_but_no_readout() -> None:
    program = tp.resnet_mlp(1, experts="softmax")
    roles = {w.name: w.role.value for w in program.weights}
    assert roles == {
        "input": "input",
        "block.1.router": "readout",
        "block.1.in": "hidden",
        "block.1.out": "hidden",
        "readout": "readout",
    }
    assert [w.name for w in program.readouts] == ["readout"]
    d = tp.derive(program, "mup", zero_readout=True, optimizer="adam")
    assert str(d.setting.exponents()[program.weights[1]].b) == "1"
    assert str(d.steps[2].sites["block.1.router"].feature) == "0"


@pytest.mark.parametrize("experts", ["softmax", "top-1", "top-2"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_mup_moves_every_layer_of_a_mixture(experts: str, optimizer: str) -> None:
    """The router as an output weight: its logits start at n^(-1/2) and move by Theta(1)."""
    for program in (tp.resnet_mlp(2, experts=experts), tp.transformer(blocks=1, experts=experts, gated_mlp=True)):
        d = tp.derive(program, "mup", optimizer=optimizer, steps=4)
        assert (d.regime.value, d.learning.value) == ("stable", "maximal")
        router = next(name for name in d.steps[0].sites if name.endswith("router"))
        assert str(d.steps[0].sites[router].activation) == "-1/2"
        assert str(d.steps[4].sites[router].activation) == "0"


def test_a_router_is_a_readout_inside_the_network() -> None:
    """SP: under SGD its logits grow as those of the network do, n^(1 + r); under Adam it is as a hidden layer."""
    plain, mixture = (tp.resnet_mlp(1, experts=experts) for experts in ("none", "softmax"))
    rates = [tp.max_stable_lr(p, "sp", optimizer="sgd") for p in (plain, mixture)]
    assert [str(r.bounded_updates_exponent) for r in rates] == ["-1/2", "-1"]
    rates = [tp.max_stable_lr(p, "sp", optimizer="adam") for p in (plain, mixture)]
    assert [str(r.bounded_updates_exponent) for r in rates] == ["-1", "-1"]
    d = tp.derive(mixture, "sp", optimizer="sgd", lr_exponent="-3/4")
    assert str(d.steps[1].sites["block.1.router"].effective) == "1/4"


def test_diverging_router_logits_saturate_the_gate() -> None:
    """Layers behind a norm do not mind; the gate is bounded."""
    program = tp.resnet_mlp(1, norm="rmsnorm", plain_norm=True, experts="softmax")
    scalings = parametrization("mup").where("block.1.router", c=0)
    d = tp.derive(program, scalings, optimizer="adam")
    assert d.regime is tp.Regime.CONTROLLED_DIVERGENCE
    assert any("block.1.router" in str(r) and "saturates" in str(r) for r in d.reasons)


# -- a growing number of experts: n^(1/2) of n neurons


def growing(gate_exponent: Any = 1, **options: Any) -> tp.Program:
    return tp.resnet_mlp(1, experts="softmax", experts_exponent="1/2", gate_exponent=gate_exponent, **options)


FAN_IN = parametrization("mup").where("block.1.router", b="1/2").where("block.1.out", b="3/4")
"""Standard deviations in^(-1/2): spectral norms above sqrt(out / in) where the output axis is the smaller one."""


def test_growing_experts_with_gates_of_mean_one() -> None:
    """All layers move by Theta(1), the router's logits and the experts' sum included."""
    for optimizer in ("adam", "sgd"):
        d = tp.derive(growing(), "mup", optimizer=optimizer, steps=4)
        assert (d.regime.value, d.learning.value) == ("stable", "maximal")


def test_growing_experts_with_gates_of_sum_one_average_out() -> None:
    """The mean of E = n^(1/2) experts is smaller than one of them, at initialisation and after."""
    assert sizes(growing(0), "mup", optimizer="adam")["block.1.out"] == ("-1/2", "-1/2")


def test_a_concentrated_softmax_has_no_rule() -> None:
    with pytest.raises(
        Unsupported, match=r"growing number of experts with logits n\^\(1/4\) is not supported.*experts_exponent=0"
    ) as error:
        tp.derive(growing(), FAN_IN, optimizer="adam")
    assert "\n" not in str(error.value)


def test_largest_rates_end_where_rules_do() -> None:
    """Beyond them nothing is known; where activations diverge anyway, nothing is left open."""
    rates = tp.max_stable_lr(growing(), "mup", optimizer="adam")
    assert str(rates.exponent) == "0"
    assert rates.to_dict()["limit"] == "a softmax over a growing number of experts concentrates there"
    told = text(rates_document(rates)).split("bounded updates")[0]
    assert "larger r have no rules: a softmax over a growing number of experts" in " ".join(told.split())
    known = tp.max_stable_lr(growing(), "sp", optimizer="adam")
    assert (str(known.exponent), known.stable.limit) == ("-3/2", "")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: tp.resnet_mlp(experts="top-1", experts_exponent="1/2"),
            Unsupported,
            r"experts=top-1 among n\^\(1/2\) experts is not supported.*Take experts=softmax, or a finite number",
        ),
        (
            lambda: tp.transformer(experts="top-3"),
            UnknownName,
            "experts: got 'top-3'; accepted are none, softmax, top-1",
        ),
        (lambda: tp.transformer(experts_exponent=1), SettingError, "experts_exponent: got '1'; needs experts; choose"),
        (lambda: tp.resnet_mlp(gate_exponent=1), SettingError, "gate_exponent: got '1'; needs experts"),
    ],
)
def test_mistakes_are_named(make, error: type[TensorprogError], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        make()


# -- the functions


def test_a_choice_is_a_function_of_signs_alone() -> None:
    """Of any size Theta(1), also of exactly nothing; it has no slope."""
    for e in ("-1", "0", "2"):
        assert apply(TOP.facts, scale((e, U)), "") == scale((0, affine(0, [U])))
    assert apply(TOP.facts, NOTHING, "").top == exponent(0)
    assert apply(TOP.derivative_facts(1), scale((0, U)), "") == NOTHING


def test_a_small_change_moves_few_choices() -> None:
    """A fraction n^(-1/2) of the values changes by Theta(1): n^(-1/4) in RMS."""
    (moved,) = change(TOP.facts, scale((0, U)), scale(("-1/2", V)), "").leading()
    assert (moved.exponent, moved.fraction, moved.height) == (exponent("-1/4"), exponent("-1/2"), exponent(0))
    assert moved.pattern == affine(V, [U])
    assert apply(TOP.facts, scale((0, U), ("-1/2", V)), "").lower()[0].exponent == exponent("-1/4")
    assert change(TOP.facts, scale((0, U)), scale((0, V)), "").top == exponent(0)


@pytest.mark.parametrize("k", [1, 2])
def test_the_law_of_choices_in_numbers(k: int) -> None:
    choose = CHOICES[f"top-{k}"].numpy
    rng = np.random.default_rng(0)
    h, d = rng.standard_normal((2, 200_000, 4))
    moved = [np.sqrt(np.mean((choose(h + s * d) - choose(h)) ** 2)) for s in (1e-1, 1e-2, 1e-3)]
    slopes = np.diff(np.log10(moved))
    np.testing.assert_allclose(slopes, -0.5, atol=0.05)
    np.testing.assert_array_equal(choose(1e-9 * h), choose(h))


def test_a_wide_gate_is_generic_while_its_argument_is_bounded() -> None:
    def gate(x: Scale) -> Scale:
        return apply(WIDE_GATE.facts, x, "")

    assert gate(scale((0, U))) == scale((0, affine(0, [U])))
    assert gate(scale(("-1/2", U))).top == exponent(0)
    assert apply(GATE.facts, scale(("1/2", U)), "").top == exponent(0)
    with pytest.raises(Unsupported, match=r"n\^\(1/2\)"):
        gate(scale(("1/2", U)))
