"""Ledgers: append-only files of results, one JSON line each, found by the hash of their configuration.

A line is written with one ``write`` to a file opened for appending and flushed to the disk, so a process killed at any
moment loses at most what it was working on. A last line that was cut short is skipped on reading and the next entry
starts on a fresh line. Numbers that JSON does not know are strings: "nan", "inf", "-inf".
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Generic, Protocol, TypeVar

__all__ = ["Entry", "Ledger", "encoded"]


class Entry(Protocol):
    """What a ledger holds."""

    @property
    def key(self) -> str:
        """The hash of the configuration."""

    def to_line(self) -> str:
        """One line of JSON, without the line break."""


E = TypeVar("E", bound=Entry)


class Ledger(Generic[E]):
    """The entries of one file, by key; a missing file is an empty one. Of entries with one key the last counts.

    Args:
        path: created with its folders at the first append.
        read: one line -> entry; raises ValueError where the line is no whole entry.
    """

    def __init__(self, path: Path, read: Callable[[str], E]) -> None:
        self.path = path
        self.skipped = 0
        """Lines that are no whole entries: at most the last one of a killed process, unless the file was edited."""
        self._found: dict[str, E] = {}
        self._lock = Lock()
        self._torn = False
        if path.exists():
            self._load(read)

    def _load(self, read: Callable[[str], E]) -> None:
        text = self.path.read_bytes().decode("utf-8", errors="replace")
        for line in filter(str.strip, text.split("\n")):
            try:
                entry = read(line)
            except ValueError:
                self.skipped += 1
            else:
                self._found[entry.key] = entry
        self._torn = bool(text) and not text.endswith("\n")

    def __contains__(self, key: object) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> E:
        return self._found[key]

    def __iter__(self) -> Iterator[E]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)

    def append(self, entry: E) -> None:
        """Write one entry and flush it to the disk; safe to call from several threads and processes."""
        with self._lock:
            line = ("\n" if self._torn else "") + entry.to_line() + "\n"
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
            self._found[entry.key] = entry


def encoded(value: float) -> float | str:
    """A number as a JSON value; ``float`` reads all of them back."""
    return value if math.isfinite(value) else str(value)
