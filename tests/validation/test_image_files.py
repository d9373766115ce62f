"""MNIST and CIFAR-10: read from files as other people write them, wherever they lie; damage is refused by name."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tensorprog.errors import SettingError
from tests.validation.image_files import COLOURS, PIXELS, idx, write_cifar10, write_mnist
from validation.data import CIFAR10, MNIST
from validation.data.mnist import read_idx


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("place", ["", "MNIST/raw", "raw"])
def test_mnist_files_are_read_where_they_lie(tmp_path: Path, ending: str, place: str) -> None:
    write_mnist(tmp_path / place, ending=ending)
    entry = MNIST(tmp_path, noise=0.0, probe=40 - 1, batch=2)
    x = entry.probe_batch().x
    pixels = PIXELS.reshape(40, -1).astype(float)
    centred = pixels - pixels.mean(0)
    wanted = centred / np.sqrt((centred**2).sum(1).mean())
    order = np.random.default_rng(0).permutation(40)
    assert x.numpy() == pytest.approx(wanted[order][:39])
    assert entry.probe_batch().y.tolist() == (order[:39] % 10).tolist()


def test_cifar_files_are_read_where_they_lie(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar-10-batches-py")
    entries = [CIFAR10(tmp_path, noise=0.0, probe=99), CIFAR10(str(tmp_path / "cifar-10-batches-py"), probe=99)]
    order = np.random.default_rng(0).permutation(100)
    assert entries[0].probe_batch().y.tolist() == (order[:99] % 20 % 10).tolist()
    assert torch.equal(entries[0].probe_batch().x, entries[1].probe_batch().x)
    assert entries[0].config["files"] == entries[1].config["files"]


def test_the_configuration_follows_the_content_of_files(tmp_path: Path) -> None:
    first = MNIST(write_mnist(tmp_path / "a"))
    second = MNIST(write_mnist(tmp_path / "b"))
    assert first.config == second.config
    changed = write_mnist(tmp_path / "c")
    (changed / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(40, dtype=np.uint8)))
    assert MNIST(changed).config != first.config


@pytest.mark.parametrize("entry", [MNIST, CIFAR10])
def test_missing_files_are_listed(tmp_path: Path, entry: type[MNIST] | type[CIFAR10]) -> None:
    first = "train-images-idx3-ubyte" if entry is MNIST else "data_batch_1"
    with pytest.raises(
        SettingError, match=f"folder: got 'nothing'; needs the folder with {first}.*nothing is downloaded"
    ):
        entry()
    with pytest.raises(
        SettingError, match=f"folder: got '{tmp_path}'; needs {first}, .*there or in .*nothing is downloaded"
    ):
        entry(tmp_path)
    (tmp_path / first).write_bytes(b"")
    with pytest.raises(SettingError, match=r"; missing are (train-labels-idx1-ubyte|data_batch_2, .*data_batch_5)"):
        entry(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0",
        b"\0\0\x08\x03\0\0",
        idx(PIXELS)[:-1],
        idx(PIXELS) + b"\0",
        idx(PIXELS).replace(b"\x08", b"\x0d", 1),
        b"\x01" + idx(PIXELS)[1:],
        b"no idx file at all",
    ],
)
def test_damaged_idx_files_are_named(tmp_path: Path, content: bytes) -> None:
    for name, packed in (("a", content), ("a.gz", gzip.compress(content)), ("b.gz", gzip.compress(content)[:-9])):
        (tmp_path / name).write_bytes(packed)
        with pytest.raises(SettingError, match=f"{name}: got .*needs an idx file of unsigned bytes"):
            read_idx(tmp_path / name)


def test_images_without_their_labels_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    for labels in (np.arange(39, dtype=np.uint8) % 10, np.full(40, 10, dtype=np.uint8)):
        (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
        read_from_disk_again()
        with pytest.raises(SettingError, match="needs as many images as labels, and labels from 0 to 9"):
            MNIST(tmp_path, probe=3).probe_batch()


def read_from_disk_again() -> None:
    from validation.data import cifar10, mnist

    mnist._pool.cache_clear()
    cifar10._pool.cache_clear()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (Path("evil.txt"), "it ran")


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "EOFError"),
        (b"no pickle", "Error"),
        (pickle.dumps([1, 2]), "AttributeError"),
        (pickle.dumps({b"data": COLOURS[0]}), "KeyError"),
        (pickle.dumps({b"data": COLOURS[0], b"labels": [0] * 19}), r"labels \(19,\)"),
        (pickle.dumps({b"data": COLOURS[0].astype(float), b"labels": [0] * 20}), "data float64"),
        (pickle.dumps({b"data": COLOURS[0], b"labels": [10] * 20}), r"labels \(20,\)"),
        (pickle.dumps({b"data": Evil(), b"labels": []}), "names pathlib"),
    ],
)
def test_other_pickles_are_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, got: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_cifar10(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(content)
    read_from_disk_again()
    with pytest.raises(SettingError, match=f"data_batch_3: got .*{got}.*needs a batch of the python version"):
        CIFAR10(tmp_path, probe=3).probe_batch()
    assert not Path("evil.txt").exists()
