"""Cases: the registry of claims that are checked against trained networks.

Relu networks with every parametrization, optimizer, loss, depth and readout of :data:`AXES`, trained at the predicted
edge: with the largest global learning-rate exponent that is not catastrophic. Names spell them out,
``sp-sgd-ce-2`` or ``mup-adam-mse-3-zero`` (zero readout). ``...-beyond`` is the same half a power above the edge, where
the one claim is the regime.

To add a case: build a :class:`Case` from any setting, or add a level to ``AXES``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import combinations, product
from typing import Any

from tensorprog.architectures import cnn, mlp, resnet, resnet_mlp, transformer
from tensorprog.derive import derive_setting
from tensorprog.errors import UnknownName
from tensorprog.exponent import Exponent
from tensorprog.finetuning import freeze, lora
from tensorprog.losses import Loss, ZLoss
from tensorprog.optimizers import SGD, Adam, Clipped, Decayed, Optimizer
from tensorprog.program import Program
from tensorprog.regimes import Regime
from tensorprog.setting import Setting, setting
from tensorprog.stability import stable_rates
from validation.constants import Constants, calibrated, calibrated_beyond
from validation.data import CharacterSequences, Data, suitable

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
        data: what it is trained on; None for data that suit the program.
        edge: train at the largest exponent that is not catastrophic, plus this; None for the exponent of ``base``.
        fixed: constants in place of the calibrated ones.
    """

    name: str
    base: Setting
    claim: str = ""
    data: Data = None  # type: ignore[assignment]  # never None after construction
    edge: Fraction | None = None
    fixed: Constants | None = None

    def __post_init__(self) -> None:
        if self.data is None:
            object.__setattr__(self, "data", suitable(self.base.program))

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


NETWORKS: Mapping[str, Program] = {
    "resnet-mlp": resnet_mlp(blocks=2, norm="rmsnorm"),
    "deep": resnet_mlp(blocks=1, depth_exponent="1/2", branch_exponent="-1/2"),
    "llama": transformer(blocks=1, activation="silu", norm="rmsnorm", positions="rotary", gated_mlp=True, grouped=True),
    "zero-query": transformer(blocks=1, head_dim_exponent=1, attention_scale="1/d", zero_query=True),
    "qk-norm": transformer(blocks=1, qk_norm="shared"),
    "tied": transformer(blocks=1, tied=True, output_exponent=-1),
    "cnn": cnn(hidden_layers=2),
    "resnet": resnet(blocks=1),
    "last-layer": freeze(resnet_mlp(blocks=1, norm="rmsnorm"), "readout"),
    "lora": lora(mlp(hidden_layers=2), "hidden"),
}
"""Networks trained in muP."""

ENTRIES: Mapping[str, tuple[Optimizer, Loss | str, str]] = {
    "z-loss": (SGD(), ZLoss(coefficient=1.0), "a width-independent z-loss needs n^-1, like MSE"),
    "clipped": (Clipped("sgd", threshold=1e-9), "mse", "clipped gradients allow n^0 under MSE"),
    "epsilon": (Adam(0, epsilon=1.0), "ce", "an epsilon that does not shrink with its gradients turns Adam into SGD"),
    "decay": (Decayed("sgd", "1/2", decay=1e-7), "ce", "decay n^(1/2) at rate n^-1/2 takes a fraction of every weight"),
}
"""Optimizers and losses whose options change exponents, in SP; constants such that the option acts at all widths."""


def _variants() -> Iterator[Case]:
    """Networks, optimizers and losses besides the grid of ``AXES``."""
    heads: Mapping[str, Mapping[str, Any]] = {
        "transformer": {},
        "transformer-long-heads": {"head_dim_exponent": 1},
        "transformer-long-heads-1/d": {"head_dim_exponent": 1, "attention_scale": "1/d"},
    }
    claim = "every matrix, the attention logits and the logits of a transformer scale as derived"
    for name, chosen in heads.items():
        small = transformer(blocks=1, **chosen)
        for scaling, trained in product(("sp", "sp-full-align", "mup"), ("adam", "sgd")):
            if trained == "sgd" and chosen:
                continue
            rate = {"sgd": "-1/2", "adam": "-1"}[trained] if scaling == "sp" else 0
            base = setting(small, scaling, optimizer_=trained, lr_exponent=rate)
            yield Case(f"{name}-{scaling}-{trained}", base, claim)
    for name, network in NETWORKS.items():
        yield Case(f"{name}-mup-adam", setting(network, "mup", optimizer_="adam"), "its muP is muP")
    for name in ("resnet-mlp", "llama", "tied"):
        yield Case(f"{name}-mup-sgd", setting(NETWORKS[name], "mup", optimizer_="sgd"), "its muP is muP")
    # Attention moves at second order under SGD: it takes a larger rate than the calibrated one to see where it goes.
    long = transformer(blocks=1, **heads["transformer-long-heads-1/d"])
    fast, short = Constants(4e5), CharacterSequences(batch=4, probe=16, context=4)
    for scaling in ("sp-full-align", "mup"):
        base = setting(long, scaling, optimizer_="sgd")
        yield Case(f"transformer-long-heads-1/d-{scaling}-sgd", base, claim, data=short, fixed=fast)
    two = mlp(hidden_layers=2)
    for name, (optimizer, loss, claim) in ENTRIES.items():
        yield Case(f"sp-{name}-2", setting(two, "sp", optimizer_=optimizer, loss_=loss), claim, edge=Fraction(0))
    wild = setting(two, "sp", optimizer_="sgd", loss_=ZLoss(coefficient=1.0), lr_exponent="-1/2")
    claim = "at n^-1/2, where cross-entropy alone trains, a z-loss feeds the logits back"
    yield Case("sp-z-loss-2-beyond", wild, claim, fixed=Constants(30.0, output_scale=1.0))


CASES: Mapping[str, Case] = {c.name: c for c in (*_registered(), *_variants())}


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
    return (*at_edge, "sp-sgd-mse-2-beyond", *wild, *FEW_VARIANTS)


FEW_VARIANTS = (
    "transformer-sp-sgd",
    "transformer-mup-adam",
    "transformer-long-heads-sp-full-align-adam",
    "transformer-long-heads-1/d-mup-adam",
    "llama-mup-adam",
    "resnet-mlp-mup-adam",
    *(f"sp-{name}-2" for name in ENTRIES),
    "sp-z-loss-2-beyond",
)


def _full() -> tuple[str, ...]:
    wild = [f"{p}-{o}-{loss}-2-beyond" for p, o, loss in product(*list(AXES.values())[:3])]
    return (*(name for name in CASES if not name.endswith("-beyond")), *wild, "sp-z-loss-2-beyond")


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
