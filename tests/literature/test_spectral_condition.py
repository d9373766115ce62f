"""Yang, Simon & Bernstein 2023 (arXiv 2310.17813): ||W|| and ||Delta W|| of size sqrt(fan_out / fan_in)."""

from __future__ import annotations

from fractions import Fraction

import pytest

import tensorprog as tp
from tensorprog.optimizers import Muon, ShapeFactor
from tensorprog.program import Role
from tests.literature.scalings import assert_maximal, layers, rule

P = tp.Parametrization.from_layers


SIZES = {Role.INPUT: (1, 0), Role.HIDDEN: (1, 1), Role.READOUT: (0, 1)}


def test_spectral_condition_is_mup_for_sgd() -> None:
    """Learning rate fan_out/fan_in: c = -(out - in)."""
    for w, abc in tp.derive(tp.mlp(3), "mup", optimizer="sgd").setting.exponents().items():
        out, into = SIZES[w.role]
        assert abc.c == into - out


def test_spectral_init() -> None:
    """sigma = min(1, sqrt(out/in)) / sqrt(in), whose matrix has spectral norm sqrt(out/in)."""
    for w, abc in tp.derive(tp.mlp(3), "mup").setting.exponents().items():
        out, into = SIZES[w.role]
        assert -abc.b == Fraction(min(0, out - into), 2) - Fraction(into, 2)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_spectral_update(depth: int) -> None:
    """||Delta W||_2 = sqrt(out/in) per unit learning rate is Muon with the spectral factor: c = 0 in every layer."""
    how = Muon(ShapeFactor.SPECTRAL)
    assert set(rule("mup", how, depth).values()) == {"0"}
    p = P([0] * (depth + 1), layers((0, "1/2", 1), depth), [0] * (depth + 1))
    assert_maximal(tp.derive(tp.mlp(depth), p, optimizer=how))
