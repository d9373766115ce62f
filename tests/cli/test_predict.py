"""predict: the JSON contract, the options of a setting, symbols."""

from __future__ import annotations

import pytest

from tensorprog.cli.options import MODEL_OPTIONS, OPTIMIZER_OPTIONS
from tensorprog.losses import LOSSES
from tensorprog.nonlinearities import NONLINEARITIES
from tensorprog.optimizers import OPTIMIZERS
from tensorprog.parametrizations import PARAMETRIZATIONS
from tests.cli.runner import Run

PAPER = ("predict", "--hidden-layers", "2", "--parametrization", "sp", "--optimizer", "sgd", "--loss", "ce")


def test_json_is_the_contract(run: Run) -> None:
    d = run(*PAPER, "--lr-exponent=-1/2", "--steps", "4", "--json").json
    assert d["setting"]["parametrization"] == "sp"
    assert d["setting"]["exponents"]["hidden.1"] == {"a": "0", "b": "1/2", "c": "1/2"}
    assert (d["regime"], d["learning"], d["settled"]) == ("controlled_divergence", "feature", True)
    assert d["max_stable_lr_exponent"] == d["bounded_updates_lr_exponent"] == "-1/2"
    assert d["bounded_logits_lr_exponent"] == "-1"
    assert all(isinstance(reason, str) for reason in d["reasons"])
    start, first, *later = d["steps"]
    assert [s["step"] for s in d["steps"]] == [0, 1, 2, 3, 4]
    assert start == {
        "step": 0,
        "logits": "0",
        "sites": {
            "input": {"role": "input", "activation": "0"},
            "hidden.1": {"role": "hidden", "activation": "0"},
            "readout": {"role": "readout", "activation": "0"},
        },
    }
    assert first == {
        "step": 1,
        "logits": "1/2",
        "logit_update": "1/2",
        "loss_gradient": "0",
        "sites": {
            "input": {"role": "input", "activation": "0", "effective": "-1", "propagating": None, "feature": "-1"},
            "hidden.1": {"role": "hidden", "activation": "0", "effective": "0", "propagating": "-1", "feature": "0"},
            "readout": {
                "role": "readout",
                "activation": "1/2",
                "effective": "1/2",
                "propagating": "1/2",
                "feature": None,
            },
        },
    }
    assert all(s | {"step": 1} == first for s in later)


@pytest.mark.parametrize(
    "spelled",
    [
        ("--lr-exponent=-1/2",),
        ("--lr-exponent", "-1/2"),
        ("--lr-exponent=-0.5",),
        ("--lr-exponent", " -1 / 2 "),
        ("--lr-exponent", "-2/4"),
    ],
)
def test_negative_exponents_in_every_spelling(run: Run, spelled: tuple[str, ...]) -> None:
    assert run(*PAPER, *spelled, "--json").json["setting"]["lr_exponent"] == "-1/2"


def test_lists_that_start_with_a_minus(run: Run) -> None:
    d = run("predict", "--a", "-1/2,0,1/2", "--b", "1/2,1/2,1/2", "--c", "-1/2,0,-1/2", "--json").json
    assert d["setting"]["exponents"]["input"] == {"a": "-1/2", "b": "1/2", "c": "-1/2"}


def test_multipliers_default_to_zero(run: Run) -> None:
    named = run("predict", "--json").json
    free = run("predict", "--b", "0,1/2,1/2", "--c", "0,0,0", "--json").json
    assert free["steps"] == named["steps"]
    assert free["setting"]["parametrization"] == "custom"


def test_set_changes_a_role_or_a_weight(run: Run) -> None:
    d = run("predict", "--hidden-layers", "3", "--set", "hidden.b=1", "--set", "hidden.2.c = 3/4", "--json").json
    exponents = d["setting"]["exponents"]
    assert exponents["hidden.1"] == {"a": "0", "b": "1", "c": "0"}
    assert exponents["hidden.2"] == {"a": "0", "b": "1", "c": "3/4"}


def test_set_reaches_biases(run: Run) -> None:
    d = run("predict", "--bias", "--set", "vector.c=1", "--set", "input.bias.b=2", "--json").json
    assert d["setting"]["exponents"]["input.bias"] == {"a": "0", "b": "2", "c": "1"}
    assert d["setting"]["exponents"]["hidden.1.bias"]["c"] == "1"


def test_the_same_value_twice_is_no_contradiction(run: Run) -> None:
    assert run("predict", "--set", "readout.b=1", "--set", "readout.b=2/2", "--json").code == 0


def test_zero_readout_is_an_infinite_init_exponent(run: Run) -> None:
    zero = run("predict", "--zero-readout", "--json").json
    spelled = run("predict", "--set", "readout.b=oo", "--json").json
    assert zero["steps"] == spelled["steps"]
    assert zero["steps"][1]["sites"]["input"]["effective"] == "-oo"


def test_optimizer_options(run: Run) -> None:
    muon = run("predict", "--optimizer", "muon", "--shape-factor", "spectral", "--json").json
    assert muon["setting"]["optimizer_options"] == {"shape_factor": "spectral"}
    adam = run("predict", "--optimizer", "adam", "--epsilon-exponent", "-1", "--json").json
    assert adam["setting"]["optimizer_options"] == {"epsilon_exponent": "-1"}
    assert run("predict", "--momentum", "0.9", "--json").code == 0
    assert run("predict", "--optimizer", "adam", "--epsilon-exponent=-oo", "--json").code == 0


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_every_parametrization(run: Run, name: str) -> None:
    assert run("predict", "--parametrization", name, "--json").json["setting"]["parametrization"] == name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(run: Run, name: str) -> None:
    assert run("predict", "--optimizer", name, "--json").json["setting"]["optimizer"] == name


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss(run: Run, name: str) -> None:
    assert run("predict", "--loss", name, "--json").json["setting"]["loss"] == name


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_every_activation(run: Run, name: str) -> None:
    assert run("predict", "--activation", name, "--json").json["setting"]["activation"] == name


def test_every_option_of_an_entry_is_described(run: Run) -> None:
    help_text = " ".join(run("predict", "--help").out.split())
    for option in (*MODEL_OPTIONS, *OPTIMIZER_OPTIONS):
        assert option.flag in help_text
        assert option.help
        assert option.help in help_text
    assert "or batchnorm [resnet-mlp none, transformer layernorm, cnn none, resnet batchnorm]" in help_text


def test_symbols_give_cells(run: Run) -> None:
    d = run("predict", "--lr-exponent", "r", "--free", "r", "--assume", "r <= 0", "--json").json
    assert d["symbols"] == ["r"]
    regimes = {cell["region"]: cell["regime"] for cell in d["cells"]}
    assert {"stable", "controlled_divergence", "catastrophic"} <= set(regimes.values())
    assert regimes["r = -1/2"] == "controlled_divergence"


def test_symbols_for_people(run: Run) -> None:
    said = run("predict", "--lr-exponent", "r", "--free", "r", "--assume", "r <= 0")
    assert "-1 < r <= -1/2  controlled divergence" in said.out
    assert "Max(0, r + 1)" in said.out


def test_deep_networks_merge_equal_layers(run: Run) -> None:
    said = run("predict", "--hidden-layers", "12", "--parametrization", "mup", "--steps", "1")
    assert "hidden.2 to hidden.11" in said.out or "hidden.1 to hidden.11" in said.out
    assert len(said.out.splitlines()) < 60
