"""Models of transformers, unmodified, from a configuration with random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import tensorprog as tp

transformers = pytest.importorskip("transformers")

TOKENS = torch.randint(0, 100, (2, 8), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def gpt2(n: int) -> Any:
    config = transformers.GPT2Config(n_embd=n, n_head=4, n_layer=1, vocab_size=100, n_positions=32)
    config.bos_token_id = config.eos_token_id = None
    return transformers.GPT2LMHeadModel(config)


def llama(n: int) -> Any:
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=n,
            intermediate_size=3 * n,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_hidden_layers=1,
            vocab_size=100,
        )
    )


def bert(n: int) -> Any:
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(
            hidden_size=n, intermediate_size=4 * n, num_attention_heads=4, num_hidden_layers=1, vocab_size=100
        )
    )


def vit(n: int) -> Any:
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=n,
            intermediate_size=4 * n,
            num_attention_heads=4,
            num_hidden_layers=1,
            image_size=16,
            patch_size=8,
        )
    )


def mixtral(n: int) -> Any:
    return transformers.MixtralForCausalLM(
        transformers.MixtralConfig(
            hidden_size=n,
            intermediate_size=2 * n,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_hidden_layers=1,
            vocab_size=100,
            num_local_experts=4,
        )
    )


def qwen3(n: int) -> Any:
    return transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            hidden_size=n,
            intermediate_size=4 * n,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=n // 4,
            num_hidden_layers=1,
            vocab_size=100,
        )
    )


def gptj(n: int) -> Any:
    return transformers.GPTJForCausalLM(
        transformers.GPTJConfig(n_embd=n, n_head=4, n_layer=1, vocab_size=100, rotary_dim=n // 8)
    )


def falcon(n: int) -> Any:
    return transformers.FalconForCausalLM(
        transformers.FalconConfig(hidden_size=n, num_attention_heads=4, num_hidden_layers=1, vocab_size=100)
    )


Build = Callable[[int], Any]


MODELS = [gpt2, llama, bert, vit, mixtral, qwen3, gptj, falcon]


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_matrices_are_maximal_in_mup(build: Build) -> None:
    """Under Adam all matrices of a block have Theta(1) updates, whatever the norms and biases around them."""
    program = tp.trace(build, (64, 128), example=IMAGES if build is vit else TOKENS).program
    d = tp.derive(program, "mup", optimizer="adam", steps=2)
    hidden = [s for s in d.steps[2].sites.values() if s.role == "hidden"]
    assert len(hidden) >= 6
    assert all(s.effective == 0 and s.activation == 0 for s in hidden)


def test_llama_derives_like_the_program_by_hand() -> None:
    traced = tp.trace(llama, (64, 128), example=TOKENS).program
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
        a, b = (tp.derive(x, p, optimizer=optimizer) for x in (traced, by_hand))
        for x, y in zip(a.steps, b.steps, strict=True):
            mine = [s for name, s in x.sites.items() if "norm" not in name]
            theirs = [s for name, s in y.sites.items() if "norm" not in name]
            assert [(s.role, s.activation, s.effective, s.feature) for s in mine] == [
                (s.role, s.activation, s.effective, s.feature) for s in theirs
            ]


def test_the_standard_init_of_gpt2_is_no_parametrization() -> None:
    """std 0.02 at every width: hidden matrices start n^(1/2) too large."""
    check = tp.trace(gpt2, (64, 128), example=TOKENS, optimizer="adam").check("sp")
    (init,) = [d for d in check.faults if d.kind.value == "init" and "transformer.h.0.mlp.c_fc" in d.where]
    assert str(init.off) == "1/2"
