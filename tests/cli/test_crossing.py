"""crossing: options of validate or the folder of a run, exit codes, files; fitting is tested with the harness."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.runner import Run

GRID = "--widths 16,32,64,128 --seeds 2 --steps 1 --workers 1 --device cpu"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a validate run of a registered case."""
    pytest.importorskip("torch")
    from tensorprog.cli import main

    out = tmp_path_factory.mktemp("validated")
    main(["validate", "--cases", "sp-adam-ce-2", *GRID.split(), "--out", str(out), "--json"])
    return out


def test_a_folder_is_read_and_nothing_is_trained(run: Run, folder: Path) -> None:
    before = (folder / "records.jsonl").read_bytes()
    said = run("crossing", str(folder))
    assert (said.code, said.err) == (0, "")
    assert "sp-adam-ce-2\n" in said.out
    assert "the sub-leading one is not seen" in said.out
    for kind in ("json", "csv", "png", "pdf"):
        assert f"{kind}: {folder / f'crossing.{kind}'}" in said.out
        assert (folder / f"crossing.{kind}").is_file()
    assert (folder / "records.jsonl").read_bytes() == before


def test_json_is_one_object(run: Run, folder: Path) -> None:
    data = run("crossing", str(folder), "--json").json
    assert {c["case"] for c in data["crossings"]} == {"sp-adam-ce-2"}
    assert (data["widths"], data["seeds"], data["steps"]) == ([16, 32, 64, 128], 2, [1])
    assert data["command"].startswith("tensorprog validate --cases sp-adam-ce-2 ")
    assert json.loads((folder / "crossing.json").read_text()) == data
    validated = json.loads((folder / "validation.json").read_text())
    assert validated["crossings"] == data["crossings"]


def test_the_folder_of_a_crossing_run_is_read_too_and_all_lists_what_does_not_cross(run: Run, folder: Path) -> None:
    (folder / "validation.json").rename(folder / "elsewhere.json")
    try:
        said = run("crossing", str(folder), "--all")
    finally:
        (folder / "elsewhere.json").rename(folder / "validation.json")
    assert (said.code, said.err) == (0, "")
    assert "the sub-leading one is not seen" not in said.out
    assert "input activation, step 1" in said.out


def test_options_train_as_validate_does(run: Run, folder: Path) -> None:
    said = run("crossing", "--cases", "sp-adam-ce-2", *GRID.split(), "--out", str(folder), "--json")
    assert {c["case"] for c in said.json["crossings"]} == {"sp-adam-ce-2"}
    own = run("crossing", "--optimizer", "adam", "--lr-exponent=-1", *GRID.split(), "--out", str(folder), "--json")
    assert own.json["crossings"][0]["case"].startswith("mlp(hidden_layers=2")
    assert {json.dumps(c["width"]) for c in own.json["crossings"]} == {
        json.dumps(c["width"]) for c in said.json["crossings"]
    }


def test_one_setting_is_read_back_from_its_folder(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    made = run("validate", "--optimizer", "adam", "--lr-exponent=-1", *GRID.split(), "--out", str(tmp_path), "--json")
    assert made.code in (0, 1)
    again = run("crossing", str(tmp_path), "--json").json
    assert again["crossings"] == json.loads(made.out)["crossings"]


@pytest.mark.parametrize("missing", ["torch", "validation.run"])
def test_a_missing_extra_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    said = run("crossing", "--quick")
    assert (said.code, said.out) == (2, "")
    assert said.err == f'tensorprog crossing: needs {missing}; pip install "tensorprog[validation]"\n'
