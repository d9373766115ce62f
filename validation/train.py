"""Training: the one loop, and one run of it.

A run is a case at one width with one seed. Its configuration says everything that its measurements depend on, and its
key is a hash of that; results are looked up by key, never by position.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from tensorprog.losses import Loss
from tensorprog.setting import Setting
from validation.data import Batch, Digits
from validation.measure import CoordinateCheck, Measurement
from validation.realize import Network, Realization
from validation.records import Record, key_of

__all__ = ["Run", "train"]

SCHEMA = 1
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
    data: Digits = field(default_factory=Digits)
    steps: tuple[int, ...] = (1, 3)

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the measurements, as JSON values."""
        real = self.realization
        setting = self.setting.to_dict()
        del setting["steps"]  # how many steps the theory reports does not change a network
        return {
            "schema": SCHEMA,
            "setting": setting,
            "width": real.width,
            "seed": real.seed,
            "base_width": real.base_width,
            "base_lr": real.base_lr,
            "output_scale": real.output_scale,
            "dtype": str(real.dtype).removeprefix("torch."),
            "device": torch.device(real.device).type,
            "data": self.data.config,
            "steps": list(self.steps),
        }

    @property
    def key(self) -> str:
        """The hash of the configuration."""
        return key_of(self.config)

    @property
    def cost(self) -> float:
        """Relative time, for schedules and progress: the wide matrices dominate, a constant stands for overhead."""
        return float(self.realization.width**2 + 512**2) * (max(self.steps) + 2)

    def execute(self) -> Record:
        """Build, train, measure."""
        started = time.perf_counter()
        real = replace(self.realization, sizes=self.data.sizes)
        network = Network(self.setting.program, self.setting.exponents(), real)
        check = CoordinateCheck(network, self.setting.loss, self.data.probe_batch().to(real.device, real.dtype))
        found: list[Measurement] = []

        def observe(step: int) -> None:
            if step == 0 or step in self.steps:
                found.extend(check.at(step))

        batches = (self.data.batch_at(real.seed, t).to(real.device, real.dtype) for t in range(max(self.steps)))
        optimizer = self.setting.optimizer.torch(network.groups(), real.width / real.base_width)
        losses = train(network, optimizer, self.setting.loss, batches, observe)
        return Record(self.key, self.config, tuple(found), tuple(losses), time.perf_counter() - started)
