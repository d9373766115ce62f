"""Mixtures of experts with tensors."""

from __future__ import annotations

import pytest
import torch

import tensorprog as tp
from tensorprog.joint import CHOICES, GATE
from tensorprog.program import Program
from tensorprog.setting import setting
from validation.data import suitable
from validation.measure import Quantity
from validation.realize import FINITE, Network, Realization
from validation.train import Run


def network(program: Program, width: int = 64) -> Network:
    sizes = {"x": 5, "classes": 3}
    exponents = setting(program, "sp").exponents()
    return Network(program, exponents, Realization(width, sizes, base_width=16, dtype=torch.float64))


@pytest.mark.parametrize("k", [1, 2, 4])
def test_finitely_many_experts_written_by_hand(k: int) -> None:
    net = network(tp.resnet_mlp(1, "tanh", experts="softmax" if k == 4 else f"top-{k}"))
    w_in, router, up, down, out = net.weights
    count = FINITE["experts"]
    assert (router.shape, up.shape, down.shape) == ((count, 64), (64, 64), (64, 64))
    x = torch.randn(7, 5, dtype=torch.float64)
    h = x @ w_in.T
    gates = (h @ router.T).softmax(-1)
    kept = gates >= gates.sort(-1).values[:, -k, None]
    experts = [(h @ a.T).tanh() @ b for a, b in zip(up.chunk(count), down.T.chunk(count), strict=True)]
    mixed = sum(g[:, None] * e for g, e in zip((gates * kept).T, experts, strict=True))
    torch.testing.assert_close(net(x), (h + mixed) @ out.T)


def test_growing_experts_written_by_hand() -> None:
    net = network(tp.resnet_mlp(1, experts="softmax", experts_exponent="1/2", gate_exponent=1))
    w_in, router, up, down, out = net.weights
    assert (router.shape, up.shape, down.shape) == ((8, 64), (512, 64), (64, 512))
    h = torch.randn(7, 5, dtype=torch.float64) @ w_in.T
    values = net.values(torch.linalg.lstsq(w_in, h.T).solution.T)
    gates = 8 * (h @ router.T).softmax(-1)
    mixed = ((h @ up.T).relu() * gates.repeat_interleave(64, -1)) @ down.T
    torch.testing.assert_close(values[net.program.output], (h + mixed) @ out.T)


def test_numeric_halves() -> None:
    h = torch.randn(6, 3, 5, dtype=torch.float64)
    for function in (GATE, *CHOICES.values()):
        torch.testing.assert_close(function.torch(h), torch.from_numpy(function.numpy(h.numpy())))
    assert GATE.torch(h).mean(-1).numpy() == pytest.approx(1)


@pytest.mark.parametrize(
    "program",
    [
        tp.resnet_mlp(1, experts="top-1"),
        tp.resnet_mlp(1, experts="softmax", experts_exponent="1/2"),
        tp.transformer(blocks=1, experts="top-2", gated_mlp=True, bias=True),
        tp.transformer(blocks=1, experts="softmax", experts_exponent="1/2", ff_exponent=0),
    ],
)
def test_training_moves_every_layer(program: Program) -> None:
    s = setting(program, "sp", optimizer_="adam", lr_exponent=-1)
    record = Run(s, Realization(16, base_width=4, base_lr=0.1), suitable(program), (2,)).execute()
    moved = {m.site: m.size for m in record.measurements if m.quantity is Quantity.EFFECTIVE and m.step == 2}
    assert set(moved) == {site.name for site in program.sites}
    assert all(0 < size < 10 for size in moved.values())
