"""Layers emit instructions into a builder; architectures compose them.

A layer is a function of a builder and its input value that returns its output value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tensorprog.errors import Unsupported
from tensorprog.exponent import ZERO, ExponentLike, exponent
from tensorprog.joint import BATCH_NORM, CAUSAL_SOFTMAX, CHOICES, GATE, SOFTMAX, WIDE_GATE
from tensorprog.nonlinearities import Nonlinearity
from tensorprog.program import Axis, Builder, Value

__all__ = [
    "GATES",
    "NORMS",
    "Attention",
    "Experts",
    "batch_norm",
    "convolution",
    "dense",
    "gated",
    "layer_norm",
    "rms_norm",
]


def dense(
    builder: Builder,
    name: str,
    x: Value,
    out: Axis,
    activation: str | Nonlinearity | None = None,
    *,
    bias: bool = False,
    zero: bool = False,
) -> Value:
    """phi(W x + b).

    Args:
        builder: receives the instructions.
        name: of the weight; the bias is ``name.bias``.
        x: the input vector.
        out: the output axis.
        activation: applied last; None for a linear layer.
        bias: whether to add a trainable vector.
        zero: whether W starts at exact zeros.
    """
    if x.axis is None:
        raise TypeError("a dense layer acts on a vector")
    h = builder.matmul(builder.weight(name, out, x.axis, zero=zero), x)
    if bias:
        h = builder.bias(f"{name}.bias", h)
    return h if activation is None else builder.apply(activation, h)


def convolution(
    builder: Builder, name: str, x: Value, out: Axis, *, kernel: int = 3, stride: int = 1, bias: bool = False
) -> Value:
    """sum over k x k neighbours p' of W_(p' - p) x_p', plus a bias, at every ``stride``-th pixel p; zeros outside.

    Args:
        x: the channels at a generic pixel.
        out: the axis of the output channels.
        kernel: k, odd.

    Ref: LeCun et al. 1998.
    """
    if x.axis is None:
        raise TypeError("a convolution acts on vectors")
    h = builder.matmul(builder.weight(name, out, x.axis, kernel=kernel), x, stride=stride)
    return builder.bias(f"{name}.bias", h) if bias else h


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


def batch_norm(builder: Builder, name: str, x: Value, *, gain: bool = True, bias: bool = False) -> Value:
    """(x - mean) / deviation, by coordinate over the batch and all positions, with a trainable gain and bias.

    In training and measured, both are those of the batch at hand; there are no running means.

    Ref: Ioffe & Szegedy 2015 (arXiv 1502.03167), Algorithm 1.
    """
    y = builder.apply(BATCH_NORM, x)
    y = builder.gain(f"{name}.gain", y) if gain else y
    return builder.bias(f"{name}.bias", y) if bias else y


NORMS: dict[str, Callable[..., Value]] = {"layernorm": layer_norm, "rmsnorm": rms_norm, "batchnorm": batch_norm}


def gated(builder: Builder, name: str, x: Value, hidden: Axis, activation: str | Nonlinearity, bias: bool) -> Value:
    """phi(W_gate x) * W_up x: the hidden layer of a gated MLP.

    Ref: Shazeer 2020 (arXiv 2002.05202).
    """
    gate = dense(builder, f"{name}.gate", x, hidden, activation, bias=bias)
    return builder.multiply(gate, dense(builder, f"{name}.up", x, hidden, bias=bias))


@dataclass(frozen=True)
class Attention:
    """Multi-head self-attention: softmax(d^scale <W_q x_t, W_k x_s>) W_v x_s, summed over s, times W_o.

    A value stands for the vector at any one position; positions are finite. Queries live on heads x head dimension,
    keys and values on groups x head dimension (as many groups as heads, or finitely many heads a group).

    Args:
        heads: the axis of queries, heads x head dimension d.
        groups: the axis of keys and values.
        scale: the power of d that the logits are multiplied by.
        causal: positions attend to earlier ones and themselves only.
        norm: a norm layer on queries and keys of every head.
        shared_gain: its gain is one vector of the head dimension for all heads; else one entry for every coordinate.
        rotary: queries and keys are rotated by their position.
        zero_query: the query matrix starts at zero.
        bias: in all four layers.

    Ref: Vaswani et al. 2017 (arXiv 1706.03762), Section 3.2; groups: Ainslie et al. 2023 (arXiv 2305.13245);
    norms of queries and keys: Henry et al. 2020 (arXiv 2010.04245); rotation: Su et al. 2021 (arXiv 2104.09864).
    """

    heads: Axis
    groups: Axis
    scale: ExponentLike = "-1/2"
    causal: bool = True
    norm: bool = False
    shared_gain: bool = True
    rotary: bool = False
    zero_query: bool = False
    bias: bool = False

    def __call__(self, builder: Builder, name: str, x: Value) -> Value:
        """Emit the layer; the logits are observed as ``name.logits``."""
        b, out = builder, x.axis
        assert out is not None, "attention acts on vectors"
        dim = self.heads.factors[1]
        query = dense(b, f"{name}.query", x, self.heads, bias=self.bias, zero=self.zero_query)
        key = dense(b, f"{name}.key", x, self.groups, bias=self.bias)
        value = dense(b, f"{name}.value", x, self.groups, bias=self.bias)
        if self.norm:
            query = self._normalized(b, f"{name}.query.norm", query)
            key = self._normalized(b, f"{name}.key.norm", key)
        if self.rotary:
            query, key = b.rotate(query), b.rotate(key)
        if self.groups != self.heads:
            key, value = b.repeat(key, self.heads), b.repeat(value, self.heads)
        logits = b.observe(f"{name}.logits", b.scaled(b.moment(query, key, dim, across=True), self.scale, dim))
        weights = b.apply(CAUSAL_SOFTMAX if self.causal else SOFTMAX, logits)
        return dense(b, f"{name}.out", b.multiply(weights, value, across=True), out, bias=self.bias)

    def _normalized(self, builder: Builder, name: str, x: Value) -> Value:
        """RMS norm over each head, with a gain that starts at one."""
        y = builder.normalize(x, self.heads.factors[1])
        if not self.shared_gain:
            return builder.gain(f"{name}.gain", y)
        return builder.add(y, builder.multiply(y, builder.parameter(f"{name}.gain", self.heads.factors[1], zero=True)))


GATES = ("softmax", *CHOICES)
"""How experts are weighed."""


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: sum over e of g_e(x) W_out^e phi(W_in^e x), with gates g = E^p softmax(W_router x).

    The experts' neurons are one product axis, experts x neurons: W_in writes it, each gate multiplies its expert's
    neurons, W_out reads it. So a parametrization sees two matrices, with all neurons for the fan-in of ``out``, and a
    router that is readout-like for finitely many experts.

    Args:
        axis: experts x neurons of each; the number of experts E is finite, or grows with a dense gate.
        activation: phi.
        gate: ``softmax``; or ``top-1``, ``top-2``: the same with all but the largest gates set to zero, without
            renormalisation, for finitely many experts. There is no loss that balances them.
        gate_exponent: p; with 1 the gates have mean one.

    Raises:
        Unsupported: for a choice among a growing number of experts.

    Ref: Shazeer et al. 2017 (arXiv 1701.06538), Equations 1 to 5; Fedus et al. 2021 (arXiv 2101.03961).
    """

    axis: Axis
    activation: str | Nonlinearity
    gate: str = "softmax"
    gate_exponent: ExponentLike = ZERO
    gated: bool = False
    bias: bool = False

    def __call__(self, builder: Builder, name: str, x: Value) -> Value:
        """Emit the layer; the router's weight is ``name.router``."""
        b, out = builder, x.axis
        assert out is not None, "experts act on vectors"
        experts = self.axis.factors[0]
        logits = dense(b, f"{name}.router", x, experts)
        gates = b.apply(WIDE_GATE if experts.wide else GATE, logits)
        if self.gate in CHOICES:
            if experts.wide:
                raise Unsupported(
                    f"experts={self.gate} among n^({experts.size}) experts",
                    "the largest few of a growing number follow extreme-value laws",
                    "Take experts=softmax, or a finite number of experts (experts_exponent=0).",
                )
            gates = b.multiply(b.apply(CHOICES[self.gate], logits), gates)
        gates = b.scaled(gates, exponent(self.gate_exponent) - 1, experts)
        if self.gated:
            h = gated(b, name, x, self.axis, self.activation, self.bias)
        else:
            h = dense(b, f"{name}.in", x, self.axis, self.activation, bias=self.bias)
        return dense(b, f"{name}.out", b.multiply(gates, h), out, bias=self.bias)
