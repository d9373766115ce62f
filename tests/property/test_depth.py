"""Repeated blocks: derived once, and equal to the whole program derived instruction by instruction."""

from __future__ import annotations

import random
from typing import Any

import pytest

import tensorprog as tp
from tensorprog import depth
from tensorprog.depth import repeats
from tensorprog.optimizers import SAM
from tensorprog.program import Axis, Builder, Program

X = Axis("x")
NETWORKS = {
    "mlp": lambda n, rng: tp.mlp(n + 2, activation=rng.choice(["relu", "tanh"]), bias=rng.random() < 0.3),
    "resnet-mlp": lambda n, rng: tp.resnet_mlp(
        n, norm=rng.choice(["none", "rmsnorm", "layernorm"]), placement=rng.choice(["pre", "post"])
    ),
    "transformer": lambda n, rng: tp.transformer(n, norm="rmsnorm", plain_norm=rng.random() < 0.5, qk_norm="none"),
}


def facts(d: Any) -> dict[str, Any]:
    told = d.to_dict()
    return {k: told[k] for k in ("regime", "learning", "settled", "steps")}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(6))
def test_shared_and_unrolled_blocks_derive_alike(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(f"{name}{seed}")
    program = NETWORKS[name](6, rng)
    scaling: Any = rng.choice(["sp", "ntp", "mup", "mfp", "sp-full-align"])
    if rng.random() < 0.4:
        scaling = tp.parametrizations.parametrization(scaling).where("hidden", b=rng.choice(["3/4", 1]))
    chosen: dict[str, Any] = {
        "optimizer": rng.choice(["sgd", "adam", "muon", SAM("sgd", radius_exponent="-1/2")]),
        "loss": rng.choice(["ce", "mse"]),
        "lr_exponent": rng.choice([0, "-1/2", -1]),
        "zero_readout": rng.random() < 0.3,
        "steps": 3,
    }
    once = facts(tp.derive(program, scaling, **chosen))
    monkeypatch.setattr(depth, "repeats", lambda program, key: None)
    assert facts(tp.derive(program, scaling, **chosen)) == once


def test_a_shared_derivation_says_so() -> None:
    assert any(
        "95 blocks repeat" in line
        for line in tp.derive(tp.transformer(96), "mup", optimizer="adam").to_dict()["assumptions"]
    )
    assert not any("repeat" in line for line in tp.derive(tp.mlp(2), "mup").to_dict()["assumptions"])


def test_repeated_blocks_are_told_once() -> None:
    text = str(tp.derive(tp.transformer(96), "mup", optimizer="adam"))
    assert "block.1-96.attention.out" in text
    assert len(text.splitlines()) < 60


def found(program: Program) -> tuple[int, int] | None:
    r = repeats(program, lambda w: w.role)
    return None if r is None else (r.period, r.copies)


def test_what_repeats() -> None:
    assert found(tp.mlp(8)) == (2, 7)
    assert found(tp.resnet_mlp(7)) == (4, 7)
    assert found(tp.resnet_mlp(7, norm="rmsnorm")) == (8, 6)  # the first block emits the constant that gains multiply
    assert found(tp.mlp(3)) is None
    deep = tp.transformer(96)
    r = repeats(deep, lambda w: w.role)
    assert r is not None
    assert r.copies == 95
    short = r.shortened(deep, 3)
    assert [s.name for s in short.sites if s.name.endswith("query")] == [
        f"block.{i}.attention.query" for i in (1, 2, 3, 96)
    ]
    assert short.sites[-1].activation == short.output


def test_a_weight_that_all_blocks_share_is_no_repetition() -> None:
    b = Builder()
    x = b.matmul(b.weight("input", b.width, X), b.data("x", X))
    shared = b.weight("shared", b.width, b.width)
    for _ in range(8):
        x = b.apply("tanh", b.matmul(shared, x))
    assert found(b.build(b.matmul(b.weight("readout", b.finite("y"), b.width), x))) is None


def test_blocks_that_read_beyond_their_neighbour_are_no_repetition() -> None:
    b = Builder()
    values = [b.matmul(b.weight("input", b.width, X), b.data("x", X))] * 2
    for i in range(8):
        values.append(b.add(b.matmul(b.weight(f"w.{i}", b.width, b.width), values[-1]), values[-2]))
    assert found(b.build(b.matmul(b.weight("readout", b.finite("y"), b.width), values[-1]))) is None


def test_layers_that_an_optimizer_treats_by_name_are_told_apart() -> None:
    program = tp.mlp(9)
    by_name = {"hidden.4": "muon", "else": "adam"}
    d = tp.derive(program, "sp", optimizer=by_name, lr_exponent=-1)
    updates = {n: str(s.effective) for n, s in d.steps[1].sites.items() if n.startswith("hidden")}
    assert updates["hidden.4"] != updates["hidden.5"] == updates["hidden.3"]
