"""What is given to a trace: examples that are made where none is, and every bad argument by its name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import tensorprog as tp
from tensorprog.errors import SettingError
from tensorprog.testing import assert_parametrization
from tensorprog.trace import TraceError
from tests.trace.models import GPT, VECTORS, mlp, mup_adam

WIDTHS = (64, 128)


def images(n: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, n, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, 5))


def mixer(n: int) -> nn.Module:
    """A fixed number of positions: 16."""
    return nn.Sequential(nn.Embedding(10, n), nn.Conv1d(16, 4, 1), nn.ReLU(), nn.Linear(n, 5))


class OwnInputs(nn.Module):
    """A model that says what it takes, as those of transformers do."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.layers = mlp(n)

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        return {"first": torch.randn(2, 4), "second": torch.randn(2, 4)}

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.layers(torch.cat([first, second], -1))


@pytest.mark.parametrize("build", [mlp, GPT, images, OwnInputs], ids=lambda b: b.__name__)
def test_an_example_is_made(build: Callable[[int], nn.Module]) -> None:
    state = torch.get_rng_state()
    program = tp.trace(build, WIDTHS).program
    assert torch.equal(torch.get_rng_state(), state)
    assert {w.role.value for w in program.weights} >= {"input", "readout"}


def test_an_input_of_zeros_is_data() -> None:
    a, b = (tp.trace(mlp, WIDTHS, example=x).derivation for x in (torch.zeros(4, 8), VECTORS))
    assert a.steps == b.steps


class Pair(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.layers = mlp(n)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.layers(x) * y.mean()


class Unscaled(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n))

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(-1, keepdim=True)


class Rateless(torch.optim.Optimizer):
    """Sign descent whose step size is in its code."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad.sign() / p.shape[-1])


def rates(lr: Any) -> Callable[[nn.Module], torch.optim.Optimizer]:
    def made(model: nn.Module) -> torch.optim.Optimizer:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        optimizer.param_groups[0]["lr"] = lr
        return optimizer

    return made


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"build": Pair},
            r"example: got None; needs an input of the model: .*; made from its first layer, it raises Type",
        ),
        ({"build": mixer, "example": None}, None),
        ({"build": Unscaled, "example": VECTORS}, "the logits depend on no parameter"),
        ({"build": Unscaled}, "it has no layer that says what it reads"),
        ({"build": lambda n: nn.ReLU()}, "build: got 'ReLU without parameters'"),
        (
            {"build": lambda n: mlp(64)},
            "build: got 'models of the same sizes at widths 64, 128'; needs",
        ),
        ({"output": 0}, "output: got 0; the model returns one tensor: leave it out"),
        ({"output": 1.5}, "output: got 1.5; needs a name or an index"),
        ({"inits": 3}, "inits: got 3; needs a mapping"),
        ({"inits": {"0.weight": "a"}}, "inits, 0.weight: got 'a'; needs a number, or oo for zeros"),
        ({"entries": ["adam"]}, r"entries: got \['adam'\]; needs a mapping"),
        ({"clip": 0}, "clip: got 0; needs a threshold, a positive number"),
        ({"optimizer": rates("fast")}, "optimizer, lr of 0.weight: got 'fast'; needs a number"),
        ({"optimizer": rates(float("nan"))}, "optimizer, lr of 0.weight: got 'nan, nan'; is no power of the width"),
    ],
    ids=lambda x: "/".join(x) if isinstance(x, dict) else None,
)
def test_arguments(given: dict[str, Any], message: str | None) -> None:
    chosen = {"build": mlp, **given}
    call = partial(tp.trace, chosen.pop("build"), WIDTHS, **chosen)
    if message is None:
        call()
        return
    with pytest.raises((SettingError, TraceError), match=message):
        call()


def test_a_step_without_a_learning_rate_is_measured() -> None:
    traced = tp.trace(mlp, WIDTHS, optimizer=lambda m: Rateless(m.parameters()))
    assert [str(-traced.parametrization.table[name].c) for name in ("0", "2", "4")] == ["0", "-1", "-1"]


def test_assertion_as_in_a_test() -> None:
    """No example, no widths: what a model, an optimizer, a loss and a claim say is enough."""
    build = partial(GPT, attention=1.0)
    assert assert_parametrization(build, optimizer=mup_adam, loss=functional.cross_entropy, claim="mup").holds
    assert assert_parametrization(build, optimizer=mup_adam, loss="ce", claim="maximal-bounded").holds
    with pytest.raises(AssertionError, match=r"(?s)claim mup: 1 departure\n.*scale them by 1/d, not 1/sqrt\(d\)"):
        assert_parametrization(GPT, optimizer=mup_adam, loss="ce", claim="mup")


def scheduled(model: nn.Module) -> Any:
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0 / model[0].out_features)
    return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: t / 10)}


def test_a_schedule_that_begins_at_zero() -> None:
    """As trainers take them; the rate is the one that the schedule multiplies."""
    traced = tp.trace(mlp, WIDTHS, optimizer=scheduled)
    assert {str(-abc.c) for abc in traced.parametrization.table.values()} == {"-1"}
    pair = tp.trace(mlp, WIDTHS, optimizer=lambda m: tuple(scheduled(m).values()))
    assert pair.derivation.steps == traced.derivation.steps


def test_random_examples_are_the_same_at_every_width() -> None:
    assert tp.trace(mlp, WIDTHS, example=lambda n: torch.randn(4, 8)).program == tp.trace(mlp, WIDTHS).program
