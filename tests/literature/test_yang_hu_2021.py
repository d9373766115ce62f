"""Yang & Hu 2021 (arXiv 2011.14522): symmetry, feature exponent, and the dynamical dichotomy."""

from __future__ import annotations

import random
from fractions import Fraction as F
from typing import Any

import pytest

import tensorprog as tp

P = tp.Parametrization.from_layers


def quarter(rng: random.Random, low: float, high: float) -> F:
    return F(rng.randint(int(low * 4), int(high * 4)), 4)


def outcome(d: tp.Derivation) -> dict[str, Any]:
    full = d.to_dict()
    return {key: full[key] for key in ("regime", "learning", "settled", "steps")}


@pytest.mark.parametrize("seed", range(40))
def test_symmetry(seed: int) -> None:
    """(a, b, c) -> (a + t, b - t, c - k t) per layer changes nothing: k = 2 for SGD, 1 for scale-invariant ones."""
    rng = random.Random(seed)
    depth = rng.randint(1, 3)
    n = depth + 1
    optimizer, k = rng.choice([("sgd", 2), ("adam", 1), ("signsgd", 1), ("muon", 1)])
    loss = rng.choice(["ce", "mse"])
    b = [F(0), *[F(1, 2)] * (depth - 1), quarter(rng, 0.25, 1.25)]
    c = [quarter(rng, -0.5, 1.5) for _ in range(n)]
    shift = [F(rng.randint(-9, 9), rng.randint(1, 7)) for _ in range(n)]
    shifted = P(
        a=shift,
        b=[x - t for x, t in zip(b, shift, strict=True)],
        c=[x - k * t for x, t in zip(c, shift, strict=True)],
    )
    program = tp.mlp(depth)
    plain = P(a=[0] * n, b=b, c=c)
    one, two = (tp.derive(program, p, optimizer=optimizer, loss=loss) for p in (plain, shifted))
    assert outcome(one) == outcome(two)
    rates = [tp.max_stable_lr(program, p, optimizer=optimizer, loss=loss).to_dict() for p in (plain, shifted)]
    assert rates[0] == rates[1]


@pytest.mark.parametrize(
    ("depth", "parametrization", "r", "feature"),
    [(2, "sp", 0, "1"), (2, "sp", -1, "-1/2"), (3, "sp", -1, "-1/2"), (2, "ntp", 0, "-1/2"), (2, "mup", 0, "0")],
)
def test_feature_exponent(depth: int, parametrization: str, r: int, feature: str) -> None:
    """The last hidden layer moves by n^-r: SP r = -1, SP at 1/n r = 1/2, NTP 1/2, muP 0.

    The kernel rows are exact at every step; SP at n^0 grows from step to step, so it is at least its first value.
    """
    d = tp.derive(tp.mlp(depth), parametrization, optimizer="sgd", loss="mse", lr_exponent=r)
    last = list(d.steps[2].sites.values())[-2].feature
    assert last is not None
    if d.regime is tp.Regime.CATASTROPHIC:
        assert last >= 1
    else:
        assert str(last) == feature


def test_mup_logits_at_init() -> None:
    d = tp.derive(tp.mlp(2), "mup", optimizer="sgd", loss="mse")
    assert str(d.steps[0].logits) == "-1/2"


@pytest.mark.parametrize("seed", range(120))
def test_dynamical_dichotomy(seed: int) -> None:
    """Stability, non-triviality and feature learning from r, on random stable-at-init abc-parametrizations.

    With r = min(a_L+1 + b_L+1, 2 a_L+1 + c) + c - 1 + min_l (2 a_l + [l = 1]) (Definition 3.2 with a global c): stable
    iff r >= 0, a_L+1 + b_L+1 + r >= 1 and 2 a_L+1 + c >= 1; nontrivial iff one of the last two is an equality; then
    feature learning iff r = 0, else kernel. MSE, tanh, two or three layers.
    """
    rng = random.Random(seed)
    depth = rng.randint(1, 3)
    a = [quarter(rng, -1, 1) for _ in range(depth)] + [quarter(rng, -0.5, 1.5)]
    b = [-a[0], *(F(1, 2) - x for x in a[1:depth]), quarter(rng, 0, 0) + F(1, 2) - a[-1] + quarter(rng, 0, 1)]
    c = quarter(rng, -1, 2)
    last = a[-1] + b[-1]
    r = min(last, 2 * a[-1] + c) + c - 1 + min(2 * x + (not i) for i, x in enumerate(a[:depth]))
    stable = r >= 0 and last + r >= 1 and 2 * a[-1] + c >= 1
    d = tp.derive(tp.mlp(depth, "tanh"), P(a=a, b=b, c=[c] * (depth + 1)), optimizer="sgd", loss="mse")
    bounded = d.regime is tp.Regime.STABLE
    assert bounded == stable
    if stable:
        nontrivial = 2 * a[-1] + c == 1 or last + r == 1
        expected = {"trivial"} if not nontrivial else {"kernel"} if r else {"feature", "maximal"}
        assert d.learning.value in expected
