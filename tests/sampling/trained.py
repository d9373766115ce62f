"""MLPs trained in float64 over widths with the entries' own numeric halves, measured as the theory defines its sizes.

Independent of the harness on purpose: plain torch, sharing nothing with the derivation but the losses and optimizers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

import tensorprog as tp
from tensorprog.exponent import Exponent
from tensorprog.losses import Loss, loss
from tensorprog.optimizers import Optimizer, optimizer
from tests.literature.scalings import chain

INPUTS, CLASSES, BATCH = 5, 3, 8
TOLERANCE = 0.15
SIGMAS = 2.5
NOISE = 0.12
"""A slope with a larger standard error cannot tell a quarter apart."""

Key = tuple[int, str, str]


@dataclass(frozen=True)
class Trained:
    """A setting with b and c of an MLP, and how it is measured.

    Args:
        rate, init: constants that the theory does not see, which move crossings of unequal terms out of the widths; one
            rate for all layers, or one for each.
        skip: quantities that are left out, each for a reason that its test gives.
        axes: powers of n of the hidden layers; all of them 1 unless given.
        vocabulary: there are n^vocabulary classes more, which are no labels.
    """

    optimizer: str | Optimizer | Mapping[str, Any]
    b: tuple[str, ...]
    c: tuple[str, ...]
    loss: str | Loss = "ce"
    rate: float | tuple[float, ...] = 1.0
    activation: str = "relu"
    init: float = 1.0
    widths: tuple[int, ...] = (128, 256, 512, 1024)
    seeds: int = 12
    steps: int = 3
    skip: tuple[Key, ...] = ()
    axes: tuple[str, ...] = ()
    vocabulary: str = ""

    @property
    def program(self) -> tp.Program:
        if not self.axes and not self.vocabulary:
            return tp.mlp(len(self.b) - 1, self.activation)
        return chain(self.powers, self.activation, self.vocabulary)

    @property
    def powers(self) -> tuple[str, ...]:
        """Of n, the sizes of the hidden layers."""
        return self.axes or ("1",) * (len(self.b) - 1)

    def derive(self) -> tp.Derivation:
        parametrization = tp.Parametrization.from_layers(a=[0] * len(self.b), b=self.b, c=self.c)
        d = tp.derive(self.program, parametrization, optimizer=self.optimizer, loss=self.loss, steps=self.steps)
        assert isinstance(d, tp.Derivation)
        return d

    def with_(self, **changes: Any) -> Trained:
        return replace(self, **changes)


def train(s: Trained, n: int, seed: int) -> dict[Key, float]:
    """RMS of effective, propagating and feature changes after every step, on a probe batch.

    Where the optimizer looks a second time, at perturbed weights, also the effect E x~ of each perturbation E on the
    training batch; it belongs to the step before.
    """
    import torch

    layers = len(s.b)
    weights_rng = torch.Generator().manual_seed(1_000_003 * seed + n)
    data_rng = torch.Generator().manual_seed(seed)
    others = round(float(n) ** float(Fraction(s.vocabulary))) if s.vocabulary else 0
    dims = [INPUTS, *(round(float(n) ** float(Fraction(p))) for p in s.powers), CLASSES + others]
    program = s.program
    names = [w.name for w in program.weights if w.like is None]
    rows = {"readout": slice(CLASSES), **({"readout.rest": slice(CLASSES, None)} if others else {})}

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=data_rng, dtype=torch.float64)

    weights = []
    for i in range(layers):
        w = torch.randn(dims[i + 1], dims[i], generator=weights_rng, dtype=torch.float64)
        w *= 0.0 if s.b[i] == "oo" else s.init * float(n) ** -float(Fraction(s.b[i]))
        weights.append((w / np.sqrt(INPUTS) if not i else w).requires_grad_(True))
    phi = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda h: h}[s.activation]
    last: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def forward(ws: list[torch.Tensor], x: torch.Tensor, *, keep: bool = False) -> list[torch.Tensor]:
        values = [x]
        for i, w in enumerate(ws):
            h = values[-1] @ w.T
            if keep:
                h.retain_grad()
                last[i] = (h, values[-1])
            values.append(phi(h) if i < layers - 1 else h)
        return values

    groups = [
        {
            "params": [w],
            "lr": (s.rate[i] if isinstance(s.rate, tuple) else s.rate) * float(n) ** -float(Fraction(s.c[i])),
            "weight": program.weights[i],
            "factors": lambda i=i: (last[i][0].grad, last[i][1].detach()),
        }
        for i, w in enumerate(weights)
    ]
    stepper = optimizer(s.optimizer).torch(groups, float(n))
    objective = loss(s.loss).at(float(n)).torch
    start = [w.detach().clone() for w in weights]
    probe = draw(BATCH, INPUTS)
    x0 = forward(start, probe)
    sizes: dict[Key, float] = {}
    for t in range(1, s.steps + 1):
        x, y = draw(BATCH, INPUTS), torch.randint(0, CLASSES, (BATCH,), generator=data_rng)
        looks: list[list[torch.Tensor]] = []

        def closure(x: torch.Tensor = x, y: torch.Tensor = y, looks: list[list[torch.Tensor]] = looks) -> torch.Tensor:
            looks.append([w.detach().clone() for w in weights])
            for w in weights:
                w.grad = None
            value = objective(forward(weights, x, keep=True)[-1], y)
            value.backward()
            return value

        stepper.step(closure)
        for i, (first, second) in enumerate(zip(looks[0], looks[-1], strict=True)):
            if len(looks) > 1:
                sizes[t - 1, names[i], "perturbation"] = _rms(last[i][1].detach() @ (second - first).T)
        with torch.no_grad():
            xt = forward(weights, probe)
            for i, name in enumerate(names):
                parts = rows if i == layers - 1 else {name: slice(None)}
                for part, of in parts.items():
                    sizes[t, part, "effective"] = _rms(xt[i] @ (weights[i] - start[i])[of].T)
                    if i:
                        sizes[t, part, "propagating"] = _rms((xt[i] - x0[i]) @ start[i][of].T)
                if i < layers - 1:
                    sizes[t, name, "feature"] = _rms(xt[i + 1] - x0[i + 1])
    return sizes


def _rms(x: Any) -> float:
    return float(x.square().mean().sqrt())


@dataclass(frozen=True)
class Slope:
    """A predicted exponent and the slope of its size over widths, with a standard error over seeds."""

    key: Key
    predicted: Exponent
    slope: float
    error: float

    @property
    def agrees(self) -> bool:
        if self.predicted.infinite:
            return self.slope == float("-inf")
        return abs(self.slope - float(self.predicted.const)) <= TOLERANCE + SIGMAS * self.error

    def __str__(self) -> str:
        return f"{self.key}: predicted {self.predicted}, slope {self.slope:.2f} +- {self.error:.2f}"


def slopes(s: Trained) -> Iterator[Slope]:
    """Every predicted exponent of a setting against its slope; data are paired over widths, one slope a seed."""
    d = s.derive()
    runs = [[train(s, n, seed) for seed in range(s.seeds)] for n in s.widths]
    x = np.log(s.widths)
    for key in runs[0][0]:
        step, site, quantity = key
        predicted = getattr(d.steps[step].sites[site], quantity)
        values = np.array([[run[key] for run in row] for row in runs])
        if not values.any():
            yield Slope(key, predicted, float("-inf"), 0.0)
            continue
        found = np.polyfit(x, np.log(values), 1)[0]
        yield Slope(key, predicted, float(found.mean()), float(found.std(ddof=1) / np.sqrt(s.seeds)))


def check(s: Trained) -> list[Slope]:
    """All slopes of a setting agree with what was derived."""
    found = [x for x in slopes(s) if x.key not in s.skip]
    for x in found:
        assert x.error < NOISE, f"{x}: too noisy to tell a quarter apart"
    wrong = [str(x) for x in found if not x.agrees]
    assert not wrong, "\n".join(wrong)
    assert len(found) >= s.steps * 4
    return found
