"""Sweeps: the smallest unstable and the optimal learning rate over widths, against the predicted exponent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tensorprog.errors import SettingError
from tensorprog.exponent import Exponent
from tensorprog.setting import Setting
from tensorprog.stability import StableRates, stable_rates
from validation.constants import BASE_WIDTH
from validation.data import CharacterSequences, Data, Digits, data
from validation.fit import Fit, Sizes, fit
from validation.ledger import Ledger
from validation.realize import Realization
from validation.schedule import available_cpus
from validation.sweep.crew import Plan, Point, carry_out
from validation.sweep.criterion import CRITERIA, Criterion, criterion, default_criterion
from validation.sweep.search import Found, search, threshold
from validation.sweep.trial import Outcome, Trial
from validation.verdict import Judgement, Verdict, judge, rival_gap

__all__ = ["PROBE", "SEEDS", "STEPS", "WIDTHS", "Sweep", "Threshold", "sweep"]

WIDTHS = (128, 256, 512, 1024, 2048)
SEEDS = 4
STEPS = 30
RECORDS = "sweep.jsonl"
PROBE = 512
"""Held-out examples: the loss that the optimum is read off should not depend on which they are."""
TRIALS = 10
"""About as many a search takes; for the progress bar alone."""


@dataclass(frozen=True)
class Threshold:
    """The smallest unstable learning rate over widths, by one criterion.

    Args:
        criterion: what unstable means.
        predicted: exponent of the threshold, relative to the rates that the setting gives already: the theory's
            supremum less the setting's own ``lr_exponent``.
        rates: width -> seed -> learning rate (of every weight at the base width).
        judgement: None where the threshold was not searched for, only read off what another search tried.
    """

    criterion: Criterion
    predicted: Exponent
    rates: Sizes
    fit: Fit
    judgement: Judgement | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        told = {"verdict": self.judgement.verdict.value, "reason": self.judgement.reason} if self.judgement else {}
        return {
            "criterion": self.criterion.name,
            "unstable": self.criterion.says,
            "predicted": str(self.predicted),
            **_scaling(self.fit, self.rates),
            **told,
        }


@dataclass(frozen=True)
class Sweep:
    """The result.

    Args:
        setting, template: what was trained; ``template`` holds the constants.
        rates: the theory's suprema of the learning-rate exponent.
        threshold: the one that is judged.
        others: thresholds by other criteria, where the learning rates that were tried bracket them at every width.
        optima: width -> seed -> learning rate of the lowest held-out loss.
        optimum: their fit.
        found: (width, seed) -> everything that was tried.
        records: the file of outcomes.
        files: the report's files by kind.
        trained, resumed: networks trained now, and taken from the records.
    """

    setting: Setting
    template: Trial
    rates: StableRates
    threshold: Threshold
    others: tuple[Threshold, ...]
    optima: Sizes
    optimum: Fit
    found: Mapping[tuple[int, int], Found]
    records: Path
    trained: int
    resumed: int
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        assert self.threshold.judgement is not None
        return self.threshold.judgement.verdict

    @property
    def ok(self) -> bool:
        """False where the threshold's exponent disagrees with the prediction: the command's exit code."""
        return self.verdict is not Verdict.DISAGREES

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(sorted({width for width, _ in self.found}))

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({seed for _, seed in self.found}))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``tensorprog sweep --json``."""
        real = self.template.realization
        return {
            "setting": self.setting.to_dict(),
            "threshold": self.threshold.to_dict(),
            "optimum": _scaling(self.optimum, self.optima),
            "others": [t.to_dict() for t in self.others],
            **self.rates.to_dict(),
            "widths": list(self.widths),
            "seeds": list(self.seeds),
            "steps": self.template.steps,
            "base_width": real.base_width,
            "data": self.template.data.config,
            "records": str(self.records),
        }

    def to_frame(self) -> Any:
        """A pandas frame, one row per network: long form for people's own plots."""
        from validation.sweep.report import frame

        return frame(self)

    def __str__(self) -> str:
        from validation.sweep.report import text

        return text(self)


def sweep(
    setting: Setting,
    out: Path | str,
    *,
    widths: Sequence[int] = WIDTHS,
    seeds: int = SEEDS,
    steps: int = STEPS,
    unstable: str | Criterion | None = None,
    on: Data | str | None = None,
    workers: int | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> Sweep:
    """Find the smallest unstable and the optimal learning rate at every width, fit both exponents, judge the first.

    Args:
        setting: one setting; its ``lr_exponent`` is part of what is trained.
        out: folder for the records, tables and plots; networks that are recorded there are not trained again.
        widths: at least three for any verdict.
        seeds: networks per width and learning rate.
        steps: optimizer steps per network.
        unstable: a criterion or its name; default: the loss where its derivative grows with the logits, activations
            elsewhere.
        on: data, or their name: they then have a larger probe than by default. None for data that the network reads:
            digits, or characters in sequence.
        workers: processes; default: one per available CPU, at most 8. Results do not depend on it.
        device: a torch device.
        progress: show a progress bar with the time left, on stderr, where that is a terminal.

    Raises:
        TensorprogError: for options that make no sense, data that do not fit the network or the loss, and settings with
            free symbols.
    """
    counts = {"steps": steps, "seeds": seeds, "workers": available_cpus() if workers is None else workers}
    for name, count in counts.items():
        _whole(name, count, least=1)
    grid = sorted({_whole("widths", n, least=2) for n in widths})
    if not grid or len(grid) != len(widths):
        raise SettingError("sweep, widths", list(widths), "needs at least one width, each once")
    if setting.symbols:
        symbols = ", ".join(sorted(setting.symbols))
        raise SettingError(
            "sweep, setting", f"free symbols {symbols}", "needs a number for every exponent to train with"
        )
    chosen = default_criterion(setting.loss) if unstable is None else criterion(unstable)
    source = data(on, probe=PROBE) if isinstance(on, str) else on or _default(setting)
    rates = stable_rates(setting)
    template = Trial(setting, Realization(grid[0], base_width=BASE_WIDTH, device=device), source, steps)
    _usable(device)
    _fitting(template, chosen)
    ledger = Ledger(Path(out) / RECORDS, Outcome.from_line)
    plans = [_over_widths(chosen, grid, seed) for seed in range(seeds)]
    with _Bar(template, grid, seeds, progress) as bar:
        parts = carry_out(plans, template, ledger, workers=counts["workers"], watch=bar.saw)
    found = {at: f for part in parts for at, f in part.items()}
    result = _result(template, rates, chosen, found, ledger.path, bar)
    from validation.sweep.report import write

    result.files.update(write(result, Path(out)))
    return result


def _over_widths(chosen: Criterion, widths: Sequence[int], seed: int) -> Plan[dict[tuple[int, int], Found]]:
    """One seed's searches from the smallest width to the largest, each from where the last one ended."""
    found: dict[tuple[int, int], Found] = {}
    start = 0
    for width in widths:
        steps = search(chosen, start)
        wanted = next(steps)
        while (width, seed) not in found:
            points = {k: Point(width, seed, 2.0**k) for k in wanted}
            outcomes = yield list(points.values())
            try:
                wanted = steps.send({k: outcomes[p] for k, p in points.items()})
            except StopIteration as end:
                found[width, seed] = end.value
        start = found[width, seed].octave
    return found


def _result(
    template: Trial,
    rates: StableRates,
    chosen: Criterion,
    found: Mapping[tuple[int, int], Found],
    records: Path,
    bar: _Bar,
) -> Sweep:
    optima = _table(found, lambda f: f.optimum)
    judged = _threshold(template.setting, rates, chosen, _table(found, lambda f: f.threshold), judged=True)
    others = []
    for other in CRITERIA.values():
        if other is not chosen:
            table = _table(found, lambda f, other=other: threshold(other, f.outcomes))  # type: ignore[misc]
            read = _threshold(template.setting, rates, other, table, judged=False)
            if read.fit.decidable:
                others.append(read)
    return Sweep(
        template.setting,
        template,
        rates,
        judged,
        tuple(others),
        optima,
        fit(optima),
        found,
        records,
        bar.trained,
        bar.resumed,
    )


def _threshold(setting: Setting, rates: StableRates, chosen: Criterion, table: Sizes, *, judged: bool) -> Threshold:
    predicted = chosen.supremum(rates).exponent - setting.lr_exponent
    fitted = fit(table)
    if not judged:
        return Threshold(chosen, predicted, table, fitted)
    if predicted.infinite:
        why = "the theory has no finite threshold: nothing diverges, or everything does, at every learning rate"
        return Threshold(chosen, predicted, table, fitted, Judgement(Verdict.INCONCLUSIVE, why))
    return Threshold(chosen, predicted, table, fitted, judge(fitted, predicted, rival_gap(setting)))


def _table(found: Mapping[tuple[int, int], Found], value: Callable[[Found], float]) -> dict[int, dict[int, float]]:
    """width -> seed -> value."""
    table: dict[int, dict[int, float]] = {}
    for (width, seed), f in sorted(found.items()):
        table.setdefault(width, {})[seed] = value(f)
    return table


def _scaling(fitted: Fit, rates: Sizes) -> dict[str, Any]:
    """A fitted exponent and the learning rates behind it, as JSON values."""
    return {
        "exponent": _number(fitted.slope),
        "ci": [_number(fitted.low), _number(fitted.high)],
        "drift": _number(fitted.drift),
        "learning_rates": {str(n): [_number(v) for v in by_seed.values()] for n, by_seed in rates.items()},
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def _whole(what: str, value: int, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingError(f"sweep, {what}", value, f"needs an integer of at least {least}")
    return value


def _usable(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingError("sweep, device", device, f"torch cannot use it: {str(error).splitlines()[0]}") from None


def _fitting(template: Trial, chosen: Criterion) -> None:
    """Refuse data that do not suit the network, the loss or the criterion, before anything is trained."""
    probe = template.data.probe_batch()
    name = template.data.name
    wanted, got = _form(template.setting), SEQUENCES if not probe.x.is_floating_point() else FORMS[probe.x.dim()]
    if got != wanted:
        raise SettingError("sweep, data", name, f"needs data that are {wanted}; these are {got}")
    classes = not probe.y.is_floating_point()
    if chosen.classes and not classes:
        raise SettingError("sweep, criterion", chosen.name, f"needs class indices; the targets of {name} are real")
    logits = torch.zeros(len(probe.y), template.data.sizes["classes"])
    template.setting.loss.torch(logits, probe.to("cpu", torch.float32).y)  # raises where targets do not suit the loss


SEQUENCES = "token ids in sequence"
FORMS = {2: "vectors", 4: "images"}
"""What data are, by the number of axes of a batch."""


def _form(s: Setting) -> str:
    """What the network reads."""
    return SEQUENCES if s.program.reads_sequences else FORMS[4 if s.program.reads_images else 2]


def _default(s: Setting) -> Data:
    """Data without files that the network reads, with a probe large enough to compare losses on."""
    if s.program.reads_sequences:
        return CharacterSequences(batch=8, probe=PROBE // 16, context=16)
    return Digits(probe=PROBE, images=s.program.reads_images)


class _Bar:
    """Progress with the time left, and the counts of networks."""

    def __init__(self, template: Trial, widths: Sequence[int], seeds: int, shown: bool) -> None:
        self.trained = self.resumed = 0
        self.left = {(n, s): TRIALS * template.at(n, s, 1.0).cost for n in widths for s in range(seeds)}
        console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%  time left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not (shown and console.is_terminal),
        )
        self.task = self.bar.add_task("sweeping", total=sum(self.left.values()))

    def saw(self, trial: Trial, fresh: bool) -> None:
        """One network more; a search that takes more of them than expected does not move the bar beyond its share."""
        self.trained += fresh
        self.resumed += not fresh
        real = trial.realization
        step = min(trial.cost, self.left[real.width, real.seed])
        self.left[real.width, real.seed] -= step
        words = f"{self.trained} networks trained, now at width {real.width}"
        self.bar.update(self.task, advance=step, description=words)

    def __enter__(self) -> _Bar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
