"""Ishikawa & Karakida 2024 (arXiv 2312.12226): K-FAC and Shampoo in width.

With b = (0, 1/2, 1) and powers e_A (input side), e_B (gradient side), updates are maximal for
c = (e_B - 1, e_B - e_A, 1 - e_A).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

import tensorprog as tp
from tensorprog.optimizers import KFAC, Optimizer, PerGroup, Shampoo

POWERS = [Fraction(0), Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), Fraction(1)]


def rule(how: Optimizer, depth: int) -> list[str]:
    """The c that maximal updates need, as a parametrization derives them from the optimizer."""
    return [str(abc.c) for abc in tp.derive(tp.mlp(depth), "mup", optimizer=how).setting.exponents().values()]


def layers(depth: int, *roles: Any) -> list[str]:
    return [str(x) for x in (roles[0], *[roles[1]] * (depth - 1), roles[2])]


@pytest.mark.parametrize("e_a", POWERS)
@pytest.mark.parametrize("e_b", POWERS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_kfac(e_a: Fraction, e_b: Fraction, depth: int) -> None:
    how = KFAC(out_power=e_b, in_power=e_a)
    assert rule(how, depth) == layers(depth, e_b - 1, e_b - e_a, 1 - e_a)
    d = tp.derive(tp.mlp(depth), "mup", optimizer=how)
    assert (d.regime, d.learning) == (tp.Regime.STABLE, tp.Learning.MAXIMAL)
    for step in range(1, 5):
        assert {str(s.effective) for s in d.steps[step].sites.values()} == {"0"}


@pytest.mark.parametrize(
    ("how", "c"),
    [
        ("kfac", (0, 0, 0)),  # learning rates independent of the width
        ("shampoo", ("-1/2", 0, "1/2")),
        (KFAC("0", "0"), (-1, 0, 1)),  # no preconditioner: gradient descent
        (KFAC("1/2", "1/2"), ("-1/2", 0, "1/2")),  # at e = 1/2 both optimizers agree
        (KFAC("1", "0"), (0, 1, 1)),
        (KFAC("0", "1"), (-1, -1, 0)),  # input side alone, as in FOOF
    ],
    ids=str,
)
@pytest.mark.parametrize("depth", [2, 3])
def test_rows(how: Any, c: tuple[Any, ...], depth: int) -> None:
    d = tp.derive(tp.mlp(depth), "mup", optimizer=how)
    assert [str(abc.c) for abc in d.setting.exponents().values()] == layers(depth, *c)
    assert d.learning is tp.Learning.MAXIMAL


def test_shampoo_sees_products_of_norms_kfac_each() -> None:
    """L = g g^T has |dh|^2 |x|^2: away from a total power of 1/2 the two differ where the norms do."""
    assert rule(Shampoo("1/4", "1/4"), 2) == rule(Shampoo("1/2", "0"), 2) == rule(Shampoo("0", "1/2"), 2)
    assert rule(KFAC("1/2", "1/2"), 2) != rule(KFAC("1", "0"), 2)
    assert rule(Shampoo("1/2", "1/2"), 2) == ["0", "0", "0"]


@pytest.mark.parametrize(("role", "a", "b"), [("input", 0, -1), ("hidden", 1, -1), ("readout", 1, 0)])
def test_damping_must_follow_the_eigenvalues(role: str, a: int, b: int) -> None:
    """muP: A has eigenvalue |x|^2 (n^0, n, n) and B |dh|^2 (n^-1, n^-1, n^0); damping up to these changes nothing.

    Larger damping dominates the preconditioner, and the layer's update shrinks by the excess.
    """

    def effective(out: Any, into: Any) -> str:
        damped = KFAC(out_damping_exponent=out, in_damping_exponent=into)
        how = PerGroup({role: damped, "else": "kfac"})
        p = tp.Parametrization.from_layers([0] * 3, [0, "1/2", 1], [0, 0, 0])
        (site,) = (s for s in tp.derive(tp.mlp(2), p, optimizer=how).steps[1].sites.values() if s.role == role)
        return str(site.effective)

    assert effective(b, a) == effective(b - 5, a - 5) == "0"
    assert effective(b + Fraction(1, 4), a) == "-1/4"
    assert effective(b, a + Fraction(1, 3)) == "-1/3"
    assert effective(b + Fraction(1, 4), a + Fraction(1, 3)) == "-7/12"


def test_dominating_damping_turns_kfac_into_gradient_descent() -> None:
    """Damping n on B and n^2 on A, above every eigenvalue: gradient descent with rates n^3 larger, at every step."""
    d = tp.derive(tp.mlp(2), "mup", optimizer=KFAC(out_damping_exponent=1, in_damping_exponent=2))
    plain = tp.derive(tp.mlp(2), "mup", optimizer="sgd")
    c, c_plain = ([abc.c for abc in x.setting.exponents().values()] for x in (d, plain))
    assert [x + 3 for x in c] == c_plain
    assert d.to_dict()["steps"] == plain.to_dict()["steps"]


@pytest.mark.parametrize("how", [Shampoo(damping_exponent=4), Shampoo("1/2", "1/2", damping_exponent=4)], ids=str)
def test_damped_shampoo_is_gradient_descent(how: Shampoo) -> None:
    power = how.out_power + how.in_power
    d = tp.derive(tp.mlp(2), "mup", optimizer=how)
    shifts = {abc.c + power.const * 4 - c for abc, c in zip(d.setting.exponents().values(), (-1, 0, 1), strict=True)}
    assert shifts == {tp.Exponent(0)}
