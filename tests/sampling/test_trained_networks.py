"""Random and subtle MLP settings, trained in float64 over widths, against the derived exponents.

Independent of the harness on purpose: plain torch, sharing nothing with the derivation but the losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest

import tensorprog as tp
from tensorprog.losses import loss as loss_entry

torch = pytest.importorskip("torch")

WIDTHS = (128, 256, 512, 1024)
SEEDS = 20
STEPS = 3
BATCH = 8
TOLERANCE = 0.15
SIGMAS = 2.5


@dataclass(frozen=True)
class Setting:
    """b and c of an MLP (a = 0); ``rate`` moves crossings of unequal terms out of the measured widths."""

    optimizer: str
    loss: str
    b: tuple[float, ...]
    c: tuple[float, ...]
    rate: float = 1.0
    activation: str = "relu"


SETTINGS = {
    "sp sgd controlled": Setting("sgd", "ce", (0, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "sp sgd one hidden layer": Setting("sgd", "ce", (0, 0.5), (0, 0), rate=0.5),
    "sp adam controlled": Setting("adam", "ce", (0, 0.5, 0.5), (1, 1, 1)),
    "mup signsgd hinge": Setting("signsgd", "hinge", (0, 0.5, 1), (0, 1, 1), rate=0.1),
    "mup sgd mse": Setting("sgd", "mse", (0, 0.5, 1), (-1, 0, 1), rate=0.3),
    "sp muon controlled": Setting("muon", "ce", (0, 0.5, 0.5), (0, 0, 0)),
    "mup muon three layers": Setting("muon", "mse", (0, 0.5, 0.5, 1), (-0.5, 0, 0, 0.5), rate=0.3),
    "full alignment tanh": Setting("adam", "ce", (0, 0.5, 0.5), (0, 1, 1), rate=0.3, activation="tanh"),
    "diverging initial logits": Setting("adam", "ce", (0, 0.5, 0.5, 0.25), (0.25, 1.75, 1.75, 1.75)),
}


def train(s: Setting, n: int, seed: int) -> dict[tuple[int, str, str], float]:
    """RMS of effective, propagating and feature changes after every step, on a probe batch."""
    inputs, classes, batch = 5, 3, BATCH
    layers = len(s.b)
    weights_rng = torch.Generator().manual_seed(1_000_003 * seed + n)
    data_rng = torch.Generator().manual_seed(seed)
    dims = [inputs, *[n] * (layers - 1), classes]
    names = ["input", *(f"hidden.{i}" for i in range(1, layers - 1)), "readout"]

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=data_rng, dtype=torch.float64)

    weights = []
    for i in range(layers):
        w = torch.randn(dims[i + 1], dims[i], generator=weights_rng, dtype=torch.float64) * float(n) ** -s.b[i]
        weights.append((w / np.sqrt(inputs) if not i else w).requires_grad_(True))
    phi = {"relu": torch.relu, "tanh": torch.tanh}[s.activation]

    def forward(ws: list[torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
        values = [x]
        for i, w in enumerate(ws):
            h = values[-1] @ w.T
            values.append(phi(h) if i < layers - 1 else h)
        return values

    start = [w.detach().clone() for w in weights]
    probe = draw(batch, inputs)
    x0 = forward(start, probe)
    first, second = [0.0] * layers, [0.0] * layers
    sizes: dict[tuple[int, str, str], float] = {}
    for t in range(1, STEPS + 1):
        x, y = draw(batch, inputs), torch.randint(0, classes, (batch,), generator=data_rng)
        gradients = torch.autograd.grad(loss_entry(s.loss).torch(forward(weights, x)[-1], y), weights)
        with torch.no_grad():
            for i, (w, g) in enumerate(zip(weights, gradients, strict=True)):
                first[i] = 0.9 * first[i] + 0.1 * g
                second[i] = 0.999 * second[i] + 0.001 * g * g
                w -= s.rate * float(n) ** -s.c[i] * _direction(s.optimizer, g, first[i], second[i], t)
            xt = forward(weights, probe)
            for i, name in enumerate(names):
                sizes[t, name, "effective"] = _rms(xt[i] @ (weights[i] - start[i]).T)
                if i:
                    sizes[t, name, "propagating"] = _rms((xt[i] - x0[i]) @ start[i].T)
                if i < layers - 1:
                    sizes[t, name, "feature"] = _rms(xt[i + 1] - x0[i + 1])
    return sizes


def _rms(x: torch.Tensor) -> float:
    return float(x.square().mean().sqrt())


def _direction(name: str, g: torch.Tensor, m: torch.Tensor, v: torch.Tensor, t: int) -> torch.Tensor:
    if name == "sgd":
        return g
    if name == "signsgd":
        return g.sign()
    if name == "adam":
        return torch.nan_to_num((m / (1 - 0.9**t)) / (v / (1 - 0.999**t)).sqrt())
    # The gradient has rank at most BATCH: a basis of its range makes the decomposition small, and exact.
    basis = torch.linalg.qr(g @ torch.from_numpy(_probe(g.shape[1])))[0]
    u, singular, vh = torch.linalg.svd(basis.T @ g, full_matrices=False)
    keep = singular > 1e-9 * singular[0]
    return basis @ u[:, keep] @ vh[keep]


@lru_cache
def _probe(n: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, min(n, BATCH + 4)))


@pytest.mark.parametrize("name", SETTINGS)
def test_slopes(name: str) -> None:
    s = SETTINGS[name]
    parametrization = tp.Parametrization.from_layers(
        a=[0] * len(s.b), b=[_exact(v) for v in s.b], c=[_exact(v) for v in s.c]
    )
    d = tp.derive(tp.mlp(len(s.b) - 1, s.activation), parametrization, optimizer=s.optimizer, loss=s.loss, steps=STEPS)
    runs = [[train(s, n, seed) for seed in range(SEEDS)] for n in WIDTHS]
    x = np.log(WIDTHS)
    wrong, judged = [], 0
    for key in runs[0][0]:
        step, site, quantity = key
        predicted = getattr(d.steps[step].sites[site], quantity)
        # One slope per seed: data are paired over widths.
        slopes = np.polyfit(x, np.log([[run[key] for run in row] for row in runs]), 1)[0]
        slope, error = slopes.mean(), slopes.std(ddof=1) / np.sqrt(SEEDS)
        assert error < 0.1, f"{key}: too noisy to tell a quarter apart"
        judged += 1
        if abs(slope - predicted.const) > TOLERANCE + SIGMAS * error:
            wrong.append(f"{key}: predicted {predicted}, slope {slope:.2f} +- {error:.2f}")
    assert not wrong, "\n".join(wrong)
    assert judged >= STEPS * 4


def _exact(value: float) -> str:
    numerator, denominator = float(value).as_integer_ratio()
    return f"{numerator}/{denominator}"
