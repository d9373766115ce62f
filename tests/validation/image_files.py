"""Tiny image files as other people write them: MNIST's and CIFAR-10's, with random pixels."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np

DRAW = np.random.default_rng(0)
PIXELS = DRAW.integers(0, 256, (40, 28, 28), dtype=np.uint8)
COLOURS = DRAW.integers(0, 256, (5, 20, 3072), dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder: Path, *, ending: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pack = gzip.compress if ending else bytes
    labels = np.arange(40, dtype=np.uint8) % 10
    (folder / f"train-images-idx3-ubyte{ending}").write_bytes(pack(idx(PIXELS)))
    (folder / f"train-labels-idx1-ubyte{ending}").write_bytes(pack(idx(labels)))
    return folder


def write_cifar10(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(5):
        content = {b"data": COLOURS[i], b"labels": [j % 10 for j in range(20)], b"batch_label": b"training batch"}
        (folder / f"data_batch_{i + 1}").write_bytes(pickle.dumps(content, protocol=2))
    return folder
