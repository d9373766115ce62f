"""Validation: train the cases, measure, fit, judge every predicted number, write records and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from tensorprog.errors import SettingError
from tensorprog.exponent import ZERO
from tensorprog.parametrizations import Parametrization, parametrization
from tensorprog.setting import Setting
from validation.cases import QUICK, Case, Suite, case
from validation.claims import Key, Prediction, parts, predictions
from validation.crossing import Crossing, crossings
from validation.fit import Fit, Sizes, fit
from validation.measure import Quantity
from validation.realize import Realization
from validation.records import Record, Records
from validation.schedule import available_cpus, execute, prepare
from validation.train import Run, device_name
from validation.verdict import Judgement, Part, Verdict, assess, judge_regime, judge_sum, rival_gap

__all__ = ["Failure", "Finding", "Validation", "validate"]

RECORDS = "records.jsonl"


@dataclass(frozen=True)
class Finding:
    """One prediction, what was measured for it, and the verdict.

    Args:
        sizes: width -> seed -> coordinate size, the raw measurements behind the fit.
        gap: the distance from the predicted exponent to its nearest rivals; a fifth of it is allowed for finite width.
        grown: of a regime, the value whose sizes these are: the fastest growing one. None where nothing has sizes.
    """

    case: Case
    prediction: Prediction
    sizes: Sizes
    fit: Fit
    judgement: Judgement
    gap: Fraction = Fraction(1, 2)
    grown: Key | None = None

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
            "predicted": p.stated,
            "slope": _number(self.fit.slope),
            "ci": [_number(self.fit.low), _number(self.fit.high)],
            "verdict": self.verdict.value,
            "reason": self.judgement.reason,
            "drift": _number(self.fit.drift),
            "local_slopes": [round(v, 4) for v in self.fit.local],
            "corrections": [str(e) for e in p.corrections],
            "fit": "power law" if self.fit.correction is None else "two terms",
            "gap": str(self.gap),
            "grown": None if self.grown is None else _named(self.grown),
        }


@dataclass(frozen=True)
class Failure:
    """A run that ended without measurements."""

    case: str
    width: int
    seed: int
    why: str


@dataclass(frozen=True)
class Validation:
    """The result: a finding for every predicted number of every case, and where the records are.

    Args:
        findings: in the order of the cases.
        records: the file that the measurements are in.
        trained, resumed: networks trained now, and found in the records.
        widths, seeds, steps: what was asked for.
        device: what it ran on, in words.
        against: the parametrization whose predictions were judged, where it is not the cases' own.
        failures: runs that have no measurements.
        crossings: where the terms of every measured size exchange dominance.
        files: the report's files by kind.
    """

    findings: tuple[Finding, ...]
    records: Path
    trained: int
    resumed: int
    widths: tuple[int, ...]
    seeds: int
    steps: tuple[int, ...]
    device: str
    against: str | None = None
    failures: tuple[Failure, ...] = ()
    crossings: tuple[Crossing, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)

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
            "against": self.against,
            "widths": list(self.widths),
            "seeds": self.seeds,
            "steps": list(self.steps),
            "device": self.device,
            "failures": [vars(f) for f in self.failures],
            "crossings": [c.to_dict() for c in self.crossings],
            "files": {kind: str(path) for kind, path in self.files.items()},
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
    suite: Suite = QUICK,
    cases: Sequence[Case | str] | None = None,
    widths: Sequence[int] | None = None,
    seeds: int | None = None,
    steps: Sequence[int] | None = None,
    workers: int | None = None,
    device: str = "cpu",
    against: str | Parametrization | None = None,
    progress: bool = True,
    train: bool = True,
    report: bool = True,
) -> Validation:
    """Train networks at several widths and judge every predicted exponent of the cases.

    Args:
        out: folder for the records, tables and plots; records that are there already are not trained again.
        suite: cases, widths, seeds and steps; each can be replaced:
        cases: names or entries of :mod:`validation.cases`.
        widths: at least three for any verdict.
        seeds: networks per width.
        steps: optimizer steps after which to measure; initialisation is measured always.
        workers: processes; default: one per available CPU, at most 8. Results do not depend on it.
        device: a torch device.
        against: judge the runs against the predictions of another parametrization ("I claim this is muP"), everything
            else as in the case, its global learning-rate exponent included.
        progress: show a progress bar with the time left, on stderr, where that is a terminal.
        train: train what is not recorded; else that is an error, and the device need not be there.
        report: write the report; else nothing but records is written.

    Raises:
        SettingError, UnknownName: for widths, seeds or steps that make no sense, unknown cases, and missing records.
    """
    chosen = [case(c) for c in (suite.cases if cases is None else cases)]
    if not chosen or len({c.name for c in chosen}) != len(chosen):
        raise SettingError("validate, cases", [c.name for c in chosen], "needs at least one case, each name once")
    if train:
        _usable(device)
    grid = _whole("widths", suite.widths if widths is None else widths, least=2)
    measured = _whole("steps", suite.steps if steps is None else steps, least=1)
    replicates = _whole("seeds", [suite.seeds if seeds is None else seeds], least=1)[0]
    count = _whole("workers", [available_cpus() if workers is None else workers], least=1)[0]
    claimed = None if against is None else parametrization(against)
    prepare(chosen, workers=count, progress=progress)
    runs = {
        (c.name, n, s): Run(c.setting, _realization(c, n, s, device), c.data, measured)
        for c in chosen
        for n in grid
        for s in range(replicates)
    }
    records = Records(Path(out) / RECORDS)
    missing = [r for r in runs.values() if r.key not in records]
    if missing and not train:
        got = f"{len(missing)} of {len(runs)} networks missing"
        raise SettingError("validate, records", got, f"needs all of them in {str(records.path)!r}")
    execute(missing, records, workers=count, progress=progress)
    found = {at: records[run.key] for at, run in runs.items()}
    findings: list[Finding] = []
    crossed: list[Crossing] = []
    for c in chosen:
        table = _sizes(c, found)
        findings += judged(c, table, measured, claimed)
        crossed += crossings(c.name, _claim(c, claimed), table, measured, _gap(c, claimed))
    result = Validation(
        tuple(findings),
        records.path,
        trained=len(missing),
        resumed=len(runs) - len(missing),
        widths=grid,
        seeds=replicates,
        steps=measured,
        device=", ".join(dict.fromkeys(r.device for r in found.values() if r.device)) or device_name(device),
        against=None if claimed is None else str(claimed),
        failures=tuple(Failure(*at, r.failure) for at, r in found.items() if r.failure),
        crossings=tuple(crossed),
    )
    if report:
        from validation.report import write

        result.files.update(write(result, Path(out)))
    return result


def _sizes(c: Case, found: dict[tuple[str, int, int], Record]) -> dict[Key, dict[int, dict[int, float]]]:
    """Measured sizes of one case: key -> width -> seed -> size."""
    table: dict[Key, dict[int, dict[int, float]]] = {}
    for (name, n, s), record in found.items():
        if name == c.name:
            for m in record.measurements:
                table.setdefault((m.site, m.quantity, m.step), {}).setdefault(n, {})[s] = m.size
    return table


def judged(
    c: Case, table: dict[Key, dict[int, dict[int, float]]], steps: Sequence[int], claimed: Parametrization | None = None
) -> list[Finding]:
    """Fit and judge every prediction of one case, or of the same setting in the claimed parametrization."""
    claim = _claim(c, claimed)
    gap = _gap(c, claimed)
    found: dict[Key, Finding] = {}
    for p in predictions(claim, steps):
        if p.quantity is Quantity.REGIME:
            return [_regime(c, p, table, gap)]
        sizes = table.get(p.key, {})
        fitted, judgement = assess(sizes, p.exponent, p.corrections, gap, transient=p.transient)
        found[p.key] = Finding(c, p, sizes, fitted, judgement, gap)
    return [_reconsidered(f, found, claim, table, gap) for f in found.values()]


def _claim(c: Case, claimed: Parametrization | None) -> Setting:
    """The setting whose predictions are judged."""
    return c.setting if claimed is None else replace(c.setting, parametrization=claimed)


def _gap(c: Case, claimed: Parametrization | None) -> Fraction:
    """The distance to the nearest rivals of its predictions."""
    return min(rival_gap(c.setting), rival_gap(_claim(c, claimed)))


def _reconsidered(
    f: Finding,
    found: dict[Key, Finding],
    claim: Setting,
    table: dict[Key, dict[int, dict[int, float]]],
    gap: Fraction,
) -> Finding:
    """The finding, judged once more as a sum where a smaller part still bends it; so are parts that are sums."""
    if f.verdict is not Verdict.DISAGREES:
        return f
    terms = []
    for key in parts(claim, f.prediction):
        if key in found:
            g = _reconsidered(found[key], found, claim, table, gap)
            terms.append(Part(str(g.prediction), g.fit, g.prediction.exponent, g.verdict))
        elif key in table:
            # What the network has no part in, such as the targets: their size does not depend on the width.
            terms.append(Part(key[1].value, fit(table[key]), ZERO, Verdict.AGREES))
    return replace(f, judgement=judge_sum(f.judgement, f.prediction.exponent, terms, gap))


def _regime(c: Case, p: Prediction, table: dict[Key, dict[int, dict[int, float]]], gap: Fraction) -> Finding:
    """The verdict on a catastrophic claim, with the fastest growing value behind it.

    Updates count besides activations: where all relus of a layer have died, its activation no longer shows what
    happened to its input.
    """
    inner = {s.name for s in c.setting.program.sites if s.activation != c.setting.program.output}
    grown: dict[Key, Sizes] = {k: sizes for k, sizes in table.items() if k[0] in inner}
    steepest, judgement = judge_regime(grown, gap)
    sizes = table[steepest] if steepest is not None else {}
    return Finding(c, p, sizes, fit(sizes), judgement, gap, steepest)


def _named(key: Key) -> dict[str, Any]:
    site, quantity, step = key
    return {"site": site, "quantity": quantity.value, "step": step}


def _realization(c: Case, width: int, seed: int, device: str) -> Realization:
    constants = c.constants
    return Realization(
        width,
        base_width=constants.base_width,
        base_lr=constants.base_lr,
        output_scale=constants.output_scale,
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
