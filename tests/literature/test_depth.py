"""Depth that grows with width: rates that branches of 1/sqrt(L) and 1/L ask for, against papers and trained networks.

Yang et al. 2023 (arXiv 2310.02244), depth-muP: branches 1/sqrt(L), Adam's rates 1/sqrt(L), SGD's independent of L.
Dey et al. 2025 (arXiv 2505.01618), CompleteP: at L^-alpha Adam's rates are L^(alpha - 1), and only at alpha = 1 does no
layer become lazy. Trained networks have their blocks one after the other.
"""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import tensorprog as tp
from tensorprog.exponent import Exponent, symbol
from tensorprog.parametrizations import parametrization

ALPHA, LAMBDA = symbol("alpha"), symbol("depth_exponent")
DEPTHS = ("1/2", "1")


def residual(depth: Any, alpha: Any, blocks: int = 2, **options: Any) -> tp.Program:
    """L = n^depth blocks behind multipliers L^-alpha; one of both is a number."""
    alpha, depth = (x if isinstance(x, Exponent) else Exponent(Fraction(x)) for x in (alpha, depth))
    branch = -(depth * alpha.const if alpha.is_number else alpha * depth.const)
    return tp.resnet_mlp(blocks, depth_exponent=depth, branch_exponent=branch, **options)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_only_one_over_depth_trains_every_layer(depth: str, optimizer: str) -> None:
    """Both the multiplier and the rate come out of the maximal-update criterion."""
    found = tp.solve(residual(depth, ALPHA), "mup", free=("alpha", "c_hidden"), optimizer=optimizer)
    rate = {"adam": Exponent(1), "sgd": -Exponent(Fraction(depth))}[optimizer]
    assert found.told() == [f"alpha = 1, c_hidden = {rate}"]


@pytest.mark.parametrize("depth", DEPTHS)
def test_rates_of_adam_between_the_two(depth: str) -> None:
    """Stable is what lies below L^(alpha - 1)/n; L^-1/2 is the largest multiplier (CompleteP, Table 1)."""
    found = tp.solve(residual(depth, ALPHA), "mup", free=("alpha", "c_hidden"), optimizer="adam", maximal=False)
    for alpha in (Fraction(1, 2), Fraction(3, 4), Fraction(1)):
        edge = 1 + Fraction(depth) * (1 - alpha)
        assert found.contains(alpha=alpha, c_hidden=edge)
        assert not found.contains(alpha=alpha, c_hidden=edge - Fraction(1, 16))
    assert not found.contains(alpha=Fraction(7, 16), c_hidden=4)


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", "5/4"), ("sgd", "0")])
@pytest.mark.parametrize("blocks", [2, 3])
def test_depth_mup(optimizer: str, rate: str, blocks: int) -> None:
    """Stable: the stream moves by Theta(1), every layer inside by 1/sqrt(L); however blocks are grouped."""
    scalings = parametrization("mup").where("hidden", c=rate)
    d = tp.derive(residual("1/2", "1/2", blocks), scalings, optimizer=optimizer)
    assert (d.regime.value, d.learning.value) == ("stable", "feature")
    last = d.steps[-1].sites
    for i in range(1, blocks + 1):
        assert [str(last[f"block.{i}.{name}"].effective) for name in ("in", "out")] == ["-1/4", "0"]
    assert str(last["readout"].propagating) == "0"
    raised = parametrization("mup").where("hidden", c=Fraction(rate) - Fraction(1, 8))
    assert tp.derive(residual("1/2", "1/2", blocks), raised, optimizer=optimizer).regime.value == "catastrophic"


@pytest.mark.parametrize("seed", range(6))
def test_the_number_of_groups_does_not_matter(seed: int) -> None:
    """Random stable settings: further groups are like those before."""
    draw = random.Random(seed)
    depth, alpha = (Fraction(draw.choice(x)) for x in (("1/3", "1/2", "1"), ("1/2", "3/4", "1", "5/4")))
    norm = draw.choice(("none", "rmsnorm"))
    options = {"activation": draw.choice(("relu", "tanh", "identity")), "norm": norm, "plain_norm": norm != "none"}
    optimizer = draw.choice(("adam", "sgd", "lion", "adagrad"))
    edge = depth * (1 - 2 * alpha) if optimizer == "sgd" else 1 + depth * (1 - alpha)
    scalings = parametrization("mup").where("hidden", c=edge + Fraction(draw.choice(("0", "1/4", "1/2"))))
    two, three = (
        tp.derive(residual(depth, alpha, n, **options), scalings, optimizer=optimizer, steps=2) for n in (2, 3)
    )
    assert (two.regime.value, two.regime, two.learning) == ("stable", three.regime, three.learning)
    for before, after in zip(two.steps, three.steps, strict=True):
        assert before.logits == after.logits
        for end in ("in", "out"):
            kinds = {
                (x.activation, x.effective, x.propagating)
                for step, count in ((before, 2), (after, 3))
                for x in (step.sites[f"block.{i}.{end}"] for i in range(1, count + 1))
            }
            assert len(kinds) == 1


@pytest.mark.parametrize(("alpha", "rate"), [("1/2", "5/4"), ("1", "1")])
def test_transformers_take_the_same_rates(alpha: str, rate: str) -> None:
    branch = -Fraction(alpha) / 2
    net = tp.transformer(1, plain_norm=True, gated_mlp=True, depth_exponent="1/2", branch_exponent=branch)
    found = tp.solve(net, "mup", free=("c_hidden",), optimizer="adam", maximal=False)
    assert found.told() == [f"c_hidden >= {rate}"]


@pytest.mark.parametrize("alpha", ["1/2", "3/4", "1"])
def test_depth_may_be_a_symbol(alpha: str) -> None:
    net = residual(LAMBDA, alpha)
    form = tp.formula(net, "mup", "block.1.out.effective", optimizer="adam", assume=["depth_exponent > 0"]).form
    assert form.equals(LAMBDA * (1 - Fraction(alpha)))


# -- trained, one block after the other


def slopes(depth: str, alpha: str, c: str, name: str, steps: int) -> Any:
    """Log-log slopes after steps that train the blocks only, of L = 4 (n / 32)^depth of them.

    Of the effective update of the middle block's first matrix, and of the change of the stream.
    """
    widths, seeds = (32, 64, 128), 6
    torch = pytest.importorskip("torch")

    def run(n: int, seed: int) -> list[float]:
        r, layers = n / widths[0], round(4 * (n / widths[0]) ** float(Fraction(depth)))
        draw = torch.Generator().manual_seed(seed)

        def normal(*shape: int, std: float = 1.0) -> Any:
            return torch.randn(*shape, generator=draw, dtype=torch.float64) * std

        x, y = normal(16, 8), torch.randint(3, (16,), generator=draw)
        first, last = normal(n, 8, std=8**-0.5), normal(3, n, std=n**-0.5 * r**-0.5)
        into = [normal(n, n, std=(2 / n) ** 0.5).requires_grad_() for _ in range(layers)]
        out = [normal(n, n, std=n**-0.5).requires_grad_() for _ in range(layers)]
        start = into[layers // 2].detach().clone()
        rate = {"adam": 0.02, "sgd": 0.02 * widths[0]}[name] * r ** -float(Fraction(c))
        trainer = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[name]([*into, *out], lr=rate)
        multiplier = (layers / 4) ** -float(Fraction(alpha)) / 4

        def forward() -> tuple[Any, Any]:
            h = middle = x @ first.T
            for i, (a, b) in enumerate(zip(into, out, strict=True)):
                middle = h if i == layers // 2 else middle
                h = h + multiplier * torch.relu(h @ a.T) @ b.T
            return middle, h

        with torch.no_grad():
            _, before = forward()
        for _ in range(steps):
            trainer.zero_grad()
            torch.nn.functional.cross_entropy(forward()[1] @ last.T, y).backward()
            trainer.step()
        with torch.no_grad():
            middle, h = forward()
            moved = middle @ (into[layers // 2] - start).T
        return [math.log(float(v.pow(2).mean().sqrt())) for v in (moved, h - before)]

    sizes = [np.mean([run(n, seed) for seed in range(seeds)], axis=0) for n in widths]
    return np.polyfit(np.log(widths), sizes, 1)[0]


TRAINED = {
    "1/L, adam": ("1", "1", "1", "adam", 3),
    "1/sqrt(L), adam": ("1", "1/2", "3/2", "adam", 3),
    "1/sqrt(L), sgd": ("1", "1/2", "0", "sgd", 3),
    "1/L, sgd": ("1", "1", "-1", "sgd", 3),
    "1/L, sgd, rates of 1/sqrt(L)": ("1", "1", "0", "sgd", 1),
    # Updates that diverge with depth compound from block to block: one step, and the first group's exponent.
    "1/sqrt(L), adam, rates of 1/L": ("1", "1/2", "1", "adam", 1),
}


@pytest.mark.parametrize("name", TRAINED)
def test_trained_blocks_one_after_the_other(name: str) -> None:
    depth, alpha, c, optimizer, steps = TRAINED[name]
    scalings = parametrization("mup").where("hidden", c=c)
    d = tp.derive(tp.freeze(residual(depth, alpha), "hidden"), scalings, optimizer=optimizer, steps=steps)
    sites = d.steps[steps].sites
    predicted = [sites[f"block.1.{end}"].effective for end in ("in", "out")]
    measured = slopes(depth, alpha, c, optimizer, steps)
    assert [float(e.const) for e in predicted if e is not None] == pytest.approx(list(measured), abs=0.2)
