"""Validation: train the cases, measure, fit, judge every predicted number, write records and report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from tensorprog.errors import SettingError
from validation.cases import QUICK, Case, Prediction, case, parts, predictions
from validation.fit import Fit, fit
from validation.measure import Quantity
from validation.realize import Realization
from validation.records import Record, Records
from validation.schedule import available_cpus, execute
from validation.train import Run
from validation.verdict import Judgement, Part, Verdict, judge, judge_sum, rival_gap

__all__ = ["QUICK_SEEDS", "QUICK_STEPS", "QUICK_WIDTHS", "Finding", "Validation", "validate"]

QUICK_WIDTHS = (256, 512, 1024, 2048, 4096)
QUICK_SEEDS = 4
QUICK_STEPS = (1, 3)
RECORDS = "records.jsonl"


@dataclass(frozen=True)
class Finding:
    """One predicted exponent, what was measured for it, and the verdict.

    Args:
        sizes: width -> seed -> coordinate size, the raw measurements behind the fit.
    """

    case: Case
    prediction: Prediction
    sizes: dict[int, dict[int, float]]
    fit: Fit
    judgement: Judgement

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; slopes and bounds that do not exist are null."""
        p = self.prediction
        return {
            "case": self.case.name,
            "site": p.site,
            "quantity": p.quantity.value,
            "step": p.step,
            "predicted": str(p.exponent),
            "slope": _number(self.fit.slope),
            "ci": [_number(self.fit.low), _number(self.fit.high)],
            "verdict": self.verdict.value,
            "reason": self.judgement.reason,
            "drift": _number(self.fit.drift),
            "local_slopes": [round(v, 4) for v in self.fit.local],
        }


@dataclass(frozen=True)
class Validation:
    """The result: a finding for every predicted number of every case, and where the records are.

    ``files`` are the report's files by kind (``json``, ``csv``, ``png``, ``pdf``).
    """

    findings: tuple[Finding, ...]
    records: Path
    files: dict[str, Path]
    trained: int
    resumed: int

    def count(self, verdict: Verdict) -> int:
        return sum(f.verdict is verdict for f in self.findings)

    @property
    def summary(self) -> dict[str, int]:
        """How many predictions agree, disagree, are inconclusive."""
        return {v.value: self.count(v) for v in Verdict}

    @property
    def ok(self) -> bool:
        """False where any prediction disagrees: the command's exit code."""
        return not self.count(Verdict.DISAGREES)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``tensorprog validate --json``."""
        return {
            "summary": self.summary,
            "predictions": [f.to_dict() for f in self.findings],
            "records": str(self.records),
        }

    def to_frame(self) -> Any:
        """A pandas frame, one row per measured size: long form for people's own plots."""
        from validation.report import frame

        return frame(self)

    def __str__(self) -> str:
        from validation.report import text

        return text(self)


def validate(
    out: Path | str,
    *,
    cases: Sequence[Case | str] = QUICK,
    widths: Sequence[int] | None = None,
    seeds: int | None = None,
    steps: Sequence[int] | None = None,
    workers: int | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> Validation:
    """Train networks at several widths and judge every predicted exponent of the cases.

    Args:
        out: folder for the records, tables and plots; records that are there already are not trained again.
        cases: names or entries of :mod:`validation.cases`.
        widths: at least three for any verdict.
        seeds: networks per width.
        steps: optimizer steps after which to measure; initialisation is measured always.
        workers: processes; default: one per available CPU, at most 8. Results do not depend on it.
        device: a torch device.
        progress: show a progress bar with the time left, on stderr, where that is a terminal.

    Raises:
        SettingError, UnknownName: for widths, seeds or steps that make no sense, and unknown cases.
    """
    chosen = [case(c) for c in cases]
    if not chosen or len({c.name for c in chosen}) != len(chosen):
        raise SettingError("validate, cases", [c.name for c in chosen], "needs at least one case, each name once")
    _usable(device)
    grid = _whole("widths", QUICK_WIDTHS if widths is None else widths, least=2)
    measured = _whole("steps", QUICK_STEPS if steps is None else steps, least=1)
    replicates = _whole("seeds", [QUICK_SEEDS if seeds is None else seeds], least=1)[0]
    count = _whole("workers", [available_cpus() if workers is None else workers], least=1)[0]
    runs = {
        (c.name, n, s): Run(c.setting, _realization(c, n, s, device), steps=measured)
        for c in chosen
        for n in grid
        for s in range(replicates)
    }
    records = Records(Path(out) / RECORDS)
    missing = [r for r in runs.values() if r.key not in records]
    execute(missing, records, workers=count, progress=progress)
    findings = [f for c in chosen for f in _judge(c, measured, grid, replicates, lambda *at: records[runs[at].key])]
    result = Validation(tuple(findings), records.path, {}, len(missing), len(runs) - len(missing))
    from validation.report import write

    result.files.update(write(result, Path(out)))
    return result


def _judge(
    c: Case, steps: Sequence[int], widths: Sequence[int], seeds: int, record: Callable[[str, int, int], Record]
) -> list[Finding]:
    """Fit and judge every prediction of one case."""
    table: dict[tuple[str, Quantity, int], dict[int, dict[int, float]]] = {}
    for n in widths:
        for s in range(seeds):
            for m in record(c.name, n, s).measurements:
                table.setdefault((m.site, m.quantity, m.step), {}).setdefault(n, {})[s] = m.size
    gap = rival_gap(c.setting)
    found: dict[tuple[str, Quantity, int], Finding] = {}
    for p in predictions(c.setting, steps):
        sizes = table[p.site, p.quantity, p.step]
        fitted = fit(sizes)
        found[p.site, p.quantity, p.step] = Finding(c, p, sizes, fitted, judge(fitted, p.exponent, gap))
    result = []
    for f in found.values():
        terms = [found[key] for key in parts(c.setting, f.prediction)]
        named = [Part(_name(t.prediction), t.fit, t.prediction.exponent, t.verdict) for t in terms]
        own = judge_sum(f.judgement, f.prediction.exponent, named, gap)
        result.append(Finding(c, f.prediction, f.sizes, f.fit, own))
    return result


def _name(p: Prediction) -> str:
    return f"{p.site}.{p.quantity.value}" + ("" if p.step else " at initialisation")


def _realization(c: Case, width: int, seed: int, device: str) -> Realization:
    return Realization(
        width,
        base_width=c.base_width,
        base_lr=c.base_lr,
        output_scale=c.output_scale,
        seed=seed,
        device=device,
    )


def _whole(what: str, values: Sequence[int], *, least: int) -> tuple[int, ...]:
    for v in values:
        if isinstance(v, bool) or not isinstance(v, int) or v < least:
            raise SettingError(f"validate, {what}", v, f"needs integers of at least {least}")
    if not values or len(set(values)) != len(values):
        raise SettingError(f"validate, {what}", list(values), "needs at least one value, each once")
    return tuple(sorted(values))


def _usable(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).splitlines()[0]
        raise SettingError("validate, device", device, f"torch cannot use it here: {why}") from None


def _number(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else round(value, 4)
