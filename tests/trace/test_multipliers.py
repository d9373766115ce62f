"""Multipliers in the code belong to their weights, as the a of an abc-parametrization does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import tensorprog as tp
from tests.trace.test_programs import exponents
from validation.own_model import validate_model

GENERATOR = torch.Generator().manual_seed(0)
VECTORS, LABELS = torch.randn(32, 8, generator=GENERATOR), torch.randint(5, (32,), generator=GENERATOR)


class Linear(nn.Linear):
    """Unit init, and a multiplier fan_in^-a after the bias."""

    def __init__(self, into: int, out: int, a: float, bias: bool = False) -> None:
        super().__init__(into, out, bias=bias)
        self.a = a
        nn.init.normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.weight.shape[1] ** -self.a


def build(n: int, bias: bool = False) -> nn.Module:
    return nn.Sequential(
        Linear(8, n, 0.0, bias), nn.ReLU(), Linear(n, n, 0.5, bias), nn.ReLU(), Linear(n, 5, 1.0, bias)
    )


def adam(model: nn.Module) -> torch.optim.Optimizer:
    n = model[0].out_features
    rates = {0: 1.0, 2: (n / 64) ** -0.5, 4: 1.0}
    return torch.optim.Adam([{"params": model[k].parameters(), "lr": 0.02 * r} for k, r in rates.items()])


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    n = model[0].out_features / 64
    return torch.optim.SGD([{"params": model[k].parameters(), "lr": 0.1 * n} for k in (0, 2, 4)])


SCALINGS = {"adam": (adam, [0, "1/2", 0]), "sgd": (sgd, [-1, -1, -1])}


@pytest.mark.parametrize("name", SCALINGS)
def test_derives_as_with_multipliers_in_the_parametrization(name: str) -> None:
    optimizer, c = SCALINGS[name]
    traced = tp.trace(build, example=VECTORS, optimizer=optimizer)
    abc = tp.Parametrization.from_layers(a=[0, "1/2", 1], b=[0, 0, 0], c=c)
    by_hand = tp.derive(tp.mlp(hidden_layers=2), abc, optimizer=name)
    assert exponents(traced.derivation) == exponents(by_hand)
    assert traced.derivation.learning is by_hand.learning is tp.Learning.MAXIMAL
    assert str(traced.max_stable_lr()) == str(tp.max_stable_lr(tp.mlp(hidden_layers=2), abc, optimizer=name))
    assert traced.check("mup").holds
    assert [str(-s.exponent) for s in traced.maximal().rates.values()] == [
        str(tp.Exponent(x)) if isinstance(x, int) else x for x in c
    ]


def test_with_a_bias_the_multiplier_is_that_of_both() -> None:
    traced = tp.trace(lambda n: build(n, bias=True), example=VECTORS, optimizer=adam)
    for site in traced.program.sites:
        assert str(site.multiplier) == {"0": "0", "2": "-1/2", "4": "-1"}[site.name[0]]
    hidden = traced.derivation.steps[1].sites["2.bias"]
    assert (str(hidden.activation), str(hidden.effective)) == ("0", "-1")  # rate n^(-1/2), multiplier n^(-1/2)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCALINGS)
def test_measured_updates_have_the_multiplier(name: str) -> None:
    optimizer: Any = SCALINGS[name][0]
    traced = tp.trace(build, example=VECTORS, optimizer=optimizer)
    outcome = validate_model(traced, optimizer, functional.cross_entropy, VECTORS, LABELS, step=2)
    assert outcome.holds, str(outcome)
    judged = {(r.site, r.quantity): (str(r.predicted), r.verdict.value) for r in outcome.rows}
    assert judged["2.weight", "effective"] == judged["4.weight", "effective"] == ("0", "agrees")
