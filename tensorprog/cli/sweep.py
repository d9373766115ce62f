"""The verb that sweeps learning rates: the measured largest stable one over widths, against the predicted exponent."""

from __future__ import annotations

import json
import sys
from inspect import signature
from typing import TYPE_CHECKING, Any

from tensorprog.cli.options import read_setting, setting_groups
from tensorprog.cli.parser import NUMBERS, Given, Group, Option, UsageError, naming, shortened
from tensorprog.cli.validate import (
    DEVICES,
    EXTRA,
    FEWEST_WIDTHS,
    LARGEST_WIDTH,
    MANY,
    read_device,
    read_folder,
    read_numbers,
)
from tensorprog.errors import SettingError
from tensorprog.program import Program
from tensorprog.setting import MAX_STEPS

if TYPE_CHECKING:
    from validation.data import Data

__all__ = ["SWEEP", "sweep"]

DATA = "digits, teacher, teacher-regression, characters, character-sequences, mnist, cifar10"
"""A list of its own, because the registry imports torch; a test compares them."""

_STEPS = Option("--steps", f"optimizer steps of every network, at most {MAX_STEPS} [30]", "N")

SWEEP = [
    Group(
        "what to train",
        (
            Option("--widths", "at least three, for a verdict [128,256,512,1024,2048]", NUMBERS),
            Option("--seeds", "networks per width and learning rate [4]", "N"),
            _STEPS,
            Option("--criterion", "unstable by: activations, loss, accuracy [loss for mse, else activations]", "NAME"),
            Option("--data", f"{DATA} [digits, or character-sequences where the network reads them]", "NAME"),
            Option("--data-folder", "where the files of mnist or cifar10 are; nothing is downloaded", "DIR"),
        ),
    ),
    Group(
        "how",
        (
            Option("--device", f"{', '.join(DEVICES)} [auto]", "NAME"),
            Option("--workers", "processes; the results do not depend on it [one per CPU, at most 8]", "N"),
            Option(
                "--out",
                "folder for records, tables and figures; what is recorded there is not trained again [sweep-out]",
                "DIR",
            ),
            Option("--json", "print one JSON object"),
        ),
    ),
    *(Group(g.title, tuple(o for o in g.options if o.flag != _STEPS.flag)) for g in setting_groups()),
]


def sweep(given: Given) -> int:
    """Train at many learning rates and widths, fit, judge; 1 where the measured exponent disagrees."""
    setting = read_setting(given)
    widths = read_numbers(given, "--widths", LARGEST_WIDTH)
    if widths is not None and len(widths) < FEWEST_WIDTHS:
        got = shortened(given.text("--widths"))
        raise UsageError("--widths", f"got {got}; needs at least {FEWEST_WIDTHS} widths, or no exponent can be judged")
    options: dict[str, Any] = {
        "widths": widths,
        "seeds": given.integer("--seeds", 0, 1, MANY),
        "steps": setting.steps if "--steps" in given else None,
        "workers": given.integer("--workers", 0, 1, MANY),
        "unstable": given.text("--criterion"),
        "device": read_device(given),
    }
    try:
        from validation.sweep import sweep as run
        from validation.sweep.criterion import criterion
        from validation.sweep.report import renderable
    except ModuleNotFoundError as error:
        raise UsageError("", f"needs {error.name}; {EXTRA}") from error
    if "--criterion" in given:
        with naming("--criterion"):
            criterion(options["unstable"])
    options["on"] = _data(given, setting.program) if "--data" in given or "--data-folder" in given else None
    out = read_folder(given, "sweep-out")
    try:
        result = run(setting, out, **{name: value for name, value in options.items() if value})
    except SettingError as error:
        # Where the harness names no option, data do not suit the loss.
        option = error.what.removeprefix("sweep, ") if error.what.startswith("sweep, ") else "data"
        raise UsageError(f"--{option}", f"got {shortened(error.got)}; {error.need}") from error
    if "--json" in given:
        sys.stdout.write(json.dumps(result.to_dict(), indent=2) + "\n")
        return 0 if result.ok else 1
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(renderable(result))
    for kind, path in result.files.items():
        console.print(f"{kind}: {path}", highlight=False, soft_wrap=True)
    return 0 if result.ok else 1


def _data(given: Given, program: Program) -> Data:
    """``--data``, with ``--data-folder`` where it reads files; with pixels for a network that reads images."""
    from validation.data import DATA, data
    from validation.sweep import PROBE

    name = given.text("--data", "digits")
    accepts = signature(DATA[name]).parameters if name in DATA else {}
    form: dict[str, Any] = {"images": True} if program.reads_images and "images" in accepts else {}
    if "folder" in accepts:
        with naming("--data-folder"):
            return data(name, probe=PROBE, folder=given.text("--data-folder"), **form)
    with naming("--data"):
        found = data(name, probe=PROBE, **form)
    if "--data-folder" in given:
        raise UsageError("--data-folder", f"contradicts --data {name}, which reads no files of yours")
    return found
