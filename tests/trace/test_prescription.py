"""Prescriptions on users' models, and the orbits they choose from."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import tensorprog as tp
from tensorprog.errors import SettingError, Unsupported
from tensorprog.parametrizations import ABC
from tensorprog.trace.scalings import bare
from tests.trace.models import GPT, TOKENS, VECTORS, mup_adam
from validation.monitor import RefinedCheck

BASE = 64


def deep(n: int) -> nn.Module:
    """A network in torch's own parametrization."""
    return nn.Sequential(nn.Linear(8, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 5))


RULES = tp.torch.prescribe(deep, base_width=BASE, example=VECTORS, optimizer="adam")


def test_a_prescribed_model_holds_its_claim() -> None:
    """What is prescribed for SP is muP when it is traced again, for several optimizers."""
    for optimizer, cls in (("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)):
        rules = tp.torch.prescribe(deep, base_width=BASE, example=VECTORS, optimizer=optimizer)

        def build(n: int, rules: Any = rules) -> nn.Module:
            model = deep(n)
            tp.torch.scale_init(model, rules)
            return model

        def trained(model: nn.Module, rules: Any = rules, cls: Any = cls) -> Any:
            return cls(tp.torch.param_groups(model, rules, lr=0.1))

        check = tp.trace(build, example=VECTORS, optimizer=trained).check("mup")
        assert check.holds, str(check)


def test_nothing_changes_at_the_base_width() -> None:
    torch.manual_seed(0)
    model = deep(BASE)
    before = [p.clone() for p in model.parameters()]
    tp.torch.scale_init(model, RULES)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    (group,) = tp.torch.param_groups(model, RULES, lr=0.1, eps=1e-8, weight_decay=0.1)
    assert (group["lr"], group["eps"], group["weight_decay"], len(group["params"])) == (0.1, 1e-8, 0.1, 6)


def test_epsilon_and_decay_follow_gradient_and_rate() -> None:
    groups = tp.torch.param_groups(deep(256), RULES, lr=0.1, eps=1e-8, weight_decay=0.1)
    hidden = next(g for g in groups if any(p.shape == (256, 256) for p in g["params"]))
    assert hidden["lr"] == pytest.approx(0.1 / 4)
    assert hidden["weight_decay"] == pytest.approx(0.1 * 4)
    assert hidden["eps"] == pytest.approx(1e-8 / 4)


def test_wrapped_and_compiled_models_are_known_by_name() -> None:
    bare_groups = tp.torch.param_groups(deep(128), RULES, lr=0.1)
    for wrapped in (torch.compile(deep(128)), nn.DataParallel(deep(128))):
        groups = tp.torch.param_groups(wrapped, RULES, lr=0.1)
        assert [(g["lr"], len(g["params"])) for g in groups] == [(g["lr"], len(g["params"])) for g in bare_groups]


def test_json_round_trip_and_checkpoints() -> None:
    again = tp.torch.Prescription.from_dict(json.loads(json.dumps(RULES.to_dict())))
    assert again == RULES
    model, other = deep(128), deep(128)
    other.load_state_dict(model.state_dict())
    assert not [name for name in vars(next(other.parameters())) if not name.startswith("_")]


def test_what_is_not_understood_is_refused() -> None:
    model = deep(128)
    model.add_module("more", nn.Linear(5, 5))
    with pytest.raises(Unsupported, match=r"scaling of parameter 'more.weight'"):
        tp.torch.param_groups(model, RULES, lr=0.1)
    for p in model.more.parameters():
        p.requires_grad_(False)
    tp.torch.param_groups(model, RULES, lr=0.1)  # frozen: nothing to scale
    flat = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 5))
    with pytest.raises(SettingError, match="width"):
        tp.torch.param_groups(flat, RULES, lr=0.1)


def test_several_optimizers_and_tied_weights() -> None:
    rules = tp.torch.prescribe(
        partial(GPT, tied=True, attention=1.0),
        base_width=BASE,
        example=TOKENS,
        optimizer={"hidden": "muon", "else": "adam"},
    )
    assert rules.aliases == {"lm_head.weight": "wte.weight"}
    assert len(rules.code) == 1
    assert "multiplier of wte#2: n^(0), should be n^(-1)" in rules.code[0]
    model = GPT(128, tied=True, attention=1.0)
    muon = tp.torch.param_groups(model, rules, lr=0.1, entry="muon")
    assert sum(len(g["params"]) for g in muon) == 4
    assert all(p.dim() == 2 for g in muon for p in g["params"])


def test_fused_matrices_get_one_epsilon_and_what_is_left_is_told() -> None:
    """Attention logits over sqrt(d) in the code: the parts of a fused matrix have gradients of several sizes."""
    model = partial(GPT, blocks=2)
    for optimizer in ("adam", "sgd"):
        rules = tp.torch.prescribe(model, base_width=BASE, example=TOKENS, optimizer=optimizer)
        (told,) = rules.code
        assert told.startswith("multiplier of h.0.attn.logits, h.1.attn.logits: n^(-1/2), should be n^(-1)")
        if optimizer == "adam":
            assert str(rules.scaling("h.0.attn.c_attn.weight").epsilon) == "-3/4"
            assert str(rules.scaling("h.1.attn.c_attn.weight").epsilon) == "-1"


def test_a_module_that_has_the_name_of_a_wrapper() -> None:
    def build(n: int) -> nn.Module:
        return nn.Sequential(OrderedDict(module=nn.Linear(8, n), submodule=nn.Linear(n, 5)))

    rules = tp.torch.prescribe(build, base_width=BASE, example=VECTORS, optimizer="sgd")
    assert sum(len(g["params"]) for g in tp.torch.param_groups(nn.DataParallel(build(128)), rules, lr=0.1)) == 4


def slopes(prescribed: bool) -> dict[str, float]:
    """Powers of the width of effective updates after three steps of Adam, measured."""
    widths, found = (64, 128, 256, 512), {}
    for n in widths:
        torch.manual_seed(1)
        x, y = torch.randn(64, 8), torch.randint(5, (64,))
        model = deep(n)
        if prescribed:
            tp.torch.scale_init(model, RULES)
            optimizer = torch.optim.Adam(tp.torch.param_groups(model, RULES, lr=0.005))
        else:
            optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
        check = RefinedCheck(model, probe=(x,), loss=functional.cross_entropy, targets=y)
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        check.at(3)
        frame = check.frame()
        for site in ("2.weight", "4.weight"):
            row = frame[(frame.site == site) & (frame.quantity == "effective") & (frame.step == 3)]
            found.setdefault(site, []).append(float(row["size"].iloc[0]))
    return {site: float(np.polyfit(np.log(widths), np.log(sizes), 1)[0]) for site, sizes in found.items()}


@pytest.mark.slow
def test_the_refined_check_turns_flat() -> None:
    """A model in SP becomes muP by prescription: its effective updates stop growing with the width."""
    assert all(slope > 0.4 for slope in slopes(prescribed=False).values())
    assert all(abs(slope) < 0.15 for slope in slopes(prescribed=True).values())


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon"])
@pytest.mark.parametrize("t", ["-1", "1/2"])
def test_every_point_of_an_orbit_derives_alike(optimizer: str, t: str) -> None:
    """With the multiplier as the a of abc: the same exponents at every step."""
    traced = tp.trace(deep, (64, 256), example=VECTORS, optimizer=optimizer)
    p = traced.orbit("2").at(t)
    moved = ABC(-p.multiplier, -p.init, -p.rate)  # type: ignore[operator]
    other = replace(traced.parametrization, table={**traced.parametrization.table, "2": moved})
    a, b = (
        tp.derive(traced.program, table, optimizer=bare(traced.optimizer), lr_exponent=-1)
        for table in (traced.parametrization, other)
    )
    assert a.steps == b.steps


def test_an_orbit_as_a_table() -> None:
    traced = tp.trace(partial(GPT, attention=1.0), (64, 256), example=TOKENS, optimizer=mup_adam)
    assert str(traced.orbit("lm_head")).splitlines() == [
        "lm_head: the same network at every step",
        "                          multiplier  init    rate    epsilon  decay",
        "as it is, no multiplier   1           n^(-1)  n^(-1)  1        .",
        "unit init, constant rate  n^(-1)      1       1       n^(-1)   .",
    ]
