"""The maximal stable parametrization at a model's own init: published maxima, and that no rate could be larger."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import tensorprog as tp
from tensorprog.errors import UnknownName, Unsupported
from tensorprog.exponent import INFINITE, Exponent
from tensorprog.stability import holds
from tensorprog.trace.maximal import CLAIMS, Maximal
from tests.trace.models import GPT, TOKENS, VECTORS, mlp

EIGHTH = Exponent(1) / 8
WIDTHS = (64, 256)


def mup_mlp(n: int) -> nn.Module:
    model = mlp(n)
    nn.init.normal_(model[4].weight, std=1 / n)
    return model


def zero_mlp(n: int) -> nn.Module:
    model = mlp(n)
    nn.init.zeros_(model[4].weight)
    return model


def scaled_mlp(n: int) -> nn.Module:
    """An output multiplier 1/n on a readout that starts at Theta(1)."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = mlp(n)
            nn.init.normal_(self.layers[4].weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x) / n

    return Scaled()


Build = Callable[[int], nn.Module]
PUBLISHED: dict[str, tuple[Build, str, str, str]] = {
    # model, optimizer, claim, exponents of the rates of input, hidden and readout
    "standard, sgd": (mlp, "sgd", "maximal", "1/2 -1/2 -1"),  # Everett et al. 2024: c = (-1/2, 1/2, 1)
    "standard, adam": (mlp, "adam", "maximal", "0 -1 -1"),  # (0, 1, 1)
    "standard, adafactor": (mlp, "adafactor", "maximal", "0 -1/2 -1/2"),  # (0, 1/2, 1/2)
    "standard, adam, bounded logits": (mlp, "adam", "maximal-bounded", "-1/2 -3/2 -1"),  # Haas et al. 2025, derived
    "standard, sgd, bounded logits": (mlp, "sgd", "maximal-bounded", "0 -1 -1"),  # Jacot et al. 2018: the kernel regime
    "maximal update, sgd": (mup_mlp, "sgd", "maximal-bounded", "1 0 -1"),  # Yang & Hu 2021: c = (-1, 0, 1)
    "maximal update, adam": (mup_mlp, "adam", "maximal-bounded", "0 -1 -1"),  # Yang & Littwin 2023
    "zero readout, sgd": (zero_mlp, "sgd", "maximal-bounded", "1 0 -1"),
    "maximal update, muon": (mup_mlp, "muon", "maximal", "1/2 0 -1/2"),  # Zheng et al. 2026: c = (-1/2, 0, 1/2)
    "output multiplier, sgd": (scaled_mlp, "sgd", "maximal", "1 0 1"),  # Zheng et al. 2026: (n, 1, n)
    "output multiplier, adam": (scaled_mlp, "adam", "maximal", "0 -1 0"),  # (1, 1/n, 1)
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_maxima(name: str) -> None:
    """Per layer, as the prescription for a user's model has them; its init stays what it is."""
    build, optimizer, claim, expected = PUBLISHED[name]
    rules = tp.torch.prescribe(build, base_width=64, example=VECTORS, optimizer=optimizer, claim=claim)
    assert [str(s.rate) for s in rules.scalings.values()] == expected.split()
    assert {str(s.init) for s in rules.scalings.values()} == {"0"}
    assert rules.claim == claim


def test_the_loss_decides() -> None:
    """Growing logits feed back under a squared error and SGD: the rates of the kernel regime are the largest."""
    traced = tp.trace(mlp, WIDTHS, example=VECTORS, optimizer="sgd", loss="mse")
    assert [str(s.exponent) for s in traced.maximal().rates.values()] == ["0", "-1", "-1"]
    with_adam = tp.trace(mlp, WIDTHS, example=VECTORS, optimizer="adam", loss="mse")
    assert [str(s.exponent) for s in with_adam.maximal().rates.values()] == ["0", "-1", "-1"]


def none_can_rise(found: Maximal) -> None:
    """Every rate, an eighth larger while the others are what they are, breaks what must stay bounded."""
    bounded, s = CLAIMS[found.claim], found.setting
    assert holds(s, bounded)
    for name, rate in found.rates.items():
        if rate.exponent.infinite:
            continue
        larger = {**{n: -abc.c for n, abc in s.parametrization.table.items()}, name: rate.exponent + EIGHTH}
        assert not holds(_with_rates(found, larger), bounded), name


def _with_rates(found: Maximal, rates: dict[str, Exponent]) -> Any:
    from dataclasses import replace

    table = {n: replace(abc, c=-rates[n]) for n, abc in found.setting.parametrization.table.items()}
    return replace(found.setting, parametrization=replace(found.setting.parametrization, table=table))


SETTINGS: dict[str, tuple[Build, torch.Tensor, Any, str, str]] = {
    "deep, biases": (partial(mlp, bias=True), VECTORS, "sgd", "mse", "maximal"),
    "standard": (mlp, VECTORS, "adam", "ce", "maximal-bounded"),
    "several optimizers": (mlp, VECTORS, {"hidden": "muon", "else": "adam"}, "ce", "maximal-bounded"),
    "gpt": (partial(GPT, readout=-0.5), TOKENS, "adam", "ce", "maximal"),
    "gpt, bounded": (partial(GPT, readout=-0.5, affine=True), TOKENS, "adam", "ce", "maximal-bounded"),
    "gpt, sgd": (GPT, TOKENS, "sgd", "ce", "maximal-bounded"),
    "gpt, tied": (partial(GPT, tied=True, attention=1.0), TOKENS, "adam", "ce", "maximal"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_no_rate_could_be_larger(name: str) -> None:
    build, example, optimizer, loss, claim = SETTINGS[name]
    none_can_rise(tp.trace(build, WIDTHS, example=example, optimizer=optimizer, loss=loss).maximal(claim))


def test_a_gpt_learns_as_much_as_it_can() -> None:
    """With a standard readout every matrix learns, and the logits grow; bounded, all before the readout pay half."""
    traced = tp.trace(partial(GPT, readout=-0.5, attention=1.0), WIDTHS, example=TOKENS, optimizer="adam")
    found = traced.maximal().derivation
    assert (found.regime.value, found.learning.value) == ("controlled_divergence", "maximal")
    bounded = traced.maximal("maximal-bounded").derivation
    assert bounded.regime.value == "stable"
    moved = {name: str(s.effective) for name, s in bounded.steps[4].sites.items() if s.role in ("hidden", "readout")}
    free = {name for name, e in moved.items() if e == "0"}  # what attention chooses is not aligned with the readout
    assert free == {"h.0.attn.c_attn[0]", "h.0.attn.c_attn[1]", "lm_head"}
    assert {e for name, e in moved.items() if name not in free} == {"-1/2"}


def test_attention_logits_bound_what_is_in_front_of_them() -> None:
    """At 1/sqrt(d) they stay bounded only if nothing before them learns; what comes after is free to."""
    traced = tp.trace(partial(GPT, attention=None), WIDTHS, example=TOKENS, optimizer="adam")
    rates = {name: str(s.exponent) for name, s in traced.maximal("maximal-bounded").rates.items()}
    assert rates == {
        "wte": "-1/2",
        "wpe": "-1/2",
        "h.0.attn.c_attn[0]": "-3/2",
        "h.0.attn.c_attn[1]": "-3/2",
        "h.0.attn.c_attn[2]": "-1",
        "h.0.attn.c_proj": "-1",
        "h.0.c_fc": "-1",
        "h.0.c_proj": "-1",
        "lm_head": "-1",
    }


@pytest.mark.parametrize("cls", [torch.optim.SGD, torch.optim.AdamW, torch.optim.Muon])
def test_a_prescribed_model_holds_the_claim(cls: Any) -> None:
    """Muon with the shape factor of torch's class, whose rates are other than those without one."""
    rules = tp.torch.prescribe(mlp, base_width=64, example=VECTORS, optimizer=cls, claim="maximal")

    def trained(model: nn.Module) -> torch.optim.Optimizer:
        decay = {} if cls is torch.optim.SGD else {"weight_decay": 0.1}
        return cls(tp.torch.param_groups(model, rules, lr=0.1, **decay))

    traced = tp.trace(mlp, example=VECTORS, optimizer=trained)
    assert traced.check("maximal").holds
    assert str(traced.check()).splitlines()[-1] == "largest stable learning rates with its own init: those that it has"
    assert traced.derivation.regime.value == "controlled_divergence"
    assert str(traced.max_stable_lr().bounded_updates_exponent) == "0"


def test_rates_are_told_against_the_largest() -> None:
    def trained(model: nn.Module) -> torch.optim.Optimizer:
        n = model[0].out_features
        rates = {0: 1 / n, 2: 1.0, 4: 1 / n}
        return torch.optim.Adam([{"params": model[k].parameters(), "lr": lr} for k, lr in rates.items()])

    check = tp.trace(mlp, example=VECTORS, optimizer=trained).check()
    assert str(check).splitlines()[-3:] == [
        "largest stable learning rates with its own init:",
        "  - n^(-1) for 2; n^(0) is too large by n^(1)",
        "  - n^(0) for 0; n^(-1) is smaller by n^(1)",
    ]
    assert check.to_dict()["largest_stable"] == {
        "claim": "maximal",
        "rates": {"0": "0", "2": "-1", "4": "-1"},
        "regime": "controlled_divergence",
        "learning": "maximal",
    }
    faults = tp.trace(mlp, example=VECTORS, optimizer=trained).check("maximal").faults
    assert {(d.kind.value, d.where, str(d.off)) for d in faults} == {
        ("learning rate", ("0",), "-1"),
        ("learning rate", ("2",), "1"),
    }


def test_an_init_that_diverges_has_no_stable_rate() -> None:
    def wide(n: int) -> nn.Module:
        model = mlp(n)
        nn.init.normal_(model[2].weight)
        return model

    traced = tp.trace(wide, example=VECTORS, optimizer="adam")
    with pytest.raises(Unsupported, match=r"x\(2\) is n\^\(1/2\) at initialisation, at any learning rate"):
        traced.maximal()
    check = traced.check()
    told = "no learning rate is stable with its own init: x(2) is n^(1/2) at initialisation, at any learning rate"
    assert " ".join(str(check).split()).endswith(told)
    assert "at initialisation" in check.to_dict()["largest_stable"]["none"]


def test_what_nothing_moves_has_any_rate() -> None:
    """Both factors start at zero: no gradient reaches either."""

    class Dead(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.layers = mlp(n)
            self.a, self.b = nn.Parameter(torch.zeros(4, n)), nn.Parameter(torch.zeros(n, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.layers[:2](x)
            return self.layers[2:](h + h @ self.a.T @ self.b.T)

    for claim in CLAIMS:
        rates = tp.trace(Dead, WIDTHS, example=VECTORS, optimizer="adam").maximal(claim).rates
        assert {name for name, s in rates.items() if s.exponent == INFINITE} == {"a", "b"}
    rules = tp.torch.prescribe(Dead, base_width=64, example=VECTORS, optimizer="adam", claim="maximal")
    assert all(not s.rate.infinite for s in rules.scalings.values())


def test_unknown_claims_are_refused() -> None:
    traced = tp.trace(mlp, WIDTHS, example=VECTORS, optimizer="adam")
    with pytest.raises(UnknownName, match=r"claim: got 'maximum'; accepted are sp, .*, maximal, maximal-bounded"):
        traced.check("maximum")
