"""Recurrent layers: unrolled over the steps of the example, they derive like programs by hand and train as derived."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import tensorprog as tp
from tensorprog.program import Value
from tensorprog.trace.operators.functions import FUNCTIONS
from tests.trace.measured import disagreements, moves
from tests.trace.test_programs import exponents
from validation.own_model import validate_model
from validation.verdict import Verdict

INPUTS, CLASSES, STEPS = 8, 5, 3
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
GENERATOR = torch.Generator().manual_seed(0)
SEQUENCES, LABELS = (
    torch.randn(16, STEPS, INPUTS, generator=GENERATOR),
    torch.randint(CLASSES, (16,), generator=GENERATOR),
)
SHORT = SEQUENCES[:4, :2]


class Recurrent(nn.Module):
    """A recurrent layer of torch; the head reads the states that ``read`` says."""

    def __init__(self, n: int, kind: str, read: str = "last", *, bias: bool = False, **options: Any) -> None:
        super().__init__()
        self.layer = getattr(nn, kind)(INPUTS, n, bias=bias, batch_first=True, **options)
        out = options.get("proj_size") or n * (2 if options.get("bidirectional") else 1)
        self.head, self.read = nn.Linear(out, CLASSES, bias=False), read

    def forward(self, x: Tensor) -> Tensor:
        states, last = self.layer(x)
        if self.read == "final":
            return self.head((last[0] if isinstance(last, tuple) else last)[-1])
        return self.head(states.mean(1) if self.read == "mean" else states[:, -1])


class Cells(nn.Module):
    """Its cell, called in a loop."""

    def __init__(self, n: int, kind: str) -> None:
        super().__init__()
        self.cell, self.head = getattr(nn, f"{kind}Cell")(INPUTS, n, bias=False), nn.Linear(n, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Plain(nn.Module):
    """The same network out of linear layers, whose products the refined check can measure.

    Args:
        readout: the exponent of the readout's init.
    """

    def __init__(self, n: int, kind: str, readout: float = -0.5) -> None:
        super().__init__()
        self.kind, self.n = kind, n
        self.into = nn.Linear(INPUTS, GATES[kind] * n, bias=False)
        self.again = nn.Linear(n, GATES[kind] * n, bias=False)
        self.head = nn.Linear(n, CLASSES, bias=False)
        for layer, std in ((self.into, INPUTS**-0.5), (self.again, n**-0.5), (self.head, n**readout)):
            nn.init.normal_(layer.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(len(x), self.n)
        for step in self.into(x).unbind(1):
            a, r = step.chunk(GATES[self.kind], -1), self.again(h).chunk(GATES[self.kind], -1)
            match self.kind:
                case "RNN":
                    h = (a[0] + r[0]).tanh()
                case "GRU":
                    update = (a[1] + r[1]).sigmoid()
                    fresh = (a[2] + (a[0] + r[0]).sigmoid() * r[2]).tanh()
                    h = fresh + update * (h - fresh)
                case "LSTM":
                    i, f, g, o = (x + y for x, y in zip(a, r, strict=True))
                    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                    h = o.sigmoid() * c.tanh()
        return self.head(h)


def by_hand(kind: str, steps: int) -> tp.Program:
    """The instructions of the network, with recurrent weights that all steps share."""
    b = tp.Builder()
    data = b.data("x", b.finite("inputs"))
    gates = range(GATES[kind])
    into = [b.matmul(b.weight(f"into[{k}]", b.width, b.finite("inputs")), data) for k in gates]
    again = [b.weight(f"again[{k}]", b.width, b.width) for k in gates]
    head = b.weight("head", b.finite("classes"), b.width)
    sigmoid = FUNCTIONS["aten.sigmoid"]
    h: Value | None = None
    c: Value | None = None
    for _ in range(steps):
        r = [None if h is None else b.matmul(w, h) for w in again]
        a = [x if y is None else b.add(y, x) for x, y in zip(into, r, strict=True)]
        match kind:
            case "RNN":
                h = b.apply("tanh", a[0])
            case "GRU":
                update, gate = b.apply(sigmoid, a[1]), b.apply(sigmoid, a[0])
                fresh = b.apply("tanh", into[2] if r[2] is None else b.add(into[2], b.multiply(gate, r[2])))
                change = fresh if h is None else b.add(h, fresh)
                h = b.add(fresh, b.multiply(update, change))
            case "LSTM":
                i, f, o = (b.apply(sigmoid, a[k]) for k in (0, 1, 3))
                new = b.multiply(i, b.apply("tanh", a[2]))
                c = new if c is None else b.add(b.multiply(f, c), new)
                h = b.multiply(o, b.apply("tanh", c))
    assert h is not None
    return b.build(b.matmul(head, h), kind)


def same(a: tp.Program, b: tp.Program) -> None:
    for p, optimizer in (("sp", "sgd"), ("mup", "adam")):
        first, second = (tp.derive(x, p, optimizer=optimizer) for x in (a, b))
        assert exponents(first) == exponents(second), (p, optimizer)
        assert (first.regime, first.learning, first.settled) == (second.regime, second.learning, second.settled)


@pytest.mark.parametrize(("kind", "read"), [("RNN", "last"), ("RNN", "final"), ("GRU", "last"), ("LSTM", "final")])
def test_derives_like_the_program_by_hand(kind: str, read: str) -> None:
    program = tp.trace(partial(Recurrent, kind=kind, read=read), (64, 128), example=SHORT).program
    same(program, by_hand(kind, steps=2))


def test_recurrent_weights_are_tied() -> None:
    program = tp.trace(partial(Recurrent, kind="RNN"), (64, 128), example=SEQUENCES).program
    names = [s.name for s in program.sites]
    assert names == ["layer.weight_ih_l0", "layer.weight_hh_l0", "layer.weight_hh_l0#2", "head"]
    same(program, by_hand("RNN", steps=3))


@pytest.mark.parametrize("kind", GATES)
def test_linear_layers_in_a_loop_are_the_same(kind: str) -> None:
    """So what is measured of :class:`Plain` below holds for torch's layer."""
    same(
        *(
            tp.trace(build, (64, 128), example=SHORT).program
            for build in (partial(Recurrent, kind=kind), partial(Plain, kind=kind))
        )
    )


@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_cells_learn_what_layers_learn(kind: str) -> None:
    """A cell reads its input anew at every step; the states that the head reads are those of the layer."""
    layer, cells = (
        tp.derive(tp.trace(partial(made, kind=kind), (64, 128), example=SHORT).program, "sp", optimizer="adam")
        for made in (Recurrent, Cells)
    )
    for a, b in zip(cells.steps, layer.steps, strict=True):
        assert a.sites["head"] == b.sites["head"]


Optimizer = Callable[[nn.Module], torch.optim.Optimizer]


def optimizers() -> dict[str, tuple[Optimizer, float]]:
    """Rates in powers of n / 64 for input, recurrent and output weights, and the exponent of the readout's init."""

    def made(kind: type[torch.optim.Optimizer], powers: tuple[float, float, float], rates: Any, m: Any) -> Any:
        layers = zip((m.into, m.again, m.head), powers, rates, strict=True)
        return kind([{"params": x.parameters(), "lr": lr * (m.n / 64) ** power} for x, power, lr in layers])

    adam, sgd = torch.optim.Adam, torch.optim.SGD
    return {
        "sp, adam": (partial(made, adam, (-1, -1, -1), (3e-4, 3e-3, 3e-3)), -0.5),
        "mup, adam": (partial(made, adam, (0, -1, -1), (3e-3, 3e-3, 3e-3)), -1.0),
        # A smaller rate of the input weights: what they do to the states falls as 1/n, and outweighs the rest else.
        "sp, sgd": (partial(made, sgd, (-0.5, -0.5, -0.5), (3e-4, 0.1, 0.1)), -0.5),
        "mup, sgd": (partial(made, sgd, (1, 0, -1), (1.0, 1.0, 1.0)), -1.0),
    }


@pytest.mark.slow
@pytest.mark.parametrize("setting", optimizers())
@pytest.mark.parametrize("kind", GATES)
def test_predictions_agree(kind: str, setting: str) -> None:
    optimizer, readout = optimizers()[setting]
    traced = tp.trace(partial(Plain, kind=kind, readout=readout), example=SEQUENCES, optimizer=optimizer)
    outcome = validate_model(traced, optimizer, functional.cross_entropy, SEQUENCES, LABELS, step=2)
    assert {r.verdict for r in outcome.rows} == {Verdict.AGREES}, str(outcome)


LAYERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "RNN, relu": ({"kind": "RNN", "nonlinearity": "relu", "read": "mean"}, ["weight_ih_l0", "weight_hh_l0"]),
    "GRU, biases": ({"kind": "GRU"}, ["bias_ih_l0", "bias_hh_l0"]),
    "GRU, both directions": ({"kind": "GRU", "bidirectional": True}, ["weight_hh_l0", "weight_ih_l0_reverse"]),
    "LSTM, projected": ({"kind": "LSTM", "proj_size": 4}, ["weight_hh_l0", "weight_hr_l0"]),
    "LSTM, two layers": ({"kind": "LSTM", "num_layers": 2}, ["weight_hh_l0", "weight_ih_l1", "weight_hh_l1"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_steps_of_single_weights(name: str) -> None:
    """Weights and biases of torch's own layer move the logits as derived."""
    options, names = LAYERS[name]
    found = moves(partial(Recurrent, bias=True, **options), SHORT, seeds=3, only=[f"layer.{x}" for x in names])
    assert len(found) == len(names)
    assert not disagreements(found), found


def test_the_other_direction_starts_at_the_last_position() -> None:
    """There it has made a single step, from zero, and its recurrent weight does nothing."""
    traced = tp.trace(partial(Recurrent, kind="RNN", bidirectional=True), (64, 128), example=SHORT)
    assert traced.unused == ("layer.weight_hh_l0_reverse",)


def test_a_single_step_has_no_recurrence() -> None:
    traced = tp.trace(partial(Recurrent, kind="GRU"), (64, 128), example=SEQUENCES[:, :1])
    assert traced.unused == ("layer.weight_hh_l0",)
