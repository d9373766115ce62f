"""Reports of a sweep: a terminal table, JSON, CSV and the figure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from validation.fit import Fit
from validation.report.words import MARKS, STYLES, slope

if TYPE_CHECKING:
    from validation.sweep.run import Sweep, Threshold

__all__ = ["frame", "lowest", "measured", "renderable", "text", "write"]


def renderable(result: Sweep) -> RenderableType:
    """Learning rates by width, exponents and the verdict; print it with a rich console."""
    real = result.template.realization
    data = result.template.data
    head = (
        f"{len(result.seeds)} seeds, {result.template.steps} steps, {data.name}; learning rates are those of every "
        f"weight at the base width {real.base_width}"
    )
    counts = f"{result.trained} networks trained"
    if result.resumed:
        counts += f", {result.resumed} taken from {result.records}"
    return Group(
        Text(str(result.setting), "bold"),
        Text(f"unstable: {result.threshold.criterion.says}", "dim"),
        Text(head, "dim"),
        _by_width(result),
        Text(""),
        _exponents(result),
        Text(""),
        _verdict(result.threshold),
        Text(counts, "dim"),
    )


def _by_width(result: Sweep) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("width", "smallest unstable", "(seeds)", "optimal", "(seeds)", "lowest loss"):
        table.add_column(title, justify="right", no_wrap=True, style="dim" if title == "(seeds)" else "")
    for n in result.widths:
        best = [lowest(result, n, s) for s in result.seeds]
        cells = [*_range(result.threshold.rates[n]), *_range(result.optima[n])]
        table.add_row(str(n), *cells, f"{np.mean(best):.3g}")
    return table


def lowest(result: Sweep, width: int, seed: int) -> float:
    """The lowest held-out loss among stable learning rates."""
    outcomes = result.found[width, seed].outcomes.values()
    stable = [o.held_out for o in outcomes if result.threshold.criterion.stable(o)]
    return min(stable, default=math.nan)


def _range(by_seed: Mapping[int, float]) -> tuple[str, str]:
    """Geometric mean, and the range over seeds."""
    values = np.array(list(by_seed.values()))
    if not np.all(np.isfinite(values)) or not np.all(values > 0):
        return "none", ", ".join(f"{v:.3g}" for v in values)
    return f"{np.exp(np.log(values).mean()):.3g}", f"{values.min():.3g} to {values.max():.3g}"


def _exponents(result: Sweep) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("exponent of n", "predicted", "measured ± 95%", ""):
        table.add_column(title, justify="right" if title.startswith(("pre", "mea")) else "left", no_wrap=True)
    judged = result.threshold
    mark = Text(MARKS[result.verdict], STYLES[result.verdict])
    table.add_row(f"smallest unstable, by {judged.criterion.name}", str(judged.predicted), measured(judged.fit), mark)
    for other in result.others:
        note = Text("not judged", "dim")
        table.add_row(f"smallest unstable, by {other.criterion.name}", str(other.predicted), measured(other.fit), note)
    table.add_row("optimal", "", measured(result.optimum), "")
    return table


def measured(fitted: Fit) -> str:
    """An exponent and half the width of its interval, for people."""
    return slope(fitted) if math.isfinite(fitted.slope) else "none"


def _verdict(judged: Threshold) -> Text:
    assert judged.judgement is not None
    verdict = judged.judgement.verdict
    return Text.assemble((verdict.value, STYLES[verdict]), f": {judged.judgement.reason}")


def text(result: Sweep) -> str:
    """The tables without colour."""
    buffer = StringIO()
    Console(file=buffer, width=120, force_terminal=False).print(renderable(result))
    return buffer.getvalue()


def frame(result: Sweep) -> Any:
    """One row per network: learning rate, losses, growth, accuracy, and whether each criterion calls it unstable."""
    import pandas as pd

    return pd.DataFrame.from_records(list(_rows(result)))


def _rows(result: Sweep) -> Iterator[dict[str, Any]]:
    for (width, seed), found in sorted(result.found.items()):
        for k, o in sorted(found.outcomes.items()):
            yield {
                "width": width,
                "seed": seed,
                "lr": 2.0**k,
                "held_out": o.held_out,
                "initial": o.losses[0] if o.losses else math.nan,
                "highest": max(o.losses, default=math.nan),
                "growth": o.growth,
                "accuracy": o.accuracy,
                "unstable": result.threshold.criterion.unstable(o),
                "threshold": result.threshold.rates[width][seed],
                "optimum": result.optima[width][seed],
                "failure": o.failure,
            }


def write(result: Sweep, out: Path) -> dict[str, Path]:
    """Write ``sweep.json``, ``sweep.csv`` and the figure as PNG and PDF; returns the paths by kind."""
    from validation.sweep.figure import figure

    out.mkdir(parents=True, exist_ok=True)
    files = {kind: out / f"sweep.{kind}" for kind in ("json", "csv", "png", "pdf")}
    files["json"].write_text(json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")
    frame(result).to_csv(files["csv"], index=False)
    drawn = figure(result)
    drawn.savefig(files["png"], dpi=160)
    drawn.savefig(files["pdf"])
    return files
