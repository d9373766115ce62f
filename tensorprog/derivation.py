"""The result of a derivation: exponents per site and step, regime, reasons, explanations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tensorprog.alignment import DERIVED
from tensorprog.errors import SettingError, UnknownName
from tensorprog.explain import Explanation, explanation
from tensorprog.exponent import Exponent
from tensorprog.program import Program, Site
from tensorprog.regimes import Finding, Learning, Regime, Verdict
from tensorprog.report.notebook import Display
from tensorprog.scale import Scale
from tensorprog.setting import Setting
from tensorprog.subleading import Subleading, listed, parts, subleading
from tensorprog.trajectory import Step, Trajectory

if TYPE_CHECKING:
    from tensorprog.stability import StableRates

__all__ = ["ASSUMPTIONS", "Derivation", "SiteExponents", "StepExponents", "assumptions"]

ASSUMPTIONS = (
    "genericity: no cancellation beyond the sign symmetries of the initial weights",
    "depth, batch size, number of classes and number of steps are Theta(1)",
    "i.i.d. symmetric initial weights; data and targets are Theta(1); labels carry noise, so chi does not vanish",
)


VOCABULARY = (
    "tokens of a batch are Theta(1) of the vocabulary and the same ones at every step; rest: the rows of all others"
)


DEPTH = (
    "depth: groups of blocks side by side have the exponents of blocks one after the other, as branches of at most "
    "1/sqrt(depth) give the stream a limit"
)


def assumptions(s: Setting, path: Trajectory | None = None) -> tuple[str, ...]:
    """What a derivation of a setting rests on, and of its trajectory where it is given."""
    copies = path.repeated if path is not None else 0
    repeated = f"{copies} blocks repeat: a third one changes nothing after two, so further ones change nothing"
    assumed = f"alignment {s.alignment}, in place of the derived one: {s.alignment.meaning} ({s.alignment.ref})"
    given = [] if s.alignment == DERIVED else [assumed]
    general: tuple[str, ...] = ASSUMPTIONS
    if len(s.program.independent) < len(s.program.weights):
        general = tuple(text.replace(", number of classes", "") for text in general)
        given.append(VOCABULARY)
    if any(w.side_by_side for w in s.program.weights):
        general = tuple(text.replace("depth, batch size", "batch size") for text in general)
        given.append(DEPTH)
    return (*general, *given, *([repeated] if copies else []))


QUANTITIES = ("effective", "propagating", "feature", "activation", "perturbation")

OBSERVED = "attention"
"""The role of a site that is no weight: attention logits."""

MAX_DEPTH = 100
"""The deepest explanation: beyond it nobody reads on."""


@dataclass(frozen=True)
class SiteExponents:
    """Exponents of coordinate sizes at one weight, or at the logits of an attention layer.

    Args:
        role: the weight's role, or ``attention``.
        activation: of x_t after the layer's nonlinearity (the logits at the readout).
        effective: of (W_t - W_0) x_t.
        propagating: of W_0 (x_t - x_0); None where the input is data.
        feature: of the activation's change; None at the readout.
        perturbation: of E x~, where the optimizer takes its gradient at perturbed weights W_t + E; None for others.
    """

    role: str
    activation: Exponent
    effective: Exponent | None = None
    propagating: Exponent | None = None
    feature: Exponent | None = None
    perturbation: Exponent | None = None


@dataclass(frozen=True)
class StepExponents:
    """Exponents after ``step`` optimizer steps; step 0 has activations, logits and perturbations only."""

    step: int
    logits: Exponent
    sites: Mapping[str, SiteExponents]
    logit_update: Exponent | None = None
    loss_gradient: Exponent | None = None

    def to_dict(self) -> dict[str, Any]:
        sites: dict[str, dict[str, str | None]] = {}
        for name, s in self.sites.items():
            sites[name] = {"role": s.role, "activation": str(s.activation)}
            if self.step:
                parts = {"effective": s.effective, "propagating": s.propagating, "feature": s.feature}
                sites[name] |= {k: None if v is None else str(v) for k, v in parts.items()}
            if s.perturbation is not None:
                sites[name]["perturbation"] = str(s.perturbation)
        result: dict[str, Any] = {"step": self.step, "logits": str(self.logits)}
        if self.step:
            result |= {"logit_update": str(self.logit_update), "loss_gradient": str(self.loss_gradient)}
        return result | {"sites": sites}


@dataclass(frozen=True)
class Derivation(Display):
    """Exponents of one setting, derived.

    Read ``regime``, ``learning``, ``reasons``, ``steps``; ask :meth:`explain` for the rule chain of one exponent.
    """

    setting: Setting
    path: Trajectory
    verdict: Verdict

    @property
    def regime(self) -> Regime:
        return self.verdict.regime

    @property
    def learning(self) -> Learning:
        return self.verdict.learning

    @property
    def reasons(self) -> tuple[Finding, ...]:
        return self.verdict.reasons

    @property
    def settled(self) -> bool:
        """True where later steps repeat the last computed one."""
        return self.path.settled_at is not None

    @cached_property
    def steps(self) -> tuple[StepExponents, ...]:
        """Step 0 (initialisation) to ``setting.steps``."""
        return tuple(self._exponents(t) for t in range(self.setting.steps + 1))

    def step(self, t: int) -> StepExponents:
        """The exponents after step t; a settled derivation knows all later ones too."""
        self._check_step(t)
        return self._exponents(t)

    def _check_step(self, t: int) -> None:
        if isinstance(t, bool) or not isinstance(t, int) or t < 0:
            raise SettingError("step", t, "needs an integer of at least 0")
        if not self.settled and t >= len(self.path.steps):
            raise SettingError("step", t, f"this unsettled derivation has steps 0 to {len(self.path.steps) - 1}")

    def _exponents(self, t: int) -> StepExponents:
        step = self.path.at(t)
        output = self.setting.program.output
        program = self.setting.program
        found = [(s.product, s.name, self._site(s, step, t)) for s in program.sites]
        found += [(i, name, _observed(i, step, t)) for name, i in program.observed]
        sites = {name: exponents for _, name, exponents in sorted(found, key=lambda entry: entry[0])}
        logits = step.now[output].top
        if not t:
            return StepExponents(0, logits, sites)
        return StepExponents(t, logits, sites, step.change[output].top, step.chi.top)

    def _site(self, site: Site, step: Step, t: int) -> SiteExponents:
        role, activation = site.weight.role.value, step.now[site.activation].top
        moved = None if step.perturbed is None else site.of(step.perturbed.effective).top
        if not t:
            return SiteExponents(role, activation, perturbation=moved)
        return SiteExponents(
            role,
            activation,
            site.of(step.effective).top,
            site.of(step.propagating).top if site.trained_input else None,
            None if _is_output(self.setting.program, site) else step.change[site.activation].top,
            moved,
        )

    # -- explanations

    def scale(self, target: str, *, step: int = 1) -> Scale:
        """The graded scale behind one number: ``"readout.effective"``, ``"hidden.1.feature"``, ``"logits"``.

        Raises:
            UnknownName: listing the targets of this program.
        """
        table = self.scales(step)
        if target not in table:
            raise UnknownName(f"target at step {step}", target, table)
        return table[target]

    def scales(self, step: int = 1) -> dict[str, Scale]:
        """The graded scales of all targets after a step; :meth:`explain` says what the targets are."""
        self._check_step(step)
        return scales(self.setting.program, self.path.at(step), initial=not step)

    def subleading(self, target: str, *, step: int = 1) -> tuple[Subleading, ...]:
        """The powers of n below the leading one that the derivation knows for a quantity, largest first.

        Args:
            target: as for :meth:`explain`.
            step: after how many optimizer steps.

        Returns:
            Terms n^q, each q below the quantity's own exponent; several of one exponent where they are different
            terms. Empty for a quantity that is exactly zero. What the list leaves out: :mod:`tensorprog.subleading`.

        Raises:
            UnknownName: for a target that the program does not have.
            Undecided: with free symbols, where the exponents of two terms are not ordered.

        Example: the readout's propagating update under Adam is n^(1/2) by alignment; what is not aligned is n^0.
            >>> import tensorprog as tp
            >>> d = tp.derive(tp.mlp(hidden_layers=2), "sp", optimizer="adam", loss="ce", lr_exponent=-1)
            >>> for term in d.subleading("readout.propagating"):
            ...     print(term)
            n^(0) central-limit remainder of <readout_0, Delta x_1(hidden.1)>
        """
        return subleading(self, target, step)

    def explanation(self, target: str, *, step: int = 1, depth: int = 12) -> Explanation:
        """The derivation of one exponent as a value; see :meth:`explain`."""
        if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= MAX_DEPTH:
            raise SettingError("depth", depth, f"needs an integer from 1 to {MAX_DEPTH}")
        scale = self.scale(target, step=step)
        meaning = _FORMULAS.get(target.rsplit(".", 1)[-1], target).replace("_t", f"_{step}")
        return explanation(
            scale,
            self.setting,
            target=target,
            meaning=meaning,
            step=step,
            derived_at=self.path.at(step).t,
            depth=depth,
            parts=self._summed(target, step),
            subleading=() if self.setting.symbols else self.subleading(target, step=step),
        )

    def _summed(self, target: str, step: int) -> list[tuple[str, Exponent]]:
        """What the logits and their update are sums of."""
        network = target in ("logits", "logit_update")
        return [(part, s.top) for part, s in parts(self, target, step)] if network else []

    def explain(self, target: str, *, step: int = 1, depth: int = 12) -> str:
        """The rule chain of one exponent: which term dominates, by which alignment, rule and reference.

        Args:
            target: ``SITE.effective``, ``.propagating``, ``.feature``, ``.activation``, or ``logits``,
                ``logit_update``, ``loss_gradient``.
            step: after how many optimizer steps; 0 is initialisation.
            depth: levels of values to unfold below the result.
        """
        return str(self.explanation(target, step=step, depth=depth))

    # -- output

    def max_stable_lr(self) -> StableRates:
        """The largest stable global learning-rate exponents of this setting."""
        from tensorprog.stability import stable_rates

        return stable_rates(self.setting)

    def to_dict(self, *, rates: StableRates | None = None) -> dict[str, Any]:
        """All numbers as JSON values; exponents are strings, ``-oo`` is exact zero."""
        return {
            "setting": self.setting.to_dict(),
            "regime": self.regime.value,
            "learning": self.learning.value,
            "reasons": [str(r) for r in self.reasons],
            "settled": self.settled,
            **(rates.to_dict() if rates is not None else {}),
            "steps": [s.to_dict() for s in self.steps],
            # With free symbols the order of two terms may be open where the leading one is not.
            **({} if self.setting.symbols else {"subleading": list(listed(self))}),
            "assumptions": list(assumptions(self.setting, self.path)),
        }

    def records(self) -> list[dict[str, Any]]:
        """Long form: one mapping per step, site and quantity with its exponent as a string."""
        rows: list[dict[str, Any]] = []
        for at in self.steps:
            network = {"logits": at.logits, "logit_update": at.logit_update, "loss_gradient": at.loss_gradient}
            parts = [(name, s.role, q, getattr(s, q)) for name, s in at.sites.items() for q in QUANTITIES]
            parts += [("network", "network", q, e) for q, e in network.items()]
            rows += [
                {"step": at.step, "site": site, "role": role, "quantity": q, "exponent": str(e)}
                for site, role, q, e in parts
                if e is not None
            ]
        return rows

    def to_frame(self) -> Any:
        """The records as a pandas frame."""
        import pandas as pd

        return pd.DataFrame.from_records(self.records())

    def __str__(self) -> str:
        from tensorprog.report import derivation_text

        return derivation_text(self)


def _observed(index: int, step: Step, t: int) -> SiteExponents:
    """A value that no weight writes: its size and its change."""
    return SiteExponents(OBSERVED, step.now[index].top, feature=step.change[index].top if t else None)


def scales(program: Program, here: Step, *, initial: bool) -> dict[str, Scale]:
    """The graded scales of a step by target: ``"readout.effective"``, ``"hidden.1.feature"``, ``"logits"``.

    Args:
        initial: leave out what there is after a step only.
    """
    table: dict[str, Scale] = {"logits": here.now[program.output]}
    if not initial:
        table |= {"logit_update": here.change[program.output], "loss_gradient": here.chi}
    for name, i in program.observed:
        table[f"{name}.activation"] = here.now[i]
        if not initial:
            table[f"{name}.feature"] = here.change[i]
    for s in program.sites:
        table[f"{s.name}.activation"] = here.now[s.activation]
        if here.perturbed is not None:
            table[f"{s.name}.perturbation"] = s.of(here.perturbed.effective)
        if initial:
            continue
        table[f"{s.name}.effective"] = s.of(here.effective)
        if s.trained_input:
            table[f"{s.name}.propagating"] = s.of(here.propagating)
        if not _is_output(program, s):
            table[f"{s.name}.feature"] = here.change[s.activation]
    return table


def _is_output(program: Program, site: Site) -> bool:
    """Nothing lies between this weight and the logits: it has no feature of its own."""
    return site.product in program.logit_terms or site.activation == program.output


_FORMULAS = {
    "effective": "(W_t - W_0) x_t",
    "propagating": "W_0 (x_t - x_0)",
    "feature": "x_t - x_0 after the nonlinearity",
    "activation": "coordinate size of x_t",
    "perturbation": "E x~_t, the effect of the perturbed weight",
    "logits": "f_t",
    "logit_update": "f_t - f_0",
    "loss_gradient": "chi = dL/df",
}
