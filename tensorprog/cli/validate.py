"""The verb that trains: real networks against every predicted exponent."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorprog.cli.entries import split
from tensorprog.cli.options import read_setting, setting_groups
from tensorprog.cli.parser import NUMBERS, Given, Group, Option, UsageError, integer, naming, shortened
from tensorprog.parametrizations import PARAMETRIZATIONS, Parametrization, parametrization

if TYPE_CHECKING:
    from rich.console import RenderableType

    from validation.cases import Case, Suite

__all__ = ["VALIDATION", "read_device", "read_folder", "read_numbers", "read_run", "show", "validate"]

DEVICES = ("auto", "cpu", "cuda")
LARGEST_WIDTH = 1 << 20
FEWEST_WIDTHS = 3
MANY = 10_000
EXTRA = 'pip install "tensorprog[validation]"'

_SETTING = [
    Group(group.title, tuple(o for o in group.options if o.flag != "--steps"))
    for group in setting_groups(several=False)
]
"""What describes one setting; steps are those after which to measure."""

VALIDATION = [
    Group(
        "what to train: a suite, some of its cases, or one setting",
        (
            Option("--suite", "quick (minutes on two cores) or full (a GPU) [quick]", "NAME"),
            Option("--quick", "the same as --suite quick"),
            Option(
                "--cases", "only these cases of the registry, such as sp-sgd-ce-2 or mup-adam-mse-3-zero", "NAME,..."
            ),
            Option("--against", "judge the runs against the predictions of another parametrization", "PARAMETRIZATION"),
        ),
    ),
    Group(
        "how",
        (
            Option("--widths", "at least three, for any verdict [128,256,512,1024,2048; 256 to 16384]", NUMBERS),
            Option("--seeds", "networks per width [4; 5]", "N"),
            Option("--steps", "optimizer steps after which to measure [1,3]", NUMBERS),
            Option("--device", f"{', '.join(DEVICES)} [auto]", "NAME"),
            Option("--workers", "processes; the results do not depend on it [one per CPU, at most 8]", "N"),
            Option(
                "--out",
                "folder for records and reports; what is recorded there is not trained again [validation-out]",
                "DIR",
            ),
            Option("--json", "print one JSON object"),
        ),
    ),
    *(Group(f"one setting: {group.title}", group.options) for group in _SETTING),
]


def validate(given: Given) -> int:
    """Train, measure, judge; 1 where a prediction disagrees."""
    options = read_run(given)
    from validation.report import renderable
    from validation.run import validate as run

    out = read_folder(given, "validation-out")
    with naming("--widths", only=True):
        result = run(out, **options)
    if "--json" in given:
        sys.stdout.write(json.dumps(result.to_dict(), indent=2) + "\n")
        return 0 if result.ok else 1
    show(renderable(result), result.files)
    return 0 if result.ok else 1


def show(result: RenderableType, files: Mapping[str, Path]) -> None:
    """Print a result for people and where its files are."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(result)
    for kind, path in files.items():
        console.print(f"{kind}: {path}", highlight=False, soft_wrap=True)


def read_run(given: Given) -> dict[str, Any]:
    """What to train and how, as the arguments of :func:`validation.run.validate`.

    Raises:
        UsageError: naming the option; also where the harness is not installed.
    """
    one = [o.flag for group in _SETTING for o in group.options if o.flag in given]
    for flag in ("--suite", "--quick", "--cases"):
        if one and flag in given:
            raise UsageError(flag, f"contradicts {one[0]}; give a suite, cases, or one setting")
    if "--quick" in given and given.text("--suite", "quick") != "quick":
        raise UsageError("--quick", "contradicts --suite; give one of them")
    setting = (
        read_setting(Given(given.verb, {k: v for k, v in given.values.items() if k != "--steps"})) if one else None
    )
    widths = read_numbers(given, "--widths", LARGEST_WIDTH)
    if widths is not None and len(widths) < FEWEST_WIDTHS:
        got = shortened(given.text("--widths"))
        raise UsageError("--widths", f"got {got}; needs at least {FEWEST_WIDTHS} widths, or no slope can be judged")
    options: dict[str, Any] = {
        "widths": widths,
        "steps": read_numbers(given, "--steps", MANY),
        "seeds": given.integer("--seeds", 0, 1, MANY) or None,
        "workers": given.integer("--workers", 0, 1, MANY) or None,
        "against": _claim(given),
        "device": read_device(given),
    }
    try:
        import validation.report
        import validation.run  # noqa: F401
        from validation.cases import Case
    except ModuleNotFoundError as error:
        raise UsageError("", f"needs {error.name}; {EXTRA}") from error
    cases: Sequence[Case | str] | None = _cases(given) if setting is None else [Case(str(setting), setting)]
    return {"suite": _suite(given), "cases": cases, **options}


def _claim(given: Given) -> Parametrization | None:
    if "--against" not in given:
        return None
    name = given.text("--against")
    if name not in PARAMETRIZATIONS:
        raise UsageError("--against", f"got {shortened(name)}; accepted are {', '.join(PARAMETRIZATIONS)}")
    return parametrization(name)


def _suite(given: Given) -> Suite:
    from validation.cases import SUITES

    name = given.text("--suite", "quick")
    if name not in SUITES:
        raise UsageError("--suite", f"got {shortened(name)}; accepted are {', '.join(SUITES)}")
    return SUITES[name]


def _cases(given: Given) -> list[str] | None:
    from validation.cases import CASES, QUICK

    if "--cases" not in given:
        return None
    names = split("--cases", given.text("--cases"))
    for name in names:
        if name not in CASES:
            some = ", ".join(QUICK.cases[:6])
            raise UsageError("--cases", f"got {shortened(name)}; accepted are {some}, ... ({len(CASES)} in all)")
    return names


def read_device(given: Given) -> str:
    """``--device`` as a name that torch knows; ``auto`` is the GPU where there is one.

    Raises:
        UsageError: also where torch is not installed.
    """
    device = given.text("--device", "auto")
    if device not in DEVICES:
        raise UsageError("--device", f"got {shortened(device)}; accepted are {', '.join(DEVICES)}")
    try:
        import torch
    except ModuleNotFoundError as error:
        raise UsageError("", f"needs {error.name}; {EXTRA}") from error
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device", "got 'cuda', but torch sees no CUDA device; accepted here are auto, cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def read_folder(given: Given, default: str) -> Path:
    """``--out``, made where it does not exist."""
    text = given.text("--out", default)
    if not text.strip():
        raise UsageError("--out", f"got {shortened(text)}; needs the name of a folder")
    out = Path(text)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError("--out", f"cannot make the folder {shortened(out)}: {error.strerror}") from error
    except ValueError as error:  # a null byte
        raise UsageError("--out", f"cannot make the folder {shortened(out)}: {error}") from error
    return out


def read_numbers(given: Given, flag: str, most: int) -> list[int] | None:
    """A list of whole numbers, or None where it is not given."""
    if flag not in given:
        return None
    return [integer(flag, text, 1, most) for text in split(flag, given.text(flag))]
