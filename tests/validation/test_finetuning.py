"""Frozen weights and adapters with tensors."""

from __future__ import annotations

import pytest
import torch

import tensorprog as tp
from tensorprog.program import Program
from tensorprog.setting import setting
from validation.data import Digits
from validation.measure import Quantity
from validation.realize import FINITE, Network, Realization
from validation.train import Run, execute_together

SIZES = {"x": 64, "classes": 10}


def network(program: Program, **choices: object) -> Network:
    options: dict[str, object] = {"width": 64, "sizes": SIZES, "base_width": 16, "dtype": torch.float64} | choices
    return Network(program, setting(program, "sp", optimizer_="adam").exponents(), Realization(**options))  # type: ignore[arg-type]


def test_an_adapter_written_by_hand() -> None:
    net = network(tp.lora(tp.mlp(2), rank_exponent="1/2", lora_scale="1/sqrt(r)", lora_zero="A"))
    with torch.no_grad():
        net.weights[2].normal_()
    x = torch.randn(5, 64, dtype=torch.float64)
    w_in, w_hid, a, b, w_out = net.weights
    assert (a.shape, b.shape) == ((8, 64), (64, 8))
    h = (x @ w_in.T).relu()
    torch.testing.assert_close(net(x), (h @ w_hid.T + 8**-0.5 * h @ a.T @ b.T).relu() @ w_out.T)


def test_frozen_weights_are_in_no_group_and_have_no_gradient() -> None:
    net = network(tp.lora(tp.mlp(2), trained="readout"))
    net(torch.ones(3, 64, dtype=torch.float64)).sum().backward()
    frozen = [p for p, w in zip(net.weights, net.program.weights, strict=True) if not w.trained]
    assert len(frozen) == 2
    assert all(p.grad is None for p in frozen)
    assert len(net.groups()) == 3
    assert net.weights[2].shape == (FINITE["rank"], 64)


@pytest.mark.parametrize("together", [False, True])
def test_training_leaves_frozen_weights_where_they_are(together: bool) -> None:
    s = setting(tp.lora(tp.mlp(2)), "sp", optimizer_="adam", lr_exponent="-1/2")
    runs = [Run(s, Realization(32, base_width=4, base_lr=0.1, seed=i), Digits(), (2,)) for i in (0, 1)]
    for record in execute_together(runs) if together else [run.execute() for run in runs]:
        sizes = {(m.site, m.quantity, m.step): m.size for m in record.measurements}
        for site, moved in (("input", False), ("hidden.1", False), ("hidden.1.lora.B", True), ("readout", False)):
            assert (sizes[site, Quantity.EFFECTIVE, 2] > 0) is moved
        # The layer's features move with the adapter.
        assert sizes["hidden.1", Quantity.FEATURE, 2] == sizes["hidden.1.lora.B", Quantity.FEATURE, 2] > 0
