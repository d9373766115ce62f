"""Zheng et al. 2026 (arXiv 2603.00541), width part: rates with an output multiplier; Muon without one."""

from __future__ import annotations

import pytest

import tensorprog as tp
from tensorprog.optimizers import optimizer
from tests.literature.scalings import assert_maximal, layers, rule

P = tp.Parametrization.from_layers


ZHENG = [
    ("sgd", (-1, 0, -1)),
    *((how, (0, 1, 0)) for how in ("adam", "adamw", "lion", "signsgd", "rmsprop", "adagrad")),
    *((how, ("-1/2", 0, "-1/2")) for how in ("muon", "shampoo", "soap")),
]


@pytest.mark.parametrize(("how", "c"), ZHENG)
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_rates_with_an_output_multiplier(how: str, c: tuple[object, ...], depth: int, loss: str) -> None:
    """Output multiplier 1/n, output init Theta(1): SGD (n, 1, n), Adam and Lion (1, 1/n, 1), Muon (n^1/2, 1, n^1/2)."""
    p = P(layers((0, 0, 1), depth), layers((0, "1/2", 0), depth), layers(c, depth))
    assert_maximal(tp.derive(tp.mlp(depth), p, optimizer=how, loss=loss))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_muon_without_the_multiplier(depth: int) -> None:
    c = layers(("-1/2", 0, "1/2"), depth)
    assert list(rule("mup", "muon", depth).values()) == [str(x) for x in c]
    assert_maximal(tp.derive(tp.mlp(depth), P([0] * (depth + 1), layers((0, "1/2", 1), depth), c), optimizer="muon"))


@pytest.mark.parametrize(
    ("factor", "c"),
    [
        ("none", ["-1/2", "0", "1/2"]),
        ("original", ["0", "0", "1/2"]),
        ("spectral", ["0", "0", "0"]),
        ("match-rms", ["0", "1/2", "1"]),
        ("kimi", ["0", "1/2", "1"]),
        ("max", ["0", "1/2", "1"]),
    ],
)
def test_shape_factors_move_into_the_rate(factor: str, c: list[str]) -> None:
    how = optimizer("muon", shape_factor=factor)
    assert list(rule("mup", how, 2).values()) == c
    assert_maximal(tp.derive(tp.mlp(2), "mup", optimizer=how))
