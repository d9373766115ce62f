"""Published scalings come out of the inverse problem: nothing of them is put in."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

import tensorprog as tp
from tensorprog.derive import derive_setting
from tensorprog.exponent import ZERO, Exponent

ONE, TWO = tp.mlp(hidden_layers=1), tp.mlp(hidden_layers=2)


@pytest.mark.parametrize(
    ("optimizer", "rates"),
    [
        ("sgd", {"c_input": "-1", "c_readout": "1"}),
        ("adam", {"c_input": "0", "c_readout": "1"}),
        ("lion", {"c_input": "0", "c_readout": "1"}),
        ("muon", {"c_input": "-1/2", "c_readout": "1/2"}),
    ],
)
def test_mup_of_one_hidden_layer(optimizer: str, rates: dict[str, str]) -> None:
    """Yang & Hu 2021; Yang & Littwin 2023; Zheng et al. 2026 without the multiplier."""
    found = tp.solve(ONE, optimizer=optimizer)
    assert {s: str(e) for s, e in found.point.items()} == {"b_input": "0", "b_readout": "1", **rates}
    assert found.contains(b_input=0, b_readout=2, **rates)
    assert not found.contains(b_input=0, b_readout="3/4", **rates)


def test_mup_of_two_hidden_layers_for_adam() -> None:
    """Yang & Littwin 2023 (arXiv 2308.01814): a = 0, b = (0, 1/2, 1), c = (0, 1, 1); c of the input is fixed here."""
    found = tp.solve(TWO, "mup", free=("c_hidden", "c_readout"), optimizer="adam")
    assert found.told() == ["c_hidden = 1, c_readout = 1"]
    d = tp.derive(TWO, "mup", optimizer="adam")
    assert {name: str(e.c) for name, e in found.exponents().items()} == {
        w.name: str(abc.c) for w, abc in d.setting.exponents().items()
    }
    assert (d.regime, d.learning) == ("stable", "maximal")


def test_full_alignment_rates_where_logits_may_grow() -> None:
    """Everett et al. 2024: with the fan-in init, c = (0, 1, 1) for Adam; the logits pay with n^(1/2)."""
    start = tp.parametrizations.SP.where("input", c=0)
    found = tp.solve(TWO, start, free=("c_hidden", "c_readout"), bounded="updates", optimizer="adam")
    assert {s: str(e) for s, e in found.point.items()} == {"c_hidden": "1", "c_readout": "1"}


def test_no_rates_are_maximal_for_the_fan_in_init_with_bounded_logits() -> None:
    """The readout's alignment with changed features: what excludes each other is named, and no more than that."""
    found = tp.solve(ONE, "sp", free=("c_input", "c_readout"), optimizer="adam")
    assert not found
    assert found.conflict == ("logits stay bounded", "the effective update of input is Theta(1)")
    with pytest.raises(tp.TensorprogError, match="logits stay bounded"):
        found.point  # noqa: B018


def test_one_tied_rate() -> None:
    """Haas et al. 2025: SP is not catastrophic up to n^-1/2 for SGD; no single rate makes every layer learn."""
    stable = tp.solve(TWO, "sp", free=["r"], bounded="activations", maximal=False, optimizer="sgd")
    assert stable.told() == ["r <= -1/2"]
    assert not tp.solve(TWO, "sp", free=["r"], bounded="updates", optimizer="sgd")
    assert tp.solve(TWO, "sp", free=["r"], bounded="logits", maximal=False, optimizer="sgd").told() == ["r <= -1"]


def test_solutions_are_maximal_derivations_and_points_beside_them_are_none() -> None:
    found = tp.solve(ONE, optimizer="sgd")
    for shift in (Fraction(0), Fraction(1, 8), Fraction(-1, 8)):
        at = {**found.point, "c_readout": found.point["c_readout"] + shift}
        d = derive_setting(found.setting.at(at))
        assert (d.learning == "maximal") == (shift == 0)
        assert found.contains(**at) == (shift == 0)


@pytest.mark.parametrize(("program", "start"), [("mlp", "mup"), ("mlp", "sp"), ("transformer", "mup")])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_solutions_hold_at_random_points_and_nothing_else_does(program: str, start: str, optimizer: str) -> None:
    """Points on and off the solutions, each derived directly."""
    net = tp.mlp(hidden_layers=3) if program == "mlp" else tp.transformer(blocks=1)
    free = ("c_input", "c_hidden", "c_readout")
    found = tp.solve(net, start, free=free, bounded="updates", maximal=start == "mup", optimizer=optimizer)
    draw = random.Random(f"{program} {start} {optimizer}")
    around = found.point if found else dict.fromkeys(free, Exponent(0))
    agreed = 0
    for _ in range(25):
        at = {s: e + Fraction(draw.randint(-2, 2), 2) * draw.randint(0, 1) for s, e in around.items()}
        d = derive_setting(found.setting.at(at))
        last = d.path.steps[-1]
        sites = [x for x in net.sites if x.activation != net.output]
        bounded = all(not step.now[i].exceeds(ZERO) for step in d.path.steps for i in net.read_values())
        parts = [
            p
            for step in d.path.steps[1:]
            for x in sites
            for p in (step.effective[x.product], step.propagating[x.product])
        ]
        holds = bounded and d.path.settled_at is not None and not any(p.exceeds(ZERO) for p in parts)
        if start == "mup":
            holds = holds and all(last.effective[x.product].top == ZERO for x in net.sites if x.weight.trained)
        assert found.contains(**at) == holds, at
        agreed += holds
    assert agreed


@pytest.mark.parametrize("zero", ["A", "B"])
def test_lora_plus(zero: str) -> None:
    """Hayou et al. 2024 (arXiv 2402.12354): both factors learn for rates n^-1 of A and n^0 of B, and no others."""
    net = tp.lora(TWO, "hidden", lora_zero=zero)
    free = ("c_hidden_1_lora_A", "c_hidden_1_lora_B")
    found = tp.solve(net, "sp", free=free, bounded="updates", optimizer="adam")
    assert found.told() == ["c_hidden_1_lora_A = 1, c_hidden_1_lora_B = 0"]


def test_mup_for_kfac() -> None:
    """Ishikawa & Karakida 2024 (arXiv 2312.12226): rates follow the readout's init, whose gradient is divided by."""
    found = tp.solve(TWO, "sp", optimizer="kfac", free=("b_readout", "c_input", "c_hidden", "c_readout"))
    told = "c_hidden = b_readout - 1, c_input = b_readout - 1, c_readout = 0, b_readout >= 1"
    assert found.told() == [told]


@pytest.mark.parametrize(
    ("optimizer", "rates"),
    [("sgd", "c_hidden = 0, c_input = -1, c_readout = 1"), ("adam", "c_hidden = 1, c_input = 0, c_readout = 1")],
)
def test_mup_of_a_transformer(optimizer: str, rates: str) -> None:
    net = tp.transformer(blocks=1)
    found = tp.solve(net, "mup", free=("c_input", "c_hidden", "c_readout"), optimizer=optimizer)
    assert found.told() == [rates]


@pytest.mark.slow
def test_mup_of_a_transformer_with_inits_and_rates_unknown() -> None:
    """All but the embedding's init, which takes ten times as long and may be anything, as norms follow it."""
    free = ("b_hidden", "b_readout", "c_input", "c_hidden", "c_readout", "c_vector")
    found = tp.solve(tp.transformer(blocks=1), free=free, optimizer="adam")
    told = "b_hidden = 1/2, c_hidden = 1, c_input = 0, c_readout = 1, c_vector = 0, b_readout >= 1"
    assert found.told() == [told]
