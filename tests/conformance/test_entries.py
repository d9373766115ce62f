"""Every registry entry is held against its own functions; a new entry inherits these tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorprog as tp
from tensorprog import losses
from tensorprog.errors import SettingError, Unsupported
from tensorprog.exponent import ZERO, Exponent, exponent
from tensorprog.losses import LOSSES, Loss, ZLoss
from tensorprog.nonlinearities import NONLINEARITIES, TAYLOR_ORDER, Parity, apply
from tensorprog.optimizers import (
    KFAC,
    LAMB,
    OPTIMIZERS,
    SAM,
    SOAP,
    WRAPPERS,
    Adam,
    AdamW,
    Clipped,
    Decayed,
    Gradient,
    Muon,
    Optimizer,
    Outer,
    Parameter,
    Shampoo,
    ShapeFactor,
    optimizer,
)
from tensorprog.parametrizations import PARAMETRIZATIONS
from tensorprog.program import ONE, Axis, Weight
from tensorprog.scale import NOTHING, Scale

torch = pytest.importorskip("torch")

REGISTRIES = {
    "nonlinearity": NONLINEARITIES,
    "loss": LOSSES,
    "parametrization": PARAMETRIZATIONS,
    "optimizer": {name: cls() for name, cls in {**OPTIMIZERS, **WRAPPERS}.items()},
    "wrapped loss": {name: cls() for name, cls in losses.WRAPPERS.items()},
}
ENTRIES = [(kind, name, entry) for kind, registry in REGISTRIES.items() for name, entry in registry.items()]


@pytest.mark.parametrize(("kind", "name", "entry"), ENTRIES, ids=lambda x: x if isinstance(x, str) else "")
def test_identity(kind: str, name: str, entry: Any) -> None:
    assert entry.name == name
    assert entry.ref
    assert type(entry).__doc__


def test_the_page_on_optimizers_and_losses_names_every_entry() -> None:
    page = (Path(__file__).parents[2] / "docs" / "optimizers-and-losses.md").read_text(encoding="utf-8")
    for name in (*OPTIMIZERS, *WRAPPERS, *LOSSES, *losses.WRAPPERS):
        assert f"`{name}`" in page


def derives(**setting: Any) -> None:
    d = tp.derive(tp.mlp(2), steps=2, **setting)
    assert d.to_dict()["regime"] in {"stable", "controlled_divergence", "catastrophic"}
    assert len(d.steps) == 3


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_every_optimizer_derives(parametrization: str, optimizer: str) -> None:
    for loss in LOSSES:
        derives(parametrization=parametrization, optimizer=optimizer, loss=loss)


@pytest.mark.parametrize("base", OPTIMIZERS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_wrapper_derives_around_every_optimizer(wrapper: str, base: str) -> None:
    derives(parametrization="mup", optimizer=optimizer(wrapper, base_optimizer=base), loss="mse")


@pytest.mark.parametrize("base", LOSSES)
@pytest.mark.parametrize("wrapper", losses.WRAPPERS)
def test_every_wrapped_loss_derives(wrapper: str, base: str) -> None:
    derives(parametrization="sp", optimizer="sgd", loss=losses.loss(wrapper, base_loss=base))


@pytest.mark.parametrize("outer", WRAPPERS)
@pytest.mark.parametrize("inner", WRAPPERS)
def test_wrappers_nest(outer: str, inner: str) -> None:
    nested = optimizer(outer, base_optimizer=optimizer(inner, base_optimizer="adam"))
    if outer == inner == "sam":
        with pytest.raises(Unsupported, match="sam around sam is not supported"):
            derives(parametrization="sp", optimizer=nested, loss="ce")
    else:
        derives(parametrization="sp", optimizer=nested, loss="ce")


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

LOSS_SETTINGS: dict[str, Loss] = {
    **LOSSES,
    "z-loss": ZLoss(coefficient=1.0),
    "z-loss, shrinking": ZLoss("-1/2", 1.0),
    "z-loss, without": ZLoss("-oo"),
    "temperature": losses.Temperature(),
    "temperature of mse": losses.Temperature("mse", "-1/2"),
    "temperature, sharper": losses.Temperature("ce", "1/2"),
    "temperature of z-loss": losses.Temperature(ZLoss("-1/2", 1.0), "1/2"),
    "soft-capped": losses.SoftCapped(cap=1.0),
    "soft-capped mse": losses.SoftCapped("mse", cap=1.0),
}
WITH_POWERS = ("z-loss, shrinking", "temperature of mse", "temperature, sharper", "temperature of z-loss")
SATURATING = ("softmax-mse", "soft-capped")
"""Bounded, and in fact saturating: far from ties their slope vanishes. The calculus keeps the bound."""


@pytest.mark.parametrize("name", LOSS_SETTINGS)
@pytest.mark.parametrize("grows", [1, "1/2"])
def test_loss_derivative_grows_as_declared(name: str, grows: Any) -> None:
    """chi for logits of size n^grows, on random logits and labels, at widths n of 10^4 and 10^8."""
    entry = LOSS_SETTINGS[name]
    predicted = entry.gradient(Scale.source(exponent(grows), rule="constant", what="f")).top
    rng = torch.Generator().manual_seed(0)
    f = torch.randn(512, 6, generator=rng, dtype=torch.float64)
    y = torch.randint(0, 6, (512,), generator=rng)
    sizes = []
    for n in (1e4, 1e8):
        logits = (n ** float(exponent(grows).const) * f).requires_grad_(True)
        (chi,) = torch.autograd.grad(entry.at(n).torch(logits, y), logits)
        sizes.append(float(chi.square().mean().sqrt()))
    if entry.name in SATURATING:
        assert sizes[1] <= sizes[0]
        return
    assert abs(np.log(sizes[1] / sizes[0]) / np.log(1e4) - float(predicted.const)) < 0.05
    assert sizes[0] > 1e-3 / 512


@pytest.mark.parametrize("name", LOSS_SETTINGS)
def test_loss_derivative_is_order_one_for_small_logits(name: str) -> None:
    """Up to powers of n that the loss itself declares."""
    entry = LOSS_SETTINGS[name]
    predicted = float(entry.gradient(NOTHING).top.const)
    for n in (1e4, 1e8):
        f = torch.zeros(8, 6, dtype=torch.float64).requires_grad_(True)
        (chi,) = torch.autograd.grad(entry.at(n).torch(f, torch.arange(8) % 6), f)
        assert 10 > float(chi.square().mean().sqrt()) * 8 / n**predicted > 0.01


@pytest.mark.parametrize("name", LOSS_SETTINGS)
def test_a_power_of_the_width_needs_one(name: str) -> None:
    """Without a width a loss is evaluated where no power of n is involved, and refused elsewhere."""
    entry = LOSS_SETTINGS[name]
    f, y = torch.randn(8, 6, dtype=torch.float64), torch.arange(8) % 6
    if name in WITH_POWERS:
        with pytest.raises(SettingError, match=r"is a power of the width; evaluate the loss at one: loss.at\(width\)"):
            entry.torch(f, y)
    else:
        assert torch.equal(entry.torch(f, y), entry.at(1.0).torch(f, y))
        assert torch.equal(entry.torch(f, y), entry.at(4.0).torch(f, y))


@pytest.mark.parametrize("name", ["logistic", "hinge", "squared-hinge"])
def test_binary_losses_of_a_single_logit(name: str) -> None:
    """One logit for class 1 against class 0: the loss of the two-class margin."""
    f = torch.tensor([[0.3], [-2.0], [1.5]], dtype=torch.float64)
    y = torch.tensor([1, 0, 0])
    margin = f[:, 0] * torch.tensor([1.0, -1, -1])
    value = {
        "logistic": torch.log1p((-margin).exp()),
        "hinge": (1 - margin).clamp_min(0),
        "squared-hinge": (1 - margin).clamp_min(0).square() / 2,
    }[name]
    torch.testing.assert_close(LOSSES[name].torch(f, y), value.mean())


# -- optimizers ----------------------------------------------------------------------------------------------------

WIDE, FINITE = Axis("width", exponent(1)), Axis("classes")
SHAPES = {
    "input": Weight("w", WIDE, FINITE),
    "hidden": Weight("w", WIDE, WIDE),
    "readout": Weight("w", FINITE, WIDE),
    "bias": Weight("w", WIDE, ONE),
}
ENTRY, OUT, INTO = exponent("-1/8"), exponent("-1/2"), exponent("-1/4")
"""Exponents of the weight's entries and of the two factors of its gradient."""

SETTINGS: dict[str, Optimizer] = {
    **{name: optimizer(name) for name in OPTIMIZERS},
    **{f"clipped {name}": Clipped(name) for name in OPTIMIZERS},
    **{f"sam {name}": SAM(name) for name in OPTIMIZERS},
    **{f"decayed {name}": Decayed(name, decay_exponent=-2) for name in OPTIMIZERS},
    # lamb's step along a large weight, at learning rate one, would cancel it exactly
    **{f"much decayed {k}": Decayed(k, decay_exponent="1/2", decay=100.0) for k in OPTIMIZERS if k != "lamb"},
    **{f"muon, {factor.value}": Muon(factor) for factor in ShapeFactor},
    "adam, large epsilon": Adam("1/2"),
    "adam, small epsilon": Adam(-3),
    "adamw, large decay": AdamW(decay_exponent=2),
    "adamw, no decay": AdamW(decay_exponent="-oo"),
    "rmsprop, large epsilon": optimizer("rmsprop", epsilon_exponent="1/2"),
    "adagrad, large epsilon": optimizer("adagrad", epsilon_exponent="1/2"),
    "adafactor, floor": optimizer("adafactor", floor_exponent="1/4"),
    "lamb, large epsilon": LAMB("1/2"),
    "lamb, large decay": LAMB(decay_exponent=2),
    "clipped, low": Clipped(threshold_exponent=-2),
    "clipped, high": Clipped(threshold_exponent=2),
    "clipped adam, large epsilon": Clipped(Adam("-1"), threshold_exponent=-2),
    "decayed, large": Decayed(decay_exponent=1, decay=1.0),
    "decayed, coupled": Decayed(decay_exponent=1, decay=1.0, coupled=True),
    "decayed adam, coupled": Decayed("adam", decay_exponent="-1", coupled=True),
    "decayed adam, coupled, large": Decayed("adam", decay_exponent=1, coupled=True),
    "decayed signsgd, coupled": Decayed("signsgd", decay_exponent=1, coupled=True),
    "decayed lars, coupled": Decayed("lars", decay_exponent=1, coupled=True),
    "shampoo, one side": Shampoo("1/2", "0"),
    "shampoo, weak": Shampoo("1/8", "1/8"),
    "shampoo, strong": Shampoo("1/2", "1/2"),
    "shampoo, damped": Shampoo(damping_exponent=3),
    "soap, large epsilon": SOAP(2),
    "kfac, halves": KFAC("1/2", "1/2"),
    "kfac, out": KFAC("1", "0"),
    "kfac, in": KFAC("0", "1"),
    "kfac, damped": KFAC(out_damping_exponent=2, in_damping_exponent="-5"),
}


def parameter(weight: Weight, *gradients: tuple[Exponent, Exponent], size: Exponent = ENTRY) -> Parameter:
    def source(e: Exponent) -> Scale:
        return Scale.source(e, rule="constant", what="g")

    return Parameter(weight, tuple(Gradient.of([(source(o), source(i))]) for o, i in gradients), lambda: size)


def stepped(entry: Optimizer, weight: Weight, n: int) -> float:
    """RMS of one real step on random entries: a weight n^(-1/8), a gradient n^(-1/2) (x) n^(-1/4)."""
    rng = torch.Generator().manual_seed(n)
    shape = [n if axis.wide else 1 if axis is ONE else 3 for axis in (weight.out, weight.into)]

    def draw(*size: int) -> torch.Tensor:
        x = torch.randn(*size, generator=rng, dtype=torch.float64)
        return x / x.square().mean().sqrt()  # the scatter of three entries is not a slope

    out, into = draw(shape[0], 1) * float(n) ** float(OUT.const), draw(shape[1], 1) * float(n) ** float(INTO.const)
    start = draw(*shape) * float(n) ** float(ENTRY.const)
    w = start.clone().requires_grad_(True)
    group = {"params": [w], "lr": 1.0, "weight": weight, "factors": lambda: (out.T, into.T)}

    def closure() -> None:
        w.grad = out @ into.T

    entry.torch([group], float(n)).step(closure)
    return float((w.detach() - start).square().mean().sqrt())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_step_size_scales_as_derived(setting: str, shape: str) -> None:
    """Update entries of one real step against the largest part of the symbolic one."""
    entry, weight = SETTINGS[setting], SHAPES[shape]
    parts = entry.update([parameter(weight, (OUT, INTO))])[weight]
    predicted = max(part.size for part in parts)
    widths = (64, 512)
    sizes = [stepped(entry, weight, n) for n in widths]
    slope = np.log(sizes[1] / sizes[0]) / np.log(widths[1] / widths[0])
    assert abs(slope - float(predicted.const)) < 0.08


def test_momentum_changes_no_exponent() -> None:
    plain, heavy = (
        tp.derive(tp.mlp(2), "sp", optimizer=optimizer("sgd", **options), lr_exponent="-1/2")
        for options in ({}, {"momentum": 0.9})
    )
    assert plain.to_dict()["steps"] == heavy.to_dict()["steps"]


REMEMBERING = ("adam", "adamw", "lion", "rmsprop", "adagrad", "adafactor", "soap")
FORGETFUL = ("signsgd", "muon", "normalised-gd", "lars", "shampoo")


@pytest.mark.parametrize("name", [*REMEMBERING, *FORGETFUL])
def test_what_divides_by_the_largest_gradient_so_far(name: str) -> None:
    """A gradient n^(-1) after one of n^0 gives an update n^(-1) below the first where a second moment remembers."""
    weight = SHAPES["hidden"]
    first, later = (ZERO, ZERO), (exponent(-1), ZERO)
    entry = optimizer(name)
    once, twice = (
        max(part.size for part in entry.update([parameter(weight, *history)])[weight] if isinstance(part, Outer))
        for history in ([first], [first, later])
    )
    assert twice - once == (-1 if name in REMEMBERING else 0)


@pytest.mark.parametrize("name", [*OPTIMIZERS, *WRAPPERS])
def test_no_gradient_no_step(name: str) -> None:
    """An exactly zero gradient moves nothing but what decays."""
    weight = SHAPES["hidden"]
    still = Parameter(weight, (Gradient(()),), lambda: ENTRY)
    assert not [part for part in optimizer(name).update([still])[weight] if isinstance(part, Outer)]


def test_declared_facts() -> None:
    """Stackable: one step of two stacked parameters is the step of each. Bounds: see stability."""
    for name, make in OPTIMIZERS.items():
        entry = make()
        gradients = [torch.randn(6, 4, generator=torch.Generator().manual_seed(i)).double() for i in (1, 2)]
        start = [torch.randn(6, 4, generator=torch.Generator().manual_seed(i)).double() for i in (3, 4)]

        def step(w: torch.Tensor, g: torch.Tensor, entry: Optimizer = entry) -> torch.Tensor:
            w = w.clone().requires_grad_(True)
            w.grad = g.clone()
            entry.torch([{"params": [w], "lr": 0.1}]).step()
            return w.detach()

        apart = torch.cat([step(w, g) for w, g in zip(start, gradients, strict=True)])
        assert torch.allclose(step(torch.cat(start), torch.cat(gradients)), apart) == entry.elementwise, name
