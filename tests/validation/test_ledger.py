"""Ledgers: append-only, atomic, tolerant of a killed writer."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from validation.ledger import Ledger, encoded


@dataclass(frozen=True)
class Note:
    """The least that a ledger holds."""

    key: str
    value: float

    def to_line(self) -> str:
        return f"{self.key}:{self.value}"

    @classmethod
    def from_line(cls, line: str) -> Note:
        key, value = line.split(":")
        return cls(key, float(value))


def ledger(path: Path) -> Ledger[Note]:
    return Ledger(path, Note.from_line)


def test_round_trip_and_lookup(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "l.txt"
    book = ledger(path)
    assert len(book) == 0
    assert not path.exists()
    book.append(Note("a", 0.1 + 0.2))
    book.append(Note("b", math.inf))
    again = ledger(path)
    assert again["a"] == Note("a", 0.1 + 0.2)
    assert "b" in again
    assert "c" not in again
    assert [note.key for note in again] == ["a", "b"]
    assert again.skipped == 0


def test_a_line_cut_short_loses_that_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    whole = ledger(path)
    whole.append(Note("a", 1.5))
    whole.append(Note("b", 2.25))
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    for cut in range(first, len(content)):
        path.write_bytes(content[:cut])
        resumed = ledger(path)
        assert resumed["a"].value == 1.5
        resumed.append(Note("c", 3.0))
        again = ledger(path)
        assert again["c"].value == 3.0
        assert len(again) + again.skipped == 2 + (cut > first)


def test_rubbish_is_skipped_and_counted_and_later_entries_win(tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    path.write_bytes(b"\xff\xfe\na:1\n\nno\na:2\na:x\n")
    book = ledger(path)
    assert book["a"].value == 2
    assert (len(book), book.skipped) == (1, 3)


def test_many_writers_do_not_interleave_and_every_entry_reaches_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    writers = [ledger(tmp_path / "l.txt") for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: writers[i % 4].append(Note(f"k{i}", i)), range(80)))
    again = ledger(tmp_path / "l.txt")
    assert (len(again), again.skipped, len(synced)) == (80, 0, 80)


@pytest.mark.parametrize("value", [0.1 + 0.2, -1e300, math.nan, math.inf, -math.inf])
def test_numbers_are_encoded_for_json(value: float) -> None:
    again = float(encoded(value))
    assert again == value or (math.isnan(again) and math.isnan(value))
    assert isinstance(encoded(value), float) == math.isfinite(value)
