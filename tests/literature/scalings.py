"""What the tests of published learning-rate rules share."""

from __future__ import annotations

import tensorprog as tp
from tensorprog.optimizers import Optimizer
from tensorprog.program import Role

__all__ = ["assert_maximal", "layers", "rule"]


def layers(roles: tuple[object, ...], depth: int) -> list[object]:
    """(input, hidden, readout) spread over a depth."""
    return [roles[0], *[roles[1]] * (depth - 1), roles[2]]


def rule(name: str, how: str | Optimizer, depth: int = 3, bias: bool = False) -> dict[str, str]:
    """The learning-rate exponents c by weight that a parametrization derives for an optimizer."""
    s = tp.derive(tp.mlp(depth, bias=bias), name, optimizer=how).setting
    return {w.name: str(abc.c) for w, abc in s.exponents().items()}


def assert_maximal(d: tp.Derivation) -> None:
    """Every effective update of a matrix Theta(1) at every step, nothing diverges, logits bounded."""
    assert d.regime is tp.Regime.STABLE
    assert d.learning is tp.Learning.MAXIMAL
    for t in range(1, 5):
        matrices = [s for s in d.steps[t].sites.values() if s.role != Role.VECTOR.value]
        assert {str(s.effective) for s in matrices} == {"0"}
        assert str(d.steps[t].logits) == "0"
