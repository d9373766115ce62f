"""Random training settings of MLPs, reproducible by seed: what the literature and consistency tests run over."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import tensorprog as tp
from tensorprog.optimizers import SGD, Adam, Muon, Optimizer, SignSGD
from tensorprog.setting import Setting, setting
from tensorprog.stability import StableRates

ACTIVATIONS = ("relu", "tanh", "gelu", "silu", "identity")
OPTIMIZERS: tuple[Optimizer, ...] = (SGD(), SignSGD(), Adam(), Muon())
LOSSES = ("ce", "mse", "huber", "hinge")

Exponents = tuple[Fraction, ...]


@dataclass(frozen=True)
class Case:
    """One setting with its exponents as plain fractions, in the order input, hidden..., readout."""

    hidden_layers: int
    activation: str
    optimizer: Optimizer
    loss: str
    a: Exponents
    b: Exponents
    c: Exponents

    @property
    def program(self) -> tp.Program:
        return tp.mlp(self.hidden_layers, self.activation)

    @property
    def parametrization(self) -> tp.Parametrization:
        return tp.Parametrization.from_layers(self.a, self.b, self.c)

    @property
    def setting(self) -> Setting:
        return setting(self.program, self.parametrization, optimizer_=self.optimizer, loss_=self.loss)

    def derive(self, **options: Any) -> Any:
        return tp.derive(self.program, self.parametrization, optimizer=self.optimizer, loss=self.loss, **options)

    def rates(self) -> StableRates:
        return tp.max_stable_lr(self.program, self.parametrization, optimizer=self.optimizer, loss=self.loss)

    def with_(self, **changes: Any) -> Case:
        return replace(self, **changes)

    def __str__(self) -> str:
        lists = "; ".join(f"{k} {', '.join(map(str, getattr(self, k)))}" for k in "abc")
        return f"{self.hidden_layers} x {self.activation}, {self.optimizer}, {self.loss}: {lists}"


def quarters(rng: random.Random, low: float, high: float) -> Fraction:
    """A random multiple of 1/4 between two ends."""
    return Fraction(rng.randint(int(low * 4), int(high * 4)), 4)


def random_case(
    rng: random.Random,
    *,
    hidden_layers: Sequence[int] = (1, 2, 3, 4),
    activations: Sequence[str] = ACTIVATIONS,
    optimizers: Sequence[Optimizer] = OPTIMIZERS,
    losses: Sequence[str] = LOSSES,
    multipliers: bool = True,
    unit_init: float = 0.75,
) -> Case:
    """A random setting.

    Args:
        rng: the source of everything.
        hidden_layers, activations, optimizers, losses: what to choose from.
        multipliers: whether a may differ from zero.
        unit_init: the chance that every activation is Theta(1) at initialisation.
    """
    depth = rng.choice(hidden_layers)
    a = tuple(quarters(rng, -0.5, 0.5) if multipliers else Fraction(0) for _ in range(depth + 1))
    total = [quarters(rng, -0.5, 1.5) for _ in a]  # a + b, what the network sees at initialisation
    if rng.random() < unit_init:
        total = [Fraction(0), *[Fraction(1, 2)] * (depth - 1), quarters(rng, 0, 1.5)]
    return Case(
        depth,
        rng.choice(activations),
        rng.choice(optimizers),
        rng.choice(losses),
        a,
        tuple(t - x for t, x in zip(total, a, strict=True)),
        tuple(quarters(rng, -1, 2) for _ in a),
    )


def random_cases(seed: int, count: int, **choices: Any) -> Iterator[Case]:
    """``count`` random settings."""
    rng = random.Random(seed)
    return (random_case(rng, **choices) for _ in range(count))
