"""CIFAR-10 from its ordinary "python version": five pickled batches in a folder of the user's.

Each file is a pickled dictionary with ``data`` [10000, 3072] of unsigned bytes (the red plane, the green one, the blue
one) and ``labels``, a list. A pickle can run any code when it is read, so these are read by an unpickler that knows
nothing but numpy arrays.

Ref: Krizhevsky 2009, "Learning multiple layers of features from tiny images".
"""

from __future__ import annotations

import io
import math
import pickle
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tensorprog.errors import SettingError
from validation.data.files import located
from validation.data.images import ImageFiles, Pool

__all__ = ["CIFAR10"]

FILES = tuple(f"data_batch_{i}" for i in range(1, 6))
SUBFOLDERS = ("cifar-10-batches-py",)
SHAPE = (3, 32, 32)
INPUTS = math.prod(SHAPE)


@dataclass(frozen=True)
class CIFAR10(ImageFiles):
    """32 x 32 colour images in 10 classes, 50,000 of them, from files that are never downloaded.

    Args:
        folder: has data_batch_1 to data_batch_5 of the "python version", or has cifar-10-batches-py, which has them.
    """

    name = "cifar10"
    shape = SHAPE

    def files(self) -> tuple[Path, ...]:
        return located(self.name, self.folder, FILES, SUBFOLDERS)

    def pool(self) -> Pool:
        return _pool(self.files())


@lru_cache(maxsize=2)
def _pool(files: tuple[Path, ...]) -> Pool:
    parts = [_read(path) for path in files]
    images, labels = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    return Pool.shuffled(CIFAR10.name, images, labels, CIFAR10.classes)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(images [count, 3072], labels [count]) of one file.

    Raises:
        SettingError: naming the file, where it is no such batch.
    """
    try:
        content = _Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        entries = {k.decode() if isinstance(k, bytes) else k: v for k, v in content.items()}
        images, labels = np.asarray(entries["data"]), np.asarray(entries["labels"], dtype=np.int64)
    # Bytes that are no pickle make the unpickler raise whatever its opcodes happen to raise.
    except Exception as error:
        raise _no_batch(path, f"{type(error).__name__}: {error}") from error
    whole = images.dtype == np.uint8 and images.shape == (len(labels), INPUTS) and labels.ndim == 1
    if not whole or labels.min(initial=0) < 0 or labels.max(initial=0) >= CIFAR10.classes:
        raise _no_batch(path, f"data {images.dtype} {images.shape} and labels {labels.shape}")
    return images, labels


def _no_batch(path: Path, got: str) -> SettingError:
    need = f"needs a batch of the python version of CIFAR-10: data [count, {INPUTS}] of bytes, and labels"
    return SettingError(f"data {CIFAR10.name}, file {path}", got, need)


class _Unpickler(pickle.Unpickler):
    """Reads dictionaries, lists, numbers, bytes and numpy arrays; refuses everything else that a pickle may name."""

    allowed = frozenset(
        (module, name)
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("ndarray", "dtype", "_reconstruct")
    ) | {("_codecs", "encode"), ("numpy._core.numeric", "_frombuffer"), ("numpy.core.numeric", "_frombuffer")}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"names {module}.{name}")
        return super().find_class(module, name)
