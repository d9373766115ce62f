"""Layers emit instructions into a builder; architectures compose them.

A layer is a function of a builder and its input value that returns its output value.
"""

from __future__ import annotations

from tensorprog.nonlinearities import Nonlinearity
from tensorprog.program import Axis, Builder, Value

__all__ = ["dense", "layer_norm", "rms_norm"]


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


def rms_norm(builder: Builder, name: str, x: Value, *, gain: bool = True) -> Value:
    """x / sqrt(mean x_i^2), times a trainable gain that starts at one; epsilon is taken to be negligible.

    Args:
        name: the gain is ``name.gain``.
        gain: whether there is one.

    Ref: Zhang & Sennrich 2019 (arXiv 1910.07467), Equation 4.
    """
    y = builder.normalize(x)
    return builder.gain(f"{name}.gain", y) if gain else y


def layer_norm(builder: Builder, name: str, x: Value, *, gain: bool = True, bias: bool = False) -> Value:
    """:func:`rms_norm` of the centred vector, with a trainable gain and bias.

    Ref: Ba et al. 2016 (arXiv 1607.06450), Equation 4.
    """
    y = rms_norm(builder, name, builder.center(x), gain=gain)
    return builder.bias(f"{name}.bias", y) if bias else y
