"""Models nobody here wrote, or as other libraries write them: what is traced is checked on its derivation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import tensorprog as tp
from tests.trace.models import IMAGES, TOKENS, VECTORS, VOCABULARY

WIDTHS = (64, 128)


class Encoder(nn.Module):
    def __init__(self, n: int, first: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(n, 4, 4 * n, batch_first=True, norm_first=first)
        self.embed, self.head = nn.Embedding(VOCABULARY, n), nn.Linear(n, 7)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(x)).mean(1))


class EncoderDecoder(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(VOCABULARY, n), nn.Linear(n, 7)
        self.both = nn.Transformer(n, 4, 1, 1, 4 * n, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.both(self.embed(x), self.embed(x.flip(1))))


class WithWeights(nn.Module):
    """nn.MultiheadAttention on the path that returns its weights: products of matrices, scale on the queries."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(VOCABULARY, n), nn.Linear(n, 7)
        self.attend = nn.MultiheadAttention(n, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        return self.head(self.attend(h, h, h, need_weights=True)[0])


class BasicBlock(nn.Module):
    def __init__(self, into: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.down = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.down(x)
        return self.relu(y)


class ResNet(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, n, 3, 1, 1, bias=False), nn.BatchNorm2d(n)
        self.layer1, self.layer2 = BasicBlock(n, n), BasicBlock(n, 2 * n, 2)
        self.fc = nn.Linear(2 * n, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x)), inplace=True), 2)
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(self.layer2(self.layer1(x)), 1), 1))


class Mixer(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, n, 4, 4)
        self.norms = nn.ModuleList(nn.LayerNorm(n) for _ in range(3))
        self.tokens = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
        self.channels = nn.Sequential(nn.Linear(n, 4 * n), nn.GELU(), nn.Linear(4 * n, n))
        self.head = nn.Linear(n, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norms[1](x))
        return self.head(self.norms[2](x).mean(1))


class Interleaved(nn.Module):
    """Rotary attention by hand: pairs of neighbouring coordinates, einsum, norms of queries and keys, RMS by hand."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(VOCABULARY, n), nn.Linear(n, 7)
        self.query, self.key, self.value = (nn.Linear(n, n, bias=False) for _ in range(3))
        self.gain = nn.Parameter(torch.ones(n))

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain
        b, t, n = h.shape
        q, k, v = (f(h).view(b, t, 4, n // 4) for f in (self.query, self.key, self.value))
        angles = torch.outer(torch.arange(t).float(), 1e4 ** (-torch.arange(0, n // 4, 2) / (n // 4)))
        cos, sin = angles.cos()[None, :, None], angles.sin()[None, :, None]

        def rotated(y: Tensor) -> Tensor:
            y = functional.normalize(y, dim=-1) * math.sqrt(n // 4)
            even, odd = y.reshape(b, t, 4, n // 8, 2).unbind(-1)
            return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(3)

        logits = torch.einsum("bthd,bshd->bhts", rotated(q), rotated(k)) / (n // 4)
        return self.head(torch.einsum("bhts,bshd->bthd", logits.softmax(-1), v).reshape(b, t, n))


class ConvNeXt(nn.Module):
    """A depthwise convolution, a norm in one group, layer scale, pixels flattened into the head."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, n, 3, padding=1), nn.Conv2d(n, n, 3, padding=1, groups=n)
        self.norm = nn.GroupNorm(1, n)
        self.up, self.down = nn.Conv2d(n, 4 * n, 1), nn.Conv2d(4 * n, n, 1)
        self.gamma = nn.Parameter(1e-2 * torch.ones(n))
        self.head = nn.Linear(n * 64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.down(functional.gelu(self.up(self.norm(self.depthwise(x)))))
        return self.head((x + y * self.gamma[:, None, None]).flatten(1))


class Autoencoder(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, n, 2, 2), nn.ConvTranspose2d(n, 2 * n, 2, 2)
        self.gate, self.head = nn.GLU(dim=1), nn.Conv2d(n, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gate(self.up(functional.elu(self.down(x)))))


Build = Callable[[int], nn.Module]
MODELS: dict[str, tuple[Build, Tensor]] = {
    "encoder": (Encoder, TOKENS),
    "encoder, norm first": (partial(Encoder, first=True), TOKENS),
    "encoder and decoder": (EncoderDecoder, TOKENS),
    "attention with weights": (WithWeights, TOKENS),
    "resnet": (ResNet, IMAGES),
    "mixer": (Mixer, IMAGES),
    "interleaved rotary": (Interleaved, TOKENS),
    "convnext": (ConvNeXt, IMAGES),
    "autoencoder": (Autoencoder, IMAGES),
}


@pytest.mark.parametrize("name", MODELS)
def test_scaled_as_mup_every_matrix_learns(name: str) -> None:
    """Under Adam and muP no activation before the logits depends on the width, and every hidden matrix moves it."""
    build, example = MODELS[name]
    program = tp.trace(build, WIDTHS, example=example).program
    d = tp.derive(program, "mup", optimizer="adam")
    assert d.settled
    for at in (d.steps[1], d.steps[4]):
        hidden = {k: s for k, s in at.sites.items() if s.role == "hidden"}
        assert hidden
        assert all(s.activation == 0 and s.effective == 0 for s in hidden.values()), hidden
    in_sp = tp.derive(program, "sp", optimizer="adam")
    assert in_sp.regime.value != "stable"


def test_parts_of_fused_matrices() -> None:
    program = tp.trace(EncoderDecoder, WIDTHS, example=TOKENS).program
    names = [w.name for w in program.weights]
    assert [x for x in names if "multihead_attn.in_proj_weight" in x] == [
        f"both.decoder.layers.0.multihead_attn.in_proj_weight[{part}]" for part in ("0", "1.0", "1.1")
    ]


def test_scales_in_the_code_are_recognised() -> None:
    """1/d on the logits, sqrt(d) on normalised queries and keys; 1/sqrt(d) on the queries of nn.MultiheadAttention."""
    for build, fault in ((Interleaved, False), (WithWeights, True)):
        check = tp.trace(build, WIDTHS, example=TOKENS, optimizer="adam").check()
        assert any(d.kind.value == "multiplier" and "logits" in d.where[0] for d in check.faults) is fault


class LoRA(nn.Module):
    def __init__(self, n: int, rank: int = 4) -> None:
        super().__init__()
        self.base = nn.Linear(n, n, bias=False)
        self.base.weight.requires_grad_(False)
        self.A, self.B = nn.Parameter(torch.randn(rank, n) / n**0.5), nn.Parameter(torch.zeros(n, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + (x @ self.A.T @ self.B.T) * 2


def test_an_adapter_on_a_frozen_matrix() -> None:
    def build(n: int) -> nn.Module:
        first, last = nn.Linear(8, n, bias=False), nn.Linear(n, 5, bias=False)
        first.weight.requires_grad_(False)
        last.weight.requires_grad_(False)
        return nn.Sequential(first, nn.ReLU(), LoRA(n), nn.ReLU(), last)

    traced = tp.trace(build, example=VECTORS, optimizer=lambda m: torch.optim.Adam(m.parameters()))
    assert {w.name: w.trained for w in traced.program.weights} == {
        "0": False,
        "2.base": False,
        "2.A": True,
        "2.B": True,
        "4": False,
    }
    by_hand = tp.lora(tp.mlp(hidden_layers=2), lora_scale="1")
    a, b = tp.derive(traced.program, "sp", optimizer="adam"), tp.derive(by_hand, "sp", optimizer="adam")
    assert [[(s.activation, s.effective, s.propagating, s.feature) for s in at.sites.values()] for at in a.steps] == [
        [(s.activation, s.effective, s.propagating, s.feature) for s in at.sites.values()] for at in b.steps
    ]


class Shared(nn.Module):
    """One module called twice, a multiplier 1/n in a buffer, a scalar gate."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.first, self.layer, self.last = nn.Linear(8, n), nn.Linear(n, n), nn.Linear(n, 3)
        self.gate = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("scale", torch.tensor(1 / n))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).tanh()
        return self.last(self.layer(self.layer(x).tanh()).tanh() * self.gate) * self.scale


def test_a_module_called_twice_is_one_weight() -> None:
    traced = tp.trace(Shared, WIDTHS, example=VECTORS, optimizer="adam")
    assert [s.name for s in traced.program.sites if s.weight.name == "layer"] == ["layer", "layer#2"]
    init = [d for d in traced.check().faults if d.kind.value == "init"]
    assert [(d.where, str(d.off)) for d in init] == [(("last",), "-1/2")]  # 1/n in the code, and 1/sqrt(n) in the init


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sort(-1).values


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Hardshrink, "aten.hardshrink in module '1': there is no rule for this operator"),
        (Sorted, "aten.sort in module '1': there is no rule for this operator"),
        (partial(nn.Softmax, -1), "aten.softmax in module '1': a softmax over features"),
    ],
)
def test_what_has_no_rule_is_named(layer: Callable[[], nn.Module], message: str) -> None:
    def build(n: int) -> nn.Module:
        return nn.Sequential(nn.Linear(8, n), layer(), nn.Linear(n, 3))

    with pytest.raises(tp.TensorprogError, match=message.replace(".", r"\.")):
        tp.trace(build, WIDTHS, example=VECTORS)
