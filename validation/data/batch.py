"""Batches, what data must offer, and what the entries here share: options and label noise."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from tensorprog.errors import SettingError

__all__ = [
    "NOISE",
    "PROBE_STREAM",
    "TEACHER_STREAM",
    "TRAINING_STREAM",
    "Batch",
    "Data",
    "Entry",
    "with_label_noise",
]

NOISE = 0.5
"""The default fraction of the targets that no network can predict."""

TRAINING_STREAM, PROBE_STREAM, TEACHER_STREAM = 1, 2, 3
"""The last word of the seeds of random streams: keeps draws for different purposes independent."""


@dataclass(frozen=True)
class Batch:
    """Examples and their targets.

    Args:
        x: [batch, inputs] of floats; [batch, height, width, channels] of floats; or [batch, positions] of token ids
            (int64).
        y: [batch] of class indices, [batch, positions] of next tokens (int64), or [batch, outputs] of floats.
    """

    x: Tensor
    y: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Batch:
        """The same batch elsewhere; floats change their type, token ids and class indices stay integers."""
        return Batch(_to(self.x, device, dtype), _to(self.y, device, dtype))


def _to(values: Tensor, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    return values.to(device, dtype) if values.is_floating_point() else values.to(device)


class Data(Protocol):
    """What an entry offers; see the head of :mod:`validation.data` for the principles that it keeps.

    Attributes:
        name: the registry key.
        config: everything that decides the batches, as JSON values: it is part of the key of every record.
        sizes: coordinates of the finite axes, by axis name: ``x`` the inputs, ``classes`` the outputs.
    """

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def sizes(self) -> dict[str, int]: ...

    def batch_at(self, seed: int, step: int) -> Batch:
        """The training batch of one step; a function of (seed, step) alone, so all widths see the same one.

        Common batches are common random numbers: what they add to the measured sizes is nearly the same at every width
        and drops out of the slope.
        """

    def probe_batch(self) -> Batch:
        """The fixed batch on which everything is measured, held out of training; its targets are noisy too."""


def with_label_noise(y: np.ndarray, noise: float, classes: int, generator: np.random.Generator) -> np.ndarray:
    """Class indices of which a fraction ``noise`` is drawn again, uniformly from all classes."""
    resampled = generator.random(y.shape) < noise
    return np.where(resampled, generator.integers(0, classes, y.shape), y)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the entries here share: checked options, all of which are part of the configuration.

    Args:
        noise: the fraction of the targets that no network can predict.
        batch: examples per step.
        probe: examples in the probe batch.

    Raises:
        SettingError: for a fraction outside [0, 1], and for a count below one; options with integers are counts.
    """

    noise: float = NOISE
    batch: int = 64
    probe: int = 128

    name: ClassVar[str]

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 1:
            raise SettingError(f"data {self.name}, noise", self.noise, "needs a fraction from 0 to 1")
        for option in fields(self):
            count = getattr(self, option.name)
            if type(option.default) is int and (type(count) is not int or count < 1):
                raise SettingError(f"data {self.name}, {option.name}", count, "needs an integer of at least 1")

    @property
    def config(self) -> dict[str, Any]:
        """What a record needs to know of the data."""
        return {"name": self.name, **{option.name: getattr(self, option.name) for option in fields(self)}}
