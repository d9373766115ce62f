"""Formulas: one exponent of a setting in free symbols, as a closed form.

Only what the exponent depends on is derived, up to its step, so that symbol space splits into few cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorprog.alignment import DERIVED, Alignment
from tensorprog.closed_form import ClosedForm
from tensorprog.derivation import scales
from tensorprog.errors import SettingError, UnknownName
from tensorprog.exponent import Exponent, ExponentLike
from tensorprog.losses import Loss
from tensorprog.optimizers import Optimizer
from tensorprog.parametrizations import Parametrization
from tensorprog.program import Program
from tensorprog.region import Region, explore
from tensorprog.report.notebook import Display
from tensorprog.setting import Setting, setting
from tensorprog.symbols import bind

__all__ = ["Formula", "Formulas", "formula", "formulas_of", "targets_of"]


@dataclass(frozen=True)
class Formula:
    """The closed form of one exponent.

    Args:
        setting: with its free symbols.
        target: what the exponent is of, such as ``readout.effective``.
        step: after how many optimizer steps.
        form: the exponent of the coordinate size (RMS) as a function of the symbols.
    """

    setting: Setting
    target: str
    step: int
    form: ClosedForm

    def at(self, **values: ExponentLike) -> Exponent:
        """The exponent at a point."""
        return self.form.at(**values)

    def equals(self, other: Formula | ClosedForm | Any) -> bool:
        """Is it the same function? Decided exactly; ``other`` may be text such as ``"Max(r, 2*r)"``."""
        return self.form.equals(other.form if isinstance(other, Formula) else other)

    def to_sympy(self) -> Any:
        """As a sympy expression."""
        return self.form.to_sympy()

    def to_latex(self) -> str:
        """As LaTeX mathematics, without dollars."""
        import sympy

        return str(sympy.latex(self.to_sympy()))

    def to_markdown(self) -> str:
        """As a line of Markdown with mathematics."""
        return f"`{self.target}` after step {self.step}: ${self.to_latex()}$"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"target": self.target, "step": self.step, **self.form.to_dict()}

    def _repr_latex_(self) -> str:
        return self.form._repr_latex_()

    def __str__(self) -> str:
        return str(self.form)


@dataclass(frozen=True)
class Formulas(Display):
    """Closed forms of several exponents of one setting after one step."""

    setting: Setting
    step: int
    members: tuple[Formula, ...]

    def __getitem__(self, target: str) -> Formula:
        for f in self.members:
            if f.target == target:
                return f
        raise UnknownName("target", target, (f.target for f in self.members))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "setting": self.setting.to_dict(),
            "symbols": sorted(self.setting.symbols),
            "step": self.step,
            "formulas": {f.target: f.form.to_dict() for f in self.members},
        }

    def __str__(self) -> str:
        from tensorprog.report import document_of
        from tensorprog.report.text import text

        return text(document_of(self))


def formula(
    program: Program,
    parametrization: str | Parametrization = "sp",
    target: str = "logits",
    *,
    free: Sequence[str] = (),
    step: int = 1,
    optimizer: str | Optimizer | Mapping[str, Any] = "sgd",
    loss: str | Loss = "ce",
    lr_exponent: ExponentLike = 0,
    zero_readout: bool = False,
    alignment: str | Alignment = DERIVED,
    assume: Iterable[Any] = (),
) -> Formula:
    """The closed form of one exponent in free symbols.

    Args:
        target: ``SITE.effective``, ``.propagating``, ``.feature``, ``.activation``, ``logits``, ``logit_update`` or
            ``loss_gradient``.
        free: names as in :mod:`tensorprog.symbols`; symbols that exponents contain already need not be named.
        step: after how many optimizer steps.
        assume: conditions such as ``"r <= 0"``.

    Returns:
        :class:`Formula`; its text is a form, ``Max``, ``Min`` or ``Piecewise``.

    Raises:
        UnknownName: for a target or symbol that the setting does not have.
        SettingError: where nothing is free.

    Example:
        >>> import tensorprog as tp
        >>> f = tp.formula(tp.mlp(hidden_layers=1), "sp", "input.effective", free=["r"], step=2, assume=["r <= 0"])
        >>> print(f)
        Max(2*r, r - 1/2)
        >>> f.equals("r + Max(r, -1/2)")
        True

    Ref: Yang & Hu 2021 (arXiv 2011.14522), Section 3.2: the exponent r of an abc-parametrization is such a form.
    """
    s = setting(
        program,
        parametrization,
        optimizer_=optimizer,
        loss_=loss,
        lr_exponent=lr_exponent,
        zero_readout=zero_readout,
        steps=max(step, 1) if isinstance(step, int) else step,
        alignment_=alignment,
    )
    return formulas_of(bind(s, free), step, [target], assume).members[0]


def targets_of(s: Setting, step: int) -> list[str]:
    """The targets that a setting has at a step."""
    program = s.program
    sites = [(x.name, x) for x in program.sites]
    first = ["logits"] + (["logit_update", "loss_gradient"] if step else [])
    found = []
    for name, x in sites:
        found.append(f"{name}.activation")
        if step:
            found.append(f"{name}.effective")
            found += [f"{name}.propagating"] if x.trained_input else []
            found += [] if x.product in program.logit_terms else [f"{name}.feature"]
    return [*found, *first]


def formulas_of(s: Setting, step: int, targets: Sequence[str] | None = None, assume: Iterable[Any] = ()) -> Formulas:
    """Closed forms of a setting that has symbols; of all targets where none are given."""
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise SettingError("step", step, "needs an integer of at least 0")
    if not s.symbols:
        raise SettingError("free", "nothing", "needs at least one free symbol, such as r or b_readout")
    conditions = list(assume)
    members = tuple(
        Formula(s, target, step, _form(s, target, step, conditions)) for target in targets or targets_of(s, step)
    )
    return Formulas(s, step, members)


def _form(s: Setting, target: str, step: int, conditions: Sequence[Any]) -> ClosedForm:
    last = step + target.endswith(".perturbation")  # perturbed weights belong to the backward half of a step

    def run(region: Region) -> Exponent:
        here = s.at(region.substitution)
        at = here.trajectory(steps=last, limit=last, stop=lambda now: now.t >= last).at(step)
        table = scales(here.program, at, initial=not step)
        if target not in table:
            raise UnknownName(f"target at step {step}", target, table)
        return table[target].top

    pieces: list[tuple[Region, Exponent]] = []
    for region in s.regions(conditions):
        pieces += [(c.region, c.result) for c in explore(run, region)]
    return ClosedForm(tuple(pieces))
