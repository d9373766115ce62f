"""Layers emit instructions into a builder; architectures compose them.

A layer is a function of a builder and its input value that returns its output value.
"""

from __future__ import annotations

from tensorprog.nonlinearities import Nonlinearity
from tensorprog.program import Axis, Builder, Value

__all__ = ["dense"]


def dense(
    builder: Builder,
    name: str,
    x: Value,
    out: Axis,
    activation: str | Nonlinearity | None = None,
    *,
    bias: bool = False,
) -> Value:
    """phi(W x + b).

    Args:
        builder: receives the instructions.
        name: of the weight; the bias is ``name.bias``.
        x: the input vector.
        out: the output axis.
        activation: applied last; None for a linear layer.
        bias: whether to add a trainable vector.
    """
    if x.axis is None:
        raise TypeError("a dense layer acts on a vector")
    h = builder.matmul(builder.weight(name, out, x.axis), x)
    if bias:
        h = builder.bias(f"{name}.bias", h)
    return h if activation is None else builder.apply(activation, h)
