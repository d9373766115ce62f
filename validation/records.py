"""Records: append-only results of runs, one JSON line each, found by the hash of their configuration.

A line is written with one ``write`` to a file opened for appending and flushed to the disk, so a process killed at
any moment loses at most the run it was in. A last line that was cut short is skipped on reading and the next record
starts on a fresh line. Numbers that JSON does not know are strings: "nan", "inf", "-inf".
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from validation.measure import Measurement, Quantity

__all__ = ["OUT_OF_MEMORY", "Record", "Records", "key_of"]

OUT_OF_MEMORY = "out of memory"
"""The failure of a run that did not fit the device: recorded like a result, and not tried again."""


def key_of(config: Mapping[str, Any]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the configuration in canonical JSON."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Record:
    """What one run measured.

    Args:
        key: the hash of ``config``.
        config: see :attr:`validation.train.Run.config`.
        measurements: sizes by site, quantity and step.
        losses: training loss before each step.
        seconds: wall time of the run; not part of the key.
        device: what it ran on, in words; not part of the key.
        failure: why there are no measurements, such as ``OUT_OF_MEMORY``; None for a run that ended.
    """

    key: str
    config: Mapping[str, Any]
    measurements: tuple[Measurement, ...]
    losses: tuple[float, ...]
    seconds: float
    device: str = ""
    failure: str | None = None

    def to_line(self) -> str:
        """One line of JSON, without the line break."""
        rows = [[m.site, m.quantity.value, m.step, _encode(m.size)] for m in self.measurements]
        return json.dumps(
            {
                "key": self.key,
                "config": self.config,
                "measurements": rows,
                "losses": [_encode(v) for v in self.losses],
                "seconds": round(self.seconds, 3),
                "device": self.device,
                "torch": torch.__version__,
                **({"failure": self.failure} if self.failure else {}),
            },
            allow_nan=False,
        )

    @classmethod
    def from_line(cls, line: str) -> Record:
        """Read back one line.

        Raises:
            ValueError: where the line is not a whole record; the reader skips it.
        """
        try:
            data = json.loads(line)
            rows = tuple(Measurement(s, Quantity(q), int(t), float(v)) for s, q, t, v in data["measurements"])
            losses = tuple(float(v) for v in data["losses"])
            told = (str(data.get("device", "")), data.get("failure"))
            return cls(data["key"], data["config"], rows, losses, float(data["seconds"]), *told)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a record: {error}") from error


class Records:
    """The records of one file, by key; a missing file is an empty one.

    Args:
        path: created with its folders at the first append.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        """Lines that are no whole records: at most the last one of a killed process, unless the file was edited."""
        self._found: dict[str, Record] = {}
        self._lock = Lock()
        self._torn = False
        if path.exists():
            self._read()

    def _read(self) -> None:
        text = self.path.read_bytes().decode("utf-8", errors="replace")
        for line in filter(str.strip, text.split("\n")):
            try:
                record = Record.from_line(line)
            except ValueError:
                self.skipped += 1
            else:
                self._found[record.key] = record
        self._torn = bool(text) and not text.endswith("\n")

    def __contains__(self, key: object) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> Record:
        return self._found[key]

    def __len__(self) -> int:
        return len(self._found)

    def append(self, record: Record) -> None:
        """Write one record and flush it to the disk; safe to call from several threads and processes."""
        with self._lock:
            line = ("\n" if self._torn else "") + record.to_line() + "\n"
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                # One write under O_APPEND does not interleave with other writers; a loop only if it was cut short.
                rest = line.encode()
                while rest:
                    rest = rest[os.write(handle, rest) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            self._torn = False
            self._found[record.key] = record


def _encode(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
