"""Provenance: what made the numbers of a report, and the command that makes them again."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorprog.alignment import DERIVED
from tensorprog.parametrizations import PARAMETRIZATIONS
from validation.cases import CASES, SUITES
from validation.data.digits import Digits
from validation.report.words import by_case

if TYPE_CHECKING:
    from validation.cases import Case
    from validation.run import Validation

__all__ = ["Provenance", "cases_of", "provenance"]

PACKAGES = ("tensorprog", "torch", "numpy", "scipy")


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from.

    Args:
        command: trains and judges the same again; empty where no command line can say it.
        records: the records file, relative to the report.
        versions: of what wrote this report, by name.
        trained_with: versions of torch that trained the networks, by the records.
        networks: runs that are in the records, and
        seconds: their wall time together, each on one thread or one GPU.
    """

    command: str
    records: str
    versions: dict[str, str]
    trained_with: tuple[str, ...]
    networks: int
    seconds: float


def provenance(validation: Validation, out: Path) -> Provenance:
    """Read the records once more for what the findings do not carry: time and versions.

    Args:
        out: the folder of the report.
    """
    lines = list(_used(validation))
    return Provenance(
        command(validation, out),
        _relative(validation.records, out),
        {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        tuple(sorted({str(line["torch"]) for line in lines if "torch" in line})),
        len(lines),
        sum(float(line.get("seconds", 0)) for line in lines),
    )


def cases_of(validation: Validation) -> list[Case]:
    """The cases with findings, in order."""
    return [findings[0].case for _, findings in by_case(validation)]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        # A checkout that is on the path but not installed.
        return str(getattr(__import__(package), "__version__", "unknown"))


def _relative(path: Path, start: Path) -> str:
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # another drive
        return path.as_posix()


# -- records ---------------------------------------------------------------------------------------------------------


def _used(validation: Validation) -> Iterator[dict[str, Any]]:
    """The records behind a validation: a file may hold those of other widths, steps and constants too."""
    wanted = {_identity(c, validation.steps) for c in cases_of(validation)}
    found: dict[str, dict[str, Any]] = {}
    if not validation.records.is_file():
        return
    with validation.records.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                data = json.loads(line)
                config = data["config"]
                used = (
                    config["width"] in validation.widths
                    and config["seed"] < validation.seeds
                    and data.get("device", "") in validation.device
                    and _canonical(config["setting"], config) in wanted
                )
            except (ValueError, KeyError, TypeError):
                continue  # a line that was cut short, or of another kind
            if used:
                found[data["key"]] = data
    yield from found.values()


def _identity(case: Case, steps: tuple[int, ...]) -> str:
    setting = case.setting.to_dict()
    setting.pop("steps", None)
    constants = case.constants
    return _canonical(
        setting,
        {
            "base_width": constants.base_width,
            "base_lr": constants.base_lr,
            "output_scale": constants.output_scale,
            "data": case.data.config,
            "steps": list(steps),
        },
    )


def _canonical(setting: dict[str, Any], config: dict[str, Any]) -> str:
    rest = [config[k] for k in ("base_width", "base_lr", "output_scale", "data", "steps")]
    return json.dumps([setting, *rest], sort_keys=True)


# -- the command -----------------------------------------------------------------------------------------------------


def command(validation: Validation, out: Path) -> str:
    """``tensorprog validate`` with the options that repeat this validation; empty where there are none."""
    what = _chosen(cases_of(validation))
    if what is None or (validation.against is not None and validation.against not in PARAMETRIZATIONS):
        return ""
    words = ["tensorprog", "validate", *what]
    words += ["--widths", _listed(validation.widths), "--seeds", str(validation.seeds)]
    words += ["--steps", _listed(validation.steps)]
    words += ["--device", "cpu" if validation.device.startswith("cpu") else "cuda"]
    if validation.against is not None:
        words += ["--against", validation.against]
    return shlex.join([*words, "--out", str(out)])


def _listed(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values))


def _chosen(cases: list[Case]) -> list[str] | None:
    """The options that name the cases: a suite, registered cases, or the options of one setting."""
    names = tuple(c.name for c in cases)
    if not names:
        return None
    if all(CASES.get(c.name) is c for c in cases):
        suite = next((s.name for s in SUITES.values() if s.cases == names), None)
        return ["--suite", suite] if suite else ["--cases", ",".join(names)]
    return _one_setting(cases[0]) if len(cases) == 1 else None


def _one_setting(case: Case) -> list[str] | None:
    """The options of a plain multilayer perceptron; anything else is not worth guessing at."""
    s = case.setting
    known = s.program.description or {}
    plain = (
        known.get("model") == "mlp"
        and set(known) == {"model", "hidden_layers", "activation", "bias"}
        and not known["bias"]
        and PARAMETRIZATIONS.get(s.parametrization.name) == s.parametrization
        and not s.optimizer.options()
        and not s.values
        and case.fixed is None
        and case.data == Digits()
    )
    if not plain:
        return None
    return [
        *("--hidden-layers", str(known["hidden_layers"]), "--activation", str(known["activation"])),
        *("--parametrization", s.parametrization.name, "--optimizer", s.optimizer.name, "--loss", s.loss.name),
        f"--lr-exponent={s.lr_exponent}",
        *(("--zero-readout",) if s.zero_readout else ()),
        *(() if s.alignment == DERIVED else (f"--alignment={s.alignment}",)),
    ]
