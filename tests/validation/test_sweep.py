"""Sweeps from end to end, at widths that take a second, and the physics at widths that take a minute."""

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
from typing import Any

import pytest
import torch

from tensorprog.architectures import mlp
from tensorprog.errors import SettingError
from tensorprog.setting import Setting, setting
from tensorprog.stability import stable_rates
from validation.data import CharacterSequences, Digits, TeacherRegression
from validation.realize import Network, Realization
from validation.sweep import Sweep, sweep
from validation.sweep.crew import Point, carry_out
from validation.sweep.criterion import ACTIVATIONS, LOSS
from validation.sweep.trial import Outcome, Trial
from validation.verdict import Verdict, judge

DATA = Digits(batch=16, probe=64)
SMALL: dict[str, Any] = {"widths": (16, 32, 64), "seeds": 2, "steps": 6, "on": DATA, "workers": 1, "progress": False}
CE = setting(mlp(2), "sp", optimizer_="sgd", loss_="ce")


def trial(s: Setting = CE, *, width: int = 16, seed: int = 0, lr: float = 0.5, steps: int = 6, **real: Any) -> Trial:
    return Trial(s, Realization(width, base_width=4, seed=seed, base_lr=lr, **real), DATA, steps)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return sweep(CE, tmp_path_factory.mktemp("sweep"), **SMALL)


# -- one trial


def test_an_outcome_by_hand() -> None:
    """Growth, losses, held-out loss and accuracy, recomputed from a training loop written out here."""
    found = trial(width=12, lr=1.0).execute()
    net = Network(CE.program, CE.exponents(), Realization(12, DATA.sizes, base_width=4, base_lr=1.0))
    hidden = [CE.program.sites[i].activation for i in (0, 1)]  # what hidden.1 and the readout read
    losses, sizes = [], []
    for t in range(6):
        batch = DATA.batch_at(0, t).to("cpu", torch.float32)
        values = net.values(batch.x)
        loss = torch.nn.functional.cross_entropy(values[-1], batch.y)
        losses.append(float(loss.detach()))
        sizes.append([float(values[i].detach().square().mean().sqrt()) for i in hidden])
        gradients = torch.autograd.grad(loss, list(net.weights))
        with torch.no_grad():
            for w, g in zip(net.weights, gradients, strict=True):
                w -= g  # SP: one learning rate for all
    assert found.losses == pytest.approx(losses, rel=1e-4)
    assert found.growth == pytest.approx(
        max(max(a / b for a, b in zip(s, sizes[0], strict=True)) for s in sizes), rel=1e-4
    )
    probe = DATA.probe_batch().to("cpu", torch.float32)
    with torch.no_grad():
        logits = net(probe.x)
    assert found.held_out == pytest.approx(float(torch.nn.functional.cross_entropy(logits, probe.y)), rel=1e-4)
    assert found.accuracy == pytest.approx(float((logits.argmax(1) == probe.y).double().mean()))
    share = float(probe.y.bincount().max()) / 64
    assert found.chance == pytest.approx(share + 2 * math.sqrt(share * (1 - share) / 64))


def test_divergence_is_data_and_ends_the_training() -> None:
    found = trial(setting(mlp(2), "sp", loss_="mse"), lr=1e6, steps=50).execute()
    assert not found.finite
    assert len(found.losses) < 50
    assert math.isnan(found.held_out)
    assert found.growth > 1e3
    assert ACTIVATIONS.excess(found) == LOSS.excess(found) == math.inf


def test_outcomes_survive_their_file() -> None:
    for found in (trial().execute(), trial(lr=1e30).execute(), Outcome("k", {"a": 1}, failure="out of memory")):
        line = found.to_line()
        json.loads(line, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
        again = Outcome.from_line(line)
        assert repr(replace(again, seconds=0)) == repr(replace(found, seconds=0))
    for rubbish in ("[]", "{}", '"x"', "7", "{", '{"key": 1, "config": {}, "losses": 3}'):
        with pytest.raises(ValueError, match=r"."):
            Outcome.from_line(rubbish)


def test_regression_has_no_accuracy() -> None:
    data = TeacherRegression(batch=16, probe=64)
    found = replace(trial(setting(mlp(2), "sp", loss_="mse"), lr=0.01), data=data).execute()
    assert math.isfinite(found.held_out)
    assert math.isnan(found.accuracy)
    assert found.finite


def test_too_little_memory_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Network, "values", refuse)
    assert trial().execute().failure == "out of memory"
    monkeypatch.setattr(Network, "values", lambda *_: (_ for _ in ()).throw(RuntimeError("something else")))
    with pytest.raises(RuntimeError, match="something else"):
        trial().execute()


def test_the_key_depends_on_everything_that_decides_the_outcome() -> None:
    others = [
        trial(setting(mlp(3), "sp")),
        trial(setting(mlp(2), "mup")),
        trial(setting(mlp(2), "sp", optimizer_="adam")),
        trial(setting(mlp(2), "sp", loss_="mse")),
        trial(setting(mlp(2), "sp", lr_exponent=-1)),
        trial(width=17),
        trial(seed=1),
        trial(lr=0.25),
        trial(steps=7),
        trial(output_scale=2.0),
        trial(dtype=torch.float64),
        replace(trial(), data=Digits(batch=16, probe=65)),
    ]
    assert len({t.key for t in [trial(), *others]}) == len(others) + 1
    assert trial(setting(mlp(2), "sp", steps=9)).key == trial().key  # what the theory reports trains no network


# -- plans and crews


def test_plans_are_sent_what_they_asked_for(tmp_path: Path) -> None:
    from validation.ledger import Ledger

    def plan(seed: int) -> Any:
        first = yield [Point(8, seed, 0.5), Point(8, seed, 1.0)]
        assert {p.lr: o.config["base_lr"] for p, o in first.items()} == {0.5: 0.5, 1.0: 1.0}
        second = yield [Point(12, seed, 0.5)]
        (outcome,) = second.values()
        assert (outcome.config["width"], outcome.config["seed"]) == (12, seed)
        return sum(o.held_out for o in (*first.values(), outcome))

    seen: list[bool] = []
    results = []
    for workers in (1, 2, 2):
        folder = tmp_path / str(workers)
        ledger = Ledger(folder / "l.jsonl", Outcome.from_line)
        results.append(
            carry_out(
                [plan(s) for s in range(3)], trial(), ledger, workers=workers, watch=lambda _, new: seen.append(new)
            )
        )
    assert results[0] == results[1] == results[2]
    assert seen == [True] * 18 + [False] * 9  # the last one found all of it in the ledger


# -- whole sweeps


def test_json_contract(small: Sweep) -> None:
    data = json.loads(json.dumps(small.to_dict(), allow_nan=False))
    assert {"setting", "threshold", "optimum", "others", "max_stable_lr_exponent", "records"} <= set(data)
    found = data["threshold"]
    assert (found["criterion"], found["predicted"]) == ("activations", "-1/2")
    assert found["ci"][0] <= found["exponent"] <= found["ci"][1]
    assert found["verdict"] in {v.value for v in Verdict}
    assert {n: len(v) for n, v in found["learning_rates"].items()} == {"16": 2, "32": 2, "64": 2}
    assert Path(data["records"]).is_file()
    for other in data["others"]:
        assert "verdict" not in other


def test_thresholds_and_optima_are_what_the_trials_say(small: Sweep) -> None:
    for (width, seed), found in small.found.items():
        at = small.threshold.rates[width][seed]
        below = [k for k, o in found.outcomes.items() if 2**k < at]
        above = [k for k, o in found.outcomes.items() if 2**k > at]
        assert all(ACTIVATIONS.stable(found.outcomes[k]) for k in below)
        assert ACTIVATIONS.unstable(found.outcomes[min(above)])
        assert min(above) - max(below) <= 1 / 8
        best = min(below, key=lambda k: found.outcomes[k].held_out)
        assert abs(math.log2(small.optima[width][seed]) - best) <= 1


def test_files_tables_and_frames(small: Sweep) -> None:
    assert set(small.files) == {"json", "csv", "png", "pdf"}
    assert small.files["png"].read_bytes().startswith(b"\x89PNG")
    assert json.loads(small.files["json"].read_text()) == json.loads(json.dumps(small.to_dict()))
    frame = small.to_frame()
    assert len(frame) == small.trained == sum(len(f.outcomes) for f in small.found.values())
    assert list(frame.columns[:4]) == ["width", "seed", "lr", "held_out"]
    assert set(frame[frame.lr > frame.threshold * 2].unstable) == {True}
    shown = str(small)
    assert "smallest unstable" in shown
    assert "-1/2" in shown
    assert f"{small.trained} networks trained" in shown


def test_a_second_sweep_trains_nothing_and_a_cut_file_only_what_is_missing(small: Sweep, tmp_path: Path) -> None:
    content = small.records.read_bytes()
    (tmp_path / "sweep.jsonl").write_bytes(content[: len(content) * 2 // 3])  # killed in the middle of a line
    again = sweep(CE, tmp_path, **SMALL)
    assert 0 < again.trained < small.trained
    assert again.trained + again.resumed == small.trained
    third = sweep(CE, tmp_path, **SMALL)
    assert (third.trained, third.resumed) == (0, small.trained)
    assert again.threshold == third.threshold == small.threshold
    # Another criterion is judged from the same records where they suffice.
    other = sweep(CE, tmp_path, **SMALL, unstable="accuracy")
    assert other.resumed > 0
    assert other.threshold.criterion.name == "accuracy"


def test_processes_give_the_same_numbers_and_threads_are_restored(small: Sweep, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    parallel = sweep(CE, tmp_path, **{**SMALL, "workers": 3})
    assert parallel.threshold == small.threshold
    assert parallel.optima == small.optima
    assert torch.get_num_threads() == before


def test_an_interrupted_sweep_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, done = Trial.execute, []

    def stop_at_eighth(self: Trial) -> Outcome:
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(1)
        return whole(self)

    monkeypatch.setattr(Trial, "execute", stop_at_eighth)
    with pytest.raises(KeyboardInterrupt):
        sweep(CE, tmp_path, **SMALL)
    monkeypatch.setattr(Trial, "execute", whole)
    assert sweep(CE, tmp_path, **SMALL).resumed == 7


def test_the_prediction_is_relative_to_the_rates_of_the_setting(tmp_path: Path) -> None:
    """At n^(-1/2) given, the same networks: the threshold of the prefactor is flat, and so is its prediction."""
    given = sweep(replace(CE, lr_exponent=CE.lr_exponent - Fraction(1, 2)), tmp_path, **SMALL)
    assert str(given.threshold.predicted) == "0"
    plain = sweep(CE, tmp_path / "plain", **SMALL)
    assert given.threshold.fit.slope == pytest.approx(plain.threshold.fit.slope + 0.5, abs=0.1)


def test_wrong_predictions_disagree(tmp_path: Path) -> None:
    """Under MSE the threshold is n^-1; judged as if it were n^-1/2 or 0 it is refuted."""
    s = setting(mlp(2), "sp", loss_="mse")
    result = sweep(s, tmp_path, **{**SMALL, "widths": (64, 128, 256, 512), "seeds": 3, "steps": 8})
    assert result.threshold.criterion is LOSS
    assert result.verdict is Verdict.AGREES, str(result)
    for wrong in ("1/2", "-1/2", "1"):
        off = result.threshold.predicted + Fraction(wrong)
        assert judge(result.threshold.fit, off).verdict is Verdict.DISAGREES


def test_regression_is_swept_too(tmp_path: Path) -> None:
    s = setting(mlp(2), "mup", optimizer_="adam", loss_="huber")
    result = sweep(s, tmp_path, **{**SMALL, "on": TeacherRegression(batch=16, probe=64)})
    assert result.threshold.criterion is ACTIVATIONS
    assert all(math.isfinite(v) for by_seed in result.threshold.rates.values() for v in by_seed.values())
    assert {t.criterion.name for t in result.others} <= {"loss"}


def test_widths_that_do_not_fit_the_memory_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Trial.execute

    def execute(self: Trial) -> Outcome:
        if self.realization.width == 64:
            return Outcome(self.key, self.config, failure="out of memory")
        return whole(self)

    monkeypatch.setattr(Trial, "execute", execute)
    result = sweep(CE, tmp_path, **{**SMALL, "widths": (8, 16, 32, 64)})
    assert result.threshold.fit.excluded == (64,)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.ok
    json.dumps(result.to_dict(), allow_nan=False)
    assert "none" in str(result)


def test_a_network_that_is_never_unstable_is_inconclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trial, "execute", lambda self: Outcome(self.key, self.config, (1.0, 1.0), 1.0, 1.0, 0.5, 0.2))
    result = sweep(CE, tmp_path, **SMALL)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.threshold.rates[16][0] == math.inf
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (64, 1)}, "sweep, widths: got 1; needs an integer of at least 2"),
        ({"widths": (64, 64)}, "each once"),
        ({"widths": ()}, "needs at least one width"),
        ({"steps": 0}, "sweep, steps: got 0"),
        ({"seeds": True}, "sweep, seeds: got True"),
        ({"workers": -1}, "sweep, workers: got -1"),
        ({"device": "abacus"}, "sweep, device: got 'abacus'"),
        ({"unstable": "vibes"}, "criterion: got 'vibes'; accepted are activations, loss, accuracy"),
        ({"on": "imagenet"}, "data: got 'imagenet'; accepted are digits"),
        ({"on": CharacterSequences()}, "needs data that are vectors; these are token ids in sequence"),
        ({"on": TeacherRegression()}, "targets of the loss ce: got 'floats'; needs class indices"),
    ],
)
def test_bad_input(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as raised:
        sweep(CE, tmp_path, **{**SMALL, **options})
    assert type(raised.value).__module__ == "tensorprog.errors"
    assert not list(tmp_path.iterdir())


def test_accuracy_needs_classes_and_exponents_need_numbers(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="sweep, criterion: got 'accuracy'; needs class indices"):
        sweep(setting(mlp(2), "sp", loss_="mse"), tmp_path, **{**SMALL, "on": TeacherRegression()}, unstable="accuracy")
    with pytest.raises(SettingError, match="got 'free symbols r'; needs a number for every exponent"):
        sweep(setting(mlp(2), "sp", lr_exponent="r"), tmp_path, **SMALL)


@pytest.mark.slow
def test_a_killed_sweep_leaves_no_worker_behind_and_resumes(tmp_path: Path) -> None:
    options = ["--widths", "64,256,1024", "--seeds", "4", "--steps", "20", "--workers", "2", "--device", "cpu"]
    command = [sys.executable, "-m", "tensorprog", "sweep", "--out", str(tmp_path), *options]
    records = tmp_path / "sweep.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + 120
        while not (records.exists() and records.read_bytes().count(b"\n") >= 9):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        # The workers share this pipe: it ends only when they are gone too.
        process.communicate(timeout=30)
    done = records.read_bytes().count(b"\n")
    result = sweep(CE, tmp_path, widths=(64, 256, 1024), seeds=4, steps=20, workers=2, progress=False)
    assert result.resumed == done
    assert result.trained > 0


# -- the physics


PHYSICS = {
    "sp-sgd-ce": (CE, (128, 256, 512, 1024, 2048), Fraction(-1, 2)),
    "sp-sgd-mse": (setting(mlp(2), "sp", loss_="mse"), (128, 256, 512, 1024), Fraction(-1)),
    "mup-sgd-ce": (setting(mlp(2), "mup"), (128, 256, 512, 1024), Fraction(0)),
    "mup-adam-ce": (setting(mlp(2), "mup", optimizer_="adam"), (128, 256, 512, 1024), Fraction(0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PHYSICS))
def test_measured_thresholds_have_the_predicted_exponents(tmp_path: Path, name: str) -> None:
    s, widths, exponent = PHYSICS[name]
    assert stable_rates(s).exponent == exponent
    result = sweep(s, tmp_path, widths=widths, seeds=3, steps=12, workers=1, progress=False)
    fitted = result.threshold.fit
    assert result.verdict is Verdict.AGREES, str(result)
    assert fitted.low <= exponent <= fitted.high, str(result)
    for rival in (exponent - Fraction(1, 2), exponent + Fraction(1, 2)):
        assert not fitted.low <= rival <= fitted.high, str(result)
