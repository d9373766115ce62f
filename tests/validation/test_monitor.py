"""The refined coordinate check of any module: sizes computed by hand, by operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from validation.measure import OUTPUT, Quantity
from validation.monitor import RefinedCheck
from validation.sizes import rms

Q = Quantity
Found = dict[tuple[str, Quantity], float]


def sizes(check: RefinedCheck, step: int = 1) -> Found:
    found = {(m.site, m.quantity): m.size for m in check.at(step)}
    assert len(found) == len(check.at(step))
    return found


def moved(model: nn.Module, seed: int = 0, by: float = 1.0) -> nn.Module:
    """Move every parameter, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype), alpha=by)
    return model


def normal(*shape: int, seed: int = 7) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def before_and_after(model: nn.Module, *probe: Tensor, **options: Any) -> tuple[list[Tensor], RefinedCheck]:
    """The initial parameters, and a check of the model, which has moved since."""
    model.double()
    check = RefinedCheck(model, probe, **options)
    initial = [p.detach().clone() for p in model.parameters()]
    moved(model)
    return initial, check


def approx(x: Tensor | float) -> Any:
    return pytest.approx(rms(x) if isinstance(x, Tensor) else x, rel=1e-9)


# -- numbers computed by hand


def test_linear_with_bias_by_hand() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2, bias=False)).double()
    first, last = model[0], model[2]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0], [0, -1]]))
        first.bias.copy_(torch.tensor([0.0, 1]))
        last.weight.copy_(torch.tensor([[2.0, 0], [0, 4]]))
    x = torch.tensor([[1.0, 2], [3, -1]], dtype=torch.float64)
    check = RefinedCheck(model, x, loss=functional.cross_entropy, targets=torch.tensor([0, 1]))
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 1], [0, -1]]))
        first.bias.copy_(torch.tensor([0.0, 4]))
        last.weight.copy_(torch.tensor([[2.0, 2], [0, 4]]))
    got = sizes(check)
    # Wx + b: (1, -1), (3, 2) -> x_0 = (1, 0), (3, 2); then (3, 2), (2, 5), all positive.
    assert got["0.weight", Q.EFFECTIVE] == approx(math.sqrt((4 + 0 + 1 + 0) / 4))  # (2, 0), (-1, 0)
    assert got["0.bias", Q.EFFECTIVE] == approx(math.sqrt((0 + 9) / 2))
    assert got["0.weight", Q.ACTIVATION] == approx(math.sqrt((9 + 4 + 4 + 25) / 4))
    assert got["0.weight", Q.FEATURE] == approx(math.sqrt((4 + 4 + 1 + 9) / 4))  # (2, 2), (-1, 3)
    assert got["0.bias", Q.FEATURE] == got["0.weight", Q.FEATURE]
    assert got["2.weight", Q.EFFECTIVE] == approx(math.sqrt((16 + 0 + 100 + 0) / 4))  # (4, 0), (10, 0)
    assert got["2.weight", Q.PROPAGATING] == approx(math.sqrt((16 + 64 + 4 + 144) / 4))  # (4, 8), (-2, 12)
    # f_0 = (2, 0), (6, 8); f_t = (10, 8), (14, 20).
    assert got[OUTPUT, Q.LOGITS] == approx(math.sqrt((100 + 64 + 196 + 400) / 4))
    assert got[OUTPUT, Q.LOGIT_UPDATE] == approx(math.sqrt((64 + 64 + 64 + 144) / 4))
    p = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(6))]  # of the first class
    chi = [p[0] - 1, 1 - p[0], p[1], -p[1]]
    assert got[OUTPUT, Q.LOSS_GRADIENT] == approx(math.sqrt(sum(c * c for c in chi) / 4))
    absent = [("0.weight", Q.PROPAGATING), ("0.bias", Q.PROPAGATING), ("2.weight", Q.ACTIVATION)]
    assert not set(absent) & set(got)


def test_initialisation_has_sizes_but_no_changes() -> None:
    check = RefinedCheck(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), normal(5, 3).float())
    assert {m.quantity for m in check.at(0)} == {Q.ACTIVATION, Q.LOGITS, Q.ALIGNMENT_INITIAL}
    assert all(m.step == 0 for m in check.at(0))


def test_convolution_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 2), nn.ReLU(), nn.Conv2d(1, 1, 2, bias=False)).double()
    first, last = model[0], model[2]
    with torch.no_grad():
        first.weight.fill_(1.0)
        first.bias.fill_(0.0)
        last.weight.copy_(torch.tensor([[1.0, 0], [0, 0]])[None, None])
    x = torch.arange(9, dtype=torch.float64).view(1, 1, 3, 3)  # sums of 2 x 2: 8, 12, 20, 24
    check = RefinedCheck(model, x)
    with torch.no_grad():
        first.weight[0, 0, 0, 0] += 1  # adds 0, 1, 3, 4
        first.bias += 10
        last.weight[0, 0, 1, 1] += 1
    got = sizes(check)
    assert got["0.weight", Q.EFFECTIVE] == approx(math.sqrt((0 + 1 + 9 + 16) / 4))
    assert got["0.bias", Q.EFFECTIVE] == approx(10.0)
    assert got["0.weight", Q.FEATURE] == approx(math.sqrt((100 + 121 + 169 + 196) / 4))
    assert got["2.weight", Q.EFFECTIVE] == approx(24 + 4 + 10.0)
    assert got["2.weight", Q.PROPAGATING] == approx(10.0)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.readout = nn.Linear(4, 5, bias=False)
        self.readout.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.readout(self.embedding(tokens))


def test_embedding_and_tied_readout_are_sites_of_one_parameter() -> None:
    tokens = torch.tensor([[0, 1, 2], [4, 4, 1]])
    (w_0,), check = before_and_after(model := Tied(), tokens)
    w = model.embedding.weight.detach()
    assert check.sites == ("embedding.weight", "embedding.weight#2")
    got = sizes(check)
    assert got["embedding.weight", Q.EFFECTIVE] == approx((w - w_0)[tokens])
    assert got["embedding.weight", Q.ACTIVATION] == approx(w[tokens])
    assert ("embedding.weight", Q.PROPAGATING) not in got  # tokens do not change
    assert ("embedding.weight", Q.ALIGNMENT_EFFECTIVE) not in got  # nor are they summed over
    assert got["embedding.weight#2", Q.EFFECTIVE] == approx(w[tokens] @ (w - w_0).T)
    assert got["embedding.weight#2", Q.PROPAGATING] == approx((w - w_0)[tokens] @ w_0.T)
    assert got[OUTPUT, Q.LOGITS] == approx(w[tokens] @ w.T)


NORMS: dict[str, tuple[Callable[[], nn.Module], Callable[[Tensor], Tensor]]] = {
    "layer": (lambda: nn.LayerNorm(4), lambda x: functional.layer_norm(x, (4,))),
    "rms": (lambda: nn.RMSNorm(4), lambda x: functional.rms_norm(x, (4,))),
    "batch": (lambda: nn.BatchNorm1d(4), lambda x: functional.batch_norm(x, None, None, training=True)),
    "group": (lambda: nn.GroupNorm(2, 4), lambda x: functional.group_norm(x, 2)),
}


@pytest.mark.parametrize("norm", list(NORMS))
def test_normalisations_are_taken_apart(norm: str) -> None:
    build, normalised = NORMS[norm]
    model = nn.Sequential(nn.Linear(3, 4, bias=False), build(), nn.Tanh(), nn.Linear(4, 2)).double()
    x = normal(6, 3)
    (w_0, gain_0, *rest), check = before_and_after(model, x)
    w, gain, *_ = (p.detach() for p in model.parameters())
    z_0, z = normalised(x @ w_0.T), normalised(x @ w.T)
    got = sizes(check)
    assert got["0.weight", Q.ACTIVATION] == approx(x @ w.T)
    assert got["1.weight", Q.EFFECTIVE] == approx((gain - gain_0) * z)
    assert got["1.weight", Q.PROPAGATING] == approx(gain_0 * (z - z_0))
    after = gain * z
    if "1.bias" in check.sites:
        bias_0, bias = rest[0], model[1].bias.detach()
        assert got["1.bias", Q.EFFECTIVE] == approx(bias - bias_0)
        after = after + bias
    assert got["1.weight", Q.ACTIVATION] == approx(after.tanh())
    assert ("1.weight", Q.ALIGNMENT_INITIAL) not in got  # a gain sums nothing
    assert ("1.bias" in check.sites) == (norm != "rms")


def test_batch_normalisation_of_images_uses_channels_and_keeps_its_statistics() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).double()
    x = normal(4, 2, 5, 5)
    model(x)
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    initial, check = before_and_after(model, x)
    got = sizes(check)
    assert all(torch.equal(b, buffers[name]) for name, b in model.named_buffers())
    z = functional.batch_norm(model[0](x), None, None, training=True)
    change = (model[1].weight - initial[2]).detach()
    assert got["1.weight", Q.EFFECTIVE] == approx(change[:, None, None] * z.detach())


def test_running_statistics_move_what_they_normalise_even_where_the_input_is_fixed() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).double().eval()
    x = normal(4, 3)
    check = RefinedCheck(model, x)
    model[0].running_mean += 1
    assert sizes(check)["0.weight", Q.PROPAGATING] == approx(1 / math.sqrt(1 + 1e-5))


# -- sites


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(3, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.block(x))


def test_a_module_called_twice_is_two_sites() -> None:
    (w_0, b_0), check = before_and_after(model := Twice(), x := normal(5, 3))
    w, b = (p.detach() for p in model.parameters())
    assert check.sites == ("block.0.weight", "block.0.bias", "block.0.weight#2", "block.0.bias#2")
    got = sizes(check)
    h_0, h = (x @ w_0.T + b_0).relu(), (x @ w.T + b).relu()
    assert got["block.0.weight#2", Q.EFFECTIVE] == approx(h @ (w - w_0).T)
    assert got["block.0.weight#2", Q.PROPAGATING] == approx((h - h_0) @ w_0.T)
    assert got["block.0.bias#2", Q.EFFECTIVE] == approx(b - b_0)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 3), nn.Linear(4, 5, bias=False)
        self.both = nn.Bilinear(3, 5, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.both(self.left(x).tanh(), self.right(y).tanh())


def test_several_inputs_and_a_bilinear_layer() -> None:
    x, y = normal(6, 2), normal(6, 4, seed=8)
    (v_0, c_0, r_0, w_0, _), check = before_and_after(model := TwoInputs(), x, y)
    w = model.both.weight.detach()
    p_0, p = (x @ v_0.T + c_0).tanh(), model.left(x).tanh().detach()
    q_0, q = (y @ r_0.T).tanh(), model.right(y).tanh().detach()
    got = sizes(check)
    assert got["both.weight", Q.EFFECTIVE] == approx(functional.bilinear(p, q, w - w_0))
    change = functional.bilinear(p, q, w_0) - functional.bilinear(p_0, q_0, w_0)
    assert got["both.weight", Q.PROPAGATING] == approx(change)
    named = RefinedCheck(model, {"y": y, "x": x})
    assert named.sites == check.sites == ("left.weight", "left.bias", "right.weight", "both.weight", "both.bias")


def function(f: Callable[..., Tensor], **shapes: tuple[int, ...]) -> nn.Module:
    """A module that computes f(input, *parameters)."""

    class Function(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for i, (name, shape) in enumerate(shapes.items()):
                self.register_parameter(name, nn.Parameter(normal(*shape, seed=i)))

        def forward(self, x: Tensor) -> Tensor:
            return f(x, *self.parameters())

    return Function()


WAYS_TO_MULTIPLY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "matmul": lambda x, w: x @ w.t(),
    "transposed": lambda x, w: (w @ x.t()).t(),
    "reversed": lambda x, w: w.t().__rmatmul__(x),
    "mm": lambda x, w: torch.mm(x, w.T),
    "bmm": lambda x, w: torch.bmm(x[None], w.mT[None])[0],
    "linear": lambda x, w: functional.linear(x, w),
    "halves": lambda x, w: functional.linear(x, 2 * w * 0.5),
    "einsum": lambda x, w: torch.einsum("bi,oi->bo", x, w),
    "einsum of a list": lambda x, w: torch.einsum("oi, bi -> bo", [w, x]),
    "addmm": lambda x, w: torch.addmm(torch.zeros(3, dtype=x.dtype), x, w.t()),
    "convolution": lambda x, w: functional.conv1d(x[:, :, None], w[:, :, None])[:, :, 0],
    "pieces": lambda x, w: functional.linear(x, torch.cat([w[:1], w[1:]])),
}


@pytest.mark.parametrize("way", list(WAYS_TO_MULTIPLY))
def test_every_way_to_multiply_by_a_parameter(way: str) -> None:
    model = function(lambda x, v, w: WAYS_TO_MULTIPLY[way](torch.tanh(x @ v), w), v=(2, 4), w=(3, 4))
    (v_0, w_0), check = before_and_after(model, x := normal(5, 2))
    v, w = (p.detach() for p in model.parameters())
    h_0, h = torch.tanh(x @ v_0), torch.tanh(x @ v)
    got = sizes(check)
    assert check.sites == ("v", "w")
    assert got["v", Q.ACTIVATION] == approx(h)
    assert got["w", Q.EFFECTIVE] == approx(h @ (w - w_0).T)
    assert got["w", Q.PROPAGATING] == approx((h - h_0) @ w_0.T)
    alignment = math.log(rms(h @ (w - w_0).T) / rms(w - w_0) / rms(h)) / math.log(4)
    assert got["w", Q.ALIGNMENT_EFFECTIVE] == approx(alignment)
    assert got["w", Q.ALIGNMENT_INITIAL] == approx(math.log(rms(h @ w_0.T) / rms(w_0) / rms(h)) / math.log(4))
    alignment = math.log(rms((h - h_0) @ w_0.T) / rms(w_0) / rms(h - h_0)) / math.log(4)
    assert got["w", Q.ALIGNMENT_PROPAGATING] == approx(alignment)


def test_gain_bias_division_and_slope() -> None:
    def f(x: Tensor, v: Tensor, gain: Tensor, bias: Tensor, divisor: Tensor, slope: Tensor) -> Tensor:
        h = (x @ v) * gain - 2 * bias
        return functional.prelu(h / divisor, slope)

    model = function(f, v=(2, 4), gain=(4,), bias=(4,), divisor=(4,), slope=(1,))
    (v_0, g_0, b_0, d_0, s_0), check = before_and_after(model, x := normal(5, 2))
    v, g, b, d, s = (p.detach() for p in model.parameters())
    got = sizes(check)
    h_0, h = x @ v_0 * g_0 - 2 * b_0, x @ v * g - 2 * b
    assert got["gain", Q.EFFECTIVE] == approx(x @ v * (g - g_0))
    assert got["gain", Q.PROPAGATING] == approx((x @ v - x @ v_0) * g_0)
    assert got["bias", Q.EFFECTIVE] == approx(2 * (b - b_0))
    assert got["divisor", Q.EFFECTIVE] == approx(h * (1 / d - 1 / d_0))
    assert got["divisor", Q.PROPAGATING] == approx((h - h_0) / d_0)
    assert got["slope", Q.EFFECTIVE] == approx((h / d).clamp(max=0) * (s - s_0))


def test_a_bias_may_have_a_factor_and_stand_first() -> None:
    def f(x: Tensor, v: Tensor, a: Tensor, b: Tensor, c: Tensor, w: Tensor) -> Tensor:
        h = torch.sub(a + torch.add(x @ v, b, alpha=3), c, alpha=5)
        return torch.addmm(c[:3], h, w, beta=7, alpha=2)

    shapes = {"v": (2, 4), "a": (4,), "b": (4,), "c": (4,), "w": (4, 3)}
    (_, a_0, b_0, c_0, w_0), check = before_and_after(model := function(f, **shapes), x := normal(5, 2))
    v, a, b, c, w = (p.detach() for p in model.parameters())
    got = sizes(check)
    assert got["a", Q.EFFECTIVE] == approx(a - a_0)
    assert got["b", Q.EFFECTIVE] == approx(3 * (b - b_0))
    assert got["c", Q.EFFECTIVE] == approx(5 * (c - c_0))
    assert got["w", Q.EFFECTIVE] == approx(2 * (x @ v + a + 3 * b - 5 * c) @ (w - w_0))
    assert got["c#2", Q.EFFECTIVE] == approx(7 * (c - c_0)[:3])


def test_values_that_are_written_behind_their_back() -> None:
    def f(x: Tensor, v: Tensor, w: Tensor) -> Tensor:
        h = x @ v
        h.detach().relu_()
        return h @ w

    (v_0, w_0), check = before_and_after(model := function(f, v=(2, 4), w=(4, 3)), x := normal(5, 2))
    change = (x @ model.v.detach()).relu() - (x @ v_0).relu()
    assert sizes(check)["w", Q.PROPAGATING] == approx(change @ w_0)


def test_numbers_that_multiply_an_output_count() -> None:
    def f(x: Tensor, v: Tensor, b: Tensor, w: Tensor) -> Tensor:
        h = 5 * torch.relu(3 * (2 * (x @ v) + b))  # behind the nonlinearity it is none of the product's business
        return -(h @ w) / 4

    (v_0, b_0, w_0), check = before_and_after(model := function(f, v=(2, 4), b=(4,), w=(4, 3)), x := normal(5, 2))
    v, b, w = (p.detach() for p in model.parameters())
    got = sizes(check)
    h_0, h = torch.relu(6 * x @ v_0 + 3 * b_0), torch.relu(6 * x @ v + 3 * b)
    assert got["v", Q.EFFECTIVE] == approx(6 * x @ (v - v_0))
    assert got["b", Q.EFFECTIVE] == approx(3 * (b - b_0))
    assert got["v", Q.ACTIVATION] == approx(h)
    assert got["w", Q.EFFECTIVE] == approx(5 * h @ (w - w_0) / 4)
    assert got["w", Q.PROPAGATING] == approx(5 * (h - h_0) @ w_0 / 4)
    assert got["w", Q.ALIGNMENT_EFFECTIVE] == approx(math.log(rms(h @ (w - w_0)) / rms(w - w_0) / rms(h)) / math.log(4))
    assert ("w", Q.ACTIVATION) not in got  # its output is the logits


def test_a_number_does_not_count_where_the_product_is_read_elsewhere_too() -> None:
    (v_0,), check = before_and_after(model := function(lambda x, v: 2 * (h := x @ v) + h, v=(2, 4)), x := normal(5, 2))
    got = sizes(check)
    assert got["v", Q.EFFECTIVE] == approx(x @ (model.v.detach() - v_0))
    assert got["v", Q.ACTIVATION] == approx(x @ model.v.detach())


def test_parameters_that_are_activations_themselves() -> None:
    """Class token, learned positions and learned queries."""

    def f(x: Tensor, token: Tensor, position: Tensor, query: Tensor, w: Tensor) -> Tensor:
        y = torch.cat([token.expand(x.shape[0], 1, 4), x], 1) + position
        return functional.scaled_dot_product_attention(functional.linear(query, w), y, y)

    model = function(f, token=(1, 1, 4), position=(4, 4), query=(2, 4), w=(4, 4))
    (t_0, p_0, q_0, w_0), check = before_and_after(model, normal(5, 3, 4))
    t, p, q, w = (p.detach() for p in model.parameters())
    got = sizes(check)
    assert check.sites == ("token", "position", "query", "w")
    assert got["token", Q.EFFECTIVE] == approx(t - t_0)
    assert got["position", Q.EFFECTIVE] == approx(p - p_0)
    assert got["query", Q.EFFECTIVE] == got["query", Q.FEATURE] == approx(q - q_0)
    assert got["w", Q.EFFECTIVE] == approx(q @ (w - w_0).T)
    assert got["w", Q.PROPAGATING] == approx((q - q_0) @ w_0.T)
