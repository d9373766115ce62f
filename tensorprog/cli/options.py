"""Options that describe settings, and how they are read: every error names its option and what is accepted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from keyword import iskeyword

from tensorprog.alignment import ALIGNMENTS
from tensorprog.architectures import ARCHITECTURES
from tensorprog.cli.entries import entry_options, read_options, split
from tensorprog.cli.finetuning import FINETUNING, tuned
from tensorprog.cli.parser import Given, Group, Option, UsageError, listed, naming, shortened
from tensorprog.cli.training import (
    LOSS,
    LOSS_OPTIONS,
    OPTIMIZER,
    OPTIMIZER_OPTIONS,
    Kind,
    read_losses,
    read_optimizers,
    split_groups,
)
from tensorprog.conditions import assumptions
from tensorprog.errors import SettingError, TensorprogError
from tensorprog.exponent import Exponent, exponent
from tensorprog.nonlinearities import NONLINEARITIES
from tensorprog.optimizers import optimizer
from tensorprog.parametrizations import PARAMETRIZATIONS, Parametrization, parametrization
from tensorprog.program import Program, Weight
from tensorprog.setting import MAX_STEPS, Setting, setting

__all__ = [
    "SYMBOLS",
    "check_layers",
    "read_conditions",
    "read_exponent",
    "read_free",
    "read_kind",
    "read_layers",
    "read_losses",
    "read_names",
    "read_names_of_symbols",
    "read_optimizers",
    "read_parametrization",
    "read_programs",
    "read_setting",
    "setting_groups",
]

LAYER_KEYS = ("a", "b", "c")
RATIONAL = re.compile(r"\s*[+-]?\s*(?:[0-9]{1,20}\s*/\s*[0-9]{1,20}|[0-9]{1,20}|[0-9]{0,20}\.[0-9]{1,20}|oo)\s*")
"""What an exponent without symbols may be; the engine reads whole expressions, where a typo can mean something."""

ALL = "all"

MODEL_OPTIONS = entry_options(ARCHITECTURES, {"activation": f"the nonlinearity: {', '.join(NONLINEARITIES)}"})

SYMBOLS = Group(
    "symbols",
    (
        Option(
            "--free",
            "symbols that exponents may contain, such as r; the result is then one cell per regime",
            "NAME,...",
        ),
        Option("--assume", "a condition on the symbols, such as 'r <= 0'; repeatable", "CONDITION", repeat=True),
    ),
)


def setting_groups(*, several: bool = False) -> list[Group]:
    """The options of a setting; ``several`` where comma lists span a table."""

    def registry(flag: str, what: str, names: Iterable[str], default: str, around: Iterable[str] = ()) -> Option:
        metavar = "NAME,..." if several else "NAME"
        every = ", or all" if several else ""
        wrappers = f"; around another: {', '.join(around)}" if around else ""
        groups = "; or by role, such as hidden=muon,else=adam" if flag == OPTIMIZER.flag else ""
        return Option(flag, f"{what}: {', '.join(names)}{every}{wrappers}{groups} [{default}]", metavar)

    network = (
        Option("--model", f"the network: {', '.join(ARCHITECTURES)} [mlp]", "NAME"),
        *(o.option(several=several) for o in MODEL_OPTIONS),
    )
    rate = "0 and max, the largest one of each setting that is not catastrophic" if several else "0"
    training = (
        registry("--parametrization", "scalings", PARAMETRIZATIONS, ALL if several else "sp"),
        registry("--optimizer", "the optimizer", OPTIMIZER.plain, "sgd,adam" if several else "sgd", OPTIMIZER.around),
        *(o.option() for o in OPTIMIZER_OPTIONS),
        registry("--loss", "the loss", LOSS.plain, "ce,mse" if several else "ce", LOSS.around),
        *(o.option() for o in LOSS_OPTIONS),
        Option("--lr-exponent", f"r: every learning rate times n^r [{rate}]", "R,..." if several else "R"),
        Option("--steps", f"optimizer steps to derive, at most {MAX_STEPS} [4]", "N"),
        Option("--zero-readout", "initialise the readout to exact zeros"),
        registry("--alignment", "of weights with what they act on, derived or assumed", ALIGNMENTS, "derived"),
    )
    scalings = (
        Option(
            "--set",
            "change one exponent, such as readout.b=3/4 or hidden.1.c=1; repeatable",
            "ROLE.KEY=VALUE",
            repeat=True,
        ),
        Option("--a", "multipliers n^-a of every layer: input, hidden..., readout [0,...]", "LIST"),
        Option("--b", "initial standard deviations n^-b of every layer, in place of --parametrization", "LIST"),
        Option("--c", "learning rates n^-c of every layer, in place of --parametrization", "LIST"),
    )
    return [Group("network", network), Group("training", training), FINETUNING, Group("exponents", scalings)]


# -- exponents -----------------------------------------------------------------------------------------------------


def read_free(given: Given) -> frozenset[str]:
    """The declared symbols."""
    if "--free" not in given:
        if "--assume" in given:
            raise UsageError("--assume", "needs symbols to speak of; declare them with --free")
        return frozenset()
    names = split("--free", given.text("--free"))
    for name in names:
        if not _is_name(name):
            raise UsageError("--free", f"got {shortened(name)}; needs names such as r or b_readout (not n, oo, lr)")
    return frozenset(names)


def read_names_of_symbols(given: Given, default: Sequence[str]) -> list[str]:
    """The symbols of ``--free`` in their order."""
    return split("--free", given.text("--free")) if read_free(given) else list(default)


def _is_name(text: str) -> bool:
    """Could it name a symbol? n is the width, oo is infinity, lr is taken by the search for the largest rate."""
    return text.isidentifier() and text.isascii() and not iskeyword(text) and text not in ("n", "oo", "lr")


def read_conditions(given: Given, free: frozenset[str]) -> list[str]:
    """The assumptions on the symbols; checked here, so that an error names the option."""
    conditions = given.all("--assume")
    for text in conditions:
        with naming("--assume"):
            regions = assumptions([text])
        used = {s for r in regions for s in (*r.substitution, *(s for g in r.positive for s in g.symbols))}
        if unknown := sorted(used - free):
            raise UsageError("--assume", f"got {shortened(text)}, whose {unknown[0]!r} is not declared with --free")
    with naming("--assume"):
        assumptions(conditions)
    return conditions


def read_exponent(flag: str, text: str, free: frozenset[str], *, shown: str = "", zero_ok: bool = False) -> Exponent:
    """One exact exponent. A name is an error unless it was declared: a typo never becomes a symbol.

    Args:
        flag: the option.
        text: what to read.
        free: declared symbols.
        shown: what was given, where ``text`` is only a part of it.
        zero_ok: oo is accepted (b of a zero initialisation).
    """
    accepted = "accepted are exact rationals such as -1/2, 0 or 3" + (", or oo for a zero init" if zero_ok else "")
    got = shortened(shown or text)
    if not free and not RATIONAL.fullmatch(text):
        symbol = text.strip()
        hint = f"; predict --free {symbol} would make it a symbol" if _is_name(symbol) else ""
        raise UsageError(flag, f"got {got}; {accepted}{hint}")
    with naming(flag):
        e = exponent(text, flag)
    if unknown := sorted(e.symbols - free):
        raise UsageError(flag, f"got {got}, whose {unknown[0]!r} is not declared with --free; {accepted}")
    if e.infinite and not (zero_ok and e.infinite > 0):
        raise UsageError(flag, f"got {got}, which is infinite; {accepted}")
    return e


def read_parametrization(
    given: Given, base: Parametrization, programs: Sequence[Program], free: frozenset[str] = frozenset()
) -> Parametrization:
    """The parametrization with the changes of ``--set``."""
    changed: dict[tuple[str, str], Exponent] = {}
    for text in given.all("--set"):
        target, key, value = _split_set(text)
        e = read_exponent("--set", value, free, shown=text, zero_ok=key == "b")
        if changed.setdefault((target, key), e) != e:
            raise UsageError("--set", f"gives {target}.{key} twice, {changed[target, key]} and {e}; give one of them")
        if f"--{key}" in given:
            raise UsageError("--set", f"got {shortened(text)}, but --{key} gives every {key} already; give one of them")
        weights = _targets(text, target, programs)
        if key == "b" and "--zero-readout" in given and any(w in p.readouts for p in programs for w in weights):
            raise UsageError("--zero-readout", f"contradicts --set {text}; give one of them")
    for (target, key), e in changed.items():
        with naming("--set"):
            base = base.where(target, **{key: e})
    return base


def _split_set(text: str) -> tuple[str, str, str]:
    left, equals, value = text.partition("=")
    target, dot, key = (part.strip() for part in left.rpartition("."))
    if not (equals and dot and target and value.strip()):
        raise UsageError("--set", f"got {shortened(text)}; needs ROLE.KEY=VALUE, such as readout.b=3/4")
    if key not in LAYER_KEYS:
        raise UsageError("--set", f"got {shortened(text)}; the key {key!r} must be one of {', '.join(LAYER_KEYS)}")
    return target, key, value.strip()


def _targets(text: str, target: str, programs: Sequence[Program]) -> list[Weight]:
    """The weights that a target names; one that some networks of a table lack fails in their rows only."""
    weights = [w for program in programs for w in program.independent]
    found = [w for w in weights if target in (w.name, w.role.value)]
    if not found:
        known = dict.fromkeys([*(w.role.value for w in weights), *(w.name for w in weights)])
        names = listed(list(known))
        raise UsageError("--set", f"got {shortened(text)}; {target!r} is no role or weight of the network: {names}")
    return found


def read_layers(given: Given, free: frozenset[str] = frozenset()) -> Parametrization | None:
    """The free exponents of ``--a --b --c``, or None where they are not given."""
    present = [f"--{key}" for key in LAYER_KEYS if f"--{key}" in given]
    if not present:
        return None
    if "--parametrization" in given:
        raise UsageError(present[0], "contradicts --parametrization; give the name or the lists")
    for flag in ("--b", "--c"):
        if flag not in given:
            raise UsageError(
                flag, f"is missing: {present[0]} needs it too, one value per layer: input, hidden..., readout"
            )
    if "--zero-readout" in given:
        raise UsageError("--zero-readout", "contradicts --b, which gives the readout's init; write oo there instead")
    layers = len(given.text("--b").split(","))
    lists: dict[str, list[Exponent]] = {}
    for key in LAYER_KEYS:
        flag, text = f"--{key}", given.text(f"--{key}", ",".join(["0"] * layers))
        lists[key] = [read_exponent(flag, part, free, shown=text, zero_ok=key == "b") for part in text.split(",")]
        if len(lists[key]) != layers:
            raise UsageError(flag, f"has {len(lists[key])} values but --b has {layers}; needs one per layer")
    return Parametrization.from_layers(lists["a"], lists["b"], lists["c"])


def check_layers(layers: Parametrization, programs: Sequence[Program]) -> None:
    """The lists must fit a network of the command; one of several that they do not fit fails in its rows only."""
    errors = []
    for program in programs:
        try:
            layers.assign(program, optimizer("sgd"))
        except SettingError as error:
            errors.append(f"has {str(error.got).split()[0]} values, but {error.need}; needs one per layer")
    if len(errors) == len(programs):
        raise UsageError("--b", errors[0])


# -- settings ------------------------------------------------------------------------------------------------------


def read_programs(given: Given, free: frozenset[str] = frozenset()) -> list[Program]:
    """The networks: one, or several where the verb allows lists.

    Args:
        free: symbols that exponents may contain; one that is named as an exponent option stands for it.
    """
    model = given.text("--model", "mlp")
    if model not in ARCHITECTURES:
        raise UsageError("--model", f"got {shortened(model)}; accepted are {', '.join(ARCHITECTURES)}")
    options = read_options(given, MODEL_OPTIONS, "the model", [model], several=given.verb == "table")
    flags = {o.name: o.flag for o in MODEL_OPTIONS}
    for o in MODEL_OPTIONS:
        if isinstance(o.default, Exponent) and model in o.owners:
            if o.name in options:
                options[o.name] = [read_exponent(o.flag, text, free) for text in options[o.name]]
            elif o.name in free:
                options[o.name] = [exponent(o.name)]
    if "--rank-exponent" in given:
        read_exponent("--rank-exponent", given.text("--rank-exponent"), free)
    programs = []
    for values in product(*options.values()):
        chosen = dict(zip(options, values, strict=True))
        first = next((flags[n] for n, v in chosen.items() if isinstance(v, str | Exponent)), "--model")
        try:
            programs.append(ARCHITECTURES[model](**chosen))
        except TensorprogError as error:
            # An entry checks its own parameters, and most errors name one of them.
            with naming(flags.get(getattr(error, "what", ""), first)):
                raise
    return [tuned(given, program) for program in programs]


def read_kind(given: Given, kind: Kind, default: Sequence[str]) -> list[str]:
    """Names of optimizers or losses; ``all`` are those that are not around another one."""
    return read_names(given, kind.flag, kind.plain, default, kind.around)


def read_names(
    given: Given, flag: str, registry: Mapping[str, object], default: Sequence[str], more: Iterable[str] = ()
) -> list[str]:
    """Names of a registry: one, or a comma list or ``all`` where the verb allows several.

    Args:
        more: further names, which ``all`` leaves out.
    """
    if flag not in given:
        return list(default)
    text = given.text(flag)
    several = given.verb == "table"
    if several and text == ALL:
        return list(registry)
    names = split_groups(split(flag, text)) if several else [text]
    accepted = [*registry, *more]
    for name in names:
        if name not in accepted and not (flag == OPTIMIZER.flag and "=" in name):
            extra = f", {ALL}" if several else ""
            raise UsageError(flag, f"got {shortened(name)}; accepted are {', '.join(accepted)}{extra}")
    return names


def read_setting(given: Given, free: frozenset[str] = frozenset(), *, steps: int = 4, binding: bool = False) -> Setting:
    """The one setting of a command line.

    Args:
        free: symbols that exponents may contain.
        steps: the default of ``--steps``.
        binding: symbols that no exponent contains are given a meaning later (:mod:`tensorprog.symbols`).
    """
    (program,) = read_programs(given, free)
    layers = read_layers(given, free)
    if layers:
        check_layers(layers, [program])
    named = parametrization(read_names(given, "--parametrization", PARAMETRIZATIONS, ["sp"])[0])
    scalings = read_parametrization(given, layers or named, [program], free)
    (trained,) = read_optimizers(given, read_kind(given, OPTIMIZER, ["sgd"]), free)
    (chosen,) = read_losses(given, read_kind(given, LOSS, ["ce"]), free)
    rate = read_exponent("--lr-exponent", given.text("--lr-exponent", "0"), free)
    count = given.integer("--steps", steps, 1, MAX_STEPS)
    with naming("--layer-exponents" if "--layer-exponents" in given else OPTIMIZER.flag):
        trained.check(program.weights)
    with naming("--zero-readout", only=True):
        result = setting(
            program,
            scalings,
            optimizer_=trained,
            loss_=chosen,
            lr_exponent=rate,
            zero_readout="--zero-readout" in given,
            steps=count,
            alignment_=read_names(given, "--alignment", ALIGNMENTS, ["derived"])[0],
        )
    if not binding and (unused := sorted(free - result.symbols)):
        raise UsageError("--free", f"got {unused[0]!r}, which no exponent contains; leave it out or use it")
    return result
