"""Models of transformers, unmodified, from a configuration with random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

import tensorprog as tp

transformers = pytest.importorskip("transformers")

Sizes = dict[str, Any]

ONE_BLOCK: Sizes = {"num_attention_heads": 4, "num_hidden_layers": 1}
TEXT: Sizes = {**ONE_BLOCK, "vocab_size": 100}
GROUPED: Sizes = {**TEXT, "num_key_value_heads": 2}
GPT: Sizes = {"n_head": 4, "n_layer": 1, "vocab_size": 100}

MODELS: dict[str, tuple[str, Callable[[int], Sizes]]] = {
    "gpt2": ("GPT2LMHeadModel", lambda n: {**GPT, "n_embd": n, "n_positions": 32}),
    "gptj": ("GPTJForCausalLM", lambda n: {**GPT, "n_embd": n, "rotary_dim": n // 8}),
    "llama": ("LlamaForCausalLM", lambda n: {**GROUPED, "hidden_size": n, "intermediate_size": 3 * n}),
    "bert": ("BertForSequenceClassification", lambda n: {**TEXT, "hidden_size": n, "intermediate_size": 4 * n}),
    "vit": (
        "ViTForImageClassification",
        lambda n: {**ONE_BLOCK, "hidden_size": n, "intermediate_size": 4 * n, "image_size": 16, "patch_size": 8},
    ),
    "mixtral": (
        "MixtralForCausalLM",
        lambda n: {**GROUPED, "hidden_size": n, "intermediate_size": 2 * n, "num_local_experts": 4},
    ),
    "qwen3": (
        "Qwen3ForCausalLM",
        lambda n: {**GROUPED, "hidden_size": n, "intermediate_size": 4 * n, "head_dim": n // 4},
    ),
    "falcon": ("FalconForCausalLM", lambda n: {**TEXT, "hidden_size": n}),
}
"""By name: the class, and what its configuration is told at width n."""


def build(name: str, n: int) -> Any:
    of, sizes = MODELS[name]
    model = getattr(transformers, of)
    return model(model.config_class(**sizes(n)))


def traced(name: str, **options: Any) -> Any:
    """At two widths, on two short texts or on two images."""
    draws = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 100, (2, 8), generator=draws)
    images = torch.randn(2, 3, 16, 16, generator=draws)
    return tp.trace(partial(build, name), (64, 128), example=images if name == "vit" else tokens, **options)


@pytest.mark.parametrize("name", MODELS)
def test_matrices_are_maximal_in_mup(name: str) -> None:
    """Under Adam all matrices of a block have Theta(1) updates, whatever the norms and biases around them."""
    d = tp.derive(traced(name).program, "mup", optimizer="adam", steps=2)
    hidden = [s for s in d.steps[2].sites.values() if s.role == "hidden"]
    assert len(hidden) >= 6
    assert all(s.effective == 0 and s.activation == 0 for s in hidden)


def test_llama_derives_like_the_program_by_hand() -> None:
    program = traced("llama").program
    by_hand = tp.transformer(
        blocks=1,
        activation="silu",
        norm="rmsnorm",
        positions="rotary",
        gated_mlp=True,
        grouped=True,
        head_dim_exponent=1,
    )
    for p, optimizer in (("sp", "sgd"), ("mup", "adam")):
        a, b = (tp.derive(x, p, optimizer=optimizer) for x in (program, by_hand))
        for x, y in zip(a.steps, b.steps, strict=True):
            mine = [s for name, s in x.sites.items() if "norm" not in name]
            theirs = [s for name, s in y.sites.items() if "norm" not in name]
            assert [(s.role, s.activation, s.effective, s.feature) for s in mine] == [
                (s.role, s.activation, s.effective, s.feature) for s in theirs
            ]


def test_the_standard_init_of_gpt2_is_no_parametrization() -> None:
    """std 0.02 at every width: hidden matrices start n^(1/2) too large."""
    check = traced("gpt2", optimizer="adam").check("sp")
    (init,) = [d for d in check.faults if d.kind.value == "init" and "transformer.h.0.mlp.c_fc" in d.where]
    assert str(init.off) == "1/2"
