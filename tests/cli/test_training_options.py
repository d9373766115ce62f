"""Optimizers and losses on the command line: options, what is inside what, groups, symbols."""

from __future__ import annotations

import pytest

from tensorprog import losses
from tensorprog.cli.training import LOSS_OPTIONS, OPTIMIZER_OPTIONS, split_groups
from tensorprog.losses import LOSSES
from tensorprog.optimizers import OPTIMIZERS, WRAPPERS
from tests.cli.runner import Run


def setting(run: Run, *argv: str) -> dict[str, object]:
    found: dict[str, object] = run("predict", *argv, "--json").json["setting"]
    return found


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("base", ["", "adam", "muon"])
def test_every_wrapper(run: Run, name: str, base: str) -> None:
    s = setting(run, "--optimizer", name, *(["--base-optimizer", base] if base else []))
    assert s["optimizer"] == name
    assert s["optimizer_options"]["base_optimizer"] == (base or "sgd")


@pytest.mark.parametrize("name", losses.WRAPPERS)
@pytest.mark.parametrize("base", ["", "mse", "z-loss"])
def test_every_wrapped_loss(run: Run, name: str, base: str) -> None:
    s = setting(run, "--loss", name, *(["--base-loss", base] if base else []))
    assert s["loss"] == name
    assert s["loss_options"]["base_loss"] == (base or "ce")


def test_options_reach_what_is_inside(run: Run) -> None:
    s = setting(run, "--optimizer", "clipped", "--base-optimizer", "adam", "--epsilon-exponent=-1")
    assert s["optimizer_options"] == {"base_optimizer": "adam(epsilon_exponent=-1)"}
    s = setting(run, "--optimizer", "clipped", "--threshold-exponent", "1/2", "--threshold", "3", "--momentum", "0.9")
    assert s["optimizer_options"] == {
        "base_optimizer": "sgd(momentum=0.9)",
        "threshold_exponent": "1/2",
        "threshold": "3.0",
    }
    s = setting(run, "--loss", "temperature", "--base-loss", "z-loss", "--coefficient-exponent=-1/2")
    assert s["loss_options"] == {"base_loss": "z-loss(coefficient_exponent=-1/2)"}


def test_switches(run: Run) -> None:
    s = setting(run, "--optimizer", "decayed", "--coupled", "--decay-exponent", "1/2")
    assert s["optimizer_options"] == {"base_optimizer": "sgd", "decay_exponent": "1/2", "coupled": "True"}


def test_a_loss_option_changes_the_regime(run: Run) -> None:
    argv = ("predict", "--loss", "z-loss", "--lr-exponent=-1/2", "--json")
    assert run(*argv).json["regime"] == "catastrophic"
    assert run(*argv, "--coefficient-exponent=-1/2").json["regime"] == "controlled_divergence"


def test_groups_by_role(run: Run) -> None:
    argv = ("--parametrization", "mup", "--optimizer", "hidden=muon,else=adam")
    s = setting(run, *argv)
    assert (s["optimizer"], s["optimizer_options"]) == ("groups", {"hidden": "muon", "else": "adam"})
    assert [abc["c"] for abc in s["exponents"].values()] == ["0", "0", "1"]
    s = setting(run, *argv, "--shape-factor", "match-rms", "--epsilon-exponent=-5")
    assert s["optimizer_options"] == {"hidden": "muon(shape_factor=match-rms)", "else": "adam(epsilon_exponent=-5)"}
    assert [abc["c"] for abc in s["exponents"].values()] == ["0", "1/2", "1"]


def test_groups_in_a_table(run: Run) -> None:
    argv = ("table", "--parametrization", "mup", "--loss", "ce,soft-capped", "--lr-exponent", "0", "--json")
    rows = run(*argv, "--optimizer", "sgd,hidden=muon,else=adam,hidden=lion,else=sgd,lamb").json["rows"]
    found = {(r["optimizer"], r["optimizer_options"], r["loss"], r["loss_options"]) for r in rows}
    assert ("groups", "hidden=lion, else=sgd", "soft-capped", "base_loss=ce") in found
    assert {(o, options) for o, options, _, _ in found} == {
        ("sgd", None),
        ("groups", "hidden=muon, else=adam"),
        ("groups", "hidden=lion, else=sgd"),
        ("lamb", None),
    }


def test_groups_are_told_apart_in_lists() -> None:
    assert split_groups(["a", "x=b", "y=c", "x=d", "e", "z=f"]) == ["a", "x=b,y=c", "x=d", "e", "z=f"]
    assert split_groups(["a", "b"]) == ["a", "b"]


def test_symbols_in_options(run: Run) -> None:
    argv = ("predict", "--loss", "z-loss", "--coefficient-exponent", "k", "--free", "k", "--lr-exponent=-1/2")
    said = run(*argv)
    assert "k <= -1/2  controlled divergence" in said.out
    assert "-1/2 < k   catastrophic" in said.out
    assert run(*argv, "--json").json["symbols"] == ["k"]
    said = run("predict", "--optimizer", "adam", "--epsilon-exponent", "e", "--free", "e", "--parametrization", "mup")
    assert said.code == 0
    assert "adam(epsilon_exponent=e)" in said.out


def test_perturbations_are_printed(run: Run) -> None:
    said = run("predict", "--parametrization", "mup", "--optimizer", "sam", "--radius-exponent=-1/2", "--steps", "1")
    header = next(line for line in said.out.splitlines() if line.startswith("site"))
    assert header.split()[-1] == "perturbation"
    rows = [line.split() for line in said.out.splitlines() if line.startswith(("input ", "hidden.1 ", "readout "))]
    assert [row[-1] for row in rows[:3]] == ["-2", "-1", "0"]
    assert "perturbation" not in run("predict", "--steps", "1").out


def test_every_option_is_described(run: Run) -> None:
    help_text = " ".join(run("predict", "--help").out.split())
    for option in (*OPTIMIZER_OPTIONS, *LOSS_OPTIONS):
        assert option.flag in help_text
        assert option.help
        assert option.help in help_text
    for name in (*OPTIMIZERS, *WRAPPERS, *LOSSES, *losses.WRAPPERS):
        assert name in help_text.replace("- ", "-")  # argparse breaks lines at hyphens


def test_no_two_kinds_share_an_option() -> None:
    assert not {o.flag for o in OPTIMIZER_OPTIONS} & {o.flag for o in LOSS_OPTIONS}
