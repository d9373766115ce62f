"""The verbs that derive: predict, table, max-lr, explain."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tensorprog.alignment import ALIGNMENTS
from tensorprog.cli.entries import split
from tensorprog.cli.options import (
    check_layers,
    read_conditions,
    read_exponent,
    read_free,
    read_kind,
    read_layers,
    read_losses,
    read_names,
    read_optimizers,
    read_parametrization,
    read_programs,
    read_setting,
)
from tensorprog.cli.output import check_output, emit
from tensorprog.cli.parser import Given, UsageError, listed, shortened
from tensorprog.cli.training import LOSS, OPTIMIZER
from tensorprog.derivation import MAX_DEPTH
from tensorprog.derive import derive_setting
from tensorprog.errors import UnknownName
from tensorprog.exponent import Exponent
from tensorprog.family import family
from tensorprog.parametrizations import PARAMETRIZATIONS
from tensorprog.setting import MAX_STEPS, Setting
from tensorprog.stability import stable_rates
from tensorprog.table import LARGEST, Progress, table

__all__ = ["explain", "max_lr", "predict", "tabulate"]

SLOW = 40
"""Networks with more weights, or more steps, than this can take seconds: say that something happens."""


def predict(given: Given) -> int:
    """One setting: exponents per site and step, regime, learning, reasons, the largest stable learning rates."""
    free = read_free(given)
    check_output(given, records=not free)
    s = read_setting(given, free)
    with _working(s):
        if free:
            emit(given, family(s, derive_setting, read_conditions(given, free)))
            return 0
        d = derive_setting(s)
        rates = d.max_stable_lr()
    emit(given, d, rates=rates)
    return 0


def max_lr(given: Given) -> int:
    """The largest learning-rate exponents of one setting, and whether its own exponent is among the stable ones."""
    check_output(given)
    s = read_setting(given)
    with _working(s):
        rates = replace(stable_rates(s), setting=s)
    emit(given, rates)
    return 0


def explain(given: Given) -> int:
    """The rule chain of one exponent."""
    check_output(given)
    if "TARGET" not in given:
        raise UsageError("TARGET", "is missing; name an exponent, such as readout.propagating or logits")
    step = given.integer("--step", 1, 0, MAX_STEPS)
    depth = given.integer("--depth", 12, 1, MAX_DEPTH)
    s = read_setting(given, steps=max(step, 4))
    if step > s.steps:
        raise UsageError("--step", f"got {step}, but --steps derives {s.steps} only; needs at most as many")
    with _working(s):
        d = derive_setting(s)
    try:
        e = d.explanation(given.text("TARGET"), step=step, depth=depth)
    except UnknownName as error:
        got = shortened(error.got)
        raise UsageError("TARGET", f"got {got}; accepted at step {step} are {listed(error.accepted)}") from error
    emit(given, e)
    return 0


def tabulate(given: Given) -> int:
    """Many settings; 1 where some of them could not be derived."""
    check_output(given, records=True)
    programs = read_programs(given)
    layers = read_layers(given)
    if layers:
        check_layers(layers, programs)
    named = [
        PARAMETRIZATIONS[n] for n in read_names(given, "--parametrization", PARAMETRIZATIONS, list(PARAMETRIZATIONS))
    ]
    scalings = [read_parametrization(given, base, programs) for base in ([layers] if layers else named)]
    trained = read_optimizers(given, read_kind(given, OPTIMIZER, ["sgd", "adam"]))
    losses = read_losses(given, read_kind(given, LOSS, ["ce", "mse"]))
    step = given.integer("--step", 0, 1, MAX_STEPS)
    steps = given.integer("--steps", max(step, 4), 1, MAX_STEPS)
    if step > steps:
        raise UsageError("--step", f"got {step}, but --steps derives {steps} only; needs at most as many")
    rates = [_rate(text) for text in split("--lr-exponent", given.text("--lr-exponent", f"0,{LARGEST}"))]
    with _progress() as progress:
        result = table(
            programs,
            scalings,
            optimizer=trained,
            loss=losses,
            lr_exponent=rates,
            zero_readout="--zero-readout" in given,
            alignment=read_names(given, "--alignment", ALIGNMENTS, ["derived"]),
            steps=steps,
            step=step or None,
            progress=progress,
        )
    failed = [row for row in result if row.error]
    if len(failed) == len(result):
        raise UsageError("", f"no setting could be derived: {failed[0].error}")
    emit(given, result)
    return 1 if failed else 0


def _rate(text: str) -> str | Exponent:
    return text if text == LARGEST else read_exponent("--lr-exponent", text, frozenset())


@contextmanager
def _working(s: Setting) -> Iterator[None]:
    """A sign of life on a terminal while a deep network or many steps are derived."""
    if max(len(s.program.weights), s.steps) <= SLOW or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"deriving {s.program.label}"):
        yield


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A progress bar on a terminal, gone when done."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("deriving", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
