"""Labelled images in memory: a pool in a fixed shuffled order, its first images held out as the probe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tensorprog.errors import SettingError
from validation.data.batch import TRAINING_STREAM, Batch, with_label_noise

__all__ = ["Pool", "Shape", "image_sizes"]

CHUNK = 4096
"""Images that are converted to floats at a time: a whole training set of colour images would take a gigabyte."""


Shape = tuple[int, int, int]
"""Channels, height and width of an image, the order in which files keep its numbers."""


def image_sizes(shape: Shape, classes: int, *, images: bool) -> dict[str, int]:
    """Coordinates of the finite axes: the inputs are all numbers of an image, or the channels of a pixel."""
    channels, height, width = shape
    return {"x": channels if images else channels * height * width, "classes": classes}


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
