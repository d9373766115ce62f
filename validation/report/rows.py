"""Rows: the pandas frame of a validation, long form."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from validation.report.words import fitted

if TYPE_CHECKING:
    from validation.run import Validation

__all__ = ["COLUMNS", "frame", "write_rows"]

COLUMNS = (
    *("case", "site", "quantity", "step", "width", "seed", "size", "predicted", "slope", "low", "high", "verdict"),
    *("reason", "fit", "device"),
)


def frame(validation: Validation) -> Any:
    """One row per measured size, with the prediction, the slope, its interval and the verdict it belongs to.

    A prediction for which nothing was measured has one row without width, seed and size, so that no verdict is lost.
    """
    import pandas as pd

    table = pd.DataFrame.from_records(list(_rows(validation)), columns=list(COLUMNS))
    # Int64 with a capital is the kind that can be missing.
    return table.astype({"step": "int64", "width": "Int64", "seed": "Int64", "size": "float64"})


def _rows(validation: Validation) -> Iterator[tuple[Any, ...]]:
    for f in validation.findings:
        p = f.prediction
        claim = (f.case.name, p.site, p.quantity.value, p.step)
        fit = (p.stated, f.fit.slope, f.fit.low, f.fit.high, f.verdict.value)
        told = (f.judgement.reason, fitted(f), validation.device)
        measured = ((n, seed, size) for n, seeds in f.sizes.items() for seed, size in seeds.items())
        rows: list[tuple[Any, ...]] = list(measured) or [(None, None, None)]
        yield from ((*claim, *row, *fit, *told) for row in rows)


def write_rows(validation: Validation, csv: Path, parquet: Path) -> list[Path]:
    """Write CSV always and Parquet where pyarrow is installed, which is no dependency; returns what was written."""
    table = frame(validation)
    table.to_csv(csv, index=False)
    if find_spec("pyarrow") is None:
        return [csv]
    table.to_parquet(parquet, index=False, engine="pyarrow")
    return [csv, parquet]
