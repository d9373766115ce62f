"""How much the refined coordinate check costs, next to plain training and to torch-module-monitor.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_refined_check [--optimizer adam]

An MLP with four hidden layers on scikit-learn's digits, batches of 64, ten steps, one thread, every step measured on
the same probe batch of 32 by

    a  nobody
    b  RefinedCheck: all quantities, chi and gradients included
    c  torch-module-monitor's refined coordinate check as its README has it, the probe in place of the training batch:
       reference model, model, check
    d  the same on the training batch, whose forward pass it shares, as its README has it to the letter

Runs alternate and their time is that of the processor, so that a busy machine disturbs the ratios least; of the
repeated runs of each seed the fastest counts. Building a check is not part of a run and is shown apart.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch_module_monitor import ModuleMonitor
from torch_module_monitor import RefinedCoordinateCheck as OtherCheck

from validation.monitor import RefinedCheck

WIDTHS = (64, 128, 256, 512, 1024, 2048)
BATCH, PROBE = 64, 32


@dataclass(frozen=True)
class Task:
    """Batches of one seed, and the probe."""

    batches: list[tuple[Tensor, Tensor]]
    probe: tuple[Tensor, Tensor]

    @classmethod
    def digits(cls, steps: int, seed: int) -> Task:
        x, y = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
        x = x.float() / 16
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        parts = [order[PROBE + BATCH * t :][:BATCH] for t in range(steps)]
        return cls([(x[i], y[i]) for i in parts], (x[order[:PROBE]], y[order[:PROBE]]))


def mlp(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    hidden = [m for _ in range(3) for m in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), *hidden, nn.Linear(width, 10))


Contender = Callable[[nn.Module, Task, torch.optim.Optimizer], tuple[float, float]]
"""Seconds to build and to train with the check."""


def _train(
    model: nn.Module,
    task: Task,
    optimizer: torch.optim.Optimizer,
    before: Callable[[int, Tensor], object] = lambda step, x: None,
    between: Callable[[int], object] = lambda step: None,
    after: Callable[[int], object] = lambda step: None,
) -> float:
    started = time.process_time()
    for step, (x, y) in enumerate(task.batches, start=1):
        before(step, x)
        value = cross_entropy(model(x), y)
        optimizer.zero_grad()
        value.backward()
        between(step)
        optimizer.step()
        after(step)
    return time.process_time() - started


def plain(model: nn.Module, task: Task, optimizer: torch.optim.Optimizer) -> tuple[float, float]:
    return 0.0, _train(model, task, optimizer)


def ours(model: nn.Module, task: Task, optimizer: torch.optim.Optimizer) -> tuple[float, float]:
    started = time.process_time()
    check = RefinedCheck(model, task.probe[0], loss=cross_entropy, targets=task.probe[1])
    built = time.process_time() - started
    return built, _train(model, task, optimizer, after=check.at)


def _other(model: nn.Module) -> tuple[ModuleMonitor, nn.Module, OtherCheck]:
    reference = copy.deepcopy(model)
    monitor = ModuleMonitor(monitor_step_fn=lambda step: True)
    monitor.set_module(model)
    monitor.set_reference_module(reference)
    return monitor, reference, OtherCheck(monitor)


def other_on_probe(model: nn.Module, task: Task, optimizer: torch.optim.Optimizer) -> tuple[float, float]:
    started = time.process_time()
    monitor, reference, check = _other(model)
    built = time.process_time() - started

    def after(step: int) -> None:
        monitor.begin_step(step)
        with torch.no_grad():
            reference(task.probe[0])
            model(task.probe[0])
        check.refined_coordinate_check()
        monitor.end_step()

    return built, _train(model, task, optimizer, after=after)


def other_on_batch(model: nn.Module, task: Task, optimizer: torch.optim.Optimizer) -> tuple[float, float]:
    started = time.process_time()
    monitor, reference, check = _other(model)
    built = time.process_time() - started

    def before(step: int, x: Tensor) -> None:
        monitor.begin_step(step)
        with torch.no_grad():
            reference(x)

    def between(step: int) -> None:
        check.refined_coordinate_check()

    def after(step: int) -> None:
        monitor.end_step()

    return built, _train(model, task, optimizer, before, between, after)


CONTENDERS: dict[str, Contender] = {"a": plain, "b": ours, "c": other_on_probe, "d": other_on_batch}


@dataclass(frozen=True)
class Row:
    """Seconds per step at one width, by contender; and to build the check."""

    width: int
    step: dict[str, float]
    built: float

    @property
    def total(self) -> float:
        """Training with our check over plain training: b / a."""
        return self.step["b"] / self.step["a"]

    @property
    def advantage(self) -> float:
        """The time that the other check adds, over the time that ours adds: (c - a) / (b - a)."""
        return (self.step["c"] - self.step["a"]) / (self.step["b"] - self.step["a"])


OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-4),
}


def measure(width: int, seeds: int, steps: int, repeats: int, optimizer: str = "sgd") -> Row:
    """One row; each seed's fastest of ``repeats`` runs, averaged over seeds."""
    fastest: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    built: list[float] = []
    for seed in range(seeds):
        task = Task.digits(steps, seed)
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
        for _ in range(repeats):
            for name, contender in CONTENDERS.items():
                model = mlp(width, seed)
                runs[name].append(contender(model, task, OPTIMIZERS[optimizer](model.parameters())))
        for name, found in runs.items():
            fastest[name].append(min(seconds for _, seconds in found) / steps)
        built.append(min(seconds for seconds, _ in runs["b"]))
    return Row(width, {name: fmean(x) for name, x in fastest.items()}, fmean(built))


def table(rows: Sequence[Row]) -> str:
    """Milliseconds per step and ratios, as Markdown."""
    lines = [
        "| width | a, ms | b / a | c / a | d / a | (c - a) / (b - a) | build b, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        a = r.step["a"]
        ratios = [f"{r.step[name] / a:.2f}" for name in "bcd"]
        lines.append(f"| {r.width} | {1e3 * a:.2f} | {' | '.join(ratios)} | {r.advantage:.1f} | {1e3 * r.built:.1f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(table([measure(w, options.seeds, options.steps, options.repeats, options.optimizer) for w in options.widths]))


if __name__ == "__main__":
    main()
