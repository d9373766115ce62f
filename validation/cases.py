"""Cases: the registry of claims that are checked against trained networks.

Relu networks with every parametrization, optimizer, loss, depth and readout of :data:`AXES`, trained at the predicted
edge: with the largest global learning-rate exponent that is not catastrophic. Names spell them out,
``sp-sgd-ce-2`` or ``mup-adam-mse-3-zero`` (zero readout). ``...-beyond`` is the same half a power above the edge, where
the one claim is the regime.

To add a case: build a :class:`Case` from any setting, or add a level to ``AXES``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import combinations, product

from tensorprog.architectures import mlp
from tensorprog.derive import derive_setting
from tensorprog.errors import UnknownName
from tensorprog.exponent import Exponent
from tensorprog.regimes import Regime
from tensorprog.setting import Setting, setting
from tensorprog.stability import stable_rates
from validation.constants import Constants, calibrated, calibrated_beyond
from validation.data import Data, Digits

__all__ = ["AXES", "CASES", "FULL", "QUICK", "SUITES", "Case", "Suite", "case", "covering"]

AXES: Mapping[str, tuple[str, ...]] = {
    "parametrization": ("sp", "ntp", "mup", "mfp", "sp-full-align"),
    "optimizer": ("sgd", "adam", "signsgd", "muon"),
    "loss": ("ce", "mse", "huber"),
    "hidden_layers": ("2", "1", "3", "4"),
    "readout": ("random", "zero"),
}
BEYOND = Fraction(1, 2)


@dataclass(frozen=True, eq=False)
class Case:
    """A claim: this setting scales as derived.

    Args:
        name: the registry key.
        base: what the theory is told, up to the global learning-rate exponent where ``edge`` is given.
        claim: what it shows, in a sentence.
        data: what it is trained on.
        edge: train at the largest exponent that is not catastrophic, plus this; None for the exponent of ``base``.
        fixed: constants in place of the calibrated ones.
    """

    name: str
    base: Setting
    claim: str = ""
    data: Data = field(default_factory=Digits)
    edge: Fraction | None = None
    fixed: Constants | None = None

    @cached_property
    def lr_exponent(self) -> Exponent:
        if self.edge is None:
            return self.base.lr_exponent
        return stable_rates(self.base).exponent + Exponent(self.edge)

    @property
    def setting(self) -> Setting:
        return replace(self.base, lr_exponent=self.lr_exponent)

    @cached_property
    def constants(self) -> Constants:
        """Fixed or calibrated constants; the calibration trains some small networks, about a tenth of a second.

        Beyond the edge training is too wild to calibrate: the constants are those at the edge.
        """
        if self.fixed is not None:
            return self.fixed
        if derive_setting(self.setting).regime is not Regime.CATASTROPHIC:
            return calibrated(self.setting, self.data)
        largest = stable_rates(self.base).exponent
        return (
            Constants(1.0)
            if largest.infinite
            else calibrated_beyond(replace(self.base, lr_exponent=largest), self.data)
        )

    def settle(self, lr_exponent: Exponent, constants: Constants) -> None:
        """Take what another process has derived and calibrated."""
        self.__dict__.update(lr_exponent=lr_exponent, constants=constants)


@dataclass(frozen=True)
class Suite:
    """Cases with the widths, seeds and steps that they are trained at."""

    name: str
    cases: tuple[str, ...]
    widths: tuple[int, ...]
    seeds: int
    steps: tuple[int, ...]


CLAIMS = {
    "sp-sgd-ce-2": "at learning rate n^-1/2 features learn while the logits diverge as n^1/2",
    "sp-sgd-mse-2": "the logits are stable only at learning rate n^-1, where features freeze",
    "sp-adam-ce-2": "at learning rate n^-1 hidden layers learn, and W_0 carries the logits to n^1/2",
    "mup-adam-ce-2": "every update is Theta(1) at one learning rate",
    "sp-sgd-ce-2-beyond": "above n^-1/2 the activations diverge, whatever the loss",
    "sp-sgd-mse-2-beyond": "at n^-1/2, where cross-entropy still trains, MSE feeds diverging logits back",
}
"""What the best-known cases show; the others claim what is derived for them."""


def _name(levels: Mapping[str, str]) -> str:
    head = "-".join(levels[a] for a in ("parametrization", "optimizer", "loss", "hidden_layers"))
    return head + ("-zero" if levels["readout"] == "zero" else "")


def _registered() -> Iterator[Case]:
    programs = {n: mlp(hidden_layers=int(n), activation="relu") for n in AXES["hidden_layers"]}
    for values in product(*AXES.values()):
        levels = dict(zip(AXES, values, strict=True))
        base = setting(
            programs[levels["hidden_layers"]],
            levels["parametrization"],
            optimizer_=levels["optimizer"],
            loss_=levels["loss"],
            zero_readout=levels["readout"] == "zero",
        )
        name = _name(levels)
        yield Case(name, base, CLAIMS.get(name, ""), edge=Fraction(0))
        wild = f"{name}-beyond"
        claim = CLAIMS.get(wild, "half a power above the edge training is catastrophic")
        yield Case(wild, base, claim, edge=BEYOND)


CASES: Mapping[str, Case] = {c.name: c for c in _registered()}


def covering(axes: Mapping[str, tuple[str, ...]], strength: int, first: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """A small set of combinations in which any levels of any ``strength`` axes meet at least once; greedy.

    Args:
        axes: levels by axis name; ties go to earlier levels.
        first: combinations to start with, as tuples of levels.

    Ref: Cohen et al. 1997 (AETG), covering arrays for interaction testing.
    """
    names = list(axes)
    every = [dict(zip(names, values, strict=True)) for values in product(*axes.values())]

    def meets(row: Mapping[str, str]) -> set[tuple[tuple[str, str], ...]]:
        return {tuple((a, row[a]) for a in chosen) for chosen in combinations(names, strength)}

    rows = [row for name in first for row in every if _name(row) == name]
    missing = set().union(*(meets(row) for row in every)).difference(*(meets(row) for row in rows))
    while missing:
        best = max(every, key=lambda row: len(meets(row) & missing))
        rows.append(best)
        missing -= meets(best)
    return rows


ANCHORS = ("sp-sgd-ce-2", "sp-sgd-mse-2", "sp-adam-ce-2", "mup-adam-ce-2")
"""The cases of Haas et al. 2025 that people look for first."""


def _quick() -> tuple[str, ...]:
    at_edge = [_name(row) for row in covering(AXES, 2, ANCHORS)]
    wild = [f"{p}-{o}-ce-2-beyond" for p in ("sp", "mup") for o in AXES["optimizer"]]
    return (*at_edge, "sp-sgd-mse-2-beyond", *wild)


def _full() -> tuple[str, ...]:
    wild = [f"{p}-{o}-{loss}-2-beyond" for p, o, loss in product(*list(AXES.values())[:3])]
    return (*(name for name in CASES if not name.endswith("-beyond")), *wild)


QUICK = Suite("quick", _quick(), widths=(128, 256, 512, 1024, 2048), seeds=4, steps=(1, 3))
FULL = Suite("full", _full(), widths=(256, 512, 1024, 2048, 4096, 8192, 16384), seeds=5, steps=(1, 3))
SUITES = {s.name: s for s in (QUICK, FULL)}


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
