"""Claims: what a setting is predicted to do, one number at a time, and which measured numbers are sums of others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tensorprog.derivation import Derivation
from tensorprog.derive import derive_setting
from tensorprog.exponent import ZERO, Exponent, largest
from tensorprog.regimes import Regime
from tensorprog.setting import Setting
from tensorprog.subleading import Subleading
from validation.measure import OUTPUT, Quantity

__all__ = ["Key", "Prediction", "exponents", "parts", "predictions"]

Key = tuple[str, Quantity, int]
"""(site, quantity, step) of a measured size."""


@dataclass(frozen=True)
class Prediction:
    """One predicted exponent of a coordinate size (RMS over entries), or a predicted regime.

    Args:
        site: of the weight, or ``measure.OUTPUT``.
        step: optimizer steps taken.
        exponent: e of n^e; for a regime, of the fastest growing value that a later layer reads.
        subleading: the terms below it that the derivation knows, largest first.
        transient: of a bounded function of something that diverges, the exponent that shows before it saturates.
        regime: set where the whole network's regime is the claim: a catastrophic setting makes no other.
    """

    site: str
    quantity: Quantity
    step: int
    exponent: Exponent
    subleading: tuple[Subleading, ...] = ()
    transient: Exponent | None = None
    regime: Regime | None = None

    @property
    def key(self) -> Key:
        return self.site, self.quantity, self.step

    @property
    def corrections(self) -> tuple[Exponent, ...]:
        """The exponents of the terms below it, each once, largest first."""
        return tuple(dict.fromkeys(s.exponent for s in self.subleading))

    @property
    def stated(self) -> str:
        """What tables print: the exponent, or the regime's name."""
        return self.regime.value if self.regime is not None else str(self.exponent)

    def __str__(self) -> str:
        return f"{self.site}.{self.quantity.value}" + ("" if self.step else " at initialisation")


def predictions(of: Setting, steps: Iterable[int]) -> list[Prediction]:
    """Every exponent that is derived for initialisation and the given steps, in the order of the network.

    A catastrophic setting makes one prediction only: its regime.
    """
    derived = derive_setting(of)
    measured = sorted(steps)
    if derived.regime is Regime.CATASTROPHIC:
        return [_regime(derived, measured[-1])]
    return exponents(derived, measured)


def exponents(derived: Derivation, steps: Iterable[int]) -> list[Prediction]:
    """Every exponent of a derivation for initialisation and the given steps, whatever its regime.

    Where it has not settled, steps that it does not reach are left out.
    """
    of = derived.setting
    found: list[Prediction] = []
    reached = [t for t in sorted(steps) if derived.settled or t < len(derived.path.steps)]
    for t in (0, *reached):
        at = derived.step(t)
        for site in of.program.sites:
            e = at.sites[site.name]
            # The activation of a weight that writes the logits is the logits.
            hidden = site.activation != of.program.output
            values = {
                Quantity.ACTIVATION: e.activation if hidden else None,
                Quantity.EFFECTIVE: e.effective,
                Quantity.PROPAGATING: e.propagating,
                Quantity.FEATURE: e.feature if hidden else None,
            }
            for q, v in values.items():
                if v is not None:
                    known = derived.subleading(f"{site.name}.{q.value}", step=t)
                    found.append(Prediction(site.name, q, t, v, known))
        for name, _ in of.program.observed:
            seen = {Quantity.ACTIVATION: at.sites[name].activation, Quantity.FEATURE: at.sites[name].feature}
            for q, v in seen.items():
                if v is not None:
                    found.append(Prediction(name, q, t, v, derived.subleading(f"{name}.{q.value}", step=t)))
        network = {
            Quantity.LOGITS: at.logits,
            Quantity.LOGIT_UPDATE: at.logit_update,
            Quantity.LOSS_GRADIENT: at.loss_gradient,
        }
        for q, v in network.items():
            if v is not None:
                known = derived.subleading(q.value, step=t)
                saturates = q is Quantity.LOSS_GRADIENT and v < at.logits
                found.append(Prediction(OUTPUT, q, t, v, known, at.logits if saturates else None))
    return found


def _regime(derived: Derivation, step: int) -> Prediction:
    read = derived.setting.program.read_values()
    last = derived.path.at(min(step, len(derived.path.steps) - 1))
    growth = largest([ZERO, *(last.now[i].top for i in read)])
    return Prediction(OUTPUT, Quantity.REGIME, step, growth, regime=derived.regime)


def parts(of: Setting, prediction: Prediction) -> Iterator[Key]:
    """The measured terms whose sum a predicted quantity is, up to a Lipschitz function; none where it is no such sum.

    x_t = x_0 + (x_t - x_0); f_t = f_0 + effective + propagating; a feature change is a nonlinearity of effective plus
    propagating; chi of a quadratic loss is the logits minus the targets.
    """
    t = prediction.step
    if not t or prediction.quantity is Quantity.REGIME:
        return
    site, output = prediction.site, of.program.output
    if site in dict(of.program.observed) and prediction.quantity is Quantity.FEATURE:
        return
    match prediction.quantity:
        case Quantity.ACTIVATION:
            yield site, Quantity.ACTIVATION, 0
            yield site, Quantity.FEATURE, t
        case Quantity.FEATURE:
            for s in of.program.sharing(next(s for s in of.program.sites if s.name == site)):
                yield s.name, Quantity.EFFECTIVE, t
                if s.trained_input:
                    yield s.name, Quantity.PROPAGATING, t
        case Quantity.LOGITS | Quantity.LOGIT_UPDATE:
            if prediction.quantity is Quantity.LOGITS:
                yield OUTPUT, Quantity.LOGITS, 0
            for s in of.program.sites:
                if s.activation == output:
                    yield s.name, Quantity.EFFECTIVE, t
                    if s.trained_input:
                        yield s.name, Quantity.PROPAGATING, t
        case Quantity.LOSS_GRADIENT if of.loss.degree:
            yield OUTPUT, Quantity.TARGETS, 0
            yield OUTPUT, Quantity.LOGITS, t
