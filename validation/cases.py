"""Cases: the registry of claims that are checked against trained networks.

A case is a setting and the constants that the theory does not see. The quick cases are two-hidden-layer relu networks
at the edges that Haas et al. 2025 (arXiv 2505.22491) study. Exponents do not depend on the constants, but the width
from which on they show does; these put it within reach of a CPU:

- ``output_scale`` keeps the logits well below one for some steps while the features move by a good part of their size.
  With logits of order one the network soon learns what there is to learn in the labels, a wider one sooner, so chi's
  mean over a batch changes with the width although its size does not, and slopes of later steps are bent by 0.1 to 0.3.
- ``base_lr`` moves the hidden activations by about a quarter (SGD) to a half (Adam) of their size per step at the base
  width: the updates soon outweigh the initial logits, and training is not yet chaotic.

To add one: append a :class:`Case` to ``QUICK``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tensorprog.architectures import mlp
from tensorprog.derive import derive_setting
from tensorprog.errors import UnknownName
from tensorprog.exponent import Exponent
from tensorprog.setting import Setting, setting
from validation.measure import OUTPUT, Quantity

__all__ = ["CASES", "QUICK", "Case", "Prediction", "case", "predictions"]


@dataclass(frozen=True)
class Case:
    """A claim: this setting scales as derived.

    Args:
        name: the registry key.
        setting: what the theory is told.
        base_lr, base_width, output_scale: see :class:`validation.realize.Realization`.
        claim: what it shows, in a sentence.
    """

    name: str
    setting: Setting
    base_lr: float
    output_scale: float
    claim: str
    base_width: int = 256


@dataclass(frozen=True)
class Prediction:
    """One predicted exponent of a coordinate size (RMS over entries).

    Args:
        site: of the weight, or ``measure.OUTPUT``.
        step: optimizer steps taken.
    """

    site: str
    quantity: Quantity
    step: int
    exponent: Exponent


def predictions(of: Setting, steps: Iterable[int]) -> list[Prediction]:
    """Every exponent that is derived for initialisation and for the given steps, in the order of the network."""
    derived = derive_setting(of)
    sites = {s.name: s for s in of.program.sites}
    found: list[Prediction] = []
    for t in (0, *steps):
        at = derived.step(t)
        for name, e in at.sites.items():
            # The activation of a weight that writes the logits is the logits.
            hidden = sites[name].activation != of.program.output
            values = {
                Quantity.ACTIVATION: e.activation if hidden else None,
                Quantity.EFFECTIVE: e.effective,
                Quantity.PROPAGATING: e.propagating,
                Quantity.FEATURE: e.feature if hidden else None,
            }
            found += [Prediction(name, q, t, v) for q, v in values.items() if v is not None]
        network = {
            Quantity.LOGITS: at.logits,
            Quantity.LOGIT_UPDATE: at.logit_update,
            Quantity.LOSS_GRADIENT: at.loss_gradient,
        }
        found += [Prediction(OUTPUT, q, t, v) for q, v in network.items() if v is not None]
    return found


def parts(of: Setting, prediction: Prediction) -> Iterator[tuple[str, Quantity, int]]:
    """(site, quantity, step) of the terms whose exact sum a predicted quantity is; none where it is not such a sum."""
    t = prediction.step
    if not t or prediction.site != OUTPUT:
        return
    if prediction.quantity is Quantity.LOGITS:
        yield OUTPUT, Quantity.LOGITS, 0
    if prediction.quantity in (Quantity.LOGITS, Quantity.LOGIT_UPDATE):
        for site in of.program.sites:
            if site.activation == of.program.output:
                yield site.name, Quantity.EFFECTIVE, t
                if site.trained_input:
                    yield site.name, Quantity.PROPAGATING, t


_MLP = mlp(hidden_layers=2, activation="relu")

QUICK = (
    Case(
        "sp-sgd-ce",
        setting(_MLP, "sp", optimizer_="sgd", loss_="ce", lr_exponent="-1/2"),
        base_lr=120.0,
        output_scale=0.005,
        claim="at learning rate n^-1/2 features learn while the logits diverge as n^1/2",
    ),
    Case(
        "sp-sgd-mse",
        setting(_MLP, "sp", optimizer_="sgd", loss_="mse", lr_exponent="-1"),
        base_lr=25.0,
        output_scale=0.005,
        claim="the logits are stable only at learning rate n^-1, where features freeze",
    ),
    Case(
        "sp-adam-ce",
        setting(_MLP, "sp", optimizer_="adam", loss_="ce", lr_exponent="-1"),
        base_lr=0.01,
        output_scale=0.005,
        claim="at learning rate n^-1 hidden layers learn, and W_0 carries the logits to n^1/2",
    ),
    Case(
        "mup-adam-ce",
        setting(_MLP, "mup", optimizer_="adam", loss_="ce", lr_exponent="0"),
        base_lr=0.01,
        output_scale=0.005,
        claim="every update is Theta(1) at one learning rate",
    ),
)

CASES: Mapping[str, Case] = MappingProxyType({c.name: c for c in QUICK})


def case(name: str | Case) -> Case:
    """A case by name.

    Raises:
        UnknownName: listing the registered names.
    """
    if isinstance(name, Case):
        return name
    if name not in CASES:
        raise UnknownName("case", name, CASES)
    return CASES[name]
