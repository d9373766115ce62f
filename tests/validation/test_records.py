"""Records: append-only, atomic, tolerant of a killed writer."""

from __future__ import annotations

import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from validation.measure import Measurement, Quantity
from validation.records import Record, Records, key_of


def record(i: int, size: float = 1.5) -> Record:
    config = {"width": i, "nested": {"b": 1, "a": [1, 2]}}
    found = (Measurement("hidden.1", Quantity.EFFECTIVE, 1, size), Measurement("output", Quantity.LOGITS, 0, 0.1))
    return Record(key_of(config), config, found, (2.3, size), 0.25)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "records.jsonl"
    records = Records(path)
    assert len(records) == 0
    assert not path.exists()
    odd = record(1, 0.1 + 0.2)
    records.append(odd)
    again = Records(path)
    assert again[odd.key] == odd
    assert odd.key in again
    assert "other" not in again
    assert again.skipped == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_kept_and_is_valid_json(tmp_path: Path, value: float) -> None:
    path = tmp_path / "r.jsonl"
    Records(path).append(record(1, value))
    line = path.read_text()
    json.loads(line, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    (again,) = (Records(path)[record(1).key],)
    assert str(again.measurements[0].size) == str(value) == str(again.losses[1])


def test_resume_survives_a_write_cut_short_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    whole = Records(path)
    whole.append(record(1))
    whole.append(record(2))
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    for cut in {first, first + 1, (first + len(content)) // 2, len(content) - 2, len(content) - 1}:
        path.write_bytes(content[:cut])
        resumed = Records(path)
        assert record(1).key in resumed
        # Without its line break the last line may be whole or torn; either way nothing is lost or merged.
        resumed.append(record(3))
        again = Records(path)
        assert record(1).key in again
        assert record(3).key in again
        assert len(again) + again.skipped == 2 + (cut > first)


def test_rubbish_is_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    good = record(1).to_line()
    path.write_bytes(b"\n".join([b"\xff\xfe", b"[]", b"{}", b'"text"', b"7", b'{"key": 1', good.encode(), b"", b""]))
    records = Records(path)
    assert len(records) == 1
    assert records.skipped == 6


def test_later_records_win(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    records = Records(path)
    records.append(record(1, 1.0))
    records.append(record(1, 2.0))
    assert Records(path)[record(1).key].measurements[0].size == 2.0


def test_many_writers_do_not_interleave(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    writers = [Records(path) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: writers[i % 4].append(record(i)), range(80)))
    again = Records(path)
    assert len(again) == 80
    assert again.skipped == 0


def test_every_record_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    Records(tmp_path / "r.jsonl").append(record(1))
    assert len(synced) == 1


def test_keys_do_not_depend_on_the_order_of_the_configuration() -> None:
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1}) != key_of({"a": 1, "b": [2, 1]})
    assert key_of({"a": 1}) == "015abd7f5cc57a2d"  # a change of the hash would orphan every record
    with pytest.raises(ValueError, match="not JSON compliant"):
        key_of({"a": math.nan})
