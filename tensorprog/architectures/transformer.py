"""Transformers: GPT-2 style and Llama style, and everything between."""

from __future__ import annotations

from fractions import Fraction

from tensorprog.architectures.options import depth, experts_axis, growing_depth, growth, hidden_axis, one_of, shown
from tensorprog.errors import SettingError
from tensorprog.exponent import ONE, ZERO, ExponentLike, exponent
from tensorprog.layers import NORMS, Attention, Experts, dense, gated
from tensorprog.nonlinearities import Nonlinearity, nonlinearity
from tensorprog.program import Axis, Builder, Program, Value
from tensorprog.vocabulary import with_the_rest

__all__ = ["transformer"]

SCALES = {"1/sqrt(d)": Fraction(-1, 2), "1/d": Fraction(-1)}
GROUP = 2
"""Heads that share keys and values in grouped attention: a constant."""
POSITIONS = ("learned", "rotary", "none")
NORMS_BY_POSITION = ("none", *(name for name in NORMS if name != "batchnorm"))
"""A batch norm's means are over all positions: they would show a position the later ones."""


def transformer(
    blocks: int = 2,
    activation: str | Nonlinearity = "gelu",
    norm: str = "layernorm",
    placement: str = "pre",
    plain_norm: bool = False,
    bias: bool = False,
    branch_exponent: ExponentLike = ZERO,
    head_dim_exponent: ExponentLike = ZERO,
    attention_scale: str = "1/sqrt(d)",
    qk_norm: str = "none",
    grouped: bool = False,
    zero_query: bool = False,
    positions: str = "learned",
    gated_mlp: bool = False,
    ff_exponent: ExponentLike = ONE,
    experts: str = "none",
    experts_exponent: ExponentLike = ZERO,
    gate_exponent: ExponentLike = ZERO,
    tied: bool = False,
    output_exponent: ExponentLike = ZERO,
    vocabulary_exponent: ExponentLike = ZERO,
    depth_exponent: ExponentLike = ZERO,
) -> Program:
    """A decoder: embedding, blocks of attention and MLP on a residual stream, logits at every position.

    The width n is that of the residual stream; heads times head dimension is n as well. Vocabulary, context, depth and
    batch are finite. Sites: ``embedding``, ``positions``, ``block.1.attention.query`` (``.key``, ``.value``, ``.out``,
    and ``.logits`` with the size of the attention logits), ``block.1.mlp.in``, ``block.1.mlp.out``, ``readout``; with
    experts also ``block.1.mlp.router``, whose activation are the router's logits.

    Args:
        blocks: the number of blocks, each of attention and MLP.
        activation: of the MLPs.
        norm: ``none``, ``layernorm`` or ``rmsnorm``.
        placement: of the norms, ``pre`` (before each branch and before the readout) or ``post`` (after each sum).
        plain_norm: norm layers without trainable gains.
        bias: trainable biases in every layer but the readout.
        branch_exponent: a multiplier n^p of the branches.
        head_dim_exponent: head dimension n^p, n^(1-p) heads: 0 is a fixed head dimension, 1 a fixed number of heads.
        attention_scale: of the attention logits, ``1/sqrt(d)`` or ``1/d`` with d the head dimension.
        qk_norm: RMS norms of queries and keys: ``none``, ``shared`` (one gain for all heads) or ``separate``.
        grouped: grouped-query attention, two heads sharing keys and values.
        zero_query: query matrices start at zero.
        positions: ``learned`` embeddings, ``rotary`` or ``none``.
        gated_mlp: MLPs phi(W_gate x) * W_up x.
        ff_exponent: hidden neurons of the MLPs n^p; of every expert.
        experts: MLPs are mixtures of experts: ``none``, ``softmax`` (all of them, weighed), ``top-1`` or ``top-2``.
        experts_exponent: the number of experts is n^p, 0 for a finite one.
        gate_exponent: a multiplier of the experts' weights, the p-th power of their number.
        tied: the readout is the transposed embedding.
        output_exponent: a multiplier n^p of the logits.
        vocabulary_exponent: the vocabulary has n^p tokens, of which a batch shows finitely many; 0 is a finite one.
        depth_exponent: n^p blocks, in ``blocks`` groups (:func:`growing_depth`); 0 for ``blocks`` blocks.

    Raises:
        SettingError, UnknownName: for values that are not accepted.

    Example:
        >>> [site.name for site in transformer(blocks=1, plain_norm=True, gated_mlp=True).sites][2:6]
        ['block.1.attention.query', 'block.1.attention.key', 'block.1.attention.value', 'block.1.attention.out']

    Ref: Radford et al. 2019 (GPT-2); Touvron et al. 2023 (arXiv 2302.13971), Llama.
    """
    depth("blocks", blocks)
    one_of("norm", norm, NORMS_BY_POSITION)
    one_of("placement", placement, ("pre", "post"))
    one_of("attention_scale", attention_scale, SCALES)
    one_of("qk_norm", qk_norm, ("none", "shared", "separate"))
    one_of("positions", positions, POSITIONS)
    if zero_query and qk_norm != "none":
        need = "norms of queries have no direction where these are exactly zero; choose one of zero_query and qk_norm"
        raise SettingError("zero_query", True, need)
    delta = exponent(head_dim_exponent, "head_dim_exponent")
    if delta.infinite or (delta.is_number and not ZERO <= delta <= 1):
        raise SettingError(
            "head_dim_exponent", str(delta), "needs a number from 0 to 1: heads times head dimension is n"
        )
    tokens = growth("vocabulary_exponent", vocabulary_exponent)
    phi = nonlinearity(activation)
    b = Builder()
    dim = b.axis("head dimension", delta)
    copies = growing_depth(
        depth_exponent,
        branch_exponent,
        norm,
        plain_norm,
        bias=(bias, False),
        experts=(experts, "none"),
        qk_norm=(qk_norm if qk_norm == "shared" else "none", "none"),
    )
    heads = b.product(b.axis("heads", 1 - delta + copies, copies=copies), dim)
    groups = b.product(b.axis("groups", 1 - delta + copies, GROUP, copies), dim) if grouped else heads
    attention = Attention(
        heads,
        groups,
        scale=SCALES[attention_scale],
        norm=qk_norm != "none",
        shared_gain=qk_norm == "shared",
        rotary=positions == "rotary",
        zero_query=zero_query,
        bias=bias,
    )
    hidden = experts_axis(b, experts, experts_exponent, gate_exponent, hidden_axis(b, ff_exponent, copies))
    mixture = Experts(hidden, phi, experts, gate_exponent, gated_mlp, bias)

    def normalised(name: str, x: Value, here: str) -> Value:
        return NORMS[norm](b, name, x, gain=not plain_norm) if norm in NORMS and here == placement else x

    def branch(name: str, x: Value, y: Value) -> Value:
        return normalised(name, b.add(x, b.scaled(y, branch_exponent)), "post")

    vocabulary = Axis("x")
    embedding = b.weight("embedding", b.width, vocabulary)
    x = b.matmul(embedding, b.data("x", vocabulary))
    if positions == "learned":
        x = b.add(x, dense(b, "positions", b.data("positions", positions=True), b.width))
    for i in range(1, blocks + 1):
        name = f"block.{i}"
        x = branch(f"{name}.norm.1", x, attention(b, f"{name}.attention", normalised(f"{name}.norm.1", x, "pre")))
        h = normalised(f"{name}.norm.2", x, "pre")
        if experts != "none":
            h = mixture(b, f"{name}.mlp", h)
        elif gated_mlp:
            h = dense(b, f"{name}.mlp.out", gated(b, f"{name}.mlp", h, hidden, phi, bias), b.width, bias=bias)
        else:
            h = dense(b, f"{name}.mlp.in", h, hidden, phi, bias=bias)
            h = dense(b, f"{name}.mlp.out", h, b.width, bias=bias)
        x = branch(f"{name}.norm.2", x, h)
    x = normalised("norm", x, "pre")
    rows = embedding if tied else b.weight("readout", b.finite("classes"), b.width)
    logits = b.scaled(b.matmul(rows, x, transposed=tied), output_exponent)
    if tokens != ZERO:
        logits = with_the_rest(b, logits, x, rows, tokens, output_exponent)
    chosen = {
        "blocks": blocks,
        "activation": phi.name,
        "norm": norm,
        "placement": placement,
        "plain_norm": plain_norm,
        "bias": bias,
        "branch_exponent": str(exponent(branch_exponent)),
        "head_dim_exponent": str(delta),
        "attention_scale": attention_scale,
        "qk_norm": qk_norm,
        "grouped": grouped,
        "zero_query": zero_query,
        "positions": positions,
        "gated_mlp": gated_mlp,
        "ff_exponent": str(exponent(ff_exponent)),
        "experts": experts,
        "experts_exponent": str(exponent(experts_exponent)),
        "gate_exponent": str(exponent(gate_exponent)),
        "tied": tied,
        "output_exponent": str(exponent(output_exponent)),
        "vocabulary_exponent": str(tokens),
        "depth_exponent": str(copies),
    }
    label = shown("transformer", transformer, chosen, "blocks", "activation", "norm")
    return b.build(logits, label, model="transformer", **chosen)
