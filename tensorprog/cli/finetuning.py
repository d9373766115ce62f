"""Options that freeze weights and put adapters beside them; they go with every network."""

from __future__ import annotations

from tensorprog.cli.parser import Given, Group, Option, UsageError, naming
from tensorprog.errors import SettingError, UnknownName
from tensorprog.finetuning import freeze, lora
from tensorprog.program import Program

__all__ = ["FINETUNING", "tuned"]

_LORA = Option("--lora", "low-rank adapters beside these weights, by name or role; all others are frozen", "NAME,...")
_TRAINED = Option(
    "--trained", "train these weights only, by name or role, such as readout; with --lora, besides the adapters", "NAME"
)
_ADAPTER = (
    Option("--rank-exponent", "of the adapters, rank n^p [0]", "VALUE"),
    Option("--lora-scale", "factor of the adapters: 1/r, 1/sqrt(r), 1 [1/r]", "NAME"),
    Option("--lora-zero", "the factor that starts at zero, A or B [B]", "NAME"),
)
FINETUNING = Group("fine-tuning", (_TRAINED, _LORA, *_ADAPTER))


def tuned(given: Given, program: Program) -> Program:
    """The program with the weights frozen and the adapters that the command line asks for.

    Raises:
        UsageError: for options that need --lora, and for values that are not accepted.
    """
    trained = given.text(_TRAINED.flag)
    if _LORA.flag not in given:
        for option in _ADAPTER:
            if option.flag in given:
                raise UsageError(option.flag, f"needs adapters to speak of; name the weights with {_LORA.flag}")
        with naming(_TRAINED.flag):
            return freeze(program, trained) if _TRAINED.flag in given else program
    options = {o.flag.removeprefix("--").replace("-", "_"): given.text(o.flag) for o in _ADAPTER if o.flag in given}
    try:
        return lora(program, given.text(_LORA.flag), trained=trained, **options)
    except (SettingError, UnknownName) as error:
        with naming(f"--{error.what.replace('_', '-')}"):
            raise
