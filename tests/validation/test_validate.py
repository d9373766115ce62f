"""Validation from end to end, at widths that take a second."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tensorprog.architectures import mlp
from tensorprog.errors import SettingError, UnknownName
from tensorprog.exponent import Exponent, exponent
from tensorprog.scale import Scale, moment
from tensorprog.setting import setting
from validation.cases import CASES, Case
from validation.claims import Key, predictions
from validation.constants import Constants
from validation.fit import Sizes
from validation.measure import Measurement, Quantity
from validation.records import OUT_OF_MEMORY, Records
from validation.run import Validation, validate
from validation.schedule import execute
from validation.train import Run, execute_together
from validation.verdict import Verdict, judge, judge_regime


def quickly(out: Path, name: str, workers: int = 1) -> Validation:
    """One case at three small widths, two seeds, two steps."""
    return validate(out, cases=[name], widths=(64, 128, 256), seeds=2, steps=(1, 2), workers=workers, progress=False)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    return quickly(tmp_path_factory.mktemp("validation"), "sp-adam-ce-2")


def test_json_contract(small: Validation) -> None:
    data = json.loads(json.dumps(small.to_dict(), allow_nan=False))
    assert set(data) >= {"summary", "predictions", "records"}
    assert set(data["summary"]) == {"agrees", "disagrees", "inconclusive"}
    assert sum(data["summary"].values()) == len(data["predictions"]) == 3 + 12 + 12
    for p in data["predictions"]:
        assert {"case", "site", "quantity", "step", "predicted", "slope", "ci", "verdict"} <= set(p)
        assert p["case"] == "sp-adam-ce-2"
        assert p["ci"][0] <= p["slope"] <= p["ci"][1]
        exponent(p["predicted"])
    assert Path(data["records"]).is_file()
    found = {(p["site"], p["quantity"], p["step"]): p["predicted"] for p in data["predictions"]}
    assert found["readout", "propagating", 1] == "1/2"
    assert found["readout", "effective", 2] == "0"
    assert found["output", "logits", 0] == "0"
    assert found["output", "loss_gradient", 2] == "0"


def test_files_and_tables(small: Validation) -> None:
    assert set(small.files) >= {"json", "csv", "png", "pdf"}
    assert all(path.stat().st_size > 500 for path in small.files.values())
    assert small.files["png"].read_bytes().startswith(b"\x89PNG")
    frame = small.to_frame()
    assert len(frame) == 27 * 3 * 2
    assert list(frame.columns[:7]) == ["case", "site", "quantity", "step", "width", "seed", "size"]
    shown = str(small)
    assert "sp-adam-ce-2" in shown
    assert "propagating" in shown
    assert "predictions: " in shown
    assert "nan" not in shown


def test_exponents_off_by_one_half_never_agree(small: Validation) -> None:
    """With any update's exponent off by one half, no measurement of it agrees."""
    updates = (Quantity.EFFECTIVE, Quantity.PROPAGATING)
    for f in small.findings:
        for off in ("1/2", "-1/2"):
            if f.prediction.quantity in updates:
                wrong = judge(f.fit, f.prediction.exponent + exponent(off)).verdict
                assert wrong is not Verdict.AGREES, (f.prediction, off)


def _alignment_one_half(x: Scale, y: Scale, size: Exponent, what: str, *, only_mean: bool = False) -> Scale:
    """The planted rule: every sum gains size/2, also those whose mean survives."""
    return moment(x, y, size / 2, what, only_mean=only_mean)


@pytest.mark.parametrize(
    ("name", "caught"),
    [("sp-adam-ce-2", ("readout", Quantity.PROPAGATING)), ("mup-adam-ce-2", ("hidden.1", Quantity.EFFECTIVE))],
)
def test_a_wrong_rule_in_the_engine_is_caught(
    name: str, caught: tuple[str, Quantity], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alignment 1/2 instead of 1: the same measurements that agree with the engine disagree with the planted rule."""
    case = CASES[name]
    options = {"widths": (64, 128, 256, 512, 1024), "seeds": 3, "steps": (1,), "workers": 1, "progress": False}
    right = validate(tmp_path, cases=[case], **options)  # type: ignore[arg-type]
    assert right.ok, str(right)
    monkeypatch.setattr("tensorprog.contraction.plain_moment", _alignment_one_half)
    wrong = validate(tmp_path, cases=[case], **options)  # type: ignore[arg-type]
    assert wrong.trained == 0
    assert not wrong.ok
    found = {(f.prediction.site, f.prediction.quantity): f.verdict for f in wrong.findings if f.prediction.step}
    assert found[caught] is Verdict.DISAGREES


def test_against_another_parametrization(tmp_path: Path) -> None:
    """muP's runs judged as SP: what differs disagrees, what does not still agrees."""
    grid = {"widths": (64, 128, 256, 512, 1024), "seeds": 3, "steps": (1,), "workers": 1, "progress": False}
    result = validate(tmp_path, cases=["mup-adam-ce-2"], against="ntp", **grid)  # type: ignore[arg-type]
    assert result.to_dict()["against"] == "ntp"
    own = {p.key: p.exponent for p in predictions(CASES["mup-adam-ce-2"].setting, (1,))}
    differing = [f for f in result.findings if f.prediction.exponent != own[f.prediction.key]]
    assert len(differing) >= 4
    assert [f for f in differing if f.verdict is Verdict.AGREES] == []
    assert sum(f.verdict is Verdict.DISAGREES for f in differing) >= 0.8 * len(differing)
    assert all(f.verdict is not Verdict.DISAGREES for f in result.findings if f not in differing)


def test_catastrophic_claims_are_judged_on_their_regime(tmp_path: Path) -> None:
    grid = {"widths": (64, 128, 256, 512), "seeds": 3, "steps": (1, 3), "workers": 1, "progress": False}
    result = validate(tmp_path, cases=["sp-adam-ce-2-beyond"], **grid)  # type: ignore[arg-type]
    (only,) = result.findings
    assert only.to_dict()["predicted"] == "catastrophic"
    assert only.verdict is Verdict.AGREES, only.judgement
    calm = replace(CASES["sp-adam-ce-2-beyond"], name="calm", edge=Fraction(0))
    tame = validate(tmp_path / "calm", cases=[calm], **grid)  # type: ignore[arg-type]
    sizes: dict[Key, Sizes] = {f.prediction.key: f.sizes for f in tame.findings if f.prediction.site == "hidden.1"}
    assert judge_regime(sizes)[1].verdict is Verdict.DISAGREES


def test_a_run_that_does_not_fit_the_memory_is_recorded_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Run._measure

    def fails_when_wide(self: Run, found: list[Measurement]) -> list[float]:
        if self.realization.width == 512:
            found.append(Measurement("input", Quantity.ACTIVATION, 0, 1.0))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, found)

    monkeypatch.setattr(Run, "_measure", fails_when_wide)
    options = {"widths": (64, 128, 256, 512), "seeds": 2, "steps": (1,), "workers": 1, "progress": False}
    result = validate(tmp_path, cases=["mup-adam-ce-2"], **options)  # type: ignore[arg-type]
    assert [(f.width, f.why) for f in result.failures] == [(512, OUT_OF_MEMORY)] * 2
    assert {f.fit.widths for f in result.findings} == {(64, 128, 256)}
    assert result.count(Verdict.AGREES) > 5
    again = validate(tmp_path, cases=["mup-adam-ce-2"], **options)  # type: ignore[arg-type]
    assert again.trained == 0
    assert again.failures == result.failures


def test_other_errors_of_a_run_are_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Run, found: list[Measurement]) -> list[float]:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Run, "_measure", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        quickly(tmp_path, "mup-adam-ce-2")


def test_resume_trains_only_what_is_missing(small: Validation, tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    content = small.records.read_bytes()
    records.write_bytes(content[: len(content) * 2 // 3])  # killed in the middle of a line
    again = quickly(tmp_path, "sp-adam-ce-2")
    assert 0 < again.trained < 6
    assert again.trained + again.resumed == 6
    assert [f.to_dict() for f in again.findings] == [f.to_dict() for f in small.findings]
    third = quickly(tmp_path, "sp-adam-ce-2")
    assert third.trained == 0
    assert third.resumed == 6


def test_processes_give_the_same_numbers_and_threads_are_restored(small: Validation, tmp_path: Path) -> None:
    torch.randn(600, 600) @ torch.randn(600, 600)  # the parent's thread pool exists before workers are forked
    before = torch.get_num_threads()
    parallel = quickly(tmp_path, "sp-adam-ce-2", workers=2)
    assert [f.sizes for f in parallel.findings] == [f.sizes for f in small.findings]
    assert torch.get_num_threads() == before


def test_an_interrupted_run_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    def stop_at_third(team: list[Run]) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return execute_together(team)

    monkeypatch.setattr("validation.schedule.execute_together", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        quickly(tmp_path, "mup-adam-ce-2")
    monkeypatch.undo()
    assert quickly(tmp_path, "mup-adam-ce-2").resumed == 2


def test_divergence_is_reported_not_raised(tmp_path: Path) -> None:
    wild = replace(CASES["sp-sgd-mse-2"], fixed=Constants(1e12, 1.0))
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
    case = Case("zero-readout", s, "step 1 moves the readout only", fixed=Constants(0.01, 1.0, base_width=256))
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
    result = validate(tmp_path, cases=["sp-sgd-ce-2"], widths=(32,), seeds=2, steps=(1,), workers=1, progress=False)
    assert {f.verdict for f in result.findings} == {Verdict.INCONCLUSIVE}
    assert result.ok
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cases": ["nonsense"]}, "case: got 'nonsense'; accepted are sp-sgd-ce-2"),
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


def test_nothing_to_do(tmp_path: Path) -> None:
    execute([], Records(tmp_path / "r.jsonl"), workers=4)


@pytest.mark.slow
def test_a_killed_validation_leaves_no_worker_behind_and_resumes(tmp_path: Path) -> None:
    options = ["--cases", "sp-sgd-ce-2", "--widths", "64", "512", "1024", "--seeds", "20", "--steps", "1", "9"]
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
        tmp_path, cases=["sp-sgd-ce-2"], widths=(64, 512, 1024), seeds=20, steps=(1, 9), workers=2, progress=False
    )
    assert result.resumed == done
    assert result.trained == 60 - done


@pytest.mark.slow
def test_quick_cases_have_no_disagreement(tmp_path: Path) -> None:
    result = validate(tmp_path, progress=False)
    assert result.ok, str(result)
    assert result.count(Verdict.AGREES) >= 0.9 * len(result.findings), str(result)
