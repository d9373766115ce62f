"""Validation from end to end, at widths that take a second."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tensorprog.architectures import mlp
from tensorprog.errors import SettingError, UnknownName
from tensorprog.exponent import exponent
from tensorprog.setting import setting
from validation.cases import CASES, QUICK, Case, predictions
from validation.measure import OUTPUT, Quantity
from validation.records import Records
from validation.run import Validation, validate
from validation.schedule import execute
from validation.train import Run
from validation.verdict import Verdict, judge


def quickly(out: Path, name: str, workers: int = 1) -> Validation:
    """One case at three small widths, two seeds, two steps."""
    return validate(out, cases=[name], widths=(64, 128, 256), seeds=2, steps=(1, 2), workers=workers, progress=False)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    return quickly(tmp_path_factory.mktemp("validation"), "sp-adam-ce")


def test_json_contract(small: Validation) -> None:
    data = json.loads(json.dumps(small.to_dict(), allow_nan=False))
    assert set(data) == {"summary", "predictions", "records"}
    assert set(data["summary"]) == {"agrees", "disagrees", "inconclusive"}
    assert sum(data["summary"].values()) == len(data["predictions"]) == 3 + 12 + 12
    for p in data["predictions"]:
        assert {"case", "site", "quantity", "step", "predicted", "slope", "ci", "verdict"} <= set(p)
        assert p["case"] == "sp-adam-ce"
        assert p["ci"][0] <= p["slope"] <= p["ci"][1]
        exponent(p["predicted"])
    assert Path(data["records"]).is_file()
    found = {(p["site"], p["quantity"], p["step"]): p["predicted"] for p in data["predictions"]}
    assert found["readout", "propagating", 1] == "1/2"
    assert found["readout", "effective", 2] == "0"
    assert found["output", "logits", 0] == "0"
    assert found["output", "loss_gradient", 2] == "0"


def test_files_and_tables(small: Validation) -> None:
    assert set(small.files) == {"json", "csv", "png", "pdf"}
    assert all(path.stat().st_size > 500 for path in small.files.values())
    assert small.files["png"].read_bytes().startswith(b"\x89PNG")
    frame = small.to_frame()
    assert len(frame) == 27 * 3 * 2
    assert list(frame.columns[:7]) == ["case", "site", "quantity", "step", "width", "seed", "size"]
    shown = str(small)
    assert "sp-adam-ce" in shown
    assert "propagating" in shown
    assert "predictions: " in shown
    assert "nan" not in shown


def test_planted_wrong_rules_are_caught(small: Validation) -> None:
    """With any update's exponent off by one half, no measurement of it agrees, and most disagree."""
    updates = (Quantity.EFFECTIVE, Quantity.PROPAGATING)
    for f in small.findings:
        for off in ("1/2", "-1/2"):
            wrong = judge(f.fit, f.prediction.exponent + exponent(off)).verdict
            assert wrong is not Verdict.AGREES, (f.prediction, off)
            if f.prediction.quantity in updates and f.prediction.site != "readout":
                assert wrong is Verdict.DISAGREES, (f.prediction, off)


def test_resume_trains_only_what_is_missing(small: Validation, tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    content = small.records.read_bytes()
    records.write_bytes(content[: len(content) * 2 // 3])  # killed in the middle of a line
    again = quickly(tmp_path, "sp-adam-ce")
    assert 0 < again.trained < 6
    assert again.trained + again.resumed == 6
    assert [f.to_dict() for f in again.findings] == [f.to_dict() for f in small.findings]
    third = quickly(tmp_path, "sp-adam-ce")
    assert third.trained == 0
    assert third.resumed == 6


def test_processes_give_the_same_numbers_and_threads_are_restored(small: Validation, tmp_path: Path) -> None:
    torch.randn(600, 600) @ torch.randn(600, 600)  # the parent's thread pool exists before workers are forked
    before = torch.get_num_threads()
    parallel = quickly(tmp_path, "sp-adam-ce", workers=2)
    assert [f.sizes for f in parallel.findings] == [f.sizes for f in small.findings]
    assert torch.get_num_threads() == before


def test_an_interrupted_run_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    whole = Run.execute

    def stop_at_third(self: Run) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return whole(self)

    monkeypatch.setattr(Run, "execute", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        quickly(tmp_path, "mup-adam-ce")
    monkeypatch.setattr(Run, "execute", whole)
    assert quickly(tmp_path, "mup-adam-ce").resumed == 2


def test_divergence_is_reported_not_raised(tmp_path: Path) -> None:
    wild = replace(CASES["sp-sgd-mse"], base_lr=1e12)
    result = validate(tmp_path, cases=[wild], widths=(16, 32, 64), seeds=1, steps=(1, 8), workers=1, progress=False)
    last = [f for f in result.findings if f.prediction.step == 8 and f.prediction.quantity is Quantity.LOGITS]
    assert [f.verdict for f in last] == [Verdict.INCONCLUSIVE]
    assert last[0].fit.excluded == (16, 32, 64)
    assert math.isnan(last[0].fit.slope)
    assert "not finite" in str(result)
    json.dumps(result.to_dict(), allow_nan=False)


def test_exact_zeros_are_predicted_and_measured(tmp_path: Path) -> None:
    """A zero readout: step 1 moves the readout only, everything upstream is exactly zero."""
    s = setting(mlp(2), "mup", optimizer_="adam", zero_readout=True)
    case = Case("zero-readout", s, base_lr=0.01, output_scale=1.0, claim="step 1 moves the readout only")
    result = validate(
        tmp_path, cases=[case], widths=(32, 64, 128, 256, 512), seeds=4, steps=(1,), workers=1, progress=False
    )
    found = {(f.prediction.site, f.prediction.quantity.value, f.prediction.step): f for f in result.findings}
    for key in [("output", "logits", 0), ("hidden.1", "effective", 1), ("readout", "propagating", 1)]:
        assert str(found[key].prediction.exponent) == "-oo"
        assert found[key].verdict is Verdict.AGREES
    assert found["readout", "effective", 1].verdict is Verdict.AGREES
    assert "exactly 0" in str(result)


def test_one_width_gives_no_verdict(tmp_path: Path) -> None:
    result = validate(tmp_path, cases=["sp-sgd-ce"], widths=(32,), seeds=2, steps=(1,), workers=1, progress=False)
    assert {f.verdict for f in result.findings} == {Verdict.INCONCLUSIVE}
    assert result.ok
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cases": ["nonsense"]}, "case: got 'nonsense'; accepted are sp-sgd-ce"),
        ({"widths": (64, 1)}, "validate, widths: got 1; needs integers of at least 2"),
        ({"widths": (64, 64)}, "each once"),
        ({"widths": ()}, "needs at least one value"),
        ({"steps": (0,)}, "validate, steps: got 0"),
        ({"seeds": 0}, "validate, seeds: got 0"),
        ({"seeds": True}, "validate, seeds: got True"),
        ({"workers": -1}, "validate, workers: got -1"),
        ({"cases": []}, "validate, cases: got"),
        ({"device": "abacus"}, "validate, device: got 'abacus'"),
    ],
)
def test_bad_input(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises((SettingError, UnknownName), match=message):
        validate(tmp_path, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_every_quick_case_predicts_every_site_and_step() -> None:
    assert {c.name for c in QUICK} == set(CASES)
    for c in QUICK:
        found = predictions(c.setting, (1, 3))
        assert len({(p.site, p.quantity, p.step) for p in found}) == len(found) == 27
        assert {p.site for p in found} == {"input", "hidden.1", "readout", OUTPUT}


def test_nothing_to_do(tmp_path: Path) -> None:
    execute([], Records(tmp_path / "r.jsonl"), workers=4)


@pytest.mark.slow
def test_a_killed_validation_leaves_no_worker_behind_and_resumes(tmp_path: Path) -> None:
    options = ["--cases", "sp-sgd-ce", "--widths", "64", "512", "1024", "--seeds", "20", "--steps", "1", "9"]
    command = [sys.executable, "-m", "validation", "--out", str(tmp_path), "--workers", "2", *options]
    records = tmp_path / "records.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + 120
        while not (records.exists() and records.read_bytes().count(b"\n") >= 3):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        # The workers share this pipe: it ends only when they are gone too.
        process.communicate(timeout=30)
    done = len(Records(records))
    assert 3 <= done < 60
    result = validate(
        tmp_path, cases=["sp-sgd-ce"], widths=(64, 512, 1024), seeds=20, steps=(1, 9), workers=2, progress=False
    )
    assert result.resumed == done
    assert result.trained == 60 - done


@pytest.mark.slow
def test_quick_cases_have_no_disagreement(tmp_path: Path) -> None:
    result = validate(tmp_path, progress=False)
    assert result.ok, str(result)
    assert result.count(Verdict.AGREES) >= 0.9 * len(result.findings), str(result)
