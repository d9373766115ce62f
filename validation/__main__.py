"""``python -m validation``: the quick cases from the command line, for a checkout without the installed command."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from validation.cases import CASES
from validation.report import renderable
from validation.run import validate


def main() -> int:
    """Parse, validate, print; exit code 1 where a prediction disagrees."""
    parser = argparse.ArgumentParser(prog="python -m validation", description=(__doc__ or "").strip())
    parser.add_argument("--out", type=Path, default=Path("validation-results"), help="folder for records and report")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--widths", nargs="+", type=int)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--steps", nargs="+", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of tables")
    given = parser.parse_args()
    result = validate(
        given.out,
        cases=given.cases,
        widths=given.widths,
        seeds=given.seeds,
        steps=given.steps,
        workers=given.workers,
    )
    if given.json:
        print(json.dumps(result.to_dict()))
    else:
        console = Console()
        console.print(renderable(result))
        for kind in ("png", "csv", "json"):
            console.print(f"{kind}: {result.files[kind]}", highlight=False, soft_wrap=True)
    return 0 if result.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
