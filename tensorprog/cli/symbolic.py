"""The verbs over free symbols: formula, phase, solve."""

from __future__ import annotations

from pathlib import Path

from tensorprog.cli.entries import split
from tensorprog.cli.options import read_conditions, read_names_of_symbols, read_setting
from tensorprog.cli.output import check_output, emit
from tensorprog.cli.parser import Given, Group, Option, UsageError, listed, naming, shortened
from tensorprog.exponent import Exponent, exponent
from tensorprog.formula import formulas_of, targets_of
from tensorprog.phase import phase_diagram
from tensorprog.setting import MAX_STEPS
from tensorprog.solve import BOUNDS, solutions, unknowns
from tensorprog.symbols import bind

__all__ = ["FORMULA", "PHASE", "SOLVE", "formula", "phase", "solve"]

PICTURES = (".png", ".svg", ".pdf")

MEANINGS = (
    "r, c, a_ROLE, b_ROLE, c_ROLE (such as b_readout), an exponent option (epsilon_exponent, ff_exponent), or any that "
    "exponents contain"
)
FORMULA = Group(
    "what to derive",
    (
        Option("TARGET", "SITE.effective, .propagating, .feature, .activation, or logits, ... [all of them]", "TARGET"),
        Option("--free", f"free symbols: {MEANINGS}", "NAME,..."),
        Option("--assume", "a condition on the symbols, such as 'r <= 0'; repeatable", "CONDITION", repeat=True),
        Option("--step", "after so many optimizer steps; 0 is initialisation [1]", "N"),
    ),
)

PHASE = Group(
    "plane",
    (
        Option(
            "--free",
            f"two symbols, horizontal and vertical: {MEANINGS} [r,b_readout]",
            "NAME,NAME",
        ),
        Option("--window", "LEFT:RIGHT,LOW:HIGH [what contains every corner]", "RANGES"),
        Option("--picture", "draw into a file; its ending, .png, .svg or .pdf, gives the format", "FILE"),
    ),
)


SOLVE = Group(
    "what to find",
    (
        Option("--free", f"unknowns: {MEANINGS} [b and c of every role]", "NAME,..."),
        Option(
            "--assume", "a condition on the unknowns, such as 'b_readout = 1/2'; repeatable", "CONDITION", repeat=True
        ),
        Option("--bounded", f"what stays bounded, each with those before it: {', '.join(BOUNDS)} [logits]", "WHAT"),
        Option("--stable-only", "ask for stability alone, not for Theta(1) updates of every layer"),
    ),
)


def solve(given: Given) -> int:
    """The exponents that are stable and let every layer learn; 1 where there are none."""
    check_output(given)
    bounded = given.text("--bounded", BOUNDS[-1])
    if bounded not in BOUNDS:
        raise UsageError("--bounded", f"got {shortened(bounded)}; accepted are {', '.join(BOUNDS)}")
    names = read_names_of_symbols(given, []) if "--free" in given else []
    s = read_setting(given, frozenset(names), binding=True)
    names = names or [n for n in unknowns(s.program) if not (s.zero_readout and n == "b_readout")]
    conditions = read_conditions(given, frozenset(names))
    with naming("--free"):
        s = bind(s, names)
        found = solutions(s, names, bounded=bounded, maximal="--stable-only" not in given, assume=conditions)
    emit(given, found)
    return 0 if found else 1


def formula(given: Given) -> int:
    """Closed forms of one exponent, or of all, in free symbols."""
    check_output(given)
    if "--free" not in given:
        raise UsageError("--free", f"is missing; name the free symbols: {MEANINGS}")
    names = read_names_of_symbols(given, [])
    conditions = read_conditions(given, frozenset(names))
    step = given.integer("--step", 1, 0, MAX_STEPS)
    s = read_setting(given, frozenset(names), steps=max(step, 1), binding=True)
    with naming("--free"):
        s = bind(s, names)
    accepted = targets_of(s, step)
    target = given.text("TARGET")
    if target and target not in accepted and not target.endswith(".perturbation"):
        raise UsageError("TARGET", f"got {shortened(target)}; accepted at step {step} are {listed(accepted)}")
    with naming("TARGET" if target else "--assume"):
        found = formulas_of(s, step, [target] if target else None, conditions)
    emit(given, found)
    return 0


def phase(given: Given) -> int:
    """The exact phase diagram over two symbols."""
    check_output(given)
    names = read_names_of_symbols(given, ["r", "b_readout"])
    if len(names) != 2:
        raise UsageError("--free", f"got {shortened(','.join(names))}; needs two symbols, such as r,b_readout")
    window = _window(given)
    picture = _picture(given)
    s = read_setting(given, frozenset(names), binding=True)
    with naming("--free"):
        s = bind(s, names)
    with naming("--window" if window else "--free"):
        diagram = phase_diagram(s, names, window)
    if picture:
        with naming("--picture"):
            try:
                diagram.save(picture)
            except OSError as error:
                raise UsageError("--picture", f"cannot write {shortened(picture)}: {error.strerror}") from error
    emit(given, diagram)
    return 0


def _window(given: Given) -> list[tuple[Exponent, Exponent]] | None:
    if "--window" not in given:
        return None
    text = given.text("--window")
    ranges = [part.split(":") for part in split("--window", text)]
    if len(ranges) != 2 or any(len(r) != 2 for r in ranges):
        raise UsageError("--window", f"got {shortened(text)}; needs LEFT:RIGHT,LOW:HIGH, such as -2:0,0:3/2")
    read = []
    for low, high in ranges:
        with naming("--window"):
            ends = exponent(low, "--window"), exponent(high, "--window")
        if not (ends[0].is_number and ends[1].is_number and ends[0] < ends[1]):
            raise UsageError("--window", f"got {shortened(text)}; needs exact numbers, LEFT < RIGHT and LOW < HIGH")
        read.append(ends)
    return read


def _picture(given: Given) -> str:
    """The file to draw into; checked before any work."""
    if "--picture" not in given:
        return ""
    path = Path(given.text("--picture"))
    if path.suffix not in PICTURES:
        raise UsageError("--picture", f"got {shortened(path)}; needs one of the endings {', '.join(PICTURES)}")
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError("--picture", f"got {shortened(path)}; needs a file in an existing folder")
    return str(path)
