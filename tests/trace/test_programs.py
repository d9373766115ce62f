"""A traced model and the hand-built program of the same architecture derive identically."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import tensorprog as tp
from tests.trace.models import GPT, TOKENS, VECTORS, ResidualMLP, mlp

Exponents = list[list[tuple[Any, ...]]]


def exponents(d: tp.Derivation) -> Exponents:
    return [
        [(s.role, s.activation, s.effective, s.propagating, s.feature) for s in at.sites.values()] for at in d.steps
    ]


PAIRS: dict[str, tuple[Callable[[int], nn.Module], torch.Tensor, tp.Program]] = {
    "mlp": (mlp, VECTORS, tp.mlp(hidden_layers=2)),
    "residual mlp": (ResidualMLP, VECTORS, tp.resnet_mlp(blocks=2, norm="rmsnorm")),
    "gpt": (GPT, TOKENS, tp.transformer(blocks=1, plain_norm=True, head_dim_exponent=1)),
    "attention by hand": (
        lambda n: GPT(n, by_hand=True),
        TOKENS,
        tp.transformer(blocks=1, plain_norm=True, head_dim_exponent=1),
    ),
    "more heads": (lambda n: GPT(n, heads=None), TOKENS, tp.transformer(blocks=1, plain_norm=True)),
    "1/d attention": (
        lambda n: GPT(n, attention=1.0),
        TOKENS,
        tp.transformer(blocks=1, plain_norm=True, head_dim_exponent=1, attention_scale="1/d"),
    ),
    "tied": (
        lambda n: GPT(n, tied=True, output=64 / n),
        TOKENS,
        tp.transformer(blocks=1, plain_norm=True, head_dim_exponent=1, tied=True, output_exponent=-1),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_derives_like_the_program_by_hand(name: str) -> None:
    build, example, program = PAIRS[name]
    traced = tp.trace(build, example=example).program
    for p, optimizer in (("sp", "sgd"), ("mup", "adam"), ("sp", "muon")):
        a, b = (tp.derive(x, p, optimizer=optimizer) for x in (traced, program))
        assert exponents(a) == exponents(b), (p, optimizer)
        assert (a.regime, a.learning, a.settled) == (b.regime, b.learning, b.settled)
    a, b = (tp.max_stable_lr(x, "sp", optimizer="adam") for x in (traced, program))
    assert str(a) == str(b)


def test_sites_are_named_by_module_path() -> None:
    program = tp.trace(GPT, example=TOKENS).program
    assert [s.name for s in program.sites] == [
        "wte",
        "wpe",
        "h.0.attn.c_attn[0]",
        "h.0.attn.c_attn[1]",
        "h.0.attn.c_attn[2]",
        "h.0.attn.c_proj",
        "h.0.c_fc",
        "h.0.c_proj",
        "lm_head",
    ]
    assert [name for name, _ in program.observed] == ["h.0.attn.logits"]
