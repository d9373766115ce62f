"""Bad input of sweep, line by line: exit code 2, nothing on stdout, one line that names the option."""

# ruff: noqa: E501

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.cli.runner import Run

pytest.importorskip("torch")

LINES = [
    ("sweep --widths 64,128", "--widths: got '64,128'; needs at least 3 widths, or no exponent can be judged"),
    ("sweep --widths 64,128,1", "--widths: got '1'; needs an integer of at least 2"),
    ("sweep --widths 64,128,0", "--widths: got '0'; needs an integer from 1 to 1048576"),
    ("sweep --widths 64,128,64", "--widths: got '64,128,64'; '64' is listed twice"),
    ("sweep --seeds 0", "--seeds: got '0'; needs an integer from 1 to 10000"),
    ("sweep --steps 0", "--steps: got '0'; needs an integer from 1 to 1000"),
    ("sweep --steps 1,3", "--steps: got '1,3'; needs an integer from 1 to 1000"),
    ("sweep --workers many", "--workers: got 'many'; needs an integer from 1 to 10000"),
    ("sweep --device tpu", "--device: got 'tpu'; accepted are auto, cpu, cuda"),
    ("sweep --criterion vibes", "--criterion: got 'vibes'; accepted are activations, loss, accuracy"),
    (
        "sweep --data imagenet",
        "--data: got 'imagenet'; accepted are digits, teacher, teacher-regression, characters, character-sequences, mnist, cifar10",
    ),
    (
        "sweep --data teacher-regression",
        "--data: got 'floats'; needs class indices (integers); use mse or huber for regression",
    ),
    (
        "sweep --data teacher-regression --loss mse --criterion accuracy",
        "--criterion: got 'accuracy'; needs class indices; the targets of teacher-regression are real",
    ),
    (
        "sweep --data character-sequences",
        "--data: got 'character-sequences'; needs data that are vectors; these are token ids in sequence",
    ),
    (
        "sweep --model cnn --data teacher",
        "--data: got 'teacher'; needs data that are images; these are vectors",
    ),
    (
        "sweep --data cifar10",
        "--data-folder: got 'nothing'; needs the folder with data_batch_1, data_batch_2, data_batch_3, data_batch_4, data_batch_5; nothing is downloaded",
    ),
    (
        "sweep --data mnist --data-folder empty",
        "--data-folder: got 'empty'; needs train-images-idx3-ubyte, train-labels-idx1-ubyte (or with .gz), there or in MNIST/raw or raw; nothing is downloaded",
    ),
    ("sweep --data-folder empty", "--data-folder: contradicts --data digits, which reads no files of yours"),
    ("sweep --out file/x", "--out: cannot make the folder 'file/x': Not a directory"),
    (
        "sweep --lr-exponent r",
        "--lr-exponent: got 'r'; accepted are exact rationals such as -1/2, 0 or 3; predict --free r would make it a symbol",
    ),
]


@pytest.mark.parametrize(("line", "message"), LINES, ids=[line for line, _ in LINES])
def test_bad_input_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    said = run(*shlex.split(line))
    assert (said.code, said.out) == (2, "")
    assert said.err == f"tensorprog sweep: {message}\n"


def test_unknown_options_list_the_known_ones(run: Run) -> None:
    said = run("sweep", "--learning-rate", "1")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("tensorprog sweep: --learning-rate: no such option; accepted are --widths, --seeds, ")
    assert "--free" not in said.err
