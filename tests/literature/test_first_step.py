"""The first step of every relu MLP by a recursion on paper, written without the calculus.

At initialisation every alignment is known: x_0 against x_1 keeps its mean (relu of anything has one), and the first
gradient is driven by W_0 alone, so everything that moved is aligned with the initial readout. Sizes then follow layer
by layer (exponents, L hidden layers, SGD; sign updates have gradient entries Theta(1), Muon n^(-1/2) per wide axis):

    x_l = x_{l-1} + 1/2 - b_l,                     dh_l = dh_{l+1} + 1/2 - b_{l+1},  dh_L = chi - b_{L+1}
    effective_l = update_l + [l > 1] + max(x_{l-1}, feature_{l-1})
    propagating_l = feature_{l-1} + 1/2 - b_l,     feature_l = max(effective_l, propagating_l)
    readout: effective = update + 1 + max(x_L, feature_L), propagating = feature_L + 1 - b_{L+1}

with b standing for a + b and one multiplier n^-a inside every gradient and every step.

Ref: Yang & Hu 2021 (arXiv 2011.14522), Section 3; Haas et al. 2025 (arXiv 2505.22491), Appendix on effective updates.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

import pytest

from tensorprog.optimizers import SGD
from tests.cases import Case, random_case

HALF = Fraction(1, 2)
Row = tuple[Fraction, Fraction | None, Fraction | None]


def update(case: Case, layer: int, gradient: Fraction) -> Fraction:
    """Exponent of one entry of the change of the effective weight, given the entry of dh x^T."""
    a, c, last = case.a[layer], case.c[layer], case.hidden_layers
    wide_axes = 1 if layer in (0, last) else 2
    rules: dict[str, Callable[[], Fraction]] = {
        "sgd": lambda: gradient - 2 * a - c,
        "signsgd": lambda: -a - c,
        "adam": lambda: -a - c,
        "muon": lambda: -a - c - wide_axes * HALF,
    }
    return rules[case.optimizer.name]()


def first_step(case: Case) -> list[Row]:
    """(effective, propagating, feature) of every layer after one step."""
    last, w = case.hidden_layers, [-x - y for x, y in zip(case.a, case.b, strict=True)]
    x = [w[0]]
    for layer in range(1, last):
        x.append(x[-1] + w[layer] + HALF)
    logits = x[-1] + w[last] + HALF
    chi = max(Fraction(0), logits) if case.loss == "mse" else Fraction(0)
    dh = [chi + w[last]]
    for layer in range(last - 1, 0, -1):
        dh.insert(0, dh[0] + w[layer] + HALF)
    rows: list[Row] = []
    feature = update(case, 0, dh[0])
    rows.append((feature, None, feature))
    for layer in range(1, last):
        effective = update(case, layer, dh[layer] + x[layer - 1]) + 1 + max(x[layer - 1], feature)
        propagating = feature + w[layer] + HALF
        feature = max(effective, propagating)
        rows.append((effective, propagating, feature))
    effective = update(case, last, chi + x[-1]) + 1 + max(x[-1], feature)
    rows.append((effective, feature + w[last] + 1, None))
    return rows


@pytest.mark.parametrize("block", range(10))
def test_first_step(block: int) -> None:
    """250 settings: one to four hidden layers, all exponents multiples of 1/4, also vanishing and exploding ones."""
    rng = random.Random(block)
    for _ in range(25):
        case = random_case(rng, activations=["relu"], losses=["ce", "mse", "huber", "hinge"], unit_init=0.5)
        sites = case.derive(steps=1).steps[1].sites.values()
        assert [(s.effective, s.propagating, s.feature) for s in sites] == first_step(case), str(case)


def test_the_recursion_gives_the_published_row() -> None:
    """SP, SGD, n^(-1/2), two hidden layers: -1, 0, 1/2 (the recursion itself is held against the paper)."""
    case = Case(2, "relu", SGD(), "ce", (Fraction(0),) * 3, (Fraction(0), HALF, HALF), (HALF,) * 3)

    assert [row[0] for row in first_step(case)] == [-1, 0, HALF]
