"""Handwritten digits, part of scikit-learn: no download."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from validation.data.batch import NOISE, Batch, check_options
from validation.data.images import Pool, Shape, image_sizes

__all__ = ["Digits"]


@dataclass(frozen=True)
class Digits:
    """8 x 8 images of handwritten digits: 64 inputs, 10 classes, 1797 images.

    With |x|^2 = 1 instead of 64, the input layer's updates (proportional to <x, x'>) and those of wide layers (to
    <h, h'> ~ n/2) are of a size near n = 1, not n = 128: the layers' asymptotic order shows at moderate widths already.

    Args:
        noise: the fraction of labels that is drawn uniformly from all classes, at every batch again.
        batch: examples per step, drawn with replacement from the images outside the probe.
        probe: examples in the probe batch, held out of training.
        images: keep pixels apart, [batch, height, width, channels], for convolutions; else vectors of all numbers.

    Ref: Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten Digits".
    """

    noise: float = NOISE
    batch: int = 64
    probe: int = 128
    images: bool = False

    name = "digits"
    classes = 10

    def __post_init__(self) -> None:
        check_options(self.name, noise=self.noise, batch=self.batch, probe=self.probe)

    @property
    def config(self) -> dict[str, Any]:
        """What a record needs to know of the data."""
        counts = {"noise": self.noise, "batch": self.batch, "probe": self.probe}
        return {"name": self.name, **counts, **({"images": True} if self.images else {})}

    @property
    def sizes(self) -> dict[str, int]:
        """Coordinates of the finite axes, by axis name."""
        return image_sizes(self._image, self.classes, images=self.images)

    @property
    def _image(self) -> Shape:
        return 1, 8, 8

    @property
    def _shape(self) -> Shape | None:
        return self._image if self.images else None

    def batch_at(self, seed: int, step: int) -> Batch:
        """x [batch, 64] or [batch, 8, 8, 1], y [batch]."""
        return _pool().batch_at(seed, step, batch=self.batch, probe=self.probe, noise=self.noise, shape=self._shape)

    def probe_batch(self) -> Batch:
        """x [probe, 64] or [probe, 8, 8, 1], y [probe]."""
        return _pool().probe_batch(probe=self.probe, noise=self.noise, shape=self._shape)


@lru_cache(maxsize=1)
def _pool() -> Pool:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return Pool.shuffled(Digits.name, images, labels, Digits.classes)
