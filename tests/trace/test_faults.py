"""Faults seen in real code, planted one by one: the check names the parameters, the exponent and the mend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import tensorprog as tp
from tests.trace.models import GPT, TOKENS, VECTORS, mup_adam

WIDTHS = (64, 256)
HEALTHY = {"attention": 1.0}
"""Attention logits over the head dimension, readout init 1/width, hidden init 1/sqrt(fan-in)."""


def rates(model: nn.Module, **changed: float) -> torch.optim.Optimizer:
    """Adam as in :func:`mup_adam`, with the rates of some parameters multiplied by a power of the width."""
    width = model.ln_f.normalized_shape[0]
    groups = []
    for name, p in model.named_parameters():
        wide = p.ndim == 2 and not name.startswith("w")
        power = sum((e for part, e in changed.items() if part in name), -1.0 if wide else 0.0)
        groups.append({"params": [p], "lr": 1e-2 * (width / 64) ** power})
    return torch.optim.Adam(groups)


def muon(model: nn.Module, power: float = 0.0, **options: Any) -> list[torch.optim.Optimizer]:
    width = model.ln_f.normalized_shape[0]
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and name.startswith("h")]
    rest = [p for name, p in model.named_parameters() if not name.startswith("h") and name.startswith("w")]
    head = [model.lm_head.weight]
    return [
        torch.optim.Muon(hidden, lr=1e-2 * (width / 64) ** power, weight_decay=0.0, **options),
        torch.optim.Adam([{"params": rest, "lr": 1e-2}, {"params": head, "lr": 1e-2 * 64 / width}]),
    ]


def decayed(model: nn.Module, power: float) -> torch.optim.Optimizer:
    width = model.ln_f.normalized_shape[0]
    return torch.optim.AdamW(model.parameters(), lr=1e-2 * 64 / width, weight_decay=0.1 * (width / 64) ** power)


class OwnMuon(torch.optim.Optimizer):
    """A class that nobody has declared: orthogonalised matrices, with or without clipping of the step."""

    def __init__(self, params: Any, lr: float, clip: float | None = None, largest: bool = False) -> None:
        super().__init__(params, {"lr": lr, "clip": clip, "largest": largest})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                u, s, v = torch.linalg.svd(p.grad, full_matrices=False)
                update = group["lr"] * (u * (s > 1e-4 * s[0])) @ v
                if group["largest"]:
                    update *= max(p.shape) ** 0.5
                if group["clip"] is not None:
                    update *= min(1.0, group["clip"] / float(update.norm()))
                p.sub_(update)


def own_muon(model: nn.Module, lr: float = 1e-2, **options: Any) -> list[torch.optim.Optimizer]:
    torch_muon, adam = muon(model)
    return [OwnMuon(torch_muon.param_groups[0]["params"], lr, **options), adam]


@dataclass(frozen=True)
class Fault:
    """A fault and what the check must say: (kind, part of a name, got / wanted as a power of n)."""

    model: dict[str, Any]
    optimizer: Callable[[nn.Module], Any]
    expected: set[tuple[str, str, str]]


FAULTS = {
    "hidden init over the width, not its root": Fault({"hidden": -1.0}, mup_adam, {("init", "h.0.c_fc", "-1/2")}),
    "Adam's width factor on Muon matrices": Fault({}, partial(muon, power=-1.0), {("learning rate", "h.0.c_fc", "-1")}),
    "a shape factor taken for invariant": Fault(
        {}, partial(muon, adjust_lr_fn="match_rms_adamw"), {("learning rate", "h.0.c_fc", "1/2")}
    ),
    "the same, in a class of one's own": Fault(
        {}, partial(own_muon, largest=True), {("learning rate", "h.0.c_fc", "1/2")}
    ),
    "clipping after an orthogonalised update": Fault(
        {}, partial(own_muon, lr=10.0, clip=1.0), {("learning rate", "h.0.c_fc", "0")}
    ),
    "shared embedding rescaled as a readout": Fault(
        {"tied": True, "embedding": 0.5, "output": None}, mup_adam, {("init", "wte", "1/2")}
    ),
    "attention scale never wired": Fault({"attention": None}, mup_adam, {("multiplier", "h.0.attn.logits", "1/2")}),
    "one rate for all": Fault({}, partial(torch.optim.Adam, lr=1e-3), {("learning rate", "c_proj", "1")}),
    "the readout's rate": Fault({}, partial(rates, lm_head=1.0), {("learning rate", "lm_head", "1")}),
    "the embedding's rate": Fault({}, partial(rates, wte=-1.0), {("learning rate", "wte", "-1")}),
    "one matrix forgotten": Fault({}, partial(rates, c_fc=1.0), {("learning rate", "h.0.c_fc", "1")}),
    "the readout's init": Fault({"readout": -0.5}, mup_adam, {("init", "lm_head", "1/2")}),
    "the embedding's init": Fault({"embedding": -0.5}, mup_adam, {("init", "wte", "-1/2")}),
    "init that ignores the width": Fault({"hidden": 0.0}, mup_adam, {("init", "h.0.attn.c_attn[0]", "1/2")}),
    "an output multiplier on top of the init": Fault(
        {"output": None}, partial(rates, lm_head=0.0), {("multiplier", "lm_head", "-1")}
    ),
    "tied without an output multiplier": Fault({"tied": True}, mup_adam, {("multiplier", "wte#2", "1")}),
    "a large epsilon": Fault({}, partial(mup_adam, eps=1e-3), {("epsilon", "h.0.c_fc", "1")}),
}


def build(width: int, **options: Any) -> nn.Module:
    chosen = {**HEALTHY, **options}
    if "output" in chosen and chosen["output"] is None:
        chosen["output"] = 64 / width
    return GPT(width, **chosen)


def checked(model: dict[str, Any], optimizer: Any, claim: str = "mup") -> Any:
    return tp.trace(partial(build, **model), WIDTHS, example=TOKENS, optimizer=optimizer, loss="ce").check(claim)


@pytest.mark.parametrize("optimizer", [mup_adam, muon, own_muon], ids=["adam", "muon", "own class"])
def test_without_a_fault(optimizer: Any) -> None:
    check = checked({}, optimizer)
    assert check.holds, str(check)
    assert check.traced.derivation.regime.value == "stable"


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named(name: str) -> None:
    fault = FAULTS[name]
    check = checked(fault.model, fault.optimizer)
    assert not check.holds
    found = {(d.kind.value, w, str(d.off)) for d in check.faults for w in d.where}
    for kind, where, off in fault.expected:
        assert any(k == kind and where in w and o == off for k, w, o in found), str(check)
    kinds = {kind for kind, _, _ in fault.expected}
    assert {d.kind.value for d in check.faults} == kinds, str(check)


def test_decay_is_told_apart_from_its_rate() -> None:
    """Decay that vanishes is worth knowing; decay that grows is a fault."""
    for power, fault in ((0.0, False), (2.0, True)):
        check = checked({}, partial(decayed, power=power))
        (row,) = [d for d in check.departures if d.kind.value == "decay" and "h.0.c_fc" in d.where]
        assert row.fault is fault
        assert str(row.off) == ("-1" if power == 0 else "1")


def test_standard_parametrization_with_a_rate() -> None:
    """sp is a claim up to one global power of n on the rates."""

    def sgd(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.1 * (model[0].out_features / 64) ** -0.5)

    def mlp(n: int) -> nn.Module:
        return nn.Sequential(nn.Linear(8, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 5))

    check = tp.trace(mlp, example=VECTORS, optimizer=sgd).check("sp")
    assert check.holds
    assert str(check.shift) == "-1/2"
    assert check.traced.derivation.regime.value == "controlled_divergence"


class OwnSign(torch.optim.Optimizer):
    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(self.direction(p) * group["lr"])

    def direction(self, p: torch.Tensor) -> torch.Tensor:
        return p.grad.sign()


class OwnDescent(OwnSign):
    def direction(self, p: torch.Tensor) -> torch.Tensor:
        return 2 * p.grad


class OwnTrust(OwnSign):
    def direction(self, p: torch.Tensor) -> torch.Tensor:
        return p.grad / p.grad.norm() * p.norm()


class OwnCube(OwnSign):
    def direction(self, p: torch.Tensor) -> torch.Tensor:
        return p.grad**3


@pytest.mark.parametrize(("cls", "name"), [(OwnSign, "signsgd"), (OwnDescent, "sgd"), (OwnTrust, "lars")])
def test_classes_of_ones_own_are_probed(cls: type[OwnSign], name: str) -> None:
    def mlp(n: int) -> nn.Module:
        return nn.Sequential(nn.Linear(8, n, bias=False), nn.ReLU(), nn.Linear(n, n, bias=False), nn.Linear(n, 5))

    def trained(model: nn.Module) -> torch.optim.Optimizer:
        return cls([{"params": [p], "lr": 1e-2 * model[0].out_features ** -0.5} for p in model.parameters()], lr=1.0)

    traced = tp.trace(mlp, example=VECTORS, optimizer=trained)
    rule = traced.rule("2")
    assert rule is not None
    assert rule.probed is not None
    assert (rule.probed.entry.name, str(rule.rate.exponent)) == (name, "-1/2")


def test_a_step_in_no_family_is_refused() -> None:
    with pytest.raises(tp.TensorprogError, match=r"is in no family that is known; declare what it does with entries"):
        tp.trace(build, WIDTHS, example=TOKENS, optimizer=lambda m: OwnCube(m.parameters(), 1e-3))
