"""How much the refined coordinate check costs, next to plain training and to torch-module-monitor.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_refined_check [--optimizer adam]

An MLP with four hidden layers on scikit-learn's digits, batches of 64, three seeds, ten steps, one thread, every step
measured on the same probe batch by

    a  nobody
    b  RefinedCheck: all quantities, chi and gradients included
    c  torch-module-monitor's refined coordinate check as its README has it, the probe in place of the training batch:
       reference model, model, check
    d  the same on the training batch, whose forward pass it shares, as its README has it to the letter
    g  RefinedCheck without gradients, alignments and chi: the quantities that torch-module-monitor measures
    e  the harness: the same network as a program, all seeds as one batch up to width WIDEST, one by one above, with
       CoordinateCheck. It takes its sizes and chi, but no gradients and no alignments
    f  the harness without measuring

Runs alternate and their time is that of the processor, so that a busy machine disturbs the ratios least; of the
repeated runs of each contender the fastest counts. Building a check is not part of a run and is shown apart.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch_module_monitor import ModuleMonitor
from torch_module_monitor import RefinedCoordinateCheck as OtherCheck

from tensorprog import architectures
from tensorprog.setting import setting
from validation.data import Batch
from validation.ensemble import WIDEST, stacked, train_together
from validation.measure import CoordinateCheck
from validation.monitor import RefinedCheck
from validation.realize import Network, Realization
from validation.train import train

WIDTHS = (64, 128, 256, 512, 1024, 2048)
BATCH, PROBE = 64, 32


@dataclass(frozen=True)
class Task:
    """Batches of one seed, and the probe."""

    batches: list[tuple[Tensor, Tensor]]
    probe: tuple[Tensor, Tensor]

    @classmethod
    def digits(cls, steps: int, seed: int, probe: int = PROBE) -> Task:
        x, y = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
        x = x.float() / 16
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        parts = [order[probe + BATCH * t :][:BATCH] for t in range(steps)]
        return cls([(x[i], y[i]) for i in parts], (x[order[:probe]], y[order[:probe]]))


def mlp(width: int, seed: int, bias: bool = False) -> nn.Module:
    torch.manual_seed(seed)
    hidden = [m for _ in range(3) for m in (nn.Linear(width, width, bias), nn.ReLU())]
    return nn.Sequential(nn.Linear(64, width, bias), nn.ReLU(), *hidden, nn.Linear(width, 10, bias))


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


def ours_of_updates(model: nn.Module, task: Task, optimizer: torch.optim.Optimizer) -> tuple[float, float]:
    check = RefinedCheck(model, task.probe[0], alignments=False, gradients=False)
    return 0.0, _train(model, task, optimizer, after=check.at)


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


CONTENDERS: dict[str, Contender] = {
    "a": plain,
    "b": ours,
    "c": other_on_probe,
    "d": other_on_batch,
    "g": ours_of_updates,
}


def harness(width: int, tasks: Sequence[Task], optimizer: str, bias: bool, *, measured: bool) -> float:
    """Seconds to train the networks of all tasks, and to measure them at every step."""
    s = setting(architectures.mlp(4, bias=bias), "sp", optimizer_=optimizer)
    real = Realization(width, {"x": 64, "classes": 10}, base_width=width)
    batches = [[Batch(*b) for b in task.batches] for task in tasks]
    probes = [Batch(*task.probe) for task in tasks]

    def built(probe: Batch, seeds: Sequence[int] | None, seed: int = 0) -> tuple[Network, CoordinateCheck]:
        network = Network(s.program, s.exponents(), replace(real, seed=seed), seeds)
        return network, CoordinateCheck(network, s.loss, probe)

    def watch(check: CoordinateCheck) -> Callable[[int], object]:
        return lambda step: check.of_each(step) if step and measured else None

    if width <= WIDEST and len(tasks) > 1:
        network, check = built(stacked(probes), range(len(tasks)))
        started = time.process_time()
        together = map(stacked, zip(*batches, strict=True))
        train_together(network, OPTIMIZERS[optimizer](network.parameters()), s.loss, together, watch(check))
        return time.process_time() - started
    seconds = 0.0
    for seed, (own, probe) in enumerate(zip(batches, probes, strict=True)):
        network, check = built(probe, None, seed)
        started = time.process_time()
        train(network, OPTIMIZERS[optimizer](network.parameters()), s.loss, own, watch(check))
        seconds += time.process_time() - started
    return seconds


@dataclass(frozen=True)
class Row:
    """Seconds per step at one width, by contender; and to build the check."""

    width: int | str
    step: dict[str, float]
    built: float

    @property
    def total(self) -> float:
        """Training with our check over plain training: b / a."""
        return self.step["b"] / self.step["a"]

    def advantage(self, ours: str = "b") -> float:
        """The time that the other check adds, over the time that ours adds: (c - a) / (b - a).

        Infinite where training several seeds as one batch saves more than measuring them takes.
        """
        added = self.step[ours] - self.step["a"]
        return (self.step["c"] - self.step["a"]) / added if added > 0 else math.inf


OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-4),
}


def measure(width: int, given: argparse.Namespace) -> Row:
    """One row: of each contender, the fastest of its repeated runs over all seeds."""
    tasks = [Task.digits(given.steps, seed, given.probe) for seed in range(given.seeds)]
    total: dict[str, list[float]] = defaultdict(list)
    built: list[float] = []
    for _ in range(given.repeats):
        for name, contender in CONTENDERS.items():
            seconds = 0.0
            for seed, task in enumerate(tasks):
                model = mlp(width, seed, given.bias)
                building, training = contender(model, task, OPTIMIZERS[given.optimizer](model.parameters()))
                seconds += training
                if name == "b":
                    built.append(building)
            total[name].append(seconds)
        for name, measured in (("e", True), ("f", False)):
            total[name].append(harness(width, tasks, given.optimizer, given.bias, measured=measured))
    steps = given.steps * given.seeds
    return Row(width, {name: min(found) / steps for name, found in total.items()}, min(built))


COLUMNS = (
    "width",
    "a, ms",
    *(f"{name} / a" for name in "bgcdef"),
    *(f"(c-a)/({name}-a)" for name in "bge"),
    "build b, ms",
)


def table(rows: Sequence[Row]) -> str:
    """Milliseconds per step and ratios, as Markdown."""
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    together = {name: sum(r.step[name] for r in rows) for name in rows[0].step}
    whole = Row("all", together, sum(r.built for r in rows))
    for r in [*rows, whole]:
        a = r.step["a"]
        cells = [str(r.width), f"{1e3 * a:.2f}", *(f"{r.step[name] / a:.2f}" for name in "bgcdef")]
        cells += [f"{r.advantage(name):.1f}" for name in "bge"]
        cells += [f"{1e3 * r.built:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd")
    parser.add_argument("--probe", type=int, default=PROBE)
    parser.add_argument("--bias", action="store_true", help="of every layer; the networks of the registry have none")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(table([measure(w, given) for w in given.widths]))


if __name__ == "__main__":
    main()
