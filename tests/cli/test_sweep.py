"""sweep: options, the missing extra, exit codes. Sweeping itself is tested with the harness."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.runner import Run


class Result:
    def __init__(self, ok: bool) -> None:
        self.ok = ok
        self.files: dict[str, Path] = {}

    def to_dict(self) -> dict[str, Any]:
        return {"threshold": {"verdict": "agrees" if self.ok else "disagrees"}}


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    pytest.importorskip("torch")
    import validation.sweep

    seen: dict[str, Any] = {"ok": True}

    def fake(setting: Any, out: Path, **options: Any) -> Result:
        seen.update(options, setting=setting, out=out)
        return Result(seen["ok"])

    monkeypatch.setattr(validation.sweep, "sweep", fake)
    return seen


def test_options_arrive(run: Run, harness: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    line = (
        "sweep --widths 64 128 256 --seeds 2 --steps 7 --workers 3 --criterion loss --data teacher "
        "--hidden-layers 3 --parametrization mup --optimizer adam --loss huber --lr-exponent -1/2 --zero-readout --json"
    )
    assert run(*line.split(), "--out", str(out)).json["threshold"]["verdict"] == "agrees"
    s = harness["setting"]
    assert (s.parametrization.name, s.optimizer.name, s.loss.name, str(s.lr_exponent), s.zero_readout) == (
        "mup",
        "adam",
        "huber",
        "-1/2",
        True,
    )
    assert len(s.program.weights) == 4
    assert {k: harness[k] for k in ("widths", "seeds", "steps", "workers", "unstable")} == {
        "widths": [64, 128, 256],
        "seeds": 2,
        "steps": 7,
        "workers": 3,
        "unstable": "loss",
    }
    assert harness["on"].name == "teacher"
    assert harness["device"] in ("cpu", "cuda")
    assert harness["out"] == out
    assert out.is_dir()


def test_what_is_not_given_is_left_to_the_harness(run: Run, harness: dict[str, Any], tmp_path: Path) -> None:
    run("sweep", "--out", str(tmp_path), "--json")
    assert not {"widths", "seeds", "steps", "workers", "unstable"} & set(harness)
    assert "on" not in harness


def test_the_help_tells_the_defaults_and_the_registries(run: Run) -> None:
    pytest.importorskip("torch")
    from validation.data import DATA
    from validation.sweep import CRITERIA, SEEDS, STEPS, WIDTHS

    said = " ".join(run("sweep", "--help").out.split())
    assert f"[{','.join(map(str, WIDTHS))}]" in said
    assert re.search(rf"--seeds N networks per width and learning rate \[{SEEDS}\]", said)
    assert re.search(rf"--steps N optimizer steps of every network, at most 1000 \[{STEPS}\]", said)
    assert f"unstable by: {', '.join(CRITERIA)}" in said
    assert f"--data NAME {', '.join(DATA)} [digits, or" in said
    assert said.count("--steps") == 1


def test_a_disagreement_is_exit_code_one(run: Run, harness: dict[str, Any], tmp_path: Path) -> None:
    harness["ok"] = False
    assert run("sweep", "--out", str(tmp_path), "--json").code == 1


@pytest.mark.parametrize("missing", ["torch", "validation.sweep"])
def test_a_missing_extra_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    said = run("sweep")
    assert (said.code, said.out) == (2, "")
    assert said.err == f'tensorprog sweep: needs {missing}; pip install "tensorprog[validation]"\n'


def test_a_real_sweep_prints_tables_and_paths(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    line = "sweep --widths 8,16,32 --seeds 1 --steps 3 --workers 1 --device cpu"
    said = run(*line.split(), "--out", str(tmp_path))
    assert said.code in (0, 1)
    assert said.err == ""
    assert "smallest unstable, by activations" in said.out
    for name in ("sweep.json", "sweep.csv", "sweep.png", "sweep.pdf"):
        assert str(tmp_path / name) in said.out
        assert (tmp_path / name).is_file()
    again = run(*line.split(), "--out", str(tmp_path), "--json")
    assert again.code == said.code
    assert '"verdict"' in again.out
