"""validate: options, the missing extra, exit codes. Training itself is tested with the harness."""

from __future__ import annotations

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
        return {"summary": {"agrees": int(self.ok), "disagrees": int(not self.ok), "inconclusive": 0}}


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    pytest.importorskip("torch")
    import validation.run

    seen: dict[str, Any] = {"ok": True}

    def fake(out: Path, **options: Any) -> Result:
        seen.update(options, out=out)
        return Result(seen["ok"])

    monkeypatch.setattr(validation.run, "validate", fake)
    return seen


def test_options_arrive(run: Run, harness: dict[str, Any], tmp_path: Path) -> None:
    out = str(tmp_path / "new" / "folder")
    said = run(
        "validate",
        "--quick",
        "--widths",
        "64,128,256",
        "--seeds",
        "2",
        "--steps",
        "1,2",
        "--workers",
        "1",
        "--out",
        out,
        "--json",
    )
    assert said.json["summary"]["agrees"] == 1
    assert (harness["widths"], harness["seeds"], harness["steps"], harness["workers"]) == ([64, 128, 256], 2, [1, 2], 1)
    assert harness["device"] == "cpu"
    assert Path(out).is_dir()


def test_lists_of_numbers_may_have_spaces(run: Run, harness: dict[str, Any], tmp_path: Path) -> None:
    run("validate", "--widths", "64", "128,256", "512", "--steps", "1", "2", "--out", str(tmp_path), "--json")
    assert (harness["widths"], harness["steps"]) == ([64, 128, 256, 512], [1, 2])


def test_suites_cases_and_one_setting(run: Run, harness: dict[str, Any], tmp_path: Path) -> None:
    out = ("--out", str(tmp_path), "--json")
    run("validate", *out)
    assert (harness["suite"].name, harness["cases"], harness["against"]) == ("quick", None, None)
    run("validate", "--suite", "full", "--against", "mup", *out)
    assert harness["suite"].name == "full"
    assert harness["against"].name == "mup"
    run("validate", "--cases", "mup-adam-mse-3-zero,sp-sgd-ce-2", *out)
    assert harness["cases"] == ["mup-adam-mse-3-zero", "sp-sgd-ce-2"]
    run("validate", "--optimizer", "adam", "--lr-exponent", "-1", "--hidden-layers", "3", "--steps", "2,5", *out)
    (own,) = harness["cases"]
    assert (own.setting.optimizer.name, str(own.setting.lr_exponent), len(own.setting.program.weights)) == (
        "adam",
        "-1",
        4,
    )
    assert harness["steps"] == [2, 5]


def test_a_disagreement_is_exit_code_one(run: Run, harness: dict[str, Any], tmp_path: Path) -> None:
    harness["ok"] = False
    assert run("validate", "--quick", "--out", str(tmp_path), "--json").code == 1


def test_auto_finds_a_device(run: Run, harness: dict[str, Any], tmp_path: Path) -> None:
    run("validate", "--quick", "--device", "auto", "--out", str(tmp_path), "--json")
    assert harness["device"] in ("cpu", "cuda")


@pytest.mark.parametrize("missing", ["torch", "validation.run"])
def test_a_missing_extra_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    said = run("validate", "--quick")
    assert (said.code, said.out) == (2, "")
    assert said.err == f'tensorprog validate: needs {missing}; pip install "tensorprog[validation]"\n'
