"""Data: scikit-learn's handwritten digits with irreducible label noise, in fresh batches.

The theory's chi = dL/dlogits is Theta(1) because targets are. On a memorised training set chi shrinks, and faster the
wider the network, which bends every later slope. Two choices keep chi alive: a fixed fraction of
the labels is drawn uniformly at every batch, so that no network can fit them, and batches are drawn afresh at every
step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["Batch", "Digits"]


@dataclass(frozen=True)
class Batch:
    """Examples and their labels.

    Args:
        x: [batch, inputs].
        y: [batch], class indices.
    """

    x: Tensor
    y: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Batch:
        """The same batch elsewhere; labels stay integers."""
        return Batch(self.x.to(device, dtype), self.y.to(device))


@dataclass(frozen=True)
class Digits:
    """8 x 8 images of handwritten digits: 64 inputs, 10 classes, 1797 images, part of scikit-learn.

    Every pixel is centred, and all are divided by one number such that the mean squared L2 norm of an image is one:
    pixels keep their relative sizes, and pixels that are always off stay exactly zero. With |x|^2 = 1 instead of 64,
    the input layer's updates (proportional to <x, x'>) and those of wide layers (to <h, h'> ~ n/2) are of a size near
    n = 1, not n = 128: the layers' asymptotic order shows at moderate widths already.

    Args:
        noise: the fraction of labels that is drawn uniformly from all classes, at every batch again.
        batch: examples per step, drawn with replacement from the images outside the probe.
        probe: examples in the probe batch, held out of training.

    Ref: Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten Digits".
    """

    noise: float = 0.5
    batch: int = 64
    probe: int = 128

    inputs = 64
    classes = 10

    @property
    def config(self) -> dict[str, object]:
        """What a record needs to know of the data."""
        return {"name": "digits", "noise": self.noise, "batch": self.batch, "probe": self.probe}

    @property
    def sizes(self) -> dict[str, int]:
        """Coordinates of the finite axes, by axis name."""
        return {"x": self.inputs, "classes": self.classes}

    def batch_at(self, seed: int, step: int) -> Batch:
        """The training batch of one step; a function of (seed, step) alone, so all widths see the same one.

        Common batches are common random numbers: what they add to the measured sizes is nearly the same at every width
        and drops out of the slope.
        """
        images, labels = _digits()
        generator = np.random.default_rng([seed, step, 1])
        chosen = generator.integers(self.probe, len(labels), self.batch)
        return self._noisy(images[chosen], labels[chosen], generator)

    def probe_batch(self) -> Batch:
        """The fixed batch on which everything is measured: the first images of a fixed shuffle, labels noisy too."""
        images, labels = _digits()
        return self._noisy(images[: self.probe], labels[: self.probe], np.random.default_rng(0))

    def _noisy(self, x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> Batch:
        resampled = generator.random(len(y)) < self.noise
        y = np.where(resampled, generator.integers(0, self.classes, len(y)), y)
        return Batch(torch.from_numpy(x), torch.from_numpy(y))


@lru_cache(maxsize=1)
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """(images [1797, 64], labels [1797]), in a fixed shuffled order: the file is ordered by writer."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    centred = images - images.mean(axis=0)
    order = np.random.default_rng(0).permutation(len(labels))
    norm = np.sqrt(np.mean(np.sum(centred**2, axis=1)))
    return (centred / norm)[order], labels.astype(np.int64)[order]
