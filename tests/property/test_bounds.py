"""Bounds are bounds: on random settings, what they prove of a phase is what the exact calculus finds."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

import tensorprog as tp
from tensorprog.bound import Bound
from tensorprog.exponent import ZERO
from tensorprog.phase import bounded_phase, phase_of
from tensorprog.program import Apply
from tensorprog.regimes import Learning
from tensorprog.sandwich import agree
from tensorprog.setting import Setting, setting
from tensorprog.trajectory import diverged

PROGRAMS: tuple[Any, ...] = (
    tp.mlp(hidden_layers=2),
    tp.mlp(hidden_layers=3, activation="tanh"),
    tp.mlp(hidden_layers=2, activation="gelu", bias=True),
    tp.resnet_mlp(blocks=2, norm="layernorm"),
    tp.resnet_mlp(blocks=1),
    tp.transformer(blocks=1),
    tp.transformer(blocks=1, norm="rmsnorm", qk_norm="shared", gated_mlp=True, head_dim_exponent="1/2"),
)
OPTIMIZERS = ("sgd", "adam", "signsgd", "muon", "lion", "adamw", "lars", "normalised-gd", "adafactor", "kfac", "lamb")


def drawn(seed: int) -> Setting:
    draw = random.Random(seed)
    p = tp.parametrizations.SP if draw.random() < 0.5 else tp.parametrizations.MUP
    for role in ("input", "hidden", "readout"):
        if draw.random() < 0.5:
            p = p.where(role, b=Fraction(draw.randint(0, 6), 4))
    r = Fraction(draw.randint(-12, 1), 4)
    loss = draw.choice(("ce", "mse", "huber"))
    return setting(draw.choice(PROGRAMS), p, optimizer_=draw.choice(OPTIMIZERS), loss_=loss, lr_exponent=r)


@pytest.mark.parametrize("seed", range(60))
def test_phases_by_bounds_are_exact(seed: int) -> None:
    s = drawn(seed)
    assert bounded_phase(s) in (None, phase_of(s))


@pytest.mark.parametrize("seed", range(40))
def test_exponents_lie_between_the_bounds(seed: int) -> None:
    """Where the bounds prove a phase, every change of every step lies between them."""
    s = drawn(1000 + seed)
    if bounded_phase(s) is None:
        return
    lower, exact, upper = (s.trajectory(bound=b) for b in (Bound.LOWER, Bound.EXACT, Bound.UPPER))
    for t in range(max(len(path.steps) for path in (lower, exact, upper))):
        for i in range(len(s.program.instructions)):
            low, value, high = (path.at(t).change[i].top for path in (lower, exact, upper))
            assert low <= value <= high, (str(s), t, s.program.value_names[i])


def test_bounds_prove_phases() -> None:
    found = [bounded_phase(drawn(seed)) for seed in range(60)]
    assert sum(p is not None and p.learning is Learning.TRIVIAL for p in found) > 5
    assert sum(p is not None and p.learning is not Learning.TRIVIAL for p in found) > 1


@pytest.mark.parametrize("seed", range(40))
def test_growth_that_one_step_proves_shows_in_later_ones(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    s = replace(drawn(2000 + seed), optimizer=tp.optimizers.SGD(), loss=tp.losses.MSE)
    early = s.trajectory()
    monkeypatch.setattr("tensorprog.trajectory._fed_back", lambda *steps: None)
    late = s.trajectory()
    assert (early.growth is None) == (late.growth is None) or any(diverged(step, s.program) for step in late.steps)
    if early.growth is not None and late.growth is not None:
        assert early.growth <= late.growth


@pytest.mark.parametrize("seed", [*range(30), 5402])
def test_bounded_functions_stay_bounded(seed: int) -> None:
    """5402: a change of a few coordinates under saturated others was expanded as if it were small."""
    s = replace(drawn(seed), program=tp.mlp(hidden_layers=3, activation="tanh"))
    for step in s.trajectory(steps=3).steps:
        for i, ins in enumerate(s.program.instructions):
            if isinstance(ins, Apply):
                assert not step.now[i].exceeds(ZERO), (str(s), step.t)
                assert not step.change[i].exceeds(ZERO), (str(s), step.t)


def test_trajectories_that_end_early_agree_on_nothing() -> None:
    s = drawn(0)
    whole, cut = s.trajectory(bound=Bound.LOWER), s.trajectory(bound=Bound.UPPER, watch=lambda step, i: True)
    assert not cut.steps
    assert not agree(s, whole, cut)
    assert not agree(s, whole, cut, until=1)
    assert agree(s, whole, cut, until=0)
    conflict = tp.solve(tp.mlp(2), "sp", free=["b_hidden"], optimizer="sgd", assume=["b_hidden < 0"])
    assert not conflict
    assert conflict.conflict
