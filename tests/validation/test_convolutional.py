"""Convolutional networks with tensors, and images as data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import tensorprog as tp
from tensorprog import joint
from tensorprog.nonlinearities import Nonlinearity
from tensorprog.program import Program
from tensorprog.setting import setting
from validation.cases import Case
from validation.data import Digits, suitable
from validation.ensemble import batchable
from validation.measure import Quantity
from validation.realize import Network, Realization
from validation.train import Run

SIZES = {"x": 2, "classes": 10}


def network(program: Program, **choices: object) -> Network:
    options: dict[str, object] = {"width": 12, "sizes": SIZES, "base_width": 4, "dtype": torch.float64} | choices
    return Network(program, setting(program, "sp").exponents(), Realization(**options))  # type: ignore[arg-type]


def images(channels: int = 2) -> Tensor:
    return torch.randn(5, 8, 8, channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def conv(x: Tensor, w: Tensor, k: int, stride: int = 1) -> Tensor:
    return functional.conv2d(x, w.reshape(w.shape[0], -1, k, k), stride=stride, padding=k // 2)


@pytest.mark.parametrize("halving", ["stride", "max", "mean", "none"])
def test_a_cnn_written_by_hand(halving: str) -> None:
    net = network(tp.cnn(2, "tanh", bias=True, halving=halving))
    first, b1, second, b2, last, b3 = net.weights
    assert (first.shape, second.shape) == ((12, 2 * 9), (12, 12 * 9))
    h = (conv(images().movedim(-1, 1), first, 3) + b1[:, :, None]).tanh()
    h = {"max": functional.max_pool2d, "mean": functional.avg_pool2d}.get(halving, lambda x, _: x)(h, 2)
    h = (conv(h, second, 3, 2 if halving == "stride" else 1) + b2[:, :, None]).tanh()
    torch.testing.assert_close(net(images()), h.mean((2, 3)) @ last.T + b3.T)


def test_a_residual_network_written_by_hand() -> None:
    net = network(tp.resnet(stages=2))
    w = dict(zip((w.name for w in net.program.weights), net.weights, strict=True))
    with torch.no_grad():
        for name in w:
            if ".norm." in name:
                w[name].normal_()

    def layer(x: Tensor, name: str, k: int = 3, stride: int = 1) -> Tensor:
        gain, bias = 1 + w[f"{name}.norm.gain"].flatten(), w[f"{name}.norm.bias"].flatten()
        return functional.batch_norm(conv(x, w[name], k, stride), None, None, gain, bias, training=True, eps=1e-12)

    x = layer(images().movedim(-1, 1), "input").relu()
    x = (x + layer(layer(x, "stage.1.block.1.in").relu(), "stage.1.block.1.out")).relu()
    skip = layer(x, "stage.2.block.1.skip", 1, 2)
    x = (skip + layer(layer(x, "stage.2.block.1.in", 3, 2).relu(), "stage.2.block.1.out")).relu()
    torch.testing.assert_close(net(images()), x.mean((2, 3)) @ w["readout"].T)


def test_preactivations_start_at_size_one() -> None:
    """A pixel's channels have norm one, and the gains count the pixels of a kernel; those outside an image are zero."""
    net = network(tp.cnn(3, halving="none"), width=128, base_width=128, sizes={"x": 1, "classes": 10})
    x = torch.randn(8, 16, 16, 1, dtype=torch.float64)
    values = net.values(x)
    for site in net.program.sites[:3]:
        assert values[site.product].detach().square().mean().sqrt() == pytest.approx(1, rel=0.25)


FUNCTIONS = [f for f in vars(joint).values() if isinstance(f, Nonlinearity) and not f.elementwise]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_joint_functions_agree_with_their_facts(function: Nonlinearity) -> None:
    """Both numeric halves, and growth: phi(s h) ~ s^degree for functions that are homogeneous."""
    h = np.random.default_rng(0).standard_normal((3, 4, 4, 5))
    value = function.torch(torch.from_numpy(h)).numpy()
    np.testing.assert_allclose(value, function.numpy(h), atol=1e-9)
    if function.facts.taylor in (None, (1,)):
        scaled = function.torch(torch.from_numpy(10 * h)).numpy()
        np.testing.assert_allclose(scaled, value * 10**function.facts.degree, rtol=1e-9)
    if function.facts.parity.value == "odd":
        np.testing.assert_allclose(function.torch(torch.from_numpy(-h)).numpy(), -value)


def test_images_are_the_vectors_in_another_shape() -> None:
    flat, whole = Digits(batch=9), Digits(batch=9, images=True)
    one, other = flat.batch_at(1, 2), whole.batch_at(1, 2)
    assert other.x.shape == (9, 8, 8, 1)
    torch.testing.assert_close(other.x.flatten(1) / 8, one.x)  # 64 pixels, each of norm one
    assert torch.equal(one.y, other.y)
    assert (whole.sizes, whole.config["images"]) == ({"x": 1, "classes": 10}, True)
    assert "images" not in flat.config
    assert whole.probe_batch().x.shape == (128, 8, 8, 1)


def test_suitable_data() -> None:
    assert suitable(tp.resnet()) == Digits(batch=16, probe=32, images=True)
    assert suitable(tp.mlp()) == Digits()
    assert Case("x", setting(tp.cnn(kernel=1), "sp")).data.sizes["x"] == 1


def test_pixels_and_batch_norms_are_computed_one_network_at_a_time() -> None:
    assert batchable(tp.resnet_mlp(norm="layernorm"))
    assert not batchable(tp.resnet_mlp(norm="batchnorm"))
    assert not batchable(tp.cnn())


@pytest.mark.parametrize("program", [tp.cnn(2, norm="layernorm"), tp.resnet(), tp.resnet_mlp(1, norm="batchnorm")])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon"])
def test_training(program: Program, optimizer: str) -> None:
    """What is predicted to move moves: the weight of every site, but for those whose gradient starts at zero."""
    s = setting(program, "mup", optimizer_=optimizer)
    record = Run(s, Realization(16, base_width=4, base_lr=0.01), suitable(program), (2,)).execute()
    sizes = {m.site: m.size for m in record.measurements if m.quantity is Quantity.EFFECTIVE and m.step == 2}
    assert set(sizes) == {site.name for site in program.sites}
    assert all(0 < size < 10 for size in sizes.values())
