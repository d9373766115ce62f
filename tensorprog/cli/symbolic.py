"""The verbs over free symbols: phase."""

from __future__ import annotations

from pathlib import Path

from tensorprog.cli.entries import split
from tensorprog.cli.options import read_names_of_symbols, read_setting
from tensorprog.cli.output import check_output, emit
from tensorprog.cli.parser import Given, Group, Option, UsageError, naming, shortened
from tensorprog.exponent import Exponent, exponent
from tensorprog.phase import phase_diagram
from tensorprog.symbols import bind

__all__ = ["PHASE", "phase"]

PICTURES = (".png", ".svg", ".pdf")

PHASE = Group(
    "plane",
    (
        Option(
            "--free",
            "two symbols, horizontal and vertical: r, c, a_ROLE, b_ROLE, c_ROLE, an exponent option, or any that "
            "exponents contain [r,b_readout]",
            "NAME,NAME",
        ),
        Option("--window", "LEFT:RIGHT,LOW:HIGH [what contains every corner]", "RANGES"),
        Option("--picture", "draw into a file; its ending, .png, .svg or .pdf, gives the format", "FILE"),
    ),
)


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
