"""Labelled images: a pool in a fixed shuffled order, its first images held out as the probe; what entries share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from tensorprog.errors import SettingError
from validation.data.batch import TRAINING_STREAM, Batch, Entry, with_label_noise
from validation.data.files import fingerprint

__all__ = ["ImageFiles", "Images", "Pool", "Shape"]

CHUNK = 4096
"""Images that are converted to floats at a time: a whole training set of colour images would take a gigabyte."""


Shape = tuple[int, int, int]
"""Channels, height and width of an image, the order in which files keep its numbers."""


@dataclass(frozen=True)
class Pool:
    """Images, stored as they came, and their labels.

    An image is centred pixel by pixel, and all are divided by one number such that the mean squared L2 norm is one:
    pixels keep their relative sizes, and pixels that never change are exactly zero.

    Args:
        name: of the data, for errors.
        images: [count, pixels], of any numeric type.
        labels: [count], class indices.
        mean: [pixels], over all images.
        norm: root mean squared L2 norm of the centred images.
        classes: number of classes.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    mean: np.ndarray
    norm: float
    classes: int

    @classmethod
    def shuffled(cls, name: str, images: np.ndarray, labels: np.ndarray, classes: int) -> Pool:
        """A pool in an order that is fixed, but not that of the files, which may be sorted by class or by writer."""
        mean = images.mean(axis=0, dtype=np.float64)
        starts = range(0, len(images), CHUNK)
        squares = [np.sum((images[i : i + CHUNK] - mean) ** 2, axis=1) for i in starts]
        norm = float(np.sqrt(np.mean(np.concatenate(squares))))
        order = np.random.default_rng(0).permutation(len(labels))
        return cls(name, images[order], labels.astype(np.int64)[order], mean, norm, classes)

    def batch_at(
        self, seed: int, step: int, *, batch: int, probe: int, noise: float, shape: Shape | None = None
    ) -> Batch:
        """``batch`` images, drawn with replacement from those outside the probe.

        Args:
            shape: keep pixels apart: x is [batch, height, width, channels], and the mean squared L2 norm of a pixel's
                channels is one.
        """
        self._check(probe)
        generator = np.random.default_rng([seed, step, TRAINING_STREAM])
        chosen = generator.integers(probe, len(self.labels), batch)
        return self._batch(chosen, noise, generator, shape)

    def probe_batch(self, *, probe: int, noise: float, shape: Shape | None = None) -> Batch:
        """The first ``probe`` images."""
        self._check(probe)
        return self._batch(np.arange(probe), noise, np.random.default_rng(0), shape)

    def _check(self, probe: int) -> None:
        """Some images must be left to train on."""
        if probe >= len(self.labels):
            need = f"needs fewer than the {len(self.labels)} images there are, the others are trained on"
            raise SettingError(f"data {self.name}, probe", probe, need)

    def _batch(self, chosen: np.ndarray, noise: float, generator: np.random.Generator, shape: Shape | None) -> Batch:
        x = (self.images[chosen] - self.mean) / self.norm
        if shape is not None:
            pixels = shape[1] * shape[2]
            x = np.ascontiguousarray(np.moveaxis(x.reshape(-1, *shape), 1, -1)) * pixels**0.5
        y = with_label_noise(self.labels[chosen], noise, self.classes, generator)
        return Batch(torch.from_numpy(x), torch.from_numpy(y))


@dataclass(frozen=True, kw_only=True)
class Images(Entry, ABC):
    """What entries of labelled images share.

    Args:
        noise: the fraction of labels that is drawn uniformly from all classes, at every batch again.
        batch: examples per step, drawn with replacement from the images outside the probe.
        probe: examples in the probe batch, held out of training.
        images: keep pixels apart, [batch, height, width, channels], for convolutions; else vectors of all numbers.
    """

    images: bool = False

    classes: ClassVar[int] = 10

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Of an image."""

    @abstractmethod
    def pool(self) -> Pool:
        """All images, read once."""

    @property
    def config(self) -> dict[str, Any]:
        """What a record needs to know of the data."""
        config = super().config
        if not self.images:
            del config["images"]
        return config

    @property
    def sizes(self) -> dict[str, int]:
        """Coordinates of the finite axes: the inputs are all numbers of an image, or the channels of a pixel."""
        channels, height, width = self.shape
        return {"x": channels if self.images else channels * height * width, "classes": self.classes}

    def batch_at(self, seed: int, step: int) -> Batch:
        """x [batch, pixels] or [batch, height, width, channels], y [batch]."""
        kept = self.shape if self.images else None
        return self.pool().batch_at(seed, step, batch=self.batch, probe=self.probe, noise=self.noise, shape=kept)

    def probe_batch(self) -> Batch:
        """x [probe, pixels] or [probe, height, width, channels], y [probe]."""
        return self.pool().probe_batch(probe=self.probe, noise=self.noise, shape=self.shape if self.images else None)


@dataclass(frozen=True)
class ImageFiles(Images):
    """Images from files that the user has; they are never downloaded.

    Args:
        folder: where the files are.

    Raises:
        SettingError: where they are not.
    """

    folder: str | Path = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.files()

    @abstractmethod
    def files(self) -> tuple[Path, ...]:
        """Their paths, found anew."""

    @property
    def config(self) -> dict[str, Any]:
        """What a record needs to know of the data: the content of the files, not where they are."""
        config = super().config
        del config["folder"]
        return {**config, "files": fingerprint(self.files())}
