"""MNIST, and everything in its format (Fashion-MNIST, KMNIST), from the ordinary idx files in a folder of the user's.

The idx format: two zero bytes, a byte for the type (8: unsigned byte), a byte for the number of axes, one big-endian
32-bit size for every axis, then the entries, the last axis fastest. Files may be compressed (.gz).

Ref: LeCun, Cortes & Burges 1998, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tensorprog.errors import SettingError
from validation.data.batch import NOISE, Batch, check_options
from validation.data.files import fingerprint, located
from validation.data.images import Pool, Shape, image_sizes

__all__ = ["MNIST", "read_idx"]

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
SUBFOLDERS = ("MNIST/raw", "raw")
"""Where torchvision puts them."""


@dataclass(frozen=True)
class MNIST:
    """28 x 28 grey images in 10 classes, 60,000 of them, from files that are never downloaded.

    Args:
        folder: has train-images-idx3-ubyte and train-labels-idx1-ubyte, as they are or with .gz.
        noise: the fraction of labels that is drawn uniformly from all classes, at every batch again.
        batch: examples per step, drawn with replacement from the images outside the probe.
        probe: examples in the probe batch, held out of training.
        images: keep pixels apart, [batch, height, width, channels], for convolutions; else vectors of all numbers.
    """

    folder: str | Path = ""
    noise: float = NOISE
    batch: int = 64
    probe: int = 128
    images: bool = False

    name = "mnist"
    classes = 10

    def __post_init__(self) -> None:
        check_options(self.name, noise=self.noise, batch=self.batch, probe=self.probe)
        self._files()

    @property
    def config(self) -> dict[str, Any]:
        """What a record needs to know of the data: the content of the files, not where they are."""
        counts = {"noise": self.noise, "batch": self.batch, "probe": self.probe}
        form = {"images": True} if self.images else {}
        return {"name": self.name, **counts, **form, "files": fingerprint(self._files())}

    @property
    def sizes(self) -> dict[str, int]:
        """Coordinates of the finite axes, by axis name."""
        return image_sizes(self._image, self.classes, images=self.images)

    @property
    def _image(self) -> Shape:
        side = math.isqrt(self._pool().images.shape[1])
        return 1, side, side

    @property
    def _shape(self) -> Shape | None:
        return self._image if self.images else None

    def batch_at(self, seed: int, step: int) -> Batch:
        """x [batch, 784] or [batch, 28, 28, 1], y [batch]."""
        return self._pool().batch_at(
            seed, step, batch=self.batch, probe=self.probe, noise=self.noise, shape=self._shape
        )

    def probe_batch(self) -> Batch:
        """x [probe, 784] or [probe, 28, 28, 1], y [probe]."""
        return self._pool().probe_batch(probe=self.probe, noise=self.noise, shape=self._shape)

    def _files(self) -> tuple[Path, ...]:
        return located(self.name, self.folder, (IMAGES, LABELS), SUBFOLDERS, endings=("", ".gz"))

    def _pool(self) -> Pool:
        return _pool(self._files())


@lru_cache(maxsize=2)
def _pool(files: tuple[Path, Path]) -> Pool:
    images, labels = (read_idx(path) for path in files)
    if labels.ndim != 1 or images.ndim < 2 or len(images) != len(labels) or labels.max(initial=0) >= MNIST.classes:
        got = f"images {images.shape} and labels {labels.shape}"
        need = f"needs as many images as labels, and labels from 0 to {MNIST.classes - 1}"
        raise SettingError(f"data {MNIST.name}, {files[0].parent}", got, need)
    return Pool.shuffled(MNIST.name, images.reshape(len(images), -1), labels, MNIST.classes)


def read_idx(path: Path) -> np.ndarray:
    """The array of an idx file of unsigned bytes.

    Raises:
        SettingError: naming the file, where it is none, or is cut short.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        kind, axes = struct.unpack(">HBB", content[:4])[1:]
        shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise _no_idx(path, str(error)) from error
    entries = content[4 + 4 * axes :]
    if kind != 8 or content[:2] != b"\0\0" or len(entries) != math.prod(shape):
        raise _no_idx(path, f"{len(entries)} bytes for the shape {shape}, type {kind}")
    return np.frombuffer(entries, dtype=np.uint8).reshape(shape)


def _no_idx(path: Path, got: str) -> SettingError:
    return SettingError(f"data {MNIST.name}, file {path}", got, "needs an idx file of unsigned bytes, or such a .gz")
