"""From a command line to an exit code: 0 done, 1 a verdict or a row failed, 2 bad input, 130 interrupted."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tensorprog import __version__
from tensorprog.cli.check import CHECK, check
from tensorprog.cli.crossing import CROSSING, crossing
from tensorprog.cli.options import SYMBOLS, setting_groups
from tensorprog.cli.output import OUTPUT
from tensorprog.cli.parser import Given, Group, Option, UsageError, parse, shortened
from tensorprog.cli.sweep import SWEEP, sweep
from tensorprog.cli.symbolic import FORMULA, PHASE, SOLVE, formula, phase, solve
from tensorprog.cli.validate import VALIDATION, validate
from tensorprog.cli.verbs import explain, max_lr, predict, tabulate
from tensorprog.errors import TensorprogError

__all__ = ["VERBS", "Verb", "entry", "main"]


@dataclass(frozen=True)
class Verb:
    """A verb of the command.

    Args:
        summary: its line in the overview.
        description: the top of its help.
        example: a command line that works.
        groups: its options.
        run: returns the exit code.
    """

    summary: str
    description: str
    example: str
    groups: Sequence[Group]
    run: Callable[[Given], int]


VERBS: dict[str, Verb] = {
    "predict": Verb(
        "one setting: exponents per site and step, regime, learning, reasons, largest stable learning rates",
        "Derive how every quantity of one setting scales with the width n.",
        "tensorprog predict --hidden-layers 2 --parametrization sp --optimizer sgd --loss ce --lr-exponent=-1/2",
        [*setting_groups(), SYMBOLS, OUTPUT],
        predict,
    ),
    "table": Verb(
        "many settings: one table, ready for a paper",
        "Derive every combination of the given values; comma lists span the table.",
        "tensorprog table --parametrization sp,mup --optimizer sgd,adam --loss ce --format latex --output table.tex",
        [
            *setting_groups(several=True),
            Group("which step", (Option("--step", "the step to tabulate [settled; 1 where it never settles]", "N"),)),
            OUTPUT,
        ],
        tabulate,
    ),
    "max-lr": Verb(
        "the largest stable learning-rate exponent, with and without bounded logits",
        "Find the largest exponents r of a factor n^r on every learning rate, exactly. The suprema do not depend on "
        "--lr-exponent and --steps; whether the given exponent is among the stable ones is reported too.",
        "tensorprog max-lr --parametrization sp --optimizer adam --loss ce",
        [*setting_groups(), OUTPUT],
        max_lr,
    ),
    "explain": Verb(
        "the rule chain of one exponent",
        "Unfold the derivation of one exponent: which term dominates, which alignment, which rule, which reference.",
        "tensorprog explain readout.propagating --parametrization sp --optimizer adam --loss ce --lr-exponent=-1",
        [
            Group(
                "what to explain",
                (
                    Option(
                        "TARGET",
                        "SITE.effective, .propagating, .feature, .activation, or logits, logit_update, loss_gradient",
                        "TARGET",
                    ),
                    Option("--step", "after so many optimizer steps; 0 is initialisation [1]", "N"),
                    Option("--depth", "levels of values to unfold [12]", "N"),
                ),
            ),
            *setting_groups(),
            OUTPUT,
        ],
        explain,
    ),
    "formula": Verb(
        "closed forms of exponents in free symbols",
        "Derive exponents as functions of free symbols: a form, Max, Min or Piecewise, exactly.",
        "tensorprog formula readout.effective --free c,b_readout --optimizer sgd --loss ce",
        [FORMULA, *setting_groups(), OUTPUT],
        formula,
    ),
    "phase": Verb(
        "the exact phase diagram over two symbols, as cells and as a picture",
        "Find the exact regions, edges and corners of regime and learning class over two free exponents.",
        "tensorprog phase --free r,b_readout --optimizer sgd --loss ce --picture phase.png",
        [PHASE, *setting_groups(), OUTPUT],
        phase,
    ),
    "solve": Verb(
        "the exponents that are stable and let every layer learn, or why there are none",
        "Find all exponents for which training is stable and every layer's effective update is Theta(1), exactly.",
        "tensorprog solve --hidden-layers 1 --optimizer adam --loss ce",
        [SOLVE, *setting_groups(), OUTPUT],
        solve,
    ),
    "check": Verb(
        "your own model and optimizer: trace, predict, advise",
        "Trace a torch module at several widths, read its initial sizes and its optimizer's parameter groups, and say "
        "which parameters depart from a parametrization, by which exponent, and what mends it.",
        "tensorprog check docs/examples/gpt.py:build --claim mup",
        CHECK,
        check,
    ),
    "validate": Verb(
        "train real networks, measure, judge every prediction",
        "Train networks across widths and hold every predicted exponent against the measured slope.",
        "tensorprog validate --suite quick --out validation-out",
        VALIDATION,
        validate,
    ),
    "crossing": Verb(
        "the widths at which the terms of measured sizes exchange dominance",
        "Fit the prefactors of the two leading powers of every measured size and say where they cross, with its error. "
        "Trains what validate trains, with the same options, or reads the folder of an earlier run.",
        "tensorprog crossing --cases sp-adam-ce-2 --out crossing-out",
        CROSSING,
        crossing,
    ),
    "sweep": Verb(
        "the measured largest stable and the optimal learning rate over widths, against the predicted exponent",
        "Find the smallest unstable and the optimal learning rate at every width by adaptive search, fit both "
        "exponents, and hold the first against the predicted one.",
        "tensorprog sweep --parametrization sp --optimizer sgd --loss ce --out sweep-out",
        SWEEP,
        sweep,
    ),
}


def overview() -> str:
    """The help of the command itself."""
    width = max(map(len, VERBS)) + 2
    lines = [
        "usage: tensorprog VERB [OPTIONS]",
        "",
        "How every quantity of a network in training scales with its width, derived.",
        "",
        "verbs:",
        *(f"  {name.ljust(width)}{verb.summary}" for name, verb in VERBS.items()),
        "",
        "  tensorprog VERB --help   the options of a verb, with an example",
        "  tensorprog --version     the version",
        "",
        "example:",
        f"  {VERBS['predict'].example}",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; prints, and returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = f"tensorprog {arguments[0]}" if arguments and arguments[0] in VERBS else "tensorprog"
    try:
        return _run(arguments)
    except TensorprogError as error:
        # One line whatever the message holds: what was got may contain line breaks.
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


def _run(arguments: list[str]) -> int:
    first = arguments[0] if arguments else ""
    if first in ("--help", "-h"):
        print(overview())
        return 0
    if first == "--version":
        print(f"tensorprog {__version__}")
        return 0
    if first not in VERBS:
        got = f"got {shortened(first)}" if first else "is missing"
        raise UsageError("VERB", f"{got}; accepted are {', '.join(VERBS)}, --help, --version")
    verb = VERBS[first]
    try:
        given = parse(first, verb.description, verb.example, verb.groups, arguments[1:])
    except SystemExit:  # argparse has printed the help
        return 0
    with warnings.catch_warnings():
        # The parser of Python warns of odd literals in what is meant as an exponent; the error line says it already.
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return verb.run(given)


def entry() -> None:
    """The installed command: :func:`main`, and a quiet end where the reader of a pipe has left."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        _silence()
        code = 0
    except OSError as error:
        _silence()
        print(f"tensorprog: cannot write the output: {error.strerror}", file=sys.stderr)
        code = 1
    raise SystemExit(code)


def _silence() -> None:
    # Python flushes stdout once more at exit, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
