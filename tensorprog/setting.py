"""A setting: one program trained in one way. What `derive` is asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from tensorprog.alignment import DERIVED, Alignment, alignment
from tensorprog.bound import Bound
from tensorprog.conditions import assumptions
from tensorprog.depth import trajectory
from tensorprog.errors import SettingError, Undecided, Unsupported
from tensorprog.exponent import INFINITE, ZERO, Exponent, ExponentLike, exponent
from tensorprog.losses import LOSSES, Loss, loss
from tensorprog.optimizers import SGD, Optimizer, optimizer
from tensorprog.parametrizations import ABC, Parametrization, parametrization
from tensorprog.program import Program, Weight
from tensorprog.region import Chart, Region, assuming
from tensorprog.trajectory import PATIENCE, Step, Trajectory, Watch

__all__ = ["Setting", "setting"]

MAX_STEPS = 1000


@dataclass(frozen=True)
class Setting:
    """A program, its exponents, an optimizer and a loss.

    Args:
        lr_exponent: r, a global factor n^r on every learning rate: c := c - r.
        zero_readout: the readout is initialised to exact zeros (b = oo).
        steps: optimizer steps to report.
        alignment: of weights with what they act on, derived or assumed.
        values: numbers or forms put in place of symbols, set by the exploration of a region.
    """

    program: Program
    parametrization: Parametrization
    optimizer: Optimizer
    loss: Loss
    lr_exponent: Exponent = ZERO
    zero_readout: bool = False
    steps: int = 4
    alignment: Alignment = DERIVED
    values: Mapping[str, Exponent] = field(default_factory=dict)

    def exponents(self) -> dict[Weight, ABC]:
        """(a, b, c) of every weight, the global exponent folded in; b = oo starts one at zero, c = oo freezes it."""
        return self._exponents(self.optimizer)

    def _exponents(self, optimizer_: Optimizer) -> dict[Weight, ABC]:
        result = {}
        for w, abc in self.parametrization.assign(self.program, optimizer_).items():
            b = INFINITE if w.zero or (self.zero_readout and (w.like or w) in self.program.readouts) else abc.b
            c = abc.c - self.lr_exponent if w.trained else INFINITE
            result[w] = ABC(abc.a, b, c).substitute(self.values)
        return result

    @property
    def symbols(self) -> frozenset[str]:
        """Free symbols of the exponents, of the parametrization and of options."""
        # Inits and rates that follow from axes and from the optimizer add no symbols but theirs, and may compare them:
        # any optimizer and any cell will do.
        with assuming(Chart(self.regions()[0])) if self.program.symbols else nullcontext():
            exponents = self._exponents(SGD()).values()
        found = self.optimizer.symbols | self.loss.symbols | self.program.symbols
        return found.union(*(abc.symbols for abc in exponents))

    def regions(self, conditions: Iterable[Any] = ()) -> list[Region]:
        """The part of symbol space where conditions hold and every axis of the program grows."""
        return assumptions([*conditions, *(f"{size} > 0" for size in self.program.positive)])

    def at(self, values: Mapping[str, Exponent]) -> Setting:
        """The setting with symbols replaced."""
        return replace(
            self,
            program=self.program.substitute(values),
            values={**self.values, **values},
            optimizer=self.optimizer.substitute(values),
            loss=self.loss.substitute(values),
        )

    def trajectory(
        self,
        *,
        steps: int = 1,
        limit: int | None = None,
        stop: Callable[[Step], bool] | None = None,
        watch: Watch | None = None,
        bound: Bound = Bound.EXACT,
    ) -> Trajectory:
        """The scales of all values, step by step, until they settle; see :func:`tensorprog.trajectory.unrolled`.

        Args:
            steps: how many are computed at least, settled or not.
            limit: how many at most, with as many to settle as there are weights and some more unless given.
            stop, watch: end it at the first step that they hold of, or in the middle of one.
            bound: everything, or cheap bounds; see :class:`tensorprog.bound.Bound`.
        """
        return trajectory(
            self.program,
            self.exponents(),
            self.optimizer,
            self.loss,
            steps=steps,
            limit=max(steps, PATIENCE + len(self.program.weights)) if limit is None else limit,
            stop=stop,
            watch=watch,
            bound=bound,
            alignment=self.alignment,
        )

    def to_dict(self) -> dict[str, Any]:
        """The setting as JSON values; ``exponents`` lists a, b and the c that includes the global exponent.

        They are left out where they depend on the region that symbols are in; its cells tell them.
        """
        return {
            **(self.program.description or {"model": self.program.label}),
            "parametrization": str(self.parametrization),
            "optimizer": self.optimizer.name,
            **({"optimizer_options": self.optimizer.options()} if self.optimizer.options() else {}),
            "loss": self.loss.name,
            **({"loss_options": self.loss.options()} if self.loss.options() else {}),
            "lr_exponent": str(self.lr_exponent.substitute(self.values)),
            "zero_readout": self.zero_readout,
            "steps": self.steps,
            **({} if self.alignment == DERIVED else {"alignment": self.alignment.name}),
            **self._told(),
        }

    def _told(self) -> dict[str, Any]:
        """The exponents of every weight; nothing where they differ from cell to cell of symbol space."""
        try:
            found = self.exponents()
        except Undecided:
            return {}
        return {"exponents": {w.name: {"a": str(e.a), "b": str(e.b), "c": str(e.c)} for w, e in found.items()}}

    def __str__(self) -> str:
        zero = ", zero readout" if self.zero_readout else ""
        assumed = "" if self.alignment == DERIVED else f", alignment assumed: {self.alignment}"
        return (
            f"{self.program.label}, {self.parametrization}, {self.optimizer}, {self.loss}, "
            f"lr n^({self.lr_exponent.substitute(self.values)}){zero}{assumed}"
        )


def setting(
    program: Program,
    parametrization_: str | Parametrization = "sp",
    *,
    optimizer_: str | Optimizer | Mapping[str, Any] = "sgd",
    loss_: str | Loss = "ce",
    lr_exponent: ExponentLike = 0,
    zero_readout: bool = False,
    steps: int = 4,
    alignment_: str | Alignment = DERIVED,
) -> Setting:
    """Check and resolve what a user gave.

    Raises:
        TensorprogError: for a program that is none, unknown names, exponents that are not exact, steps out of range.
    """
    if not isinstance(program, Program):
        raise SettingError(
            "program", type(program).__name__, "needs a Program, such as tensorprog.mlp(hidden_layers=2)"
        )
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        raise SettingError("steps", steps, f"needs an integer from 1 to {MAX_STEPS}")
    r = exponent(lr_exponent, "lr_exponent")
    if r.infinite:
        raise SettingError("lr_exponent", str(r), "needs a finite exponent")
    result = Setting(
        program,
        parametrization(parametrization_),
        optimizer(optimizer_),
        loss(loss_),
        r,
        bool(zero_readout),
        steps,
        alignment(alignment_),
    )
    _consistent(result)
    return result


def _consistent(s: Setting) -> None:
    s.optimizer.check([w for w in s.program.weights if w.trained])
    _growing_classes(s)
    _growing_depth(s)
    if s.zero_readout:
        if not s.program.readouts:
            raise SettingError("zero_readout", True, f"the program {s.program.label} has no readout (wide -> finite)")
        for target, key in s.parametrization.overrides:
            if key == "b" and target in {"readout", *(w.name for w in s.program.readouts)}:
                raise SettingError("zero_readout", True, f"contradicts the explicit {target}.b; give one of them")
    with suppress(Undecided):  # rates that depend on symbols are found region by region
        s.exponents()


def _growing_depth(s: Setting) -> None:
    """Layers side by side are one matrix of the program: a step must treat their entries one by one."""
    for w in s.program.weights:
        if w.trained and w.side_by_side and not s.optimizer.by_parts(w):
            raise Unsupported(
                f"the optimizer {s.optimizer} over a growing depth",
                f"it would take {w.name} of all blocks for one matrix",
                "Take one that acts entry by entry, such as adam, or depth_exponent=0.",
            )


def _growing_classes(s: Setting) -> None:
    """A softmax over a growing vocabulary needs a loss of it alone, and steps that treat rows of a matrix as rows."""
    for w in s.program.weights:
        if w.like is None:
            continue
        if not s.loss.of_softmax:
            raise Unsupported(
                f"the loss {s.loss} over a growing vocabulary",
                "it depends on more than the label's logit and the normaliser of the others",
                f"Take {' or '.join(k for k, entry in LOSSES.items() if entry.of_softmax)}, or vocabulary_exponent=0.",
            )
        if w.trained and not s.optimizer.by_parts(w):
            raise Unsupported(
                f"the optimizer {s.optimizer} over a growing vocabulary",
                f"its step of one row of {w.like.name} depends on the n^({w.out.size}) others",
                f"Take one that acts entry by entry on {w.like.name}, such as hidden=muon,else=adam, or "
                "vocabulary_exponent=0.",
            )
