"""Training: the one loop, and one run of it.

A run is a case at one width with one seed. Its configuration says everything that its measurements depend on, and its
key is a hash of that; results are looked up by key, never by position.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from tensorprog.losses import Loss
from tensorprog.setting import Setting
from validation.data import Batch, Data, Digits
from validation.ensemble import WIDEST, batchable, stacked, train_together
from validation.measure import CoordinateCheck, Measurement
from validation.realize import Network, Realization
from validation.records import OUT_OF_MEMORY, Record, configuration, is_out_of_memory, key_of

__all__ = ["Run", "as_one_batch", "batched", "device_name", "execute_together", "teams", "train"]

SCHEMA = 2
"""Part of every key: raise it when the meaning of a measurement changes, so that old records are not reused."""


def train(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    batches: Iterable[Batch],
    observe: Callable[[int], None] = lambda step: None,
) -> list[float]:
    """Train on the batches, one step each, and return the loss before each step.

    Args:
        observe: called with t once t steps were taken, from 0 to the number of batches.

    A non-finite loss does not stop the loop: a diverged run is data, and its later steps are measured like all others.
    """
    losses: list[float] = []
    observe(0)
    for t, batch in enumerate(batches, start=1):
        value = loss.torch(network(batch.x), batch.y)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(value.detach()))
        observe(t)
    return losses


@dataclass(frozen=True)
class Run:
    """One network, trained once.

    Args:
        setting: what the theory is told.
        realization: width, seed and the constants that the theory does not see.
        data: batches, label noise, probe.
        steps: where to measure, besides initialisation; training ends at the last.
    """

    setting: Setting
    realization: Realization
    data: Data = field(default_factory=Digits)
    steps: tuple[int, ...] = (1, 3)

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the measurements, as JSON values."""
        shared = configuration(self.setting, self.realization, self.data)
        return {"schema": SCHEMA, **shared, "steps": list(self.steps)}

    @property
    def key(self) -> str:
        """The hash of the configuration."""
        return key_of(self.config)

    @property
    def cost(self) -> float:
        """Relative time, for schedules and progress: the wide matrices dominate, a constant stands for overhead."""
        return float(self.realization.width**2 + 512**2) * (max(self.steps) + 2)

    def execute(self) -> Record:
        """Build, train, measure; a run that does not fit the memory is a record without measurements."""
        started = time.perf_counter()
        found: list[Measurement] = []
        losses: list[float] = []
        failure = None
        try:
            losses = self._measure(found)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            failure = OUT_OF_MEMORY
            found.clear()
        seconds = time.perf_counter() - started
        device = device_name(self.realization.device)
        return Record(self.key, self.config, tuple(found), tuple(losses), seconds, device, failure)

    def _measure(self, found: list[Measurement]) -> list[float]:
        network, check = self._built()

        def observe(step: int) -> None:
            if step == 0 or step in self.steps:
                found.extend(check.at(step))

        return train(network, self._optimizer(network.groups()), self.setting.loss, self._batches(), observe)

    def _built(self, seeds: Sequence[int] | None = None) -> tuple[Network, CoordinateCheck]:
        """The network of this run, or those of its team with these seeds, side by side."""
        real = replace(self.realization, sizes=self.data.sizes)
        network = Network(self.setting.program, self.setting.exponents(), real, seeds)
        probe = self.data.probe_batch().to(real.device, real.dtype)
        probe = probe if seeds is None else stacked([probe] * len(seeds))
        return network, CoordinateCheck(network, self.setting.loss, probe)

    def _batches(self) -> Iterator[Batch]:
        real = self.realization
        return (self.data.batch_at(real.seed, t).to(real.device, real.dtype) for t in range(max(self.steps)))

    def _optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return self.setting.optimizer.torch(groups, self.realization.width / self.realization.base_width)


def execute_together(runs: Sequence[Run]) -> list[Record]:
    """Execute runs that differ in their seeds only: as one batch where that is faster, one by one elsewhere."""
    return as_one_batch(runs) if batched(runs) else [run.execute() for run in runs]


def as_one_batch(runs: Sequence[Run]) -> list[Record]:
    """Execute runs that differ in their seeds only as one batch, whether that is faster or not."""
    first = runs[0]
    started = time.perf_counter()
    network, check = first._built([run.realization.seed for run in runs])
    found: list[list[Measurement]] = [[] for _ in runs]

    def observe(step: int) -> None:
        if step == 0 or step in first.steps:
            for measured, own in zip(found, check.of_each(step), strict=True):
                measured.extend(own)

    batches = map(stacked, zip(*(run._batches() for run in runs), strict=True))
    optimizer = first._optimizer(network.groups())
    losses = train_together(network, optimizer, first.setting.loss, batches, observe)
    seconds = (time.perf_counter() - started) / len(runs)
    device = device_name(first.realization.device)
    return [
        Record(run.key, run.config, tuple(sizes), tuple(values), seconds, device)
        for run, sizes, values in zip(runs, found, losses, strict=True)
    ]


def batched(runs: Sequence[Run]) -> bool:
    """Are these runs, which differ in their seeds only, faster as one batch?"""
    real, setting = runs[0].realization, runs[0].setting
    small = real.width <= WIDEST and torch.device(real.device).type == "cpu"
    vectors = not setting.program.reads_sequences  # of sequences, the instructions expect [batch, positions, ...]
    possible = vectors and setting.optimizer.elementwise and batchable(setting.program)
    return len(runs) > 1 and small and possible


def teams(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs that differ in their seeds only, together."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(key_of({**run.config, "seed": None}), []).append(run)
    return list(found.values())


@lru_cache
def device_name(device: torch.device | str) -> str:
    """What a run ran on, in words: the GPU's name, or the processor's architecture."""
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"cpu, {platform.machine()}"
