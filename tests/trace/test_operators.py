"""Operators that few layers are made of: every parameter moves the logits as derived, or the operator is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import tensorprog as tp
from tensorprog.errors import Unsupported
from tensorprog.trace import TraceError
from tests.trace.measured import disagreements, moves
from tests.trace.models import VECTORS

CLASSES = 5
STEPS = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(1))
BAGS = torch.randint(0, 30, (6, 4), generator=torch.Generator().manual_seed(1))
Body = Callable[["Layers", Tensor], Tensor]


class Layers(nn.Module):
    """Linear layers under the names of the letters, and what is computed with them.

    Args:
        wide: the head reads so many times n features, and so many more.
    """

    def __init__(self, n: int, body: Body, wide: tuple[int, int] = (1, 0)) -> None:
        super().__init__()
        self.n, self.body = n, body
        self.a, self.b, self.c = nn.Linear(8, n), nn.Linear(8, n), nn.Linear(n, n, bias=False)
        self.head = nn.Linear(wide[0] * n + wide[1], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self, x))


def states(m: Layers, x: Tensor) -> Tensor:
    """Written step by step into a tensor of zeros."""
    out, h = x.new_zeros(len(x), x.shape[1], m.n), x.new_zeros(len(x), m.n)
    for t in range(x.shape[1]):
        h = torch.tanh(m.a(x[:, t]) + m.c(h))
        out[:, t] = h
    return out[:, -1]


def shifted(m: Layers, x: Tensor) -> Tensor:
    h = m.a(x).tanh()
    out = torch.zeros_like(h)
    out[:, 1:] = m.c(h)[:, :-1]
    return (out + h).mean(1)


def halves(m: Layers, x: Tensor) -> Tensor:
    out = torch.empty(len(x), 2 * m.n)
    out[:, m.n :] = m.b(x).relu()
    out[:, : m.n] = m.c(m.a(x).tanh())
    return out


def overwritten(m: Layers, x: Tensor) -> Tensor:
    y = m.c(m.a(x).tanh())
    y[:, : m.n // 2] = m.b(x).relu()[:, m.n // 2 :]
    y[:, m.n // 2 :] *= 2 / m.n
    return y


def beside_data(m: Layers, x: Tensor) -> Tensor:
    return torch.cat([m.c(m.a(x).tanh()), x], -1)


WRITTEN: dict[str, tuple[Body, tuple[int, int], Tensor]] = {
    "states": (states, (1, 0), STEPS),
    "shifted": (shifted, (1, 0), STEPS),
    "halves": (halves, (2, 0), VECTORS),
    "overwritten": (overwritten, (1, 0), VECTORS),
    "beside data": (beside_data, (1, 8), VECTORS),
}


class Bilinear(nn.Module):
    """sum_ij W_kij x_i y_j; x or y may be data."""

    def __init__(self, n: int, into: tuple[bool, bool], out: int | None = None) -> None:
        super().__init__()
        self.into = into
        self.a, self.b = nn.Linear(8, n), nn.Linear(8, n)
        self.both = nn.Bilinear(n if into[0] else 8, n if into[1] else 8, out or n)
        self.head = nn.Linear(out or n, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x).relu() if self.into[0] else x, self.b(x).relu() if self.into[1] else x
        return self.head(self.both(a, b))


class Slopes(nn.Module):
    """Trained slopes: one for all coordinates, or one for each."""

    def __init__(self, n: int, each: bool) -> None:
        super().__init__()
        self.first, self.hidden, self.head = nn.Linear(8, n), nn.Linear(n, n), nn.Linear(n, CLASSES)
        self.slope = nn.PReLU(n if each else 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.slope(self.hidden(self.slope(self.first(x)))))


class Bag(nn.Module):
    def __init__(self, n: int, mode: str) -> None:
        super().__init__()
        self.bag, self.hidden, self.head = nn.EmbeddingBag(30, n, mode=mode), nn.Linear(n, n), nn.Linear(n, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(self.bag(x)).relu())


def detached(m: Layers, x: Tensor) -> Tensor:
    """b moves what c is multiplied with, and has no gradient of its own."""
    return m.c(torch.tanh(m.a(x) + m.b(x).detach()))


def gated(m: Layers, x: Tensor) -> Tensor:
    """A gradient through one of two factors: without the other, c's direction is another one."""
    h = m.c(m.a(x).relu())
    return h * h.detach().sigmoid()


OTHERS: dict[str, tuple[Callable[[int], nn.Module], Tensor]] = {
    "bilinear": (partial(Bilinear, into=(True, True), out=CLASSES), VECTORS),
    "bilinear of data": (partial(Bilinear, into=(True, False)), VECTORS),
    "bilinear on data": (partial(Bilinear, into=(False, True)), VECTORS),
    "one slope": (partial(Slopes, each=False), VECTORS),
    "slopes": (partial(Slopes, each=True), VECTORS),
    "detached": (partial(Layers, body=detached), VECTORS),
    "gated by itself, detached": (partial(Layers, body=gated), VECTORS),
    "mean of a bag": (partial(Bag, mode="mean"), BAGS),
    "maximum of a bag": (partial(Bag, mode="max"), BAGS),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_steps_of_single_weights(name: str) -> None:
    build, example = OTHERS[name]
    found = moves(build, example, (64, 128, 256))
    assert not disagreements(found), found


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITTEN)
def test_steps_of_single_weights_through_writes(name: str) -> None:
    body, wide, example = WRITTEN[name]
    found = moves(partial(Layers, body=body, wide=wide), example, seeds=6, only=["a.weight", "c.weight", "head.weight"])
    assert not disagreements(found), found


def every_other(m: Layers, x: Tensor) -> Tensor:
    y = m.a(x).clone()
    y[:, ::2] = torch.ones(len(x), m.n // 2)
    return y


def chosen(m: Layers, x: Tensor) -> Tensor:
    y = m.a(x).clone()
    y[:, torch.tensor([0, 2])] = 1.0
    return y


def ungraded(m: Layers, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = m.c(m.b(x))
    return m.a(x) + y


def merged(m: Layers, x: Tensor) -> Tensor:
    return functional.linear(m.a(x).relu(), m.c.weight + m.c.weight.T)


def normalised(m: Layers, x: Tensor) -> Tensor:
    return functional.linear(m.a(x), functional.normalize(m.c.weight, dim=1))


REFUSED: dict[str, tuple[Body, str]] = {
    "every other": (
        every_other,
        r"aten\.slice_scatter.*: it writes every other feature\. Stack the features",
    ),
    "chosen": (chosen, r"aten\.index_put.*: there is no rule for this operator"),
    "ungraded": (ungraded, r"wrap_with_set_grad_enabled.*without gradients\. Detach what that part returns instead"),
    "merged": (merged, r"aten\.add.*: it computes a weight from 'c\.weight', and weights of a program are parameters"),
    "normalised": (normalised, r"aten\.linalg_vector_norm.*: it computes a weight from 'c\.weight'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    body, message = REFUSED[name]
    with pytest.raises(TraceError, match=message):
        tp.trace(partial(Layers, body=body), (64, 128), example=VECTORS)


@pytest.mark.parametrize(
    ("parametrize", "operator"),
    [
        (parametrizations.weight_norm, "_weight_norm_interface"),
        (parametrizations.orthogonal, "tril"),
    ],
)
def test_parametrized_weights_are_refused(parametrize: Callable[[nn.Module], nn.Module], operator: str) -> None:
    def build(n: int) -> nn.Module:
        return nn.Sequential(nn.Linear(8, n), nn.ReLU(), parametrize(nn.Linear(n, n)), nn.ReLU(), nn.Linear(n, 5))

    message = rf"aten\.{operator} in module '2\.[\w.]*': it computes a weight from '2\..*remove_parametrizations"
    with pytest.raises(TraceError, match=message):
        tp.trace(build, (64, 128), example=VECTORS)


def test_an_exponential_that_diverges_has_no_power() -> None:
    """Bounded, it is a function like any other; beyond, learning rates end."""
    traced = tp.trace(partial(Layers, body=lambda m, x: m.c(m.a(x).tanh()).exp()), (64, 128), example=VECTORS)
    assert tp.derive(traced.program, "mup", optimizer="adam").regime.value == "stable"
    with pytest.raises(Unsupported, match=r"an exponential of values n\^\(1\) is not supported: no power of n"):
        tp.derive(traced.program, "sp", optimizer="adam")
    rates = tp.max_stable_lr(traced.program, "sp", optimizer="adam")
    assert str(rates.exponent) == "-1"
