"""A small GPT in the style of nanoGPT, with what `tensorprog check` needs: build, example, optimizer, loss."""

import torch
from torch import nn
from torch.nn import functional

VOCABULARY, CONTEXT, BLOCKS, HEADS = 65, 16, 2, 4
BASE = 64  # the width at which the learning rate was tuned


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        b, t, n = x.shape
        q, k, v = (y.view(b, t, HEADS, n // HEADS).transpose(1, 2) for y in self.c_attn(self.ln_1(x)).split(n, dim=2))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(b, t, n))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCABULARY, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(BLOCKS)))
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, VOCABULARY, bias=False)
        nn.init.zeros_(self.lm_head.weight)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        return self.lm_head(self.ln_f(self.blocks(x)))


build = GPT
example = torch.zeros(1, CONTEXT, dtype=torch.long)
loss = functional.cross_entropy


def optimizer(model):
    """muP for Adam, as most people write it: matrices get 1/width, everything else does not."""
    width = model.ln_f.normalized_shape[0]
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "wte" not in name and "wpe" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim < 2 or "wte" in name or "wpe" in name]
    return torch.optim.AdamW(
        [{"params": matrices, "lr": 1e-2 * BASE / width}, {"params": others, "lr": 1e-2}], weight_decay=0.1
    )
