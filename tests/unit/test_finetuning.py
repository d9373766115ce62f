"""Frozen weights and adapters as maps of programs."""

from __future__ import annotations

import pytest

import tensorprog as tp
from tensorprog.backward import backward
from tensorprog.errors import SettingError, TensorprogError, UnknownName, Unsupported
from tensorprog.exponent import INFINITE
from tensorprog.optimizers import Clipped
from tensorprog.parametrizations import parametrization
from tensorprog.program import Builder, MatMul, Program


def trained(program: Program) -> list[str]:
    return [w.name for w in program.weights if w.trained]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("readout", ["readout", "readout.bias"]),
        ("input", ["input", "input.bias"]),
        ("block.1", ["block.1.in", "block.1.in.bias", "block.1.out", "block.1.out.bias"]),
        ("out", ["block.1.out", "block.1.out.bias", "block.2.out", "block.2.out.bias"]),
        ("block.1.in.bias, readout", ["block.1.in.bias", "readout", "readout.bias"]),
        ("hidden", ["block.1.in", "block.1.out", "block.2.in", "block.2.out"]),
        ("vector", ["input.bias", *(f"block.{i}.{s}.bias" for i in (1, 2) for s in ("in", "out"))]),
    ],
)
def test_weights_are_named_by_parts_of_their_names_or_by_role(names: str, expected: list[str]) -> None:
    program = tp.resnet_mlp(blocks=2, bias=True)
    frozen = tp.freeze(program, names)
    assert sorted(trained(frozen)) == sorted(expected)
    assert frozen.description["trained"] == names
    assert trained(program) == [w.name for w in program.weights]


def test_freezing_twice_trains_what_both_leave() -> None:
    assert trained(tp.freeze(tp.freeze(tp.mlp(3), "hidden"), "hidden.2")) == ["hidden.2"]


def test_a_frozen_weight_is_differentiated_through_but_has_no_gradient() -> None:
    back = backward(tp.freeze(tp.mlp(3), "hidden.1"))
    assert [w.name for w in back.gradients] == ["hidden.1"]
    products = [ins.weight.name for ins in back.instructions if isinstance(ins, MatMul)]
    assert products == ["readout", "hidden.2"]  # nothing below hidden.1 is trained


def test_the_rate_of_a_frozen_weight_is_zero() -> None:
    d = tp.derive(tp.freeze(tp.mlp(2), "readout"), "mup", optimizer="adam", lr_exponent=-3)
    c = {w.name: abc.c for w, abc in d.setting.exponents().items()}
    assert c["input"] == c["hidden.1"] == INFINITE
    assert str(c["readout"]) == "4"
    assert d.setting.to_dict()["exponents"]["input"]["c"] == "oo"


def test_optimizers_see_trained_weights_only() -> None:
    """A frozen hidden layer needs no optimizer, and its gradient is no part of a norm."""
    program = tp.freeze(tp.mlp(2), "readout")
    tp.derive(program, "mup", optimizer={"readout": "adam"})
    with pytest.raises(SettingError, match=r"gives nothing for input, hidden\.1"):
        tp.derive(tp.mlp(2), "mup", optimizer={"readout": "adam"})
    # The readout's gradient has norm n^(1/2) and clips that of hidden.1, whose own norm is Theta(1).
    small = parametrization("sp").where("readout", b=1)
    for p, expected in ((tp.mlp(2), "-1/2"), (tp.freeze(tp.mlp(2), "hidden"), "0")):
        d = tp.derive(p, small, optimizer=Clipped("sgd"))
        assert str(d.steps[1].sites["hidden.1"].effective) == expected


def test_last_layer_training_is_a_kernel_method_in_every_parametrization() -> None:
    for name, rate in (("sp", -1), ("ntp", 0), ("mup", 0), ("sp-full-align", 0)):
        for optimizer in ("sgd", "adam", "muon"):
            d = tp.derive(tp.freeze(tp.mlp(3)), name, optimizer=optimizer, lr_exponent=rate)
            assert d.learning is not tp.Learning.FEATURE
            assert all(s.effective.infinite for n, s in d.steps[-1].sites.items() if n != "readout")
            assert d.steps[-1].sites["readout"].propagating is None


def test_a_convex_loss_tolerates_any_rate_of_the_last_layer() -> None:
    """Features never move, chi is bounded: the logits are all that diverges."""
    rates = tp.max_stable_lr(tp.freeze(tp.mlp(2)), "sp", optimizer="sgd", loss="ce")
    assert (str(rates.exponent), str(rates.bounded_logits_exponent)) == ("oo", "-1")
    assert str(tp.max_stable_lr(tp.freeze(tp.mlp(2)), "sp", optimizer="sgd", loss="mse").exponent) == "-1"


# -- adapters ------------------------------------------------------------------------------------------------------


def test_an_adapter_is_a_part_of_its_layer() -> None:
    program = tp.lora(tp.mlp(2, bias=True), "hidden.1")
    sites = {s.name: s for s in program.sites}
    shared = {sites[n].activation for n in ("hidden.1", "hidden.1.bias", "hidden.1.lora.B")}
    assert len(shared) == 1  # behind the nonlinearity
    assert [s.name for s in program.sharing(sites["hidden.1"])] == ["hidden.1", "hidden.1.lora.B", "hidden.1.bias"]
    assert sites["hidden.1.lora.A"].activation == sites["hidden.1.lora.A"].product
    assert {w.name: w.role.value for w in program.weights if w.trained} == {
        "hidden.1.lora.A": "readout",
        "hidden.1.lora.B": "input",
    }
    assert [w.name for w in program.readouts] == ["readout"]


def test_a_zero_readout_leaves_adapters_alone() -> None:
    d = tp.derive(tp.lora(tp.mlp(2)), "sp", optimizer="adam", zero_readout=True)
    b = {w.name: abc.b for w, abc in d.setting.exponents().items()}
    assert b["readout"] == b["hidden.1.lora.B"] == INFINITE
    assert str(b["hidden.1.lora.A"]) == "1/2"


def test_roles_of_a_growing_rank() -> None:
    program = tp.lora(tp.mlp(2), rank_exponent="1/2", lora_zero="A", trained="readout")
    assert [(w.name, w.role.value, w.zero) for w in program.weights if w.trained] == [
        ("hidden.1.lora.A", "hidden", True),
        ("hidden.1.lora.B", "hidden", False),
        ("readout", "readout", False),
    ]
    assert program.label.endswith("lora=hidden, rank_exponent=1/2, lora_zero=A, trained=readout")


def test_adapters_in_attention() -> None:
    program = tp.lora(tp.transformer(blocks=1), "query,value")
    assert trained(program) == [f"block.1.attention.{w}.lora.{f}" for w in ("query", "value") for f in "AB"]
    d = tp.derive(program, "sp", optimizer="adam", lr_exponent=-1)
    assert str(d.steps[-1].sites["block.1.attention.value.lora.A"].effective) == "0"


def test_a_shared_weight_has_one_adapter() -> None:
    b = Builder()
    x = b.data("x")
    assert x.axis is not None
    h = b.matmul(b.weight("input", b.width, x.axis), x)
    w = b.weight("shared", b.width, b.width)
    h = b.apply("tanh", b.matmul(w, b.apply("tanh", b.matmul(w, h))))
    program = tp.lora(b.build(b.matmul(b.weight("readout", b.finite("classes"), b.width), h)), "shared")
    assert trained(program) == ["shared.lora.A", "shared.lora.B"]
    assert [s.name for s in program.sites if s.weight.trained][2:] == ["shared.lora.A#2", "shared.lora.B#2"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: tp.freeze(tp.mlp(), "hiden"),
            UnknownName,
            "trained: got 'hiden'; accepted are input, hidden, readout",
        ),
        (lambda: tp.lora(tp.mlp(), "query"), UnknownName, "lora: got 'query'; accepted are input"),
        (lambda: tp.lora(tp.mlp(bias=True), "bias"), SettingError, "lora: got 'bias'; names biases and gains only"),
        (lambda: tp.lora(tp.mlp(), rank_exponent=-1), SettingError, "rank_exponent: got '-1'; needs a number of at"),
        (lambda: tp.lora(tp.mlp(), lora_scale="2"), UnknownName, r"lora_scale: got '2'; accepted are 1/r, 1/sqrt\(r\)"),
        (lambda: tp.lora(tp.mlp(), lora_zero="C"), UnknownName, "lora_zero: got 'C'; accepted are A, B"),
        (lambda: tp.lora(tp.transformer(tied=True), "embedding"), Unsupported, "lora on embedding is not supported"),
    ],
)
def test_mistakes_are_named(make, error: type[TensorprogError], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        make()


def test_prescribed_rates_skip_frozen_weights() -> None:
    """unit_updates asks the optimizer for trained weights alone."""
    rates = parametrization("mup").assign(tp.freeze(tp.mlp(2)), Clipped("sgd"))
    assert {w.name: str(abc.c) for w, abc in rates.items() if w.trained} == {"readout": "1/2"}
