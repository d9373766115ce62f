"""explain: targets, steps, depth, JSON tree."""

from __future__ import annotations

from typing import Any

import pytest

import tensorprog as tp
from tensorprog.rules import RULES
from tests.cli.runner import Run

FLAGSHIP = (
    "explain",
    "readout.propagating",
    "--parametrization",
    "sp",
    "--optimizer",
    "adam",
    "--loss",
    "ce",
    "--lr-exponent=-1",
)


def nodes(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return [tree] + [n for source in tree["sources"] for n in nodes(source)]


def test_json_is_a_nested_derivation(run: Run) -> None:
    d = run(*FLAGSHIP, "--json").json
    assert (d["target"], d["step"], d["exponent"]) == ("readout.propagating", 1, "1/2")
    root = d["derivation"]
    assert (root["rule"], root["gain"], root["summands"]) == ("lln", "1", ["-1/2", "0", "1"])
    assert "readout_0[:, i]" in root["why"]
    assert "2009.10685" in root["reference"]
    for node in nodes(root):
        assert {"exponent", "rule", "what", "gain", "reference", "sources"} <= set(node)
        assert node["rule"] in RULES


def test_exponents_add_up(run: Run) -> None:
    for target in ("logits", "input.effective", "hidden.1.propagating", "readout.effective"):
        for optimizer in ("sgd", "adam", "muon"):
            d = run("explain", target, "--optimizer", optimizer, "--step", "3", "--lr-exponent", "-1/2", "--json").json
            for node in nodes(d["derivation"]):
                if node["summands"]:
                    total = sum((tp.exponent.exponent(s) for s in node["summands"]), tp.exponent.ZERO)
                    assert str(total) == node["exponent"], node["name"]


def test_the_terms_of_a_sum_are_named(run: Run) -> None:
    d = run("explain", "logits", "--lr-exponent", "-1/2", "--json").json
    assert d["parts"] == {"logits at initialisation": "0", "readout.effective": "1/2", "readout.propagating": "1/2"}


def test_initialisation(run: Run) -> None:
    said = run("explain", "logits", "--step", "0")
    assert "not aligned, central limit" in said.out
    assert "so the mean vanishes" in said.out


def test_exact_zero(run: Run) -> None:
    said = run("explain", "input.effective", "--zero-readout")
    assert "= 0 exactly" in said.out
    assert run("explain", "input.effective", "--zero-readout", "--json").json["derivation"] is None


def test_later_steps_need_no_steps_option(run: Run) -> None:
    assert run("explain", "logits", "--step", "7", "--lr-exponent", "-1").code == 0


def test_settled_steps_say_so(run: Run) -> None:
    assert "step 50 repeats step" in run("explain", "logits", "--step", "50", "--parametrization", "mup").out


def test_depth_cuts_and_says_so(run: Run) -> None:
    shallow, deep = run(*FLAGSHIP, "--depth", "1").out, run(*FLAGSHIP).out
    assert "not unfolded here" in shallow
    assert "not unfolded here" not in deep
    assert len(shallow) < len(deep)


@pytest.mark.parametrize("target", ["logits", "logit_update", "loss_gradient", "hidden.1.feature", "input.activation"])
@pytest.mark.parametrize("form", ["text", "md", "latex", "html", "json"])
def test_every_target_in_every_format(run: Run, target: str, form: str) -> None:
    said = run("explain", target, "--step", "2", "--loss", "mse", "--lr-exponent", "-1", "--format", form)
    assert (said.code, said.err) == (0, "")
    assert said.out
