"""Measurement: sizes computed by hand, and exact identities between them."""

from __future__ import annotations

import math

import pytest
import torch

from tensorprog.architectures import mlp
from tensorprog.losses import loss
from tensorprog.optimizers import optimizer
from tensorprog.parametrizations import Parametrization, parametrization
from tensorprog.program import MatMul
from validation.data import Batch
from validation.measure import OUTPUT, CoordinateCheck, Quantity, rms
from validation.realize import Network, Realization

Q = Quantity


def tensor(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@pytest.fixture
def small() -> tuple[Network, Batch]:
    """Two inputs, width 2, two classes, relu, multiplier 1/2 on the readout (a = 1 at twice the base width)."""
    program = mlp(hidden_layers=1, activation="relu")
    exponents = Parametrization.from_layers(a=[0, 1], b=[0, 0], c=[0, 0]).assign(program, optimizer("sgd"))
    real = Realization(2, {"x": 2, "classes": 2}, base_width=1, dtype=torch.float64)
    net = Network(program, exponents, real)
    set_weights(net, [[1, 0], [0, -1]], [[2, 0], [0, 4]])
    return net, Batch(tensor([[1, 2], [3, -1]]), torch.tensor([0, 1]))


def set_weights(net: Network, w_in: list[list[float]], w_out: list[list[float]]) -> None:
    with torch.no_grad():
        net.weights[0].copy_(tensor(w_in))
        net.weights[1].copy_(tensor(w_out))


def test_hand_computed(small: tuple[Network, Batch]) -> None:
    net, probe = small
    check = CoordinateCheck(net, loss("mse"), probe)
    set_weights(net, [[1, 1], [0, -1]], [[2, 2], [0, 4]])
    got = {(m.site, m.quantity): m.size for m in check.at(3)}
    # W_in x_0 = (1, -2), (3, 1); x_0 = (1, 0), (3, 1); W_in' x = (3, -2), (2, 1); x_t = (3, 0), (2, 1).
    assert got["input", Q.ACTIVATION] == pytest.approx(math.sqrt((9 + 0 + 4 + 1) / 4))
    assert got["input", Q.EFFECTIVE] == pytest.approx(math.sqrt((4 + 0 + 1 + 0) / 4))  # (2, 0), (-1, 0)
    assert got["input", Q.FEATURE] == pytest.approx(math.sqrt((4 + 0 + 1 + 0) / 4))
    # (W_t - W_0) x_t / 2 = (0, 0), (1, 0); W_0 (x_t - x_0) / 2 = (2, 0), (-1, 0).
    assert got["readout", Q.EFFECTIVE] == pytest.approx(math.sqrt(1 / 4))
    assert got["readout", Q.PROPAGATING] == pytest.approx(math.sqrt((4 + 1) / 4))
    # f_t = (3, 0), (3, 2); f_0 = (1, 0), (3, 2); chi = f_t - onehot = (2, 0), (3, 1) for each example.
    assert got[OUTPUT, Q.LOGITS] == pytest.approx(math.sqrt((9 + 0 + 9 + 4) / 4))
    assert got[OUTPUT, Q.LOGIT_UPDATE] == pytest.approx(math.sqrt(4 / 4))
    assert got[OUTPUT, Q.LOSS_GRADIENT] == pytest.approx(math.sqrt((4 + 0 + 9 + 1) / 4))
    assert ("input", Q.PROPAGATING) not in got  # its input is data
    assert ("readout", Q.FEATURE) not in got
    assert ("readout", Q.ACTIVATION) not in got
    assert all(m.step == 3 for m in check.at(3))


def test_initialisation_has_sizes_but_no_changes(small: tuple[Network, Batch]) -> None:
    net, probe = small
    quantities = {m.quantity for m in CoordinateCheck(net, loss("ce"), probe).at(0)}
    assert quantities == {Q.ACTIVATION, Q.LOGITS, Q.LOSS_GRADIENT}


@pytest.mark.parametrize("bias", [False, True])
def test_changes_of_a_product_are_the_sum_of_both_parts(bias: bool) -> None:
    """W_t x_t - W_0 x_0 = (W_t - W_0) x_t + W_0 (x_t - x_0), at every site, with the sizes taken by the check."""
    program = mlp(hidden_layers=3, activation="tanh", bias=bias)
    exponents = parametrization("mfp").assign(program, optimizer("sgd"))
    net = Network(program, exponents, Realization(24, {"x": 4, "classes": 3}, base_width=8, dtype=torch.float64))
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = net.values(x)
    old = {w: net.parameter(w).detach().clone() for w in program.weights}
    with torch.no_grad():
        for i, w in enumerate(net.weights):
            w.add_(torch.randn(w.shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64))
    after = net.values(x)
    for site in program.sites:
        matmul = program.instructions[site.product]
        assert isinstance(matmul, MatMul)
        (source,) = matmul.args
        effective = net.product(matmul, net.parameter(site.weight) - old[site.weight], after[source])
        propagating = net.product(matmul, old[site.weight], after[source] - before[source])
        torch.testing.assert_close(effective + propagating, after[site.product] - before[site.product])
        if not site.trained_input:
            assert not propagating.any()


def test_chi_of_cross_entropy_at_zero_logits() -> None:
    program = mlp(hidden_layers=1)
    zero = parametrization("sp").where("readout", b="oo").assign(program, optimizer("sgd"))
    net = Network(program, zero, Realization(8, {"x": 3, "classes": 10}))
    probe = Batch(torch.ones(5, 3), torch.arange(5))
    found = {m.quantity: m.size for m in CoordinateCheck(net, loss("ce"), probe).at(0) if m.site == OUTPUT}
    assert found[Q.LOGITS] == 0.0
    assert found[Q.LOSS_GRADIENT] == pytest.approx(0.3)  # sqrt((9 * 0.1^2 + 0.9^2) / 10), whatever the batch size


def test_small_updates_survive_float32() -> None:
    """A relative update of 1e-6 would vanish in the difference of outputs; the difference of weights resolves it."""
    program = mlp(hidden_layers=1, activation="identity")
    exponents = parametrization("sp").assign(program, optimizer("sgd"))
    net = Network(program, exponents, Realization(2000, {"x": 2, "classes": 2}))
    check = CoordinateCheck(net, loss("ce"), Batch(torch.ones(1, 2), torch.zeros(1, dtype=torch.int64)))
    with torch.no_grad():
        net.weights[0].mul_(1 + 1e-5)
    got = {(m.site, m.quantity): m.size for m in check.at(1)}
    x = {m.site: m.size for m in check.at(0) if m.quantity is Q.ACTIVATION}["input"]
    assert got["input", Q.EFFECTIVE] == pytest.approx(1e-5 * x, rel=0.02)


def test_rms_neither_overflows_nor_hides_what_is_not_finite() -> None:
    assert rms(torch.full((4,), 1e30)) == pytest.approx(1e30)
    assert rms(torch.zeros(3)) == 0.0
    assert math.isnan(rms(torch.tensor([1.0, math.nan])))
    assert math.isinf(rms(torch.tensor([1.0, math.inf])))
