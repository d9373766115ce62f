"""Every registry entry is held against its own functions; a new entry inherits these tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorprog as tp
from tensorprog.exponent import ZERO, Exponent, exponent
from tensorprog.losses import LOSSES
from tensorprog.nonlinearities import NONLINEARITIES, TAYLOR_ORDER, Parity, apply
from tensorprog.optimizers import OPTIMIZERS, Adam, Gradient, Muon, ShapeFactor, optimizer
from tensorprog.parametrizations import PARAMETRIZATIONS
from tensorprog.program import ONE, Axis, Weight
from tensorprog.scale import Scale

torch = pytest.importorskip("torch")

REGISTRIES = {
    "nonlinearity": NONLINEARITIES,
    "loss": LOSSES,
    "parametrization": PARAMETRIZATIONS,
    "optimizer": {name: cls() for name, cls in OPTIMIZERS.items()},
}
ENTRIES = [(kind, name, entry) for kind, registry in REGISTRIES.items() for name, entry in registry.items()]


@pytest.mark.parametrize(("kind", "name", "entry"), ENTRIES, ids=lambda x: x if isinstance(x, str) else "")
def test_identity(kind: str, name: str, entry: Any) -> None:
    assert entry.name == name
    assert entry.ref
    assert type(entry).__doc__


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_every_combination_derives(parametrization: str, optimizer: str, loss: str) -> None:
    d = tp.derive(tp.mlp(2), parametrization, optimizer=optimizer, loss=loss, steps=2)
    assert d.to_dict()["regime"] in {"stable", "controlled_divergence", "catastrophic"}
    assert len(d.steps) == 3


# -- nonlinearities ------------------------------------------------------------------------------------------------

H = np.linspace(-6, 6, 2401)


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_parity(name: str) -> None:
    phi = NONLINEARITIES[name]
    even = np.allclose(phi.numpy(-H), phi.numpy(H), atol=1e-12)
    odd = np.allclose(phi.numpy(-H), -phi.numpy(H), atol=1e-12)
    assert phi.facts.parity is (Parity.EVEN if even else Parity.ODD if odd else Parity.NONE)


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_growth(name: str) -> None:
    """The exponent of phi(s z) for s = 10 ... 10^6 and, near zero, of the Taylor polynomial."""
    phi = NONLINEARITIES[name]
    z = np.random.default_rng(0).standard_normal(4000)

    def slope(low: float, high: float) -> float:
        rms = [np.sqrt(np.mean(phi.numpy(s * z) ** 2)) for s in (low, high)]
        return float(np.log(rms[1] / rms[0]) / np.log(high / low))

    def declared(power: int) -> float:
        h = Scale.source(Exponent(power), rule="constant", what="h")
        return float((apply(phi.facts, h, name).top / abs(power)).const) * (1 if power > 0 else -1)

    assert abs(slope(1e3, 1e6) - declared(1)) < 0.01
    assert abs(slope(1e-6, 1e-4) - declared(-1)) < 0.01


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_taylor_orders(name: str) -> None:
    """Non-zero coefficients at zero up to the order kept, from a polynomial fit on a small interval."""
    phi = NONLINEARITIES[name]
    if phi.facts.taylor is None:
        assert np.allclose(phi.numpy(7 * H), 7 * phi.numpy(H))  # exactly homogeneous of degree one
        return
    x = np.linspace(-0.3, 0.3, 601)
    coefficients = np.polynomial.polynomial.polyfit(x, phi.numpy(x), 9)[: TAYLOR_ORDER + 1]
    assert tuple(np.flatnonzero(np.abs(coefficients) > 1e-4)) == phi.facts.taylor


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_bounded(name: str) -> None:
    phi = NONLINEARITIES[name]
    assert phi.facts.bounded == bool(np.abs(phi.numpy(np.array([-1e6, 1e6]))).max() < 1e3)


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_numpy_and_torch_halves_agree(name: str) -> None:
    phi = NONLINEARITIES[name]
    assert np.allclose(phi.torch(torch.from_numpy(H)).numpy(), phi.numpy(H), atol=1e-12)


# -- losses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_loss_derivative_grows_as_declared(name: str) -> None:
    """chi ~ |f|^degree for logits of size 10 ... 10^5, on random logits and labels."""
    entry = LOSSES[name]
    rng = torch.Generator().manual_seed(0)
    f = torch.randn(512, 6, generator=rng, dtype=torch.float64)
    y = torch.randint(0, 6, (512,), generator=rng)
    sizes = []
    for size in (1e2, 1e4):
        logits = (size * f).requires_grad_(True)
        (chi,) = torch.autograd.grad(entry.torch(logits, y), logits)
        sizes.append(float(chi.square().mean().sqrt()))
    slope = np.log(sizes[1] / sizes[0]) / np.log(1e2)
    if name == "softmax-mse":
        # Bounded, and in fact saturating: far from ties its Jacobian vanishes. The calculus keeps the bound.
        assert slope < 0.01
        return
    assert abs(slope - entry.degree) < 0.05
    assert sizes[0] > 1e-3 / 512


@pytest.mark.parametrize("name", LOSSES)
def test_loss_derivative_is_order_one_for_small_logits(name: str) -> None:
    f = torch.zeros(8, 6, dtype=torch.float64).requires_grad_(True)
    (chi,) = torch.autograd.grad(LOSSES[name].torch(f, torch.arange(8) % 6), f)
    assert float(chi.square().mean().sqrt()) * 8 > 0.01


# -- optimizers ----------------------------------------------------------------------------------------------------

WIDE, FINITE = Axis("width", exponent(1)), Axis("classes")
SHAPES = {
    "input": Weight("w", WIDE, FINITE),
    "hidden": Weight("w", WIDE, WIDE),
    "readout": Weight("w", FINITE, WIDE),
    "bias": Weight("w", WIDE, ONE),
}
SETTINGS = {
    **{name: cls() for name, cls in OPTIMIZERS.items()},
    "adam, large epsilon": Adam("1/2"),
    "adam, small epsilon": Adam(-3),
    **{f"muon, {factor.value}": Muon(factor) for factor in ShapeFactor},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_step_size_scales_as_derived(setting: str, shape: str) -> None:
    """Update entries of one real step on a random gradient of entries n^(-3/4), against the symbolic direction."""
    entry, weight = SETTINGS[setting], SHAPES[shape]
    out_top, in_top = exponent("-1/2"), exponent("-1/4")
    pair = tuple(Scale.source(e, rule="constant", what="g") for e in (out_top, in_top))
    predicted = max(e + o.top + i.top for e, o, i in entry.direction([Gradient((pair,))], weight))
    widths, sizes = (64, 512), []
    for n in widths:
        rng = torch.Generator().manual_seed(n)
        shape_n = [n if axis.wide else 1 if axis is ONE else 3 for axis in (weight.out, weight.into)]
        drawn = (torch.randn(k, 1, generator=rng, dtype=torch.float64) for k in shape_n)
        out, into = (x / x.square().mean().sqrt() for x in drawn)  # the scatter of three entries is not a slope
        w = torch.zeros(*shape_n, dtype=torch.float64, requires_grad=True)
        w.grad = out @ into.T * float(n) ** -0.75
        entry.torch([{"params": [w], "lr": 1.0}], float(n)).step()
        sizes.append(float(w.detach().square().mean().sqrt()))
    slope = np.log(sizes[1] / sizes[0]) / np.log(widths[1] / widths[0])
    assert abs(slope - float(predicted.const)) < 0.08


def test_momentum_changes_no_exponent() -> None:
    plain, heavy = (
        tp.derive(tp.mlp(2), "sp", optimizer=optimizer("sgd", **options), lr_exponent="-1/2")
        for options in ({}, {"momentum": 0.9})
    )
    assert plain.to_dict()["steps"] == heavy.to_dict()["steps"]


def test_adam_remembers_the_largest_gradient() -> None:
    """A gradient n^(-1) after one of n^0 gives an update n^(-1), not n^0."""
    x = Scale.source(ZERO, rule="constant", what="x")
    large, little = (Gradient(((Scale.source(exponent(e), rule="constant", what="g"), x),)) for e in (0, -1))
    ((power, out, into),) = Adam().direction([large, little], SHAPES["hidden"])
    assert (power, out.top, into.top) == (-1, 0, 0)
