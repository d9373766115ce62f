"""Models as users write them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY, CONTEXT, CLASSES = 65, 8, 5
TOKENS = torch.randint(0, VOCABULARY, (2, CONTEXT), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
VECTORS = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


def mlp(width: int, bias: bool = False) -> nn.Module:
    return nn.Sequential(
        nn.Linear(8, width, bias=bias),
        nn.ReLU(),
        nn.Linear(width, width, bias=bias),
        nn.ReLU(),
        nn.Linear(width, CLASSES, bias=bias),
    )


class ResidualMLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(8, width, bias=False)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2))
        self.inner = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.outer = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.norm = nn.RMSNorm(width)
        self.last = nn.Linear(width, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for norm, inner, outer in zip(self.norms, self.inner, self.outer, strict=True):
            x = x + outer(functional.relu(inner(norm(x))))
        logits: Tensor = self.last(self.norm(x))
        return logits


class Attention(nn.Module):
    """nanoGPT's: one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int, scale: float | None, by_hand: bool) -> None:
        super().__init__()
        self.heads, self.scale, self.by_hand = heads, scale, by_hand
        self.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, t, n = x.shape
        q, k, v = self.c_attn(x).split(n, dim=2)
        q, k, v = (y.view(b, t, self.heads, n // self.heads).transpose(1, 2) for y in (q, k, v))
        if self.by_hand:
            scale = 1 / math.sqrt(k.size(-1)) if self.scale is None else self.scale
            logits = (q @ k.transpose(-2, -1)) * scale
            mask = torch.tril(torch.ones(t, t, device=x.device)) == 0
            y = functional.dropout(logits.masked_fill(mask, float("-inf")).softmax(-1), 0.1, self.training) @ v
        else:
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        out: Tensor = self.c_proj(y.transpose(1, 2).contiguous().view(b, t, n))
        return out


class Block(nn.Module):
    def __init__(self, width: int, heads: int, scale: float | None, affine: bool, by_hand: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, elementwise_affine=affine)
        self.attn = Attention(width, heads, scale, by_hand)
        self.ln_2 = nn.LayerNorm(width, elementwise_affine=affine)
        self.c_fc = nn.Linear(width, 4 * width, bias=False)
        self.c_proj = nn.Linear(4 * width, width, bias=False)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attn(self.ln_1(x)))
        out: Tensor = x + self.drop(self.c_proj(functional.gelu(self.c_fc(self.ln_2(x)))))
        return out


class GPT(nn.Module):
    """A GPT in the style of nanoGPT, with the scalings that faults change.

    Args:
        heads: a number of them, or None for heads of 16 coordinates.
        attention: attention logits times this over the head dimension; None for 1 / sqrt.
        output: logits times this.
        readout: the exponent of the readout's init.
        hidden: the exponent of the hidden matrices' init.
        embedding: the exponent of the embeddings' init.
    """

    def __init__(
        self,
        width: int,
        *,
        blocks: int = 1,
        heads: int | None = 4,
        tied: bool = False,
        affine: bool = False,
        by_hand: bool = False,
        attention: float | None = None,
        output: float = 1.0,
        readout: float = -1.0,
        hidden: float = -0.5,
        embedding: float = 0.0,
    ) -> None:
        super().__init__()
        heads = heads or width // 16
        scale = None if attention is None else attention * heads / width
        self.wte = nn.Embedding(VOCABULARY, width)
        self.wpe = nn.Embedding(CONTEXT, width)
        self.h = nn.ModuleList(Block(width, heads, scale, affine, by_hand) for _ in range(blocks))
        self.ln_f = nn.LayerNorm(width, elementwise_affine=affine)
        self.lm_head = nn.Linear(width, VOCABULARY, bias=False)
        self.output = output
        for name, p in self.named_parameters():
            if p.ndim == 2:
                power = readout if name.startswith("lm_head") else embedding if name.startswith("w") else hidden
                nn.init.normal_(p, std=(p.shape[1] if power == hidden else width) ** power)
        if tied:
            self.lm_head.weight = self.wte.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.h:
            x = block(x)
        logits: Tensor = self.lm_head(self.ln_f(x)) * self.output
        return logits


def mup_adam(model: nn.Module, rate: float = 1e-2, **options: Any) -> torch.optim.Optimizer:
    """Adam in the maximal-update parametrization of :class:`GPT`: matrices with a wide input at rate / width."""
    width = model.ln_f.normalized_shape[0]
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, p in model.named_parameters():
        groups[p.ndim == 2 and not name.startswith("w")].append(p)
    return torch.optim.AdamW(
        [{"params": groups[True], "lr": rate * 64 / width}, {"params": groups[False], "lr": rate}],
        **{"weight_decay": 0.0, **options},
    )
