"""Freezing and adapters on the command line."""

from __future__ import annotations

import pytest

from tests.cli.runner import Run


def test_last_layer_training(run: Run) -> None:
    said = run("predict", "--trained", "readout", "--lr-exponent=-1", "--json").json
    assert said["setting"]["trained"] == "readout"
    assert said["learning"] == "kernel"
    assert said["steps"][1]["sites"]["hidden.1"]["effective"] == "-oo"


def test_adapters(run: Run) -> None:
    argv = ("--lora", "hidden", "--optimizer", "adam", "--lora-zero", "A", "--trained", "readout")
    said = run("predict", *argv, "--rank-exponent", "1/2", "--lora-scale", "1/sqrt(r)", "--json").json
    assert said["setting"] | {"rank_exponent": "1/2", "lora_scale": "1/sqrt(r)", "lora_zero": "A"} == said["setting"]
    assert said["steps"][1]["sites"]["readout"]["effective"] != "-oo"
    assert said["setting"]["exponents"]["hidden.1"]["c"] == "oo"


def test_scalings_of_adapters(run: Run) -> None:
    said = run("predict", "--lora", "hidden", "--optimizer", "adam", "--set", "hidden.1.lora.A.c=1", "--json").json
    assert said["steps"][3]["sites"]["hidden.1.lora.A"]["effective"] == "0"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("--trained foo", "--trained: got 'foo'; accepted are input, hidden, readout, hidden.1"),
        ("--lora hiden", "--lora: got 'hiden'; accepted are input, hidden, readout, hidden.1"),
        ("--lora hidden --trained foo", "--trained: got 'foo'; accepted are input, hidden, readout, hidden.1"),
        ("--lora hidden --lora-zero C", "--lora-zero: got 'C'; accepted are A, B"),
        (
            "--lora hidden --rank-exponent=-1",
            "--rank-exponent: got '-1'; needs a number of at least 0, the exponent p of n^p coordinates",
        ),
        ("--rank-exponent 1", "--rank-exponent: needs adapters to speak of; name the weights with --lora"),
    ],
)
def test_mistakes(run: Run, argv: str, line: str) -> None:
    said = run("predict", *argv.split())
    assert (said.code, said.out, said.err) == (2, "", f"tensorprog predict: {line}\n")
