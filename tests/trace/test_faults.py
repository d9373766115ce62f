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

WIDTHS = (64, 128)
HEALTHY = {"attention": 1.0}
"""Attention logits over the head dimension, readout init 1/width, hidden init 1/sqrt(fan-in)."""


def rates(
    model: nn.Module,
    cls: Any = torch.optim.Adam,
    without: str = " ",
    changed: dict[str, float] | None = None,
    **options: float,
) -> torch.optim.Optimizer:
    """Adam as in :func:`mup_adam`, with the rates of some parameters multiplied by a power of the width.

    Args:
        without: a parameter that is forgotten, and
        options: of the optimizer, with ``power`` that of its epsilon.
    """
    width = model.ln_f.normalized_shape[0]
    groups = []
    for name, p in model.named_parameters():
        wide = p.ndim == 2 and not name.startswith("w")
        usual = {True: -1.0 if "lm_head" in name else 0.0, False: 1.0} if cls is torch.optim.SGD else {True: -1.0}
        power = sum((e for part, e in (changed or {}).items() if part in name), usual.get(wide, 0.0))
        if without not in name:
            groups.append({"params": [p], "lr": 1e-2 * (width / 64) ** power})
    power = options.pop("power", 0.0)
    return cls(groups, **{key: value * (width / 64) ** power for key, value in options.items()})


def muon(model: nn.Module, power: float = 0.0, more: str = " ", **options: Any) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, and for ``more``; Adam for the rest."""
    width = model.ln_f.normalized_shape[0]
    named = [(name, p) for name, p in model.named_parameters() if more not in name]
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and (name.startswith("h") or more in name)]
    rest = [p for name, p in named if not (name.startswith("h") and p.ndim == 2) and not name.startswith("lm_head")]
    head = [p for name, p in named if name.startswith("lm_head")]
    return [
        torch.optim.Muon(hidden, lr=1e-2 * (width / 64) ** power, weight_decay=0.0, **options),
        torch.optim.Adam([{"params": rest, "lr": 1e-2}, {"params": head or [torch.zeros(1)], "lr": 0.64 / width}]),
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


class Scaled(GPT):
    """With powers of the width in further places: on the sum of the embeddings, and on the logits."""

    embedded = logits = 0.0

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        n = self.ln_f.normalized_shape[0] / 64
        x = (self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))) * n**self.embedded
        for block in self.h:
            x = block(x)
        logits: torch.Tensor = self.lm_head(self.ln_f(x)) * self.output * n**self.logits
        return logits


@dataclass(frozen=True)
class Fault:
    """A fault and what the check must say: (kind, part of a name, got / wanted as a power of n).

    Args:
        clip: the threshold of clipping.
        mended: model, optimizer and threshold as the check asks for them, where that is a change of the code.
    """

    model: dict[str, Any]
    optimizer: Callable[[nn.Module], Any]
    expected: set[tuple[str, str, str]]
    clip: float | None = None
    mended: tuple[dict[str, Any], Callable[[nn.Module], Any], Any] | None = None


GAINS: dict[str, Any] = {"affine": True}
ZERO: dict[str, Any] = {"readout": float("-inf")}
TIED: dict[str, Any] = {"tied": True, "output": None}
UNIT = partial(rates, changed={"lm_head": 1.0})
"""For a readout with unit init, next to an output multiplier."""
RIGHT = ({}, mup_adam, None)
DESCENT = partial(rates, cls=torch.optim.SGD)

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
        {}, partial(own_muon, lr=10.0, clip=1.0), {("learning rate", "h.0.c_fc", "0")}, mended=({}, own_muon, None)
    ),
    "shared embedding rescaled as a readout": Fault(
        {"tied": True, "embedding": 0.5, "output": None}, mup_adam, {("init", "wte", "1/2")}
    ),
    "attention scale never wired": Fault(
        {"attention": None}, mup_adam, {("multiplier", "h.0.attn.logits", "1/2")}, mended=RIGHT
    ),
    "one rate for all": Fault(
        {}, lambda m: torch.optim.Adam(m.parameters(), lr=1e-3), {("learning rate", "c_proj", "1")}
    ),
    "the readout's rate": Fault({}, partial(rates, changed={"lm_head": 1.0}), {("learning rate", "lm_head", "1")}),
    "the embedding's rate": Fault({}, partial(rates, changed={"wte": -1.0}), {("learning rate", "wte", "-1")}),
    "one matrix forgotten": Fault({}, partial(rates, changed={"c_fc": 1.0}), {("learning rate", "h.0.c_fc", "1")}),
    "the readout's init": Fault({"readout": -0.5}, mup_adam, {("init", "lm_head", "1/2")}),
    "the embedding's init": Fault({"embedding": -0.5}, mup_adam, {("init", "wte", "-1/2")}),
    "init that ignores the width": Fault({"hidden": 0.0}, mup_adam, {("init", "h.0.attn.c_attn[0]", "1/2")}),
    "an output multiplier on top of the init": Fault(
        {"output": None}, partial(rates, changed={"lm_head": 0.0}), {("multiplier", "lm_head", "-1")}
    ),
    "tied without an output multiplier": Fault(
        {"tied": True}, mup_adam, {("multiplier", "wte#2", "1")}, mended=(TIED, mup_adam, None)
    ),
    "a large epsilon": Fault({}, partial(mup_adam, eps=1e-3), {("epsilon", "h.0.c_fc", "1")}),
    "an epsilon that grows": Fault({}, partial(rates, eps=1e-8, power=1.0), {("epsilon", "h.0.c_fc", "2")}),
    "a gain in the hidden group": Fault(
        GAINS, partial(rates, changed={"ln_1": -1.0}), {("learning rate", "ln_1", "-1")}
    ),
    "a bias in the hidden group": Fault(
        GAINS, partial(rates, changed={"ln_f.bias": -1.0}), {("learning rate", "ln_f.bias", "-1")}
    ),
    "positions in the hidden group": Fault({}, partial(rates, changed={"wpe": -1.0}), {("learning rate", "wpe", "-1")}),
    "the width factor twice": Fault({}, partial(rates, changed={"c_fc": -1.0}), {("learning rate", "c_fc", "-1")}),
    "the width ratio inverted": Fault({}, partial(rates, changed={"h.0": 2.0}), {("learning rate", "c_proj", "2")}),
    "the ratio inverted in an init": Fault({"readout": 1.0}, mup_adam, {("init", "lm_head", "2")}),
    "a readout that starts at zero, without its rate": Fault(
        ZERO, partial(rates, changed={"lm_head": 1.0}), {("learning rate", "lm_head", "1")}
    ),
    "output multiplier and readout init both": Fault(
        {"output": None}, partial(rates, changed={"lm_head": 1.0}), {("init", "lm_head", "-1")}
    ),
    "an output multiplier twice": Fault(
        {"readout": 0.0, "output": None, "logits": -1.0}, UNIT, {("multiplier", "lm_head", "-1")}
    ),
    "logits that are scaled up": Fault({"logits": 0.5}, mup_adam, {("multiplier", "lm_head", "1/2")}),
    "embeddings that are scaled up": Fault({"embedded": 0.5}, mup_adam, {("multiplier", "wpe", "1/2")}, mended=RIGHT),
    "embeddings that are scaled down": Fault(
        {"embedded": -0.5}, mup_adam, {("multiplier", "wte", "-1/2")}, mended=RIGHT
    ),
    "a tied embedding initialised as a readout": Fault(
        {"tied": True, "output": None, "embedding": -1.0}, mup_adam, {("init", "wte", "-1")}
    ),
    "a tied embedding trained as a readout": Fault(
        TIED, partial(rates, changed={"wte": -1.0}), {("learning rate", "wte", "-1")}
    ),
    "a head that no optimizer has": Fault(
        {}, partial(rates, without="lm_head"), {("learning rate", "lm_head", "None")}, mended=RIGHT
    ),
    "a matrix that no optimizer has": Fault(
        {}, partial(rates, without="c_fc"), {("learning rate", "c_fc", "None")}, mended=RIGHT
    ),
    "Muon on the embedding": Fault({}, partial(muon, more="wte"), {("learning rate", "wte", "-1/2")}),
    "Muon on the readout": Fault({}, partial(muon, more="lm_head"), {("learning rate", "lm_head", "1/2")}),
    "decay that grows twice": Fault(
        {},
        partial(rates, cls=torch.optim.AdamW, weight_decay=0.1, power=2.0),
        {("decay", "c_fc", "1"), ("decay", "wte", "2")},
    ),
    "decay in the gradient": Fault(
        {}, partial(rates, weight_decay=0.1), {("decay", "c_fc", "1/2"), ("decay", "wte", "1")}
    ),
    "SGD with the rates of Adam": Fault(
        {},
        partial(rates, cls=torch.optim.SGD, changed={"wte": -1.0, "wpe": -1.0, "h.0": -1.0}),
        {("learning rate", "c_fc", "-1"), ("learning rate", "wpe", "-1")},
    ),
    "a constant threshold on a norm that grows": Fault(
        {}, DESCENT, {("clipping", "norm", "-1/2")}, 1.0, ({}, DESCENT, lambda n: (n / 64) ** 0.5)
    ),
}


def build(width: int, embedded: float = 0.0, logits: float = 0.0, **options: Any) -> nn.Module:
    chosen = {**HEALTHY, **options}
    if "output" in chosen and chosen["output"] is None:
        chosen["output"] = 64 / width
    model = Scaled(width, **chosen)
    model.embedded, model.logits = embedded, logits
    return model


def checked(make: Any, optimizer: Any, clip: Any = None) -> Any:
    return tp.trace(make, WIDTHS, example=TOKENS, optimizer=optimizer, loss="ce", clip=clip).check("mup")


SETTINGS = {"learning rate": "lr", "epsilon": "eps", "decay": "weight_decay"}


def mended(check: Any, make: Any, optimizer: Any) -> tuple[Any, Any]:
    """The model and the optimizer with every change that a check asks for."""
    powers: dict[tuple[str, str | None], float] = {}
    for d in check.faults:
        for name in d.where:
            where = name if d.kind.value == "multiplier" else check.traced.blocks[name].parameter
            powers[d.kind.value, where] = -float(d.off.const)

    def better(width: int) -> nn.Module:
        model = make(width)
        for (kind, where), e in powers.items():
            factor = (width / 64) ** e
            if kind == "init":
                model.get_parameter(where).data.mul_(factor)
            elif kind == "multiplier":
                model.get_submodule(where).register_forward_hook(lambda m, x, y, factor=factor: y * factor)
        return model

    def trained(model: nn.Module) -> Any:
        names, n = {p: name for name, p in model.named_parameters()}, model.ln_f.normalized_shape[0] / 64
        made = optimizer(model)
        for one in made if isinstance(made, list) else [made]:
            one.param_groups = [{**group, "params": [p]} for group in one.param_groups for p in group["params"]]
            for group in one.param_groups:
                for kind, setting in SETTINGS.items():
                    group[setting] = group.get(setting, 0.0) * n ** powers.get(
                        (kind, names.get(group["params"][0])), 0.0
                    )
        return made

    return better, trained


@pytest.mark.parametrize("optimizer", [mup_adam, muon, own_muon], ids=["adam", "muon", "own class"])
def test_without_a_fault(optimizer: Any) -> None:
    check = checked(build, optimizer)
    assert check.holds, str(check)
    assert check.traced.derivation.regime.value == "stable"


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named(name: str) -> None:
    fault = FAULTS[name]
    make = partial(build, **fault.model)
    check = checked(make, fault.optimizer, fault.clip)
    assert not check.holds
    found = {(d.kind.value, w, str(d.off)) for d in check.faults for w in d.where}
    for kind, where, off in fault.expected:
        assert any(k == kind and where in w and o == off for k, w, o in found), str(check)
    kinds = {kind for kind, _, _ in fault.expected}
    assert {d.kind.value for d in check.faults} == kinds, str(check)
    if fault.mended is None:
        after = checked(*mended(check, make, fault.optimizer))
    else:
        model, optimizer, clip = fault.mended
        after = checked(partial(build, **model), optimizer, clip)
    assert after.holds, str(after)


def test_decay_is_told_apart_from_its_rate() -> None:
    """Decay that vanishes is worth knowing; decay that grows is a fault."""
    for power, fault in ((0.0, False), (2.0, True)):
        check = checked(build, partial(decayed, power=power))
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
