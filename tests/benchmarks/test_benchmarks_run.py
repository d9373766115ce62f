"""Benchmarks run, at sizes too small to say anything about speed."""

from __future__ import annotations

import pytest

from tests.benchmarks import bench_refined_check


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_refined_check(optimizer: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--widths", "4", "8", "--seeds", "2", "--steps", "2", "--repeats", "1", "--optimizer", optimizer]
    bench_refined_check.main(small)
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("| width | a, ms | b / a | g / a | c / a | d / a | e / a | f / a | (c-a)/(b-a) |")
    assert [row.split(" | ")[0] for row in rows] == ["| 4", "| 8", "| all"]
    assert all(float(cell) > 0 for row in rows for cell in row.strip("| ").split(" | ")[1:8])
