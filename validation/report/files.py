"""Files: everything that a validation leaves in its folder besides the records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from validation.report.html import html
from validation.report.markdown import markdown
from validation.report.provenance import provenance
from validation.report.rows import write_rows

if TYPE_CHECKING:
    from validation.run import Validation

__all__ = ["write"]

STEM = "validation"


def write(validation: Validation, out: Path) -> dict[str, Path]:
    """Write the report in every format; returns the paths by kind: html, md, json, csv, and where there are, parquet
    (with pyarrow installed), png and pdf (with something to draw)."""
    from validation.figure import figure

    out.mkdir(parents=True, exist_ok=True)

    def path(kind: str) -> Path:
        return out / f"{STEM}.{kind}"

    made = provenance(validation, out)
    files = {kind: path(kind) for kind in ("html", "md", "json")}
    files["html"].write_text(html(validation, made), encoding="utf-8")
    files["md"].write_text(markdown(validation, made), encoding="utf-8")
    for written in write_rows(validation, path("csv"), path("parquet")):
        files[written.suffix[1:]] = written
    drawn = figure(validation)
    if drawn is not None:
        for kind in ("png", "pdf"):
            files[kind] = path(kind)
            drawn.savefig(files[kind], dpi=160)
    # Last, because it lists the files.
    told = {**validation.to_dict(), "command": made.command, "files": {kind: str(p) for kind, p in files.items()}}
    files["json"].write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return files
