"""What the tests of published learning-rate rules share."""

from __future__ import annotations

from collections.abc import Sequence

import tensorprog as tp
from tensorprog.exponent import ExponentLike
from tensorprog.optimizers import Optimizer
from tensorprog.program import Role
from tensorprog.vocabulary import with_the_rest

__all__ = ["assert_maximal", "chain", "layers", "rule"]


def layers(roles: tuple[object, ...], depth: int) -> list[object]:
    """(input, hidden, readout) spread over a depth."""
    return [roles[0], *[roles[1]] * (depth - 1), roles[2]]


def chain(sizes: Sequence[ExponentLike], activation: str = "relu", vocabulary: ExponentLike = "") -> tp.Program:
    """A multilayer perceptron whose hidden layers have n^size coordinates; with n^vocabulary classes, if given."""
    b = tp.Builder()
    x = b.data("x")
    for i, size in enumerate(sizes):
        w = b.weight(f"hidden.{i}" if i else "input", b.axis(f"layer {i}", size), x.axis or b.width)
        x = b.apply(activation, b.matmul(w, x))
    readout = b.weight("readout", b.finite("classes"), x.axis or b.width)
    logits = b.matmul(readout, x)
    if vocabulary:
        logits = with_the_rest(b, logits, x, readout, vocabulary)
    return b.build(logits, f"layers of {', '.join(f'n^({size})' for size in sizes)}")


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
