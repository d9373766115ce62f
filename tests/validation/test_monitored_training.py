"""The refined coordinate check of any module: identities, other tools, errors, and training that does not notice."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_module_monitor import ModuleMonitor
from torch_module_monitor import RefinedCoordinateCheck as OtherCheck

from tensorprog.architectures import mlp
from tensorprog.losses import loss
from tensorprog.optimizers import optimizer
from tensorprog.parametrizations import parametrization
from validation.data import Batch
from validation.measure import OUTPUT, CoordinateCheck, Quantity
from validation.monitor import RefinedCheck, replay
from validation.monitor import check as checking
from validation.monitor.replay import Measuring, Recording
from validation.monitor.tape import Site
from validation.realize import Network, Realization
from validation.sizes import Sizes, rms

Q = Quantity


def moved(model: nn.Module, by: float = 1.0) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator).to(p.dtype), alpha=by)
    return model


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7)).to(dtype)


class Attention(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.embedding = nn.Linear(3, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x)
        y: Tensor = self.attention(h, h, h, need_weights=False)[0]
        return y


class Residual(nn.Module):
    """Writes into its values: residual sums and nonlinearities in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.readout = nn.Linear(3, 8, bias=False), nn.Linear(8, 8), nn.Linear(8, 2)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.first(x))
        h += self.act(self.second(h))
        h *= 0.5
        y: Tensor = self.readout(h)
        return y


class Gated(nn.Module):
    """A gate, a low-rank weight that is used twice, normalised weights, dropout, a buffer as mask."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.value = nn.Linear(3, 8), nn.Linear(3, 8, bias=False)
        self.down, self.up = nn.Parameter(normal(8, 2)), nn.Parameter(normal(2, 8))
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))
        self.register_buffer("mask", (normal(8, 8) > 0).double())
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.silu(self.gate(x)) * self.value(x)
        h = self.dropout(functional.linear(h, self.down @ self.up))
        h = functional.linear(h, (self.down @ self.up) * self.mask)
        y: Tensor = self.spectral(self.normed(h).tanh())
        return y


def convolutional() -> nn.Module:
    layers = [nn.Conv1d(3, 4, 3, padding="same"), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.ConvTranspose1d(4, 4, 2)]
    return nn.Sequential(*layers, nn.GroupNorm(2, 4), nn.GELU(), nn.Conv1d(4, 3, 1, bias=False), nn.Flatten())


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2)), (5, 3)),
    "residual": (Residual, (5, 3)),
    "gated": (Gated, (5, 3)),
    "convolutional": (convolutional, (2, 3, 6)),
    "attention": (Attention, (2, 5, 3)),
    "attention with extra keys": (lambda: Attention(add_bias_kv=True, kdim=8, vdim=8), (2, 5, 3)),
    "encoder": (lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), (2, 5, 6)),
    "encoder, normalised first": (lambda: nn.TransformerEncoderLayer(6, 2, 8, norm_first=True, dropout=0.5), (2, 5, 6)),
    "decoder": (lambda: nn.TransformerDecoderLayer(6, 2, 8), (2, 5, 6)),
    "images": (lambda: nn.Sequential(nn.Conv1d(3, 8, 1), nn.PReLU(8), nn.InstanceNorm1d(8, affine=True)), (2, 3, 6)),
}


class Keeping(Sizes):
    """Keeps the tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: dict[int, Tensor] = {}

    def add(self, x: Tensor) -> int:
        number = super().add(x)
        self.tensors[number] = x.detach().clone()
        return number


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> dict[Site, list[Tensor]]:
    """What each product is at each pass, computed in its own way and not from parts."""
    found: dict[Site, list[Tensor]] = {}

    def spied(kind: type[Any]) -> type[Any]:
        class Spied(kind):  # type: ignore[misc]
            def product(self, kind: Any, f: Any, *tensors: Tensor, result: Any = None) -> Tensor:
                site = self._primitives[self._primitive]
                if site is not None:
                    found.setdefault(site, []).append(f(*tensors))
                return super().product(kind, f, *tensors, result=result)

        return Spied

    monkeypatch.setattr(replay, "Sizes", Keeping)
    monkeypatch.setattr(checking, "Recording", spied(Recording))
    monkeypatch.setattr(checking, "Measuring", spied(Measuring))
    return found


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", list(MODELS))
def test_both_parts_add_up_to_the_change_of_every_product(
    name: str, training: bool, products: dict[Site, list[Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """f(w_t - w_0, x_t) + f(w_0, x_t - x_0) = f(w_t, x_t) - f(w_0, x_0)."""
    build, shape = MODELS[name]
    torch.manual_seed(0)
    model = build().double().train(training)
    probe = (normal(*shape), normal(*shape).roll(1)) if name == "decoder" else (normal(*shape),)
    monkeypatch.setattr(replay, "SCRATCH", 10)
    check = RefinedCheck(model, probe)
    moved(model, by=0.3)
    runs: list[Measuring] = []
    take = checking.Measuring
    monkeypatch.setattr(checking, "Measuring", lambda *args: runs.append(take(*args)) or runs[-1])
    reading = check.at(1)
    (run,) = runs
    assert isinstance(run.sizes, Keeping)
    kept = run.sizes.tensors
    assert len(products) >= 2
    for site, (before, _, after) in products.items():
        assert not torch.equal(before, after)
        parts = kept[run.effective[site]]
        if site in run.propagating:
            parts = parts + kept[run.propagating[site]]
        torch.testing.assert_close(parts, after - before)
    assert not check.unused
    if not training:
        (logits,) = (m.size for m in reading if m.quantity is Q.LOGITS)
        assert logits == pytest.approx(rms(model(*probe)), rel=1e-9)
        assert not [m for m in reading if m.site == "3.weight" and m.quantity is Q.ALIGNMENT_INITIAL]


def test_attention_is_entered() -> None:
    torch.manual_seed(0)
    model = Attention().double()
    check = RefinedCheck(model, x := normal(2, 5, 3))
    parts = ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    assert check.sites == ("embedding.weight", "embedding.bias", *(f"attention.{part}" for part in parts))
    before = copy.deepcopy(model)
    moved(model)
    got = {(m.site, m.quantity): m.size for m in check.at(1)}
    h_0, h = before.embedding(x).detach(), model.embedding(x).detach()
    w_0, w = before.attention.in_proj_weight.detach(), model.attention.in_proj_weight.detach()
    assert got["attention.in_proj_weight", Q.EFFECTIVE] == pytest.approx(rms(h @ (w - w_0).T))
    assert got["attention.in_proj_weight", Q.PROPAGATING] == pytest.approx(rms((h - h_0) @ w_0.T))
    assert got[OUTPUT, Q.LOGITS] == pytest.approx(rms(model(x)))


def test_values_that_are_added_up_are_as_exact_as_the_forward_pass() -> None:
    """In float32, against float64: the error of a deep network stays that of a direct pass, up to a factor."""
    torch.manual_seed(0)
    layers = [m for _ in range(8) for m in (nn.Linear(64, 64, bias=False), nn.ReLU())]
    model = nn.Sequential(*layers)
    x = normal(32, 64, dtype=torch.float32)
    seen: list[Tensor] = []
    check = RefinedCheck(model, x, logits=lambda y: seen.append(y) or y)
    for by in (0.0, 1e-6, 1e-2, 1.0):
        moved(model, by=by)
        check.at(1)
        exact = copy.deepcopy(model).double()(x.double()).detach()
        direct = rms(model(x).detach().double() - exact)
        assert rms(seen[-1].detach().double() - exact) <= 4 * direct + 1e-12
        if not by:
            assert torch.equal(seen[-1], seen[-2])  # nothing has changed: the very same numbers
    for shrunk in (0.3, 1e-3, 0.0):  # the parts cancel, as they do when weight decay has shrunk all weights
        check = RefinedCheck(model, x, logits=lambda y: seen.append(y) or y)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(shrunk)
        sizes = {(m.site, m.quantity): m.size for m in check.at(1)}
        exact = copy.deepcopy(model).double()(x.double()).detach()
        assert rms(seen[-1].detach().double() - exact) <= 1e-4 * rms(exact)
        assert sizes[OUTPUT, Q.LOGITS] == pytest.approx(rms(exact), rel=1e-4)


@pytest.mark.parametrize("out", [900, 1024])
@pytest.mark.parametrize("lead", [(7,), (2, 3)])
def test_wide_weights_are_multiplied_in_strips_with_the_same_result(
    out: int, lead: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 700), nn.ReLU(), nn.Linear(700, out), nn.Tanh(), nn.Linear(out, 600))
    x = normal(*lead, 20, dtype=torch.float32)
    checks = [RefinedCheck(model, x) for _ in range(2)]
    moved(model, by=0.01)
    in_strips = list(checks[0].at(1))
    monkeypatch.setattr(replay, "WIDE", 1 << 60)
    whole = list(checks[1].at(1))
    assert [(m.site, m.quantity) for m in in_strips] == [(m.site, m.quantity) for m in whole]
    assert [m.size for m in in_strips] == pytest.approx([m.size for m in whole], rel=1e-5)
    assert any(m.size != n.size for m, n in zip(in_strips, whole, strict=True))  # it was another way


@pytest.mark.parametrize("size", [1e-25, 1e20])
def test_updates_whose_squares_are_no_float32_numbers(size: float) -> None:
    """The alignment of an update does not depend on its size."""

    def alignments(scale: float) -> list[float]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 1024, bias=False), nn.Linear(1024, 1024, bias=False))
        nn.init.zeros_(model[1].weight)
        check = RefinedCheck(model, torch.ones(2, 8))
        with torch.no_grad():
            model[1].weight.normal_().mul_(scale)
        return [m.size for m in check.at(1) if m.quantity is Q.ALIGNMENT_EFFECTIVE]

    found = alignments(size)
    assert found
    assert found == pytest.approx(alignments(1.0), rel=1e-5)


def test_small_updates_survive_float32() -> None:
    """A relative update of 1e-6 would vanish in the difference of outputs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2000, 2000, bias=False), nn.Linear(2000, 2))
    check = RefinedCheck(model, normal(4, 2000, dtype=torch.float32))
    with torch.no_grad():
        model[0].weight.mul_(1 + 1e-5)
    got = {(m.site, m.quantity): m.size for m in check.at(1)}
    assert got["0.weight", Q.EFFECTIVE] == pytest.approx(1e-5 * got["0.weight", Q.ACTIVATION], rel=0.02)


# -- training does not notice


def noisy(inplace: bool) -> nn.Module:
    hidden = [nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=inplace), nn.Dropout(0.4)]
    return nn.Sequential(
        *hidden, nn.Linear(16, 16), nn.BatchNorm1d(16, momentum=None), nn.Dropout(0.2), nn.Linear(16, 3)
    )


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_training_is_the_same_bit_for_bit(kind: type[torch.optim.Optimizer], inplace: bool) -> None:
    def train(measured: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model = noisy(inplace)
        x, y = torch.randn(40, 6), torch.randint(3, (40,))
        optimizer = kind(model.parameters(), lr=0.05)
        check = RefinedCheck(model, x[:16], loss=functional.cross_entropy, targets=y[:16]) if measured else None
        for step in range(1, 6):
            optimizer.zero_grad()
            value = functional.cross_entropy(model(x), y)
            if check and step == 3:
                check.at(step)  # between forward and backward pass
            value.backward()
            if check:
                check.at(step)
            optimizer.step()
            if check:
                check.at(step)
        state = [*model.state_dict().values(), *(p.grad for p in model.parameters())]
        return [x.clone() for x in [*state, torch.get_rng_state(), torch.rand(1)] if x is not None]

    plain, watched = train(False), train(True)
    assert len(plain) == len(watched)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


def test_masks_are_the_same_at_every_pass() -> None:
    torch.manual_seed(0)
    model = noisy(inplace=False)
    check = RefinedCheck(model, x := torch.randn(8, 6))
    changes = {Q.EFFECTIVE, Q.PROPAGATING, Q.FEATURE, Q.LOGIT_UPDATE}
    torch.rand(3)
    assert all(m.size == 0 for m in check.at(1) if m.quantity in changes)
    assert any(m.size != n.size for m, n in zip(check.at(1), RefinedCheck(model, x, seed=1).at(1), strict=False))


class Chance(nn.Module):
    """Draws from Python's and numpy's streams, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        y: Tensor = self.linear(x * random.random() + float(np.random.rand()))
        return y.sub_(1)


def test_python_and_numpy_streams_and_buffers_are_put_back() -> None:
    model = Chance()
    streams = repr(random.getstate()), repr(np.random.get_state())
    calls = model.calls
    check = RefinedCheck(model, torch.ones(2, 3))
    assert {m.size for m in check.at(1) if m.quantity is Q.LOGIT_UPDATE} == {0.0}
    assert (repr(random.getstate()), repr(np.random.get_state())) == streams
    assert model.calls is calls
    assert float(calls) == 0


# -- other tools


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", ["sp", "mup", "mfp"])
def test_agrees_with_the_check_of_our_own_networks(name: str, bias: bool) -> None:
    program = mlp(hidden_layers=3, activation="tanh", bias=bias)
    exponents = parametrization(name).assign(program, optimizer("sgd"))
    real = Realization(24, {"x": 4, "classes": 3}, base_width=8, output_scale=0.5, dtype=torch.float64)
    net = Network(program, exponents, real)
    probe = Batch(normal(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
    ours = CoordinateCheck(net, loss("ce"), probe)
    check = RefinedCheck(net, probe.x, loss=loss("ce").torch, targets=probe.y)
    assert len(check.sites) == len(program.sites)
    for step in (0, 1, 2):
        got = {(m.site, m.quantity): m.size for m in check.at(step)}
        want = {(m.site, m.quantity): m.size for m in ours.at(step)}
        names = {f"weights.{program.weights.index(s.weight)}": s.name for s in program.sites} | {OUTPUT: OUTPUT}
        common = {(names[site], q): x for (site, q), x in got.items() if q in {q for _, q in want}}
        assert common == {key: pytest.approx(x, rel=1e-9) for key, x in want.items()}
        moved(net, by=0.1)


def other(model: nn.Module, probe: Tensor) -> Iterator[tuple[str, float]]:
    """Sizes by torch-module-monitor: from the L2 norms of all examples that it has before it averages them."""
    model = copy.deepcopy(model)
    reference = copy.deepcopy(model)
    watch = ModuleMonitor(monitor_step_fn=lambda step: True)
    watch.set_module(model)
    watch.set_reference_module(reference)
    check = OtherCheck(watch)
    moved(model)
    watch.begin_step(1)
    with torch.no_grad():
        reference(probe)
        model(probe)
    check.refined_coordinate_check()
    for name, module in model.named_modules():
        if hasattr(module, "weight"):
            width = module.weight.shape[-1 if isinstance(module, nn.Embedding) else 0]
            for kind in ("(W_t-W_0)x_t", "W_0(x_t-x_0)"):
                for site in (name, f"{name}.weight"):
                    found = watch.storage.log_dict[1].get(f"RCC {kind}/{site}/l2norm")
                    if found is not None:
                        yield f"{kind}/{site}", rms(torch.cat(found)) / width**0.5


def test_agrees_with_torch_module_monitor_where_both_are_defined() -> None:
    torch.manual_seed(0)
    layers = [
        nn.Embedding(11, 8),
        nn.LayerNorm(8),
        nn.Linear(8, 16),
        nn.GELU(),
        nn.Linear(16, 16, bias=False),
        nn.Tanh(),
    ]
    model = nn.Sequential(*layers, nn.LayerNorm(16), nn.Linear(16, 5)).double()
    tokens = torch.arange(30).view(3, 10) % 11
    want = dict(other(model, tokens))
    check = RefinedCheck(model, tokens)
    moved(model)
    short = {Q.EFFECTIVE: "(W_t-W_0)x_t", Q.PROPAGATING: "W_0(x_t-x_0)"}
    got = {f"{short[m.quantity]}/{m.site}": m.size for m in check.at(1) if m.quantity in short}
    want["(W_t-W_0)x_t/0.weight"] = want.pop("(W_t-W_0)x_t/0")  # its embedding has no part of its own for the weight
    weights = [key for key in got if key.endswith(".weight")]
    assert len(weights) == 6 + 5
    assert {key: got[key] for key in weights} == {key: pytest.approx(want[key], rel=1e-6) for key in weights}
