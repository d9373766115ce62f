"""`trace`: a user's model, optimizer and loss become a program with measured exponents."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tensorprog.derivation import Derivation
from tensorprog.derive import derive
from tensorprog.errors import SettingError
from tensorprog.exponent import Exponent, ExponentLike, exponent
from tensorprog.losses import Loss
from tensorprog.optimizers import Clipped, Optimizer, PerGroup
from tensorprog.parametrizations import ABC, Parametrization
from tensorprog.program import Program
from tensorprog.stability import StableRates, max_stable_lr
from tensorprog.trace.conversion import OPERATORS, Conversion
from tensorprog.trace.emission import Block, Emission
from tensorprog.trace.export import Built, build_models, export
from tensorprog.trace.inits import Init, measure
from tensorprog.trace.optimizer import CLASSES, ReadOptimizer, Rule, read_optimizer
from tensorprog.trace.parametrization import Measured
from tensorprog.trace.powers import power_of

if TYPE_CHECKING:
    import torch

    from tensorprog.trace.advice import Check
    from tensorprog.trace.maximal import Maximal
    from tensorprog.trace.orbit import Orbit
    from tensorprog.trace.prescription import Prescription

__all__ = ["Traced", "trace", "traced"]

WIDTHS = (64, 128, 256)


@dataclass(frozen=True)
class Traced:
    """A model of the user as a program, with the exponents that it was found to have.

    Args:
        program: what it computes; sites are named by module path.
        parametrization: measured init exponents, and learning-rate exponents of the parameter groups.
        optimizer: the entry, or one for each weight.
        loss: the loss.
        blocks: where each weight of the program is in the model's parameters.
        inits: what each weight starts with, measured.
        trained: how each parameter is trained.
        built: the models themselves, one for each width.
        unused: parameters that the logits do not depend on.
        output: which member of the model's output holds the logits, where it was said.
    """

    program: Program
    parametrization: Measured
    optimizer: Optimizer
    loss: str | Loss
    blocks: Mapping[str, Block] = field(repr=False)
    inits: Mapping[str, Init] = field(repr=False)
    trained: ReadOptimizer = field(repr=False)
    built: Built = field(repr=False)
    unused: tuple[str, ...] = ()
    output: str | int | None = None

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the trace."""
        return self.built.widths

    def derive(self, *, lr_exponent: ExponentLike = 0, steps: int = 4) -> Derivation:
        """Regime, learning, exponents per site and step, reasons: as for a built-in program."""
        result: Derivation = derive(
            self.program,
            self.parametrization,
            optimizer=self.optimizer,
            loss=self.loss,
            lr_exponent=lr_exponent,
            steps=steps,
        )
        return result

    @cached_property
    def derivation(self) -> Derivation:
        """:meth:`derive` at the model's own learning rates."""
        return self.derive()

    def max_stable_lr(self) -> StableRates:
        """The largest stable global learning-rate exponents, on top of the model's own rates."""
        return max_stable_lr(self.program, self.parametrization, optimizer=self.optimizer, loss=self.loss)

    def maximal(self, claim: str = "maximal") -> Maximal:
        """The largest stable learning rate of every weight at the model's own init.

        Args:
            claim: ``maximal`` or, with bounded logits and attention logits, ``maximal-bounded``.
        """
        from tensorprog.trace.maximal import maximal

        return maximal(self.program, self.parametrization.table, self.optimizer, self.loss, claim)

    def check(self, claim: str | Parametrization | None = None) -> Check:
        """Hold the model against a parametrization: what departs, by which exponent, and what mends it.

        Without a claim it is compared with the maximal-update parametrization, and with :meth:`maximal`.
        """
        from tensorprog.trace.advice import check

        return check(self, claim)

    def prescribe(self, base_width: int, claim: str | Parametrization = "mup") -> Prescription:
        """Init factors and parameter groups that put the model into a parametrization, from a base width on."""
        from tensorprog.trace.prescription import prescribe

        return prescribe(self, base_width, claim)

    def orbit(self, weight: str) -> Orbit:
        """Every choice of multiplier, init, rate, epsilon and decay of a weight that gives the same function."""
        from tensorprog.trace.orbit import orbit

        return orbit(self, weight)

    def rule(self, weight: str) -> Rule | None:
        """How a weight of the program is trained; None for a frozen one."""
        return self.trained.rules.get(self.blocks[weight].parameter)

    def __str__(self) -> str:
        rows = [f"{self.program.label}, traced at widths {', '.join(map(str, self.widths))}"]
        table = self.parametrization.table
        size = max(map(len, table))
        for w in self.program.weights:
            abc = table[w.name]
            c = f"n^({-abc.c})" if w.trained else "frozen"
            b = "zero" if abc.b.infinite else f"n^({-abc.b})"
            rows.append(f"  {w.name:{size}}  {w.role.value:8}  {w.into.name} -> {w.out.name}  init {b}  rate {c}")
        return "\n".join(rows)


def trace(
    build: Callable[[int], torch.nn.Module],
    widths: Sequence[int] = WIDTHS,
    *,
    example: Any = None,
    optimizer: Any = "sgd",
    loss: str | Loss | Any = "ce",
    output: str | int | None = None,
    inits: Mapping[str, ExponentLike] | None = None,
    entries: Mapping[str, Any] | None = None,
    clip: float | Callable[[int], float] | None = None,
    seed: int = 0,
    label: str = "",
) -> Traced:
    """Trace a model: its graph at several widths, its initial sizes and its parameter groups, as a program.

    Args:
        build: returns the initialised model of a width n.
        widths: at least two; three tell a power from a rounding.
        example: an input: a tensor, a tuple, a dictionary of keywords, or a function of the width that returns one;
            without it tokens, vectors or images are tried, as the first layer reads them.
        optimizer: ``optimizer(model)`` returns a torch optimizer, or a list of them; or the name of one of
            tensorprog's optimizers, with the same learning rate for all parameters.
        loss: a name, an entry, or a loss of torch such as ``torch.nn.functional.cross_entropy``.
        output: which member of the model's output holds the logits, where that is not clear.
        inits: declared init exponents b (std n^-b; oo for zeros), by parameter name, in place of measured ones.
        entries: what optimizer classes of your own do, by class name: ``{"MyMuon": "muon"}``; of others that are not
            torch's own a step is made and measured.
        clip: the threshold of global-norm clipping, where the training loop clips: a number or a function of the width.
        seed: of ``build``; torch's own generator is left as it was.
        label: how outputs name the model; the name of its class by default.

    Returns:
        A :class:`Traced` model; ``.derivation`` has the regime, the exponents and the reasons.

    Assumes: the numbers of positions, batch elements and pixels do not grow with the width.

    Raises:
        TraceError: naming operator, module path, what is missing and what to declare instead.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import tensorprog as tp
        >>> build = lambda n: nn.Sequential(nn.Linear(8, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 3))
        >>> model = tp.trace(build, example=torch.randn(4, 8), optimizer="adam")
        >>> [s.name for s in model.program.sites]
        ['0', '0.bias', '2', '2.bias', '4', '4.bias']
        >>> model.derivation.regime.value, str(model.max_stable_lr())
        ('catastrophic', 'stable up to -1, bounded updates up to -1, bounded logits up to -3/2')
    """
    _readable(output, inits, entries, clip)
    built = build_models(build, widths, example, seed)
    return traced(
        built,
        optimizer=optimizer,
        loss=loss,
        output=output,
        inits=inits or {},
        entries=entries or {},
        clip=clip,
        label=label,
    )


def _readable(output: Any, inits: Any, entries: Any, clip: Any) -> None:
    """What is given beside the model has the right types."""
    if output is not None and not isinstance(output, str | int):
        raise SettingError("output", output, "needs a name or an index of a member of the model's output")
    for what, table in (("inits", inits), ("entries", entries)):
        if table is not None and not isinstance(table, Mapping):
            raise SettingError(what, table, "needs a mapping from names")
    if clip is not None and not callable(clip) and not _positive(clip):
        raise SettingError("clip", clip, "needs a threshold, a positive number, or a function of the width")


def _positive(number: Any) -> bool:
    return not isinstance(number, bool) and isinstance(number, int | float) and 0 < number < math.inf


def _clipped(entry: Optimizer, clip: Any, widths: Sequence[int]) -> Optimizer:
    """With a threshold that may depend on the width."""
    if not callable(clip):
        return Clipped(entry, threshold=clip)
    thresholds = [clip(n) for n in widths]
    power = power_of(thresholds, widths) if all(map(_positive, thresholds)) else None
    if power is None:
        told = ", ".join(map(str, thresholds))
        raise SettingError("clip", told, f"needs positive numbers, a power of the widths {', '.join(map(str, widths))}")
    return Clipped(entry, power.exponent, threshold=power.constant)


def traced(
    built: Built,
    *,
    optimizer: Any,
    loss: Any,
    output: str | int | None,
    inits: Mapping[str, ExponentLike],
    entries: Mapping[str, Any],
    clip: float | Callable[[int], float] | None,
    label: str,
) -> Traced:
    """Trace models that are built."""
    import torch

    graph = export(built, output, OPERATORS)
    conversion = Conversion(graph)
    logits = conversion.run()
    declared = {name: exponent(b, f"inits, {name}") for name, b in inits.items()}
    for name, b in declared.items():
        if name not in graph.canonical:
            raise SettingError("inits", name, f"the model's parameters are: {', '.join(graph.canonical)}")
        if not (b.is_number or b.infinite):
            raise SettingError(f"inits, {name}", str(b), "needs a number, or oo for zeros")

    def initial(block: Block, where: str) -> Init:
        samples = [_samples(built.models, block)]
        one = samples[0][0].numel() == 1  # whether a single entry is random, another seed tells
        if one and block.parameter not in declared:
            samples.append(_samples(next(built.further()), block))
        random = any(float(torch.stack(t).double().std(unbiased=False)) for t in zip(*samples, strict=True))
        if random and block.parameter not in declared:  # a few entries say little: more of them, from other seeds
            needed = math.ceil(ENTRIES / min(t.numel() for t in samples[0])) - 1
            for models in itertools.islice(built.further(), len(samples) - 1, min(needed, SEEDS)):
                samples.append(_samples(models, block))
        entries = [torch.stack(parts) for parts in zip(*samples, strict=True)]
        return measure(entries, built.widths, block.parameter, where, declared.get(block.parameter))

    rules = read_optimizer(optimizer, built.models, built.widths, graph.canonical, entries)
    emission = Emission(
        conversion.recording, conversion.parameters, built.widths, initial, lambda name: name in rules.rules
    )
    name = label or type(built.models[0]).__name__
    program = emission.program(logits.ref, name, model=name, widths=list(built.widths))
    table = {
        w.name: _abc(emission.inits[w.name], rules.rules.get(emission.blocks[w.name].parameter))
        for w in program.weights
    }
    entry = _entry(program, emission, rules, {**CLASSES, **entries})
    used = {b.parameter for b in emission.blocks.values()}
    return Traced(
        program,
        Measured("as traced", table=table),
        entry if clip is None else _clipped(entry, clip, built.widths),
        loss_entry(loss),
        emission.blocks,
        emission.inits,
        rules,
        built,
        tuple(n for n in dict.fromkeys(graph.canonical.values()) if n not in used),
        output,
    )


ENTRIES, SEEDS = 64, 24
"""Random entries that an init exponent is measured on, and the most seeds that are tried for them."""


def _samples(models: Sequence[torch.nn.Module], block: Block) -> list[torch.Tensor]:
    return [_entries(m.get_parameter(block.parameter), block, w) for w, m in enumerate(models)]


def _entries(p: Any, block: Block, w: int) -> Any:
    import torch

    t = p.detach()
    for k, index in enumerate(block.indices):
        if index is not None:
            t = t.index_select(k, torch.as_tensor(index[w], device=t.device))
    return t


def _abc(init: Init, rule: Rule | None) -> ABC:
    return ABC(Exponent(0), init.b, Exponent(0) if rule is None else -rule.rate.exponent)


def _entry(program: Program, emission: Emission, trained: ReadOptimizer, known: Mapping[str, Any]) -> Optimizer:
    """One entry for all weights where they agree, else one for each."""
    if trained.declared is not None:
        return trained.declared
    if not trained.rules:
        raise SettingError("optimizer", "no trained parameter", "needs at least one parameter with a learning rate")
    chosen = {
        w.name: trained.entry(emission.blocks[w.name].parameter, known, w.name in emission.transposed)
        for w in program.weights
        if w.trained
    }
    entries = set(chosen.values())
    return entries.pop() if len(entries) == 1 else PerGroup(chosen)


LOSSES = {
    "cross_entropy": "ce",
    "CrossEntropyLoss": "ce",
    "binary_cross_entropy_with_logits": "logistic",
    "BCEWithLogitsLoss": "logistic",
    "mse_loss": "mse",
    "MSELoss": "mse",
    "huber_loss": "huber",
    "HuberLoss": "huber",
    "smooth_l1_loss": "huber",
    "SmoothL1Loss": "huber",
    "l1_loss": "l1",
    "L1Loss": "l1",
}
"""Losses of torch by name, as entries."""


def loss_entry(loss: Any) -> Any:
    """A loss of torch, or anything that :func:`tensorprog.derive` takes."""
    if isinstance(loss, str | Loss):
        return loss
    name = getattr(loss, "__name__", type(loss).__name__)
    if name not in LOSSES:
        raise SettingError(
            "loss", name, f"needs a loss of tensorprog, such as 'ce' or 'mse', or one of torch: {', '.join(LOSSES)}"
        )
    return LOSSES[name]
