"""Handwritten digits, part of scikit-learn: no download."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from validation.data.images import Images, Pool

__all__ = ["Digits"]


@dataclass(frozen=True)
class Digits(Images):
    """8 x 8 images of handwritten digits: 64 inputs, 10 classes, 1797 images.

    With |x|^2 = 1 instead of 64, the input layer's updates (proportional to <x, x'>) and those of wide layers (to
    <h, h'> ~ n/2) are of a size near n = 1, not n = 128: the layers' asymptotic order shows at moderate widths already.

    Ref: Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten Digits".
    """

    name = "digits"
    shape = (1, 8, 8)

    def pool(self) -> Pool:
        return _pool()


@lru_cache(maxsize=1)
def _pool() -> Pool:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return Pool.shuffled(Digits.name, images, labels, Digits.classes)
