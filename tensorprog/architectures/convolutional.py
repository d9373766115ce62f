"""Convolutional networks, plain and residual.

Channels are wide; kernels, pixels and strides are finite. A value stands for the channels at a generic pixel.
"""

from __future__ import annotations

from tensorprog.architectures.options import count, depth, one_of, shown
from tensorprog.errors import SettingError
from tensorprog.exponent import ZERO, ExponentLike, exponent
from tensorprog.joint import AVERAGE_POOL, MAX_HALVING, MEAN_HALVING
from tensorprog.layers import NORMS, convolution, dense
from tensorprog.nonlinearities import Nonlinearity, nonlinearity
from tensorprog.program import Builder, Program, Value

__all__ = ["cnn", "resnet"]

HALVINGS = {"mean": MEAN_HALVING, "max": MAX_HALVING}


def cnn(
    hidden_layers: int = 2,
    activation: str | Nonlinearity = "relu",
    norm: str = "none",
    plain_norm: bool = False,
    bias: bool = False,
    kernel: int = 3,
    halving: str = "stride",
) -> Program:
    """A convolutional network: stem, hidden convolutions, mean over all pixels, readout.

    Layers are convolution, norm, nonlinearity. Sites are those of an MLP: ``input``, ``hidden.1``, ..., ``readout``.

    Args:
        hidden_layers: the number of convolutions, at least 1.
        activation: a name in ``tensorprog.nonlinearities.NONLINEARITIES``.
        norm: ``none``, ``layernorm``, ``rmsnorm`` (over the channels of a pixel) or ``batchnorm``.
        plain_norm: norm layers without trainable gains and biases.
        bias: trainable biases in every layer.
        kernel: k of the k x k pixels that a convolution sums over, odd.
        halving: of height and width before every hidden convolution: ``stride`` 2, ``mean`` or ``max`` of every 2 x 2
            pixels, or ``none``.

    Raises:
        SettingError, UnknownName: for values that are not accepted.

    Example:
        >>> [(site.name, site.weight.role.value) for site in cnn(hidden_layers=2).sites]
        [('input', 'input'), ('hidden.1', 'hidden'), ('readout', 'readout')]

    Ref: LeCun et al. 1998.
    """
    depth("hidden_layers", hidden_layers)
    one_of("norm", norm, ("none", *NORMS))
    one_of("halving", halving, ("stride", *HALVINGS, "none"))
    _odd(kernel)
    phi = nonlinearity(activation)
    b = Builder()
    x = b.data("x", pixels=True)
    for i in range(hidden_layers):
        name = f"hidden.{i}" if i else "input"
        if i and halving in HALVINGS:
            x = b.apply(HALVINGS[halving], x)
        stride = 2 if i and halving == "stride" else 1
        x = convolution(b, name, x, b.width, kernel=kernel, stride=stride, bias=bias)
        x = b.apply(phi, _normalized(b, f"{name}.norm", x, norm, plain_norm))
    logits = dense(b, "readout", b.apply(AVERAGE_POOL, x), b.finite("classes"), bias=bias)
    chosen = {
        "hidden_layers": hidden_layers,
        "activation": phi.name,
        "norm": norm,
        "plain_norm": plain_norm,
        "bias": bias,
        "kernel": kernel,
        "halving": halving,
    }
    return b.build(logits, shown("cnn", cnn, chosen, "hidden_layers", "activation"), model="cnn", **chosen)


def resnet(
    blocks: int = 1,
    activation: str | Nonlinearity = "relu",
    norm: str = "batchnorm",
    plain_norm: bool = False,
    bias: bool = False,
    branch_exponent: ExponentLike = ZERO,
    kernel: int = 3,
    stages: int = 2,
    zero_gain: bool = False,
) -> Program:
    """A residual convolutional network: stem, stages of basic blocks, mean over all pixels, readout.

    A block is phi(skip(x) + n^p norm(W_out phi(norm(W_in x)))). The first block of every stage but the first halves
    height and width, and projects its skip connection by pixels; all stages have n channels, up to constants. Sites:
    ``input``, ``stage.1.block.1.in`` and ``.out``, ``stage.2.block.1.skip``, the norms' gains and biases, ``readout``.

    Args:
        blocks: the number of blocks in every stage.
        activation: of all layers.
        norm: ``none``, ``layernorm``, ``rmsnorm`` (over the channels of a pixel) or ``batchnorm``.
        plain_norm: norm layers without trainable gains and biases.
        bias: trainable biases in every layer.
        branch_exponent: a multiplier n^p of the branches.
        kernel: k of the k x k pixels that a convolution sums over, odd.
        stages: the number of resolutions.
        zero_gain: the last gain of every branch starts at zero, so that blocks start as their skip connections.

    Raises:
        SettingError, UnknownName: for values that are not accepted.

    Example:
        >>> [site.name for site in resnet(stages=1, plain_norm=True).sites]
        ['input', 'stage.1.block.1.in', 'stage.1.block.1.out', 'readout']

    Ref: He et al. 2016 (arXiv 1512.03385), Section 3.3; zero gains: Goyal et al. 2017 (arXiv 1706.02677), Section 5.1.
    """
    depth("blocks", blocks)
    depth("stages", stages)
    one_of("norm", norm, ("none", *NORMS))
    _odd(kernel)
    if zero_gain and (norm == "none" or plain_norm):
        raise SettingError("zero_gain", True, "needs norm layers with gains; choose a norm, without plain_norm")
    phi = nonlinearity(activation)
    b = Builder()

    def layer(name: str, x: Value, stride: int = 1, side: int = kernel, *, last: bool = False) -> Value:
        h = convolution(b, name, x, b.width, kernel=side, stride=stride, bias=bias)
        if not (last and zero_gain):
            return _normalized(b, f"{name}.norm", h, norm, plain_norm)
        h = NORMS[norm](b, f"{name}.norm", h, gain=False)
        return _shifted(b, f"{name}.norm", b.multiply(h, b.vector(f"{name}.norm.gain", h, zero=True)))

    x = b.apply(phi, layer("input", b.data("x", pixels=True)))
    for stage in range(1, stages + 1):
        for block in range(1, blocks + 1):
            name = f"stage.{stage}.block.{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            h = b.apply(phi, layer(f"{name}.in", x, stride))
            h = layer(f"{name}.out", h, last=True)
            skip = x if stride == 1 else layer(f"{name}.skip", x, stride, 1)
            x = b.apply(phi, b.add(skip, b.scaled(h, branch_exponent)))
    logits = dense(b, "readout", b.apply(AVERAGE_POOL, x), b.finite("classes"), bias=bias)
    chosen = {
        "blocks": blocks,
        "activation": phi.name,
        "norm": norm,
        "plain_norm": plain_norm,
        "bias": bias,
        "branch_exponent": str(exponent(branch_exponent)),
        "kernel": kernel,
        "stages": stages,
        "zero_gain": zero_gain,
    }
    return b.build(
        logits, shown("resnet", resnet, chosen, "blocks", "activation", "norm", "stages"), model="resnet", **chosen
    )


def _normalized(b: Builder, name: str, x: Value, norm: str, plain: bool) -> Value:
    """A norm layer with gain and bias; the value itself where there is no norm."""
    if norm == "none":
        return x
    y = NORMS[norm](b, name, x, gain=not plain)
    return y if plain else _shifted(b, name, y)


def _shifted(b: Builder, name: str, x: Value) -> Value:
    """Plus a bias that starts at zero."""
    return b.add(x, b.vector(f"{name}.bias", x, zero=True))


def _odd(kernel: int) -> None:
    count("kernel", kernel)
    if not kernel % 2:
        raise SettingError("kernel", kernel, "needs an odd number of pixels, to have a centre")
