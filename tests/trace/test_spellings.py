"""The same computation in other words is the same program; what else a model computes is none of its business."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import tensorprog as tp
from tests.trace.models import TOKENS, VECTORS, VOCABULARY
from tests.trace.test_programs import exponents

WIDTHS = (64, 128)


class MLP(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(8, n), nn.Linear(n, n), nn.Linear(n, 5)

    def norm(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:])

    def forward(self, x: Tensor) -> Any:
        return self.last(functional.relu(self.inner(self.norm(self.first(x)))))


class CenteredTwice(MLP):
    """As in the code of ConvNeXt."""

    def norm(self, x: Tensor) -> Tensor:
        u = x.mean(-1, keepdim=True)
        s = (x - u).pow(2).mean(-1, keepdim=True)
        return (x - u) / torch.sqrt(s + 1e-6)


class WithEllipses(MLP):
    def forward(self, x: Tensor) -> Any:
        h = torch.einsum("...i,ji->...j", self.norm(self.first(x)), self.inner.weight) + self.inner.bias
        return self.last(functional.relu(h))


class WithLoss(MLP):
    """It returns its loss as well, and takes a flag."""

    def forward(self, x: Tensor, targets: Tensor | None = None, double: bool = False) -> Any:
        logits = super().forward(x)
        return {"logits": logits, "loss": functional.cross_entropy(logits, targets) * (1 + double)}


class Rotary(nn.Module):
    """Attention with rotated queries and keys, as pairs of halves."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(VOCABULARY, n), nn.Linear(n, 7)
        self.q, self.k, self.v = nn.Linear(n, n), nn.Linear(n, n), nn.Linear(n, n)
        speeds = torch.outer(torch.arange(8.0), 1e4 ** -torch.linspace(0, 1, n // 8))
        self.register_buffer("cos", speeds.cos()[:, None])
        self.register_buffer("sin", speeds.sin()[:, None])

    def rotate(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        return torch.cat([a * self.cos - b * self.sin, a * self.sin + b * self.cos], -1)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        q, k, v = (layer(x).unflatten(-1, (4, -1)) for layer in (self.q, self.k, self.v))
        q, k, v = (y.transpose(1, 2) for y in (self.rotate(q), self.rotate(k), v))
        return self.head(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Complex(Rotary):
    """As in the first Llama."""

    def rotate(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * torch.complex(self.cos, self.sin)).flatten(-2)


class PartlyRotary(Rotary):
    """The part of every head that is rotated is all of it."""

    def rotate(self, x: Tensor) -> Tensor:
        d = 2 * self.cos.shape[-1]
        return torch.cat([super().rotate(x[..., :d]), x[..., d:]], -1)


@pytest.mark.parametrize(
    ("plain", "other", "inputs"),
    [
        (MLP, CenteredTwice, VECTORS),
        (MLP, WithEllipses, VECTORS),
        (MLP, WithLoss, VECTORS),
        (Rotary, Complex, TOKENS),
        (Rotary, PartlyRotary, TOKENS),
    ],
    ids=lambda x: x.__name__ if isinstance(x, type) else "",
)
def test_derives_alike(plain: Callable[[int], nn.Module], other: Callable[[int], nn.Module], inputs: Tensor) -> None:
    given: Any = inputs
    if other is WithLoss:
        given = {"x": inputs, "targets": torch.zeros(len(inputs), dtype=torch.long), "double": True}
    a = tp.trace(plain, WIDTHS, example=inputs, optimizer="adam").derivation
    b = tp.trace(other, WIDTHS, example=given, optimizer="adam").derivation
    assert exponents(a) == exponents(b)


class Tables(nn.Module):
    """A learned query, a fixed table of positions with a mean, learned biases on pairs of positions, a bias alone."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.embed, self.positions = nn.Embedding(VOCABULARY, n), nn.Embedding(8, n)
        self.positions.weight = nn.Parameter(torch.rand(8, n), requires_grad=False)
        self.query, self.pairs = nn.Parameter(torch.randn(1, 1, n)), nn.Embedding(15, 4)
        self.q, self.k, self.v, self.last = nn.Linear(n, n), nn.Linear(n, n), nn.Linear(n, n), nn.Linear(n, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.positions(torch.arange(8))
        q = self.q(self.query.expand(len(x), -1, -1))
        bias = self.pairs(torch.arange(8)[None] + 7).permute(2, 0, 1)
        q, k, v = (y.unflatten(-1, (4, -1)).transpose(1, 2) for y in (q, self.k(x), self.v(x)))
        h = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.last(h.transpose(1, 2).flatten(2)[:, 0])


def test_tables_queries_and_biases() -> None:
    traced = tp.trace(Tables, example=TOKENS, optimizer="adam", loss="logistic")
    assert traced.unused == ()
    roles = {w.name: w.role.value for w in traced.program.weights}
    assert (roles["query"], roles["positions"], roles["pairs"]) == ("input", "input", "finite")
    assert str(traced.inits["last.bias"].b) == "1/2"  # of one entry, over seeds
    check = traced.check("mup")
    assert "frozen: positions" in str(check)


class Towers(nn.Module):
    """Logits that are a product of features."""

    def __init__(self, n: int, power: float = 0.0) -> None:
        super().__init__()
        self.left, self.right, self.power = nn.Linear(8, n, bias=False), nn.Linear(8, n, bias=False), power

    def forward(self, x: Tensor) -> Tensor:
        n = self.left.out_features
        return (self.left(x) * self.right(x)).sum(-1, keepdim=True) * n**self.power


def test_logits_without_a_readout() -> None:
    check = tp.trace(Towers, WIDTHS, example=VECTORS, optimizer=torch.optim.Adam).check("mup")
    (fault,) = check.faults
    assert (fault.kind.value, fault.where, str(fault.off)) == ("multiplier", ("the logits",), "1")
    right = tp.trace(lambda n: Towers(n, -1.0), WIDTHS, example=VECTORS, optimizer=torch.optim.Adam)
    assert right.check("mup").holds
    assert right.derivation.regime.value == "stable"


def test_a_head_that_is_not_the_output() -> None:
    with pytest.raises(tp.TensorprogError, match="say which member of the model's output holds the logits"):
        tp.trace(lambda n: Two(n), WIDTHS, example=VECTORS)
    traced = tp.trace(Two, WIDTHS, example=VECTORS, output="value")
    assert traced.unused == ("policy.weight", "policy.bias")


class Two(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.first, self.policy, self.value = nn.Linear(8, n), nn.Linear(n, 5), nn.Linear(n, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = self.first(x).tanh()
        return {"policy": self.policy(h), "value": self.value(h)}
