"""What is predicted for a traced model is what it does when it is trained; a wrong prediction is refuted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import tensorprog as tp
from tensorprog.errors import SettingError
from tensorprog.parametrizations import ABC
from tests.trace.models import CONTEXT, GPT, VOCABULARY, mup_adam
from validation.own_model import validate_model
from validation.verdict import Verdict

GENERATOR = torch.Generator().manual_seed(0)
VECTORS, CLASSES = torch.randn(32, 8, generator=GENERATOR), torch.randint(5, (32,), generator=GENERATOR)
TOKENS, TARGETS = (torch.randint(VOCABULARY, (8, CONTEXT), generator=GENERATOR) for _ in range(2))


def deep(n: int) -> nn.Module:
    return nn.Sequential(nn.Linear(8, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 5))


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=1e-2 / model[0].out_features)


def gpt(n: int) -> nn.Module:
    model = GPT(n, attention=1.0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


@pytest.mark.slow
def test_predictions_agree() -> None:
    traced = tp.trace(deep, example=VECTORS, optimizer=adam)
    outcome = validate_model(traced, adam, functional.cross_entropy, VECTORS, CLASSES, step=2)
    assert {r.verdict for r in outcome.rows} == {Verdict.AGREES}, str(outcome)
    traced = tp.trace(gpt, example=TOKENS, optimizer=mup_adam)
    outcome = validate_model(traced, mup_adam, token_loss, TOKENS, TARGETS, step=2)
    assert outcome.holds, str(outcome)
    assert sum(r.verdict is Verdict.AGREES for r in outcome.rows) >= 10, str(outcome)


@pytest.mark.slow
def test_a_wrong_prediction_is_refuted() -> None:
    """A rate that was read wrongly by half a power of the width."""
    traced = tp.trace(deep, example=VECTORS, optimizer=adam)
    table = traced.parametrization.table
    wrong = {**table, "2": ABC(table["2"].a, table["2"].b, table["2"].c - tp.Exponent(1) / 2)}
    misread = replace(traced, parametrization=replace(traced.parametrization, table=wrong))
    outcome = validate_model(misread, adam, functional.cross_entropy, VECTORS, CLASSES)
    (row,) = [r for r in outcome.rows if (r.site, r.quantity) == ("2.weight", "effective")]
    assert row.verdict is Verdict.DISAGREES
    assert not outcome.holds


def test_too_few_widths_are_refused() -> None:
    traced = tp.trace(deep, (64, 128), example=VECTORS, optimizer=adam)
    with pytest.raises(SettingError, match="needs at least three"):
        validate_model(traced, adam, functional.cross_entropy, VECTORS, CLASSES, widths=(64, 128))
