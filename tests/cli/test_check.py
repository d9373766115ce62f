"""The verb check: verdicts, and every bad input in one line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tensorprog.cli.main import VERBS
from tests.cli.runner import Run

pytest.importorskip("torch")

MODEL = """
import torch
from torch import nn

print("loaded")
example = torch.randn(4, 8)
broken = 3


def build(n):
    return nn.Sequential(nn.Linear(8, n, bias=False), nn.ReLU(), nn.Linear(n, n, bias=False), nn.ReLU(), Last(n))


class Last(nn.Linear):
    def __init__(self, n):
        super().__init__(n, 5, bias=False)
        nn.init.normal_(self.weight, std=1 / n)


def mup(model):
    n = model[0].out_features
    rates = [(model[0], 1e-2), (model[2], 1e-2 / n), (model[4], 1e-2 / n)]
    return torch.optim.Adam([{"params": m.parameters(), "lr": lr} for m, lr in rates])


def ordered(n):
    return nn.Sequential(nn.Linear(8, n), Sorted(), nn.Linear(n, 5))


class Sorted(nn.Module):
    def forward(self, x):
        return x.sort(-1).values


def fails(n):
    raise RuntimeError("no\\nmodel")


def fixed(n):
    return build(64)


def bare(n):
    return nn.ReLU()


def empty(n):
    return None


class Branches(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = build(n)

    def forward(self, x):
        return self.layers(x) if x.sum() > 0 else -self.layers(x)


wrong = torch.randn(4, 9)


def groupless(model):
    return nn.ReLU()


def loops(n):
    return nn.Sequential(nn.Linear(8, n), *(nn.ReLU() for _ in range(n // 64)), nn.Linear(n, 5))
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return str(path)


def test_a_claim_that_holds(run: Run, model: str) -> None:
    said = run("check", f"{model}:build", "--optimizer", "mup", "--claim", "mup", "--json", "--widths", "64,256")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["holds"] is True
    assert (found["regime"], found["learning"]) == ("stable", "maximal")
    assert [p["name"] for p in found["parameters"]] == ["0", "2", "4"]


def test_without_an_example_one_is_made(run: Run, model: str, tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(MODEL.replace("example = ", "unused = "))
    said = run("check", f"{tmp_path}/bare.py:build", "--optimizer", "mup", "--claim", "maximal", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["largest_stable"] is None
    said = run("check", f"{tmp_path}/bare.py:build", "--optimizer", "mup", "--json")
    assert json.loads(said.out)["largest_stable"]["rates"] == {"0": "0", "2": "-1", "4": "-1"}


def test_a_claim_that_fails(run: Run, model: str) -> None:
    said = run("check", f"{model}:build", "--optimizer", "adam", "--claim", "mup", "--widths", "64,256")
    assert said.code == 1
    assert "claim mup: 1 departure\n  - learning rate of 2, 4: n^(0), should be n^(-1)." in said.out
    assert run("check", f"{model}:build", "--optimizer", "adam", "--widths", "64,256").code == 0  # nothing was claimed


def test_the_example_has_a_fault_that_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is as in muP but the attention logits, which nobody wired."""
    monkeypatch.chdir(Path(__file__).parents[2])
    said = run(*shlex.split(VERBS["check"].example)[1:], "--json")
    assert said.code == 1, said.err
    (fault,) = [d for d in json.loads(said.out)["departures"] if d["fault"]]
    assert (fault["kind"], fault["got"], fault["wanted"]) == ("multiplier", "-1/2", "-1")
    assert fault["where"] == ["blocks.0.logits", "blocks.1.logits"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "FILE.py:FUNCTION: is missing; name a file and a function of the width in it, such as model.py:build"),
        (("nowhere.py:build",), "FILE.py:FUNCTION: got 'nowhere.py:build'; there is no file 'nowhere.py'"),
        (("build",), "FILE.py:FUNCTION: got 'build'; needs a file and a function, such as model.py:build"),
        (
            ("{}:nothing",),
            "got 'nothing'; functions in {} are build, Last, mup, ordered, Sorted, fails, ",
        ),
        (("{}:build", "--claim", "mu"), "--claim: got 'mu'; accepted are sp, "),
        (("{}:build", "--widths", "64"), "--widths: got '64'; needs at least two different widths"),
        (("{}:build", "--widths", "64,x"), "--widths: got 'x'; needs an integer from 1 to 1048576"),
        (("{}:build", "--optimizer", "adma"), "--optimizer: got 'adma'; accepted are sgd, "),
        (("{}:build", "--optimizer", "broken"), "--optimizer: got '3'; needs a function model -> torch optimizer"),
        (("{}:build", "--loss", "broken"), "--loss: got 'int'; needs a loss of tensorprog"),
        (("{}:build", "--example", "none"), "--example: got 'none'; accepted are a name that the file defines"),
        (("{}:build", "--example", "broken"), "the model of width 64 cannot be exported"),
        (("{}:fails",), "cannot be traced: RuntimeError: no model"),
        (("{}:mup",), "FILE.py:FUNCTION: {}:mup cannot be traced: TypeError"),
        (
            ("{}:ordered", "--optimizer", "sgd"),
            "FILE.py:FUNCTION: aten.sort in module '1': there is no rule for this operator. Add one with "
            "tensorprog.trace.operator, or declare a program with tensorprog.Builder",
        ),
        (("{}:loops", "--optimizer", "sgd"), "the graph depends on the width"),
        (("{}:fixed",), "build: got 'models of the same sizes at widths 64, 128, 256'; needs at least one size"),
        (("{}:bare",), "build: got 'ReLU without parameters'; has nothing to scale"),
        (("{}:empty",), "build: got 'NoneType'; build(64) needs to return an nn.Module"),
        (("{}:Branches",), "the model of width 64 cannot be exported"),
        (("{}:build", "--example", "wrong"), "the model of width 64 cannot be exported: RuntimeError"),
        (("{}:build", "--optimizer", "groupless"), "--optimizer: got 'ReLU'; needs a torch optimizer, or a list"),
    ],
)
def test_bad_input(run: Run, model: str, arguments: tuple[str, ...], line: str) -> None:
    said = run("check", *(a.format(model) for a in arguments))
    assert said.code == 2, said.out
    assert said.out == ""
    lines = [x for x in said.err.splitlines() if x != "loaded"]
    assert len(lines) == 1
    assert lines[0].startswith("tensorprog check: ")
    assert line.format(model) in lines[0]


def test_a_file_in_a_package(run: Run, tmp_path: Path) -> None:
    """Its relative imports work."""
    package = tmp_path / "package_of_models"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "layers.py").write_text(MODEL)
    (package / "model.py").write_text("from .layers import build, example, mup as optimizer")
    assert run("check", f"{package}/model.py:build", "--claim", "mup").code == 0
