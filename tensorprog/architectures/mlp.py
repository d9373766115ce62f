"""Multilayer perceptrons, plain and residual."""

from __future__ import annotations

from tensorprog.architectures.options import depth, experts_axis, growing_depth, hidden_axis, one_of
from tensorprog.exponent import ONE, ZERO, ExponentLike, exponent
from tensorprog.layers import NORMS, Experts, dense
from tensorprog.nonlinearities import Nonlinearity, nonlinearity
from tensorprog.program import Builder, Program, Value

__all__ = ["mlp", "resnet_mlp"]


def mlp(hidden_layers: int = 2, activation: str | Nonlinearity = "relu", bias: bool = False) -> Program:
    """A multilayer perceptron: input, hidden_layers - 1 hidden matrices, readout.

    Args:
        hidden_layers: the number of wide activation layers, at least 1; ``hidden_layers=2`` has the sites
            ``input``, ``hidden.1``, ``readout``.
        activation: a name in ``tensorprog.nonlinearities.NONLINEARITIES``.
        bias: trainable biases in every layer.

    Raises:
        SettingError: where ``hidden_layers`` is not a positive integer.
        UnknownName: for an activation that is not registered.

    Example:
        >>> [site.name for site in mlp(hidden_layers=3).sites]
        ['input', 'hidden.1', 'hidden.2', 'readout']
    """
    depth("hidden_layers", hidden_layers)
    phi = nonlinearity(activation)
    b = Builder()
    x = dense(b, "input", b.data("x"), b.width, phi, bias=bias)
    for i in range(1, hidden_layers):
        x = dense(b, f"hidden.{i}", x, b.width, phi, bias=bias)
    logits = dense(b, "readout", x, b.finite("classes"), bias=bias)
    label = f"mlp(hidden_layers={hidden_layers}, activation={phi.name}{', bias=True' if bias else ''})"
    return b.build(logits, label, model="mlp", hidden_layers=hidden_layers, activation=phi.name, bias=bias)


def resnet_mlp(
    blocks: int = 2,
    activation: str | Nonlinearity = "relu",
    norm: str = "none",
    placement: str = "pre",
    plain_norm: bool = False,
    bias: bool = False,
    branch_exponent: ExponentLike = ZERO,
    ff_exponent: ExponentLike = ONE,
    experts: str = "none",
    experts_exponent: ExponentLike = ZERO,
    gate_exponent: ExponentLike = ZERO,
    depth_exponent: ExponentLike = ZERO,
) -> Program:
    """A residual multilayer perceptron: input, residual blocks x + n^branch_exponent W_out phi(W_in norm(x)), readout.

    Args:
        blocks: the number of residual blocks, at least 1.
        activation: inside the blocks.
        norm: ``none``, ``layernorm``, ``rmsnorm`` or ``batchnorm``.
        placement: of the norms, ``pre`` (before each block and before the readout) or ``post`` (after each sum).
        plain_norm: norm layers without trainable gains.
        bias: trainable biases in every layer.
        branch_exponent: a multiplier n^p of the branches.
        ff_exponent: neurons inside the blocks n^p; of every expert.
        experts: blocks are mixtures of experts: ``none``, ``softmax`` (all of them, weighed), ``top-1`` or ``top-2``.
        experts_exponent: the number of experts is n^p, 0 for a finite one.
        gate_exponent: a multiplier of the experts' weights, the p-th power of their number.
        depth_exponent: n^p blocks, in ``blocks`` groups (:func:`growing_depth`); 0 for ``blocks`` blocks.

    Raises:
        SettingError, UnknownName: for values that are not accepted.

    Example:
        >>> [site.name for site in resnet_mlp(blocks=1, norm="rmsnorm", plain_norm=True).sites]
        ['input', 'block.1.in', 'block.1.out', 'readout']

    Ref: He et al. 2016 (arXiv 1512.03385); pre-norm: Xiong et al. 2020 (arXiv 2002.04745).
    """
    depth("blocks", blocks)
    one_of("norm", norm, ("none", *NORMS))
    one_of("placement", placement, ("pre", "post"))
    phi = nonlinearity(activation)
    b = Builder()

    copies = growing_depth(
        depth_exponent, branch_exponent, norm, plain_norm, bias=(bias, False), experts=(experts, "none")
    )
    hidden = experts_axis(b, experts, experts_exponent, gate_exponent, hidden_axis(b, ff_exponent, copies))
    mixture = Experts(hidden, phi, experts, gate_exponent, bias=bias)

    def normalised(name: str, x: Value, here: str) -> Value:
        return NORMS[norm](b, name, x, gain=not plain_norm) if norm in NORMS and here == placement else x

    x = dense(b, "input", b.data("x"), b.width, bias=bias)
    for i in range(1, blocks + 1):
        h = normalised(f"block.{i}.norm", x, "pre")
        if experts == "none":
            h = dense(b, f"block.{i}.in", h, hidden, phi, bias=bias)
            h = dense(b, f"block.{i}.out", h, b.width, bias=bias)
        else:
            h = mixture(b, f"block.{i}", h)
        x = normalised(f"block.{i}.norm", b.add(x, b.scaled(h, branch_exponent)), "post")
    x = normalised("norm", x, "pre")
    logits = dense(b, "readout", x, b.finite("classes"), bias=bias)
    chosen: dict[str, object] = {"blocks": blocks, "activation": phi.name, "norm": norm}
    if norm in NORMS:
        chosen["placement"] = placement
        if plain_norm:
            chosen["plain_norm"] = True
    if bias:
        chosen["bias"] = True
    if exponent(branch_exponent) != ZERO:
        chosen["branch_exponent"] = str(exponent(branch_exponent))
    if exponent(ff_exponent) != 1:
        chosen["ff_exponent"] = str(exponent(ff_exponent))
    if experts != "none":
        powers = {"experts_exponent": str(exponent(experts_exponent)), "gate_exponent": str(exponent(gate_exponent))}
        chosen |= {"experts": experts, **{k: v for k, v in powers.items() if v != "0"}}
    if copies != ZERO:
        chosen["depth_exponent"] = str(copies)
    label = f"resnet-mlp({', '.join(f'{k}={v}' for k, v in chosen.items())})"
    return b.build(logits, label, model="resnet-mlp", **chosen)
