"""Tables: many settings, one row each, as values.

A row keeps its derivation; reports and pandas frames read it. One setting that cannot be derived is a row with an error
and does not lose the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from tensorprog.alignment import DERIVED, Alignment
from tensorprog.alignment import alignment as alignment_entry
from tensorprog.architectures import mlp
from tensorprog.derivation import Derivation, SiteExponents, StepExponents
from tensorprog.derive import derive_setting
from tensorprog.errors import SettingError, TensorprogError, Unsupported
from tensorprog.exponent import Exponent, ExponentLike, exponent, largest
from tensorprog.losses import Loss
from tensorprog.losses import loss as loss_entry
from tensorprog.optimizers import Optimizer
from tensorprog.optimizers import optimizer as optimizer_entry
from tensorprog.parametrizations import PARAMETRIZATIONS, Parametrization
from tensorprog.parametrizations import parametrization as parametrization_entry
from tensorprog.program import Program, Role
from tensorprog.report.notebook import Display
from tensorprog.setting import Setting, setting
from tensorprog.stability import StableRates, stable_rates

__all__ = ["LARGEST", "Row", "Table", "table"]

LARGEST = "max"
"""In place of a learning-rate exponent: the largest one of the setting that is not catastrophic."""

UPDATES = ("effective", "propagating", "feature")
ROLES = tuple(role.value for role in Role)

Progress = Callable[[int, int], None]
"""Called with (rows done, rows in all)."""


@dataclass(frozen=True)
class Row:
    """One setting and what was derived for it.

    Args:
        asked: names and values that identify the setting, as JSON values; present even where it failed.
        derivation: None where it failed.
        rates: the largest learning-rate exponents.
        step: the step that is tabulated.
        error: why it failed, empty otherwise.
    """

    asked: dict[str, Any]
    derivation: Derivation | None = None
    rates: StableRates | None = None
    step: int | None = None
    error: str = ""

    @property
    def exponents(self) -> StepExponents | None:
        """The exponents at the tabulated step."""
        return None if self.derivation is None or self.step is None else self.derivation.step(self.step)

    def largest(self, quantity: str, role: str) -> Exponent | None:
        """The largest exponent of a quantity over the weights of a role; None where it has none."""
        at = self.exponents
        sites: Iterable[SiteExponents] = [] if at is None else at.sites.values()
        found = [e for s in sites if s.role == role and (e := getattr(s, quantity)) is not None]
        return largest(found) if found else None

    def record(self, roles: Sequence[str] = ROLES) -> dict[str, Any]:
        """The row as flat JSON values; what does not apply is None.

        Args:
            roles: whose update exponents get a key.
        """
        d, at = self.derivation, self.exponents
        result: dict[str, Any] = {**self.asked, "step": self.step}
        result["settled"] = None if d is None else d.settled
        result["regime"] = None if d is None else d.regime.value
        result["learning"] = None if d is None else d.learning.value
        for quantity in UPDATES:
            for role in roles:
                result[f"{quantity}_{role}"] = _text(self.largest(quantity, role))
        for key in ("logits", "logit_update", "loss_gradient"):
            result[key] = None if at is None else _text(getattr(at, key))
        names = ("max_stable_lr", "bounded_updates_lr", "bounded_logits_lr")
        blank = {f"{n}_{k}": None for n in names for k in ("exponent", "attained")}
        return {**result, **blank, **(self.rates.to_dict() if self.rates else {}), "error": self.error or None}


def _text(e: Exponent | None) -> str | None:
    return None if e is None else str(e)


@dataclass(frozen=True)
class Table(Display):
    """Many settings, in the order asked.

    Iterate over it for :class:`Row` values; :meth:`records`, :meth:`to_frame` and :meth:`to_dict` give plain values,
    and printing it gives an aligned table. ``tensorprog.report.render.render`` writes Markdown, LaTeX, CSV and HTML.
    """

    rows: tuple[Row, ...]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that any row has weights of, in the order of a network."""
        present = {s.role for row in self.rows if row.exponents for s in row.exponents.sites.values()}
        return tuple(role for role in ROLES if role in present)

    def records(self) -> list[dict[str, Any]]:
        """One flat mapping per row, exponents as strings."""
        return [row.record(self.roles) for row in self.rows]

    def to_frame(self) -> Any:
        """A pandas frame, one row per setting; exponents stay exact strings."""
        import pandas as pd

        return pd.DataFrame.from_records(self.records())

    def to_dict(self) -> dict[str, Any]:
        """The table as one JSON object."""
        records = self.records()
        return {"columns": list(records[0]) if records else [], "rows": records}

    def __str__(self) -> str:
        from tensorprog.report import table_text

        return table_text(self)


def table(
    program: Program | Sequence[Program] | None = None,
    parametrization: str | Parametrization | Sequence[str | Parametrization] = tuple(PARAMETRIZATIONS),
    *,
    optimizer: str | Optimizer | Sequence[str | Optimizer] = ("sgd", "adam"),
    loss: str | Loss | Sequence[str | Loss] = ("ce", "mse"),
    lr_exponent: ExponentLike | Sequence[ExponentLike] = (0, LARGEST),
    zero_readout: bool = False,
    steps: int = 4,
    step: int | None = None,
    alignment: str | Alignment | Sequence[str | Alignment] = "derived",
    progress: Progress | None = None,
) -> Table:
    """Derive every combination of the given values.

    Args:
        program: one or several; default: an MLP with two hidden layers.
        parametrization, optimizer, loss: names or entries, one or several.
        lr_exponent: exponents r of a factor n^r on every learning rate; ``"max"`` is the largest one of each setting
            that is not catastrophic. Where that is already listed, the setting is not repeated.
        zero_readout, steps: as for :func:`tensorprog.derive`.
        alignment: of weights with what they act on, derived or assumed; one or several, in rows next to each other.
        step: the step to tabulate. By default the settled end, and step 1 where the exponents never settle.
        progress: called after each row.

    Returns:
        A :class:`Table`, ordered by program, loss, optimizer, parametrization, learning rate.

    Raises:
        TensorprogError: for values that no setting could have (unknown names, a step that is no step). What fails for
            one combination only is that row's ``error``.

    Example:
        >>> import tensorprog as tp
        >>> t = table(tp.mlp(hidden_layers=2), "sp", optimizer="sgd", loss=["ce", "mse"], lr_exponent="max")
        >>> [(row.asked["loss"], row.asked["lr_exponent"], row.derivation.learning.value) for row in t]
        [('ce', '-1/2', 'feature'), ('mse', '-1', 'kernel')]
    """
    if step is not None and (isinstance(step, bool) or not isinstance(step, int) or step < 1):
        raise SettingError("step", step, "needs an integer of at least 1")
    programs = _several(mlp() if program is None else program)
    rates = [r if r == LARGEST else exponent(r, "lr_exponent") for r in _several(lr_exponent)]
    entries = [
        [resolve(value) for value in _several(values)]
        for resolve, values in (
            (loss_entry, loss),
            (optimizer_entry, optimizer),
            (parametrization_entry, parametrization),
        )
    ]
    alignments = [alignment_entry(value) for value in _several(alignment)]
    for one in programs:
        setting(one, steps=steps)  # what no combination can have is raised here, not once per row
    grid = list(product(programs, *entries))
    rows: list[Row] = []
    for i, (one, loss_, optimizer_, parametrization_) in enumerate(grid, 1):
        request = _Request(one, parametrization_, optimizer_, loss_, zero_readout, steps, step, alignments)
        rows += request.rows(rates)
        if progress is not None:
            progress(i, len(grid))
    return Table(tuple(rows))


def _listed(options: Mapping[str, str]) -> str | None:
    return ", ".join(f"{k}={v}" for k, v in options.items()) or None


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


@dataclass(frozen=True)
class _Request:
    """One combination without its learning rate."""

    program: Program
    parametrization: Parametrization
    optimizer: Optimizer
    loss: Loss
    zero_readout: bool
    steps: int
    step: int | None
    alignments: Sequence[Alignment] = (DERIVED,)

    def rows(self, rates: list[Any]) -> list[Row]:
        """One row per learning-rate exponent and alignment; what an alignment makes equal is not repeated."""
        found = [self._aligned(rates, how) for how in self.alignments]
        # Side by side: the first rate under every alignment, then the second one.
        return [rows[i] for i in range(max(map(len, found))) for rows in found if i < len(rows)]

    def _aligned(self, rates: list[Any], how: Alignment) -> list[Row]:
        try:
            base = setting(
                self.program,
                self.parametrization,
                optimizer_=self.optimizer,
                loss_=self.loss,
                zero_readout=self.zero_readout,
                steps=self.steps,
                alignment_=how,
            )
            stable = stable_rates(base)
        except TensorprogError as error:
            return [self._failed(r, how, error) for r in rates]
        resolved = dict.fromkeys(stable.exponent if r == LARGEST else r for r in rates)
        # A largest rate that does not exist, because any is stable, adds no row; the others say so.
        given = [r for r in resolved if not r.infinite] or list(resolved)
        return [self._row(base, r, stable) for r in given]

    def _row(self, base: Setting, r: Exponent, stable: StableRates) -> Row:
        try:
            if not r.is_number:
                why = "has free symbols" if r.symbols else f"is {r}, so that there is no largest one to derive at"
                raise Unsupported(f"a table row at learning-rate exponent {r}", f"it {why}", "Give an exact number.")
            d = derive_setting(replace(base, lr_exponent=r))
            at = self.step if self.step is not None else d.path.settled_at or 1
            d.step(at)
        except TensorprogError as error:
            return replace(self._failed(r, base.alignment, error), rates=stable)
        return Row(self._asked(r, base.alignment), d, stable, at)

    def _failed(self, r: object, how: Alignment, error: TensorprogError) -> Row:
        return Row(self._asked(r, how), error=str(error))

    def _asked(self, r: object, how: Alignment) -> dict[str, Any]:
        return {
            **(self.program.description or {"model": self.program.label}),
            "parametrization": str(self.parametrization),
            "optimizer": self.optimizer.name,
            "optimizer_options": _listed(self.optimizer.options()),
            "loss": self.loss.name,
            "loss_options": _listed(self.loss.options()),
            "lr_exponent": str(r),
            **({} if [*self.alignments] == [DERIVED] else {"alignment": how.name}),
            "zero_readout": self.zero_readout,
        }
