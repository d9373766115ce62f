"""Operators that contract: linear layers, products of matrices, attention, convolutions, embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from string import ascii_letters
from typing import Any

from tensorprog.trace.atoms import Atom, Dim, coordinates, leaves, regroup, unify
from tensorprog.trace.contraction import contract
from tensorprog.trace.conversion import Conversion, operator
from tensorprog.trace.operators.functions import MAXIMUM
from tensorprog.trace.operators.norms import affine, softmax
from tensorprog.trace.operators.shapes import moved
from tensorprog.trace.recording import Product, Source
from tensorprog.trace.values import (
    Constant,
    Indices,
    Mixture,
    Parameter,
    Slice,
    Statistic,
    Tensor,
    Written,
    is_differentiable,
)

__all__: list[str] = []


def _rank(x: Any) -> int:
    return x.values[0].dim() if isinstance(x, Constant) else len(x.dims)


def _ready(c: Conversion, x: Any) -> Any:
    return c.tensor(x) if isinstance(x, Slice | Mixture | Statistic | Written) else x


@operator("aten.linear")
def _linear(c: Conversion, x: Any, weight: Any, bias: Any = None) -> Tensor | Constant:
    x, weight = c.tensor(x) if isinstance(x, Parameter) else _ready(c, x), _ready(c, weight)  # learned queries
    if c.is_zero(x):  # the first state of a recurrent layer
        return c.zeros() if bias is None else replace(c.tensor(bias), dims=c.broadcast(bias))
    batch = ascii_letters[: _rank(x) - 1]
    return affine(c, contract(c, x, weight, [*batch, "I"], ["O", "I"], [*batch, "O"]), None, bias)


@operator("aten.bilinear")
def _bilinear(c: Conversion, x: Any, y: Any, weight: Any, bias: Any = None) -> Tensor:
    """sum_ij W_kij x_i y_j: the products W_k x, and their inner products with y."""
    x, y = _ready(c, x), _ready(c, y)
    batch = ascii_letters[: _rank(x) - 1]
    inner = contract(c, x, weight, [*batch, "I"], ["O", "I", "J"], [*batch, "O", "J"])
    if isinstance(y, Constant):
        features = leaves(weight.dims[2])
        y = Tensor((*c.fresh(c.shapes(y))[:-1], features), c.source(y, features=features).ref)
    return affine(c, contract(c, inner, y, [*batch, "O", "J"], [*batch, "J"], [*batch, "O"]), None, bias)


@operator("aten.matmul", "aten.mm", "aten.bmm", "aten.mv", "aten.dot")
def _matmul(c: Conversion, x: Any, y: Any) -> Tensor:
    x, y = _ready(c, x), _ready(c, y)
    rx, ry = _rank(x), _rank(y)
    batch = ascii_letters[: max(rx, ry, 2) - 2]
    lx = ["K"] if rx == 1 else [*batch[len(batch) - rx + 2 :], "R", "K"]
    ly = ["K"] if ry == 1 else [*batch[len(batch) - ry + 2 :], "K", "C"]
    lo = [*batch, *(["R"] if rx > 1 else []), *(["C"] if ry > 1 else [])]
    return contract(c, x, y, lx, ly, lo)


@operator("transformers.grouped_mm_fallback", "aten._grouped_mm")
def _grouped_matmul(c: Conversion, x: Any, y: Any, offsets: Any = None, **kwargs: Any) -> Tensor:
    """Rows of x by the matrix of their expert."""
    return contract(c, _ready(c, x), y, ["N", "I"], ["E", "I", "O"], ["N", "O"])


@operator("aten.addmm")
def _addmm(c: Conversion, bias: Any, x: Any, y: Any, **kwargs: Any) -> Tensor:
    return affine(c, _matmul(c, x, y), None, bias)


@operator("aten.baddbmm")
def _baddbmm(c: Conversion, bias: Any, x: Any, y: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    product = c.scaled(_matmul(c, x, y), c.power(alpha).exponent)
    return product if isinstance(bias, Constant) else affine(c, product, None, bias)


@operator("aten.einsum")
def _einsum(c: Conversion, equation: str, operands: Sequence[Any], **kwargs: Any) -> Any:
    values = [_ready(c, o) for o in operands]
    terms, output = _terms(equation, [_rank(v) for v in values])
    if any(len(set(t)) < len(t) for t in terms) or (len(terms) == 1 and set(terms[0]) != set(output)):
        raise c.refuse(f"the equation {equation!r} has no rule", "Take sums and diagonals of one operand on their own")
    if len(terms) == 1:
        (x,), (letters,) = values, terms
        return moved(x, [letters.index(k) for k in output])
    # Weights act on a value one after the other, never on each other.
    at = next((k for k, v in enumerate(values) if not isinstance(v, Parameter | Constant)), 0)
    x, letters = values.pop(at), terms.pop(at)
    while values:
        at = next((k for k, t in enumerate(terms) if set(t) & set(letters)), 0)
        y, other = values.pop(at), terms.pop(at)
        needed = set(output).union(*terms)
        kept = [k for k in dict.fromkeys([*letters, *other]) if k in needed] if values else output
        x, letters = contract(c, x, y, letters, other, kept), kept
    return x


def _terms(equation: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """The letters of every operand and of the result; an ellipsis gets letters of its own."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    unused = [k for k in ascii_letters if k not in equation]
    most = max(rank - len(t.replace("...", "")) for t, rank in zip(inputs.split(","), ranks, strict=True))
    shared = unused[:most]

    def letters(term: str, count: int) -> list[str]:
        before, dots, after = term.partition("...")
        return [*before, *(shared[most - count :] if dots else []), *after]

    terms = [letters(t, rank - len(t.replace("...", ""))) for t, rank in zip(inputs.split(","), ranks, strict=True)]
    if arrow:
        return terms, letters(output, most)
    flat = [k for t in terms for k in t]
    return terms, [*shared, *sorted(k for k in set(flat) if k not in shared and flat.count(k) == 1)]


@operator("aten.embedding")
def _embedding(c: Conversion, weight: Any, index: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(weight, Parameter) or not isinstance(index, Constant):
        raise c.refuse("rows of a computed table have no rule", "Use nn.Embedding with given indices")
    rows, columns = (leaves(d) for d in weight.dims)
    if any(a.grows for a in rows):
        raise c.refuse(
            f"the number of rows of {weight.name!r} grows with the width", "Keep the vocabulary the same at all widths"
        )
    name = c.name(index)
    source = c.record(Source(rows, name=name if name != "constant" else c.node.where or "index"))
    origins = frozenset(a.origin for a in leaves(weight.stored[0]))
    ref = c.record(
        Product(columns, (source,), parameter=weight.name, into=rows, contracted=origins, chosen=weight.chosen)
    )
    dims = c.fresh(c.shapes(index))
    return c.scaled(Tensor((*dims, columns), ref), weight.power)


@operator("aten.embedding_bag", "aten._embedding_bag", "aten._embedding_bag_forward_only")
def _embedding_bag(c: Conversion, weight: Any, index: Any, *args: Any, **kwargs: Any) -> list[Any]:
    """Sums (mode 0), means (1) or maxima (2) of rows."""
    weights = kwargs.get("per_sample_weights", args[4] if len(args) > 4 else None)
    mode = kwargs.get("mode", args[2] if len(args) > 2 else 0)
    if weights is not None and not isinstance(weights, Constant):
        raise c.refuse("rows weighted by trained values have no rule", "Multiply the rows of nn.Embedding")
    whole = _embedding(c, weight, index)
    whole = c.apply(MAXIMUM, whole) if mode == 2 else whole
    bags = c.fresh(c.node.shapes[0])[:-1]
    return [replace(whole, dims=(*bags, whole.dims[-1])), Indices(), Indices(), Indices()]


@operator("aten.scaled_dot_product_attention")
def _attention(
    c: Conversion,
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    dropout: Any = 0.0,
    causal: bool = False,
    *,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Tensor:
    q, k, v = (c.tensor(x) for x in (query, key, value))
    if enable_gqa:
        k, v = (_grouped(c, q, x) for x in (k, v))
    batch = list(ascii_letters[: len(q.dims) - 2])
    logits = contract(c, q, k, [*batch, "T", "D"], [*batch, "S", "D"], [*batch, "T", "S"])
    power = -c.size(q.dims[-1]) / 2 if scale is None else c.power(scale).exponent
    logits = c.scaled(logits, power)
    if is_differentiable([mask]):  # a trained bias of positions
        bias = c.tensor(mask)
        for a, b in zip(reversed(logits.dims), reversed(bias.dims), strict=False):
            if leaves(a) and leaves(b):
                unify(a, b)
        logits = c.add(logits, bias, logits.dims)
    weights = softmax(c, logits, causal=causal)
    return contract(c, weights, v, [*batch, "T", "S"], [*batch, "S", "D"], [*batch, "T", "D"])


def _grouped(c: Conversion, q: Tensor, x: Tensor) -> Tensor:
    """Keys or values of groups, at the heads that share them."""
    heads, groups = leaves(q.dims[-3]), leaves(x.dims[-3])
    have, want = (coordinates(atoms, len(c.widths)) for atoms in (groups, heads))
    copies = tuple(h // g for h, g in zip(want, have, strict=True))
    if set(copies) == {1}:
        return x
    return replace(x, dims=(*x.dims[:-3], (*groups, Atom(copies)), *x.dims[-2:]))


@operator("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d")
def _transposed(c: Conversion, x: Any, weight: Any, bias: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    """Its kernel has the channels of the input first."""
    groups = kwargs.get("groups", args[3] if len(args) > 3 else 1)
    if not isinstance(weight, Parameter) or groups != 1:
        raise c.refuse("a computed kernel, or one in groups, has no rule", "Use a parameter, and one group")
    order = (1, 0, *range(2, len(weight.dims)))
    turned = replace(weight, dims=tuple(weight.dims[k] for k in order), stored=tuple(weight.stored[k] for k in order))
    result: Tensor = _convolution(c, x, turned, bias)
    return result


@operator("aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.convolution")
def _convolution(c: Conversion, x: Any, weight: Any, bias: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    if not isinstance(weight, Parameter):
        raise c.refuse("a computed kernel has no rule", "Use a parameter as the kernel")
    x = _ready(c, x)
    pixels = len(weight.dims) - 2
    groups = kwargs.get("groups", args[3] if len(args) > 3 and c.node.operator != "aten.convolution" else 1)
    batch = ["B"] if _rank(x) > pixels + 1 else []
    places = list(ascii_letters[:pixels])
    taps = [f"tap {k}" for k in range(pixels)]
    inner = Tensor(tuple(d for d in x.dims), x.ref) if isinstance(x, Tensor) else x
    new = tuple(_slid(c, inner, k, tap) for k, tap in enumerate(weight.dims[2:], len(batch) + 1))
    if groups == 1:
        y = _convolved(c, inner, weight, [*batch, "I", *places], ["O", "I", *taps], [*batch, "O", *places])
    elif isinstance(inner, Tensor) and not leaves(weight.dims[1]):
        y = _convolved(c, inner, weight, [*batch, "I", *places], ["I", "", *taps], [*batch, "I", *places])
    else:
        y = _grouped_convolution(c, inner, weight, groups, len(batch), [*batch, "G", "I", *places], taps)
    y = replace(y, dims=(*y.dims[: len(batch) + 1], *new))
    if isinstance(bias, Parameter):
        bias = replace(bias, dims=(*bias.dims, *((),) * pixels), stored=(*bias.stored, *((),) * pixels))
    return affine(c, y, None, bias)


def _grouped_convolution(
    c: Conversion, x: Any, weight: Parameter, groups: Any, at: int, letters: list[str], taps: list[str]
) -> Tensor:
    """Finitely many groups of channels, each with matrices of its own."""
    if not isinstance(x, Tensor) or not isinstance(groups, int):
        raise c.refuse(
            "a convolution in groups of several channels, whose number grows, has no rule",
            "Use finitely many groups, or one for each channel",
        )
    count = (groups,) * len(c.widths)

    def cut(dim: Dim) -> tuple[Dim, Dim]:
        sizes = coordinates(leaves(dim), len(c.widths))
        major, minor = regroup([dim], [count, tuple(n // groups for n in sizes)])
        return major, minor

    x = replace(x, dims=(*x.dims[:at], *cut(x.dims[at]), *x.dims[at + 1 :]))
    kernel = replace(
        weight, dims=(*cut(weight.dims[0]), *weight.dims[1:]), stored=(*cut(weight.stored[0]), *weight.stored[1:])
    )
    result = ["O" if k == "I" else k for k in letters]
    y = _convolved(c, x, kernel, letters, ["G", "O", "I", *taps], result)
    return replace(y, dims=(*y.dims[:at], (*y.dims[at], *y.dims[at + 1]), *y.dims[at + 2 :]))


def _slid(c: Conversion, x: Any, k: int, tap: Dim) -> Dim:
    """A dimension that a kernel slides along: pixels; features only with a kernel of one."""
    if not isinstance(x, Tensor) or not set(leaves(x.dims[k])) & set(c.features(x)):
        return c.fresh()[k]
    if leaves(tap):
        raise c.refuse("its kernel slides along features, not pixels", "Contract features with a linear layer")
    return x.dims[k]


def _convolved(c: Conversion, x: Any, p: Parameter, lx: list[str], lp: list[str], lo: list[str]) -> Tensor:
    """Channels contracted at every tap; taps are finite and add up."""
    keep = [k for k, letter in enumerate(lp) if not letter.startswith("tap")]
    thin = replace(p, dims=tuple(p.dims[k] for k in keep), stored=tuple(p.stored[k] for k in keep))
    if len(keep) > 1 and not lp[keep[1]]:
        only = keep[:1]
        thin = replace(p, dims=tuple(p.dims[k] for k in only), stored=tuple(p.stored[k] for k in only))
        lp = [lp[0]]
    return contract(c, x, thin, lx, [letter for letter in lp if not letter.startswith("tap")], lo)
