"""Realisation: a program run with tensors is the network one would write by hand."""

from __future__ import annotations

import pytest
import torch

from tensorprog.architectures import mlp
from tensorprog.errors import SettingError
from tensorprog.exponent import exponent
from tensorprog.optimizers import optimizer
from tensorprog.parametrizations import PARAMETRIZATIONS, Parametrization, parametrization
from tensorprog.program import Builder, Program
from tensorprog.setting import setting
from validation.realize import Network, Realization

SIZES = {"x": 5, "classes": 3}


def network(program: Program, name: str | Parametrization = "sp", **choices: object) -> Network:
    options: dict[str, object] = {"width": 32, "sizes": SIZES, "base_width": 16, "dtype": torch.float64} | choices
    exponents = parametrization(name).assign(program, optimizer("sgd"))
    return Network(program, exponents, Realization(**options))  # type: ignore[arg-type]


def inputs(batch: int = 7) -> torch.Tensor:
    return torch.randn(batch, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_forward_equals_a_network_written_by_hand() -> None:
    net = network(mlp(hidden_layers=2, activation="tanh", bias=True), "mfp", output_scale=0.25)
    x = inputs()
    w_in, b_in, w_hid, b_hid, w_out, b_out = net.weights
    a = 16 / 32  # mean field: a = 1 for hidden and readout, relative to the base width
    h = torch.tanh(x @ w_in.T + b_in.T)
    h = torch.tanh(a * h @ w_hid.T + b_hid.T)
    torch.testing.assert_close(net(x), 0.25 * (a * h @ w_out.T + b_out.T))


def test_gradients_equal_the_formulas_of_backpropagation() -> None:
    net = network(mlp(hidden_layers=1, activation="relu"), "mfp")
    x, chi = inputs(), torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    w_in, w_out = net.weights
    (net(x) * chi).sum().backward()
    h, a = x @ w_in.T, 16 / 32
    torch.testing.assert_close(w_out.grad, a * chi.T @ h.relu())
    torch.testing.assert_close(w_in.grad, ((a * chi @ w_out) * (h > 0)).T @ x)


def test_every_instruction_has_its_meaning() -> None:
    b = Builder()
    half = b.axis("half", "1/2")
    x = b.data("x")
    assert x.axis is not None
    w, v = b.weight("in", b.width, x.axis), b.weight("down", half, b.width)
    h = b.matmul(w, x)
    back = b.matmul(v, b.matmul(v, h), transposed=True)
    gated = b.multiply(b.scaled(b.moment(h, back), -1), b.add(h, back))
    out = b.weight("out", b.finite("classes"), b.width)
    net = network(b.build(b.matmul(out, b.apply("identity", gated))), width=36)
    win, down, wout = net.weights
    assert down.shape == (6, 36)  # an axis of size n^(1/2)
    hh = inputs() @ win.T
    bb = hh @ down.T @ down
    moment = (hh * bb).sum(1, keepdim=True) * 16 / 36
    torch.testing.assert_close(net(inputs()), moment * (hh + bb) @ wout.T)


def test_scalar_output() -> None:
    b = Builder()
    x = b.data("x")
    assert x.axis is not None
    h = b.matmul(b.weight("in", b.width, x.axis), x)
    assert network(b.build(b.moment(h, h)))(inputs()).shape == (7, 1)


def test_at_the_base_width_all_parametrizations_are_one_network() -> None:
    program = mlp(hidden_layers=3, activation="gelu")
    reference = network(program, "sp", width=16)(inputs())
    for name in PARAMETRIZATIONS:
        torch.testing.assert_close(network(program, name, width=16)(inputs()), reference, msg=name)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_preactivations_start_at_size_one(activation: str) -> None:
    net = network(
        mlp(hidden_layers=3, activation=activation), width=512, base_width=512, sizes={"x": 5, "classes": 300}
    )
    x = inputs(batch=200)
    values = net.values(x / x.norm(dim=1, keepdim=True))
    for site in net.program.sites:
        assert values[site.product].detach().square().mean().sqrt() == pytest.approx(1, rel=0.25)


def test_init_std_and_learning_rates_follow_the_exponents() -> None:
    program = mlp(hidden_layers=2)
    custom = Parametrization.from_layers(a=[0, "1/2", 1], b=["1/4", "1/2", "oo"], c=["-1/2", 0, 1])
    net = network(program, custom, width=256, base_width=64, base_lr=0.3)
    w_in, w_hid, w_out = net.weights
    assert w_in.std().item() == pytest.approx(4**-0.25, rel=0.1)
    assert w_hid.std().item() == pytest.approx((2 / 64) ** 0.5 * 4**-0.5, rel=0.02)
    assert not w_out.any()  # b = oo: exact zeros
    assert [g["lr"] for g in net.groups()] == pytest.approx([0.3 * 2, 0.3, 0.3 / 4])
    assert [len(g["params"]) if isinstance(g["params"], list) else 1 for g in net.groups()] == [1, 1, 1]


def test_global_learning_rate_exponent_is_in_c() -> None:
    s = setting(mlp(1), "sp", lr_exponent="-1/2")
    net = Network(s.program, s.exponents(), Realization(64, SIZES, base_width=16, base_lr=1.0))
    assert [g["lr"] for g in net.groups()] == pytest.approx([0.5, 0.5])


def test_weights_depend_on_seed_width_and_place_but_not_on_dtype() -> None:
    program = mlp(hidden_layers=3)
    first = network(program, dtype=torch.float32)
    torch.testing.assert_close(first.weights[1].double(), network(program).weights[1])
    for other in (network(program, seed=1).weights[1], network(program).weights[2]):
        assert not torch.equal(first.weights[1].double(), other)
    wider = network(program, width=64).weights[1][:32, :32]
    assert abs(torch.corrcoef(torch.stack([first.weights[1].flatten().double(), wider.flatten()]))[0, 1]) < 0.1


def test_errors_say_what_is_missing() -> None:
    program = mlp(hidden_layers=1)
    with pytest.raises(SettingError, match=r"size of axis 'classes': got 'nothing'; sizes are given for x"):
        network(program, sizes={"x": 5})
    with pytest.raises(SettingError, match=r"exponent: got 'c'; needs a number to be realised"):
        Realization(8).power(exponent("c"))
    b = Builder()
    x, y = b.data("x"), b.data("y")
    h = b.add(*(b.matmul(b.weight(v.axis.name, b.width, v.axis), v) for v in (x, y) if v.axis))
    net = network(b.build(b.moment(h, h)), sizes={"x": 5, "y": 2})
    with pytest.raises(SettingError, match="the program reads x, y: give a tensor for each"):
        net(inputs())
    with pytest.raises(SettingError, match="input 'y': got 'nothing'; got tensors for x"):
        net({"x": inputs()})
    assert net({"x": inputs(), "y": torch.ones(7, 2, dtype=torch.float64)}).shape == (7, 1)
