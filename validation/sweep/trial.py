"""Trials: one network trained at one learning rate, and what became of it.

An outcome holds what every criterion needs, so another criterion is judged without training again.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tensorprog.setting import Setting
from validation.data import Batch, Data
from validation.ledger import encoded
from validation.realize import Network, Realization
from validation.records import OUT_OF_MEMORY, configuration, is_out_of_memory, key_of

__all__ = ["Outcome", "Trial"]

SCHEMA = 1
"""Part of every key: raise it when the meaning of an outcome changes, so that old ones are not reused."""

NUMBERS = ("growth", "held_out", "accuracy", "chance")


@dataclass(frozen=True)
class Outcome:
    """What became of one network.

    Args:
        key: the hash of ``config``.
        config: see :attr:`Trial.config`.
        losses: training loss before each step, up to the first that is not finite.
        growth: the largest RMS, over steps and activations that later layers read, of a training batch's activations,
            in units of the same activation's RMS at initialisation; inf where one is not finite.
        held_out: loss on the probe after the last step; nan where training ended early.
        accuracy: on the probe after the last step; nan for regression.
        chance: the accuracy that a constant prediction does not exceed: the share of the most frequent class, plus two
            standard errors; nan for regression.
        seconds: wall time; not part of the key.
        failure: why there is no outcome, such as out of memory; empty for a trial that ended.
    """

    key: str
    config: Mapping[str, Any]
    losses: tuple[float, ...] = ()
    growth: float = math.nan
    held_out: float = math.nan
    accuracy: float = math.nan
    chance: float = math.nan
    seconds: float = 0.0
    failure: str = ""

    @property
    def finite(self) -> bool:
        """False where anything that was seen is not finite."""
        return all(map(math.isfinite, (*self.losses, self.growth, self.held_out)))

    def to_line(self) -> str:
        """One line of JSON, without the line break."""
        numbers = {name: encoded(getattr(self, name)) for name in NUMBERS}
        return json.dumps(
            {
                "key": self.key,
                "config": self.config,
                "losses": [encoded(v) for v in self.losses],
                **numbers,
                "seconds": round(self.seconds, 3),
                "torch": torch.__version__,
                **({"failure": self.failure} if self.failure else {}),
            },
            allow_nan=False,
        )

    @classmethod
    def from_line(cls, line: str) -> Outcome:
        """Read back one line.

        Raises:
            ValueError: where the line is no whole outcome.
        """
        try:
            data = json.loads(line)
            losses = tuple(float(v) for v in data["losses"])
            numbers = {name: float(data[name]) for name in (*NUMBERS, "seconds")}
            return cls(data["key"], data["config"], losses, failure=str(data.get("failure", "")), **numbers)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an outcome: {error}") from error


@dataclass(frozen=True)
class Trial:
    """One network to train.

    Args:
        setting: what the theory is told.
        realization: width, seed, learning rate and the constants that the theory does not see.
        data: batches and probe.
        steps: optimizer steps.
    """

    setting: Setting
    realization: Realization
    data: Data
    steps: int

    def at(self, width: int, seed: int, lr: float) -> Trial:
        """The same trial at another width, seed and learning rate."""
        return replace(self, realization=replace(self.realization, width=width, seed=seed, base_lr=lr))

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the outcome, as JSON values."""
        shared = configuration(self.setting, self.realization, self.data)
        return {"kind": "sweep", "schema": SCHEMA, **shared, "steps": self.steps}

    @property
    def key(self) -> str:
        """The hash of the configuration."""
        return key_of(self.config)

    @property
    def cost(self) -> float:
        """Relative time, for progress: the wide matrices dominate, a constant stands for overhead."""
        return float(self.realization.width**2 + 512**2)

    def execute(self) -> Outcome:
        """Build, train, evaluate. What is not finite ends the training and is data; so is a lack of memory."""
        started = time.perf_counter()
        try:
            found = self._train()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            found = Outcome(self.key, self.config, failure=OUT_OF_MEMORY)
        return replace(found, seconds=time.perf_counter() - started)

    def _train(self) -> Outcome:
        setting = self.setting
        real = replace(self.realization, sizes=self.data.sizes)
        network = Network(setting.program, setting.exponents(), real)
        optimizer = setting.optimizer.torch(network.groups(), real.width / real.base_width)
        losses: list[float] = []
        sizes: list[list[float]] = []
        for t in range(self.steps):
            batch = self._placed(self.data.batch_at(real.seed, t))
            values = network.values(batch.x)
            loss = setting.loss.torch(values[setting.program.output], batch.y)
            read = [values[i] for i in sorted(setting.program.read_values())]
            now = torch.stack([*map(_rms, read), loss.detach().double()]).tolist()
            sizes.append(now[:-1])
            losses.append(now[-1])
            if not all(map(math.isfinite, now)):
                break
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        found = Outcome(self.key, self.config, tuple(losses), _growth(sizes))
        return self._evaluated(found, network) if len(losses) == self.steps and math.isfinite(losses[-1]) else found

    def _evaluated(self, found: Outcome, network: Network) -> Outcome:
        """With the loss and the accuracy on the probe."""
        probe = self._placed(self.data.probe_batch())
        with torch.no_grad():
            logits = network(probe.x)
            held_out = float(self.setting.loss.torch(logits, probe.y))
        if probe.y.is_floating_point():
            return replace(found, held_out=held_out)
        accuracy = float((logits.argmax(-1) == probe.y).double().mean())
        return replace(found, held_out=held_out, accuracy=accuracy, chance=_chance(probe.y))

    def _placed(self, batch: Batch) -> Batch:
        return batch.to(self.realization.device, self.realization.dtype)


def _rms(x: Tensor) -> Tensor:
    """Root mean square in float64, so that squares of large entries do not overflow."""
    norm: Tensor = torch.linalg.vector_norm(x.detach(), dtype=torch.float64)
    return norm / math.sqrt(x.numel())


def _growth(sizes: Sequence[Sequence[float]]) -> float:
    """See :attr:`Outcome.growth`; activations that start as exact zeros have no growth to speak of."""
    ratios = [now / first for row in sizes for now, first in zip(row, sizes[0], strict=True) if first]
    if not all(map(math.isfinite, ratios)):
        return math.inf
    return max(ratios, default=1.0)


def _chance(y: Tensor) -> float:
    share = float(y.flatten().bincount().max()) / y.numel()
    return share + 2 * math.sqrt(share * (1 - share) / y.numel())
