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

import numpy as np

from tensorprog.errors import SettingError
from validation.data.files import located
from validation.data.images import ImageFiles, Pool, Shape

__all__ = ["MNIST", "read_idx"]

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
SUBFOLDERS = ("MNIST/raw", "raw")
"""Where torchvision puts them."""


@dataclass(frozen=True)
class MNIST(ImageFiles):
    """28 x 28 grey images in 10 classes, 60,000 of them, from files that are never downloaded.

    Args:
        folder: has train-images-idx3-ubyte and train-labels-idx1-ubyte, as they are or with .gz.
    """

    name = "mnist"

    @property
    def shape(self) -> Shape:
        side = math.isqrt(self.pool().images.shape[1])
        return 1, side, side

    def files(self) -> tuple[Path, ...]:
        return located(self.name, self.folder, (IMAGES, LABELS), SUBFOLDERS, endings=("", ".gz"))

    def pool(self) -> Pool:
        return _pool(self.files())


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
