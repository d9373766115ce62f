"""Criteria: when a learning rate counts as unstable, and which of the theory's suprema its threshold is held against.

    activations   the largest exponent that is not catastrophic: what later layers read stays bounded
    loss          the largest exponent with bounded logits: an unbounded loss has bounded values where the logits do
    accuracy      the largest exponent that is not catastrophic: past it nothing is learned any more

Under a loss whose derivative stays bounded (cross-entropy) the logits can diverge while everything else stays as it is,
the loss value rises with them, and training goes on: there the loss says nothing of stability, activations do. Under a
loss whose derivative grows with the logits (MSE) a rising loss feeds itself; activations then move only after some
steps, about log n, and at finite width relu networks often come back with most units dead (the catapult of Lewkowycz
et al. 2020, arXiv 2003.02218), so that the final state says little: there the loss decides. Accuracy is what papers
often quote. It needs networks that learn within the given steps at every stable learning rate, and under Adam it fails
later the wider the network: more coordinates average the noise of its signs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tensorprog.errors import UnknownName
from tensorprog.losses import Loss
from tensorprog.stability import StableRates, Supremum
from validation.sweep.trial import Outcome

__all__ = ["CRITERIA", "Criterion", "criterion", "default_criterion"]

RISE = 1.25
"""A training loss above this multiple of the initial one counts as risen: more than batches differ by chance."""
BLOW_UP = 4.0
"""An activation above this multiple of its initial size counts as blown up: more than features move in training."""


@dataclass(frozen=True)
class Criterion:
    """When a trial is unstable.

    Args:
        name: the registry key.
        says: what an unstable trial does, for tables and figures.
        margin: Outcome -> log of what is watched over its limit; positive where unstable.
        supremum: the predicted one.
        classes: whether it needs class indices for targets.
    """

    name: str
    says: str
    margin: Callable[[Outcome], float]
    supremum: Callable[[StableRates], Supremum]
    classes: bool = False

    def excess(self, outcome: Outcome) -> float:
        """Positive where unstable, inf where anything is not finite, nan where there is no outcome."""
        if outcome.failure:
            return math.nan
        return self.margin(outcome) if outcome.finite else math.inf

    def unstable(self, outcome: Outcome) -> bool:
        return self.excess(outcome) > 0

    def stable(self, outcome: Outcome) -> bool:
        return self.excess(outcome) <= 0


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio else -math.inf


ACTIVATIONS = Criterion(
    "activations",
    f"an activation that a later layer reads grows beyond {BLOW_UP:g} times its initial size, or is not finite",
    margin=lambda o: _log(o.growth / BLOW_UP),
    supremum=lambda rates: rates.stable,
)
LOSS = Criterion(
    "loss",
    f"the training loss rises above {RISE:g} times the initial one, or is not finite",
    margin=lambda o: _log(max(o.losses) / o.losses[0] / RISE) if o.losses[0] else math.inf,
    supremum=lambda rates: rates.logits,
)
ACCURACY = Criterion(
    "accuracy",
    "the held-out accuracy after the last step is no better than chance, or something is not finite",
    margin=lambda o: -_log(o.accuracy / o.chance),
    supremum=lambda rates: rates.stable,
    classes=True,
)

CRITERIA: Mapping[str, Criterion] = MappingProxyType({c.name: c for c in (ACTIVATIONS, LOSS, ACCURACY)})


def criterion(name: str | Criterion) -> Criterion:
    """A criterion by name.

    Raises:
        UnknownName: listing the registered names.
    """
    if isinstance(name, Criterion):
        return name
    if name not in CRITERIA:
        raise UnknownName("criterion", name, CRITERIA)
    return CRITERIA[name]


def default_criterion(loss: Loss) -> Criterion:
    """The loss where its derivative grows with the logits, activations elsewhere; the head of this module says why."""
    return LOSS if loss.degree else ACTIVATIONS
