"""The verb that trains: real networks against every predicted exponent."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tensorprog.cli.entries import split
from tensorprog.cli.parser import Given, Group, Option, UsageError, integer, naming, shortened

__all__ = ["VALIDATION", "validate"]

DEVICES = ("auto", "cpu", "cuda")
LARGEST_WIDTH = 1 << 20
FEWEST_WIDTHS = 3
MANY = 10_000

VALIDATION = [
    Group(
        "what to train",
        (
            Option("--quick", "the quick suite: two-hidden-layer networks, minutes on two cores"),
            Option("--cases", "only these cases of the suite", "NAME,..."),
            Option("--widths", "at least three, for any verdict [256,512,1024,2048,4096]", "N,..."),
            Option("--seeds", "networks per width", "N"),
            Option("--steps", "optimizer steps after which to measure [1,3]", "N,..."),
        ),
    ),
    Group(
        "how",
        (
            Option("--device", f"{', '.join(DEVICES)} [cpu]", "NAME"),
            Option("--workers", "processes; the results do not depend on it [one per CPU, at most 8]", "N"),
            Option(
                "--out", "folder for records, tables and figures; what is recorded there is not trained again", "DIR"
            ),
            Option("--json", "print one JSON object"),
        ),
    ),
]


def validate(given: Given) -> int:
    """Train, measure, judge; 1 where a prediction disagrees."""
    if "--quick" not in given and "--cases" not in given:
        raise UsageError("--quick", "is missing; give --quick for the quick suite, or --cases NAME,...")
    widths = _integers(given, "--widths", LARGEST_WIDTH)
    if widths is not None and len(widths) < FEWEST_WIDTHS:
        got = shortened(given.text("--widths"))
        raise UsageError("--widths", f"got {got}; needs at least {FEWEST_WIDTHS} widths, or no slope can be judged")
    steps = _integers(given, "--steps", MANY)
    seeds = given.integer("--seeds", 0, 1, MANY) or None
    workers = given.integer("--workers", 0, 1, MANY) or None
    device = given.text("--device", "cpu")
    if device not in DEVICES:
        raise UsageError("--device", f"got {shortened(device)}; accepted are {', '.join(DEVICES)}")
    out = Path(given.text("--out", "validation-out"))
    try:
        import torch

        from validation.cases import CASES
        from validation.report import renderable
        from validation.run import validate as run
    except ModuleNotFoundError as error:
        raise UsageError("", f'needs {error.name}; pip install "tensorprog[validation]"') from error
    names = split("--cases", given.text("--cases")) if "--cases" in given else list(CASES)
    for name in names:
        if name not in CASES:
            raise UsageError("--cases", f"got {shortened(name)}; accepted are {', '.join(CASES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device", "got 'cuda', but torch sees no CUDA device; accepted here are auto, cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError("--out", f"cannot make the folder {shortened(out)}: {error.strerror}") from error
    with naming("--widths"):
        result = run(out, cases=names, widths=widths, seeds=seeds, steps=steps, workers=workers, device=device)
    if "--json" in given:
        sys.stdout.write(json.dumps(result.to_dict(), indent=2) + "\n")
        return 0 if result.ok else 1
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(renderable(result))
    for kind, path in result.files.items():
        console.print(f"{kind}: {path}", highlight=False, soft_wrap=True)
    return 0 if result.ok else 1


def _integers(given: Given, flag: str, most: int) -> list[int] | None:
    if flag not in given:
        return None
    return [integer(flag, text, 1, most) for text in split(flag, given.text(flag))]
