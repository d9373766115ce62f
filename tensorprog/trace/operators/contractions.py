"""Operators that contract: linear layers, products of matrices, attention, convolutions, embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from string import ascii_letters
from typing import Any

from tensorprog.trace.atoms import Atom, Dim, coordinates, leaves
from tensorprog.trace.contraction import contract
from tensorprog.trace.conversion import Conversion, operator
from tensorprog.trace.operators.norms import affine, softmax
from tensorprog.trace.recording import Product, Source
from tensorprog.trace.values import Constant, Mixture, Parameter, Slice, Statistic, Tensor

__all__: list[str] = []


def _rank(x: Any) -> int:
    return len(x.dims) if isinstance(x, Tensor | Parameter | Slice | Mixture | Statistic) else x.values[0].dim()


def _ready(c: Conversion, x: Any) -> Any:
    return c.tensor(x) if isinstance(x, Slice | Mixture | Statistic) else x


@operator("aten.linear")
def _linear(c: Conversion, x: Any, weight: Any, bias: Any = None) -> Tensor:
    x, weight = _ready(c, x), _ready(c, weight)
    batch = ascii_letters[: _rank(x) - 1]
    return affine(c, contract(c, x, weight, [*batch, "I"], ["O", "I"], [*batch, "O"]), None, bias)


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
def _einsum(c: Conversion, equation: str, operands: Sequence[Any], **kwargs: Any) -> Tensor:
    inputs, _, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != 2 or "." in equation or not _:
        raise c.refuse(f"the equation {equation!r} has no rule", "Use two operands, letters for all dimensions, and ->")
    x, y = (_ready(c, o) for o in operands)
    return contract(c, x, y, list(terms[0]), list(terms[1]), list(output))


@operator("aten.embedding")
def _embedding(c: Conversion, weight: Any, index: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(weight, Parameter) or not isinstance(index, Constant):
        raise c.refuse("rows of a computed table have no rule", "Use nn.Embedding with given indices")
    rows, columns = (leaves(d) for d in weight.dims)
    if any(a.grows for a in rows):
        raise c.refuse(
            f"the number of rows of {weight.name!r} grows with the width", "Keep the vocabulary the same at all widths"
        )
    name = c._name(index)
    source = c.record(Source(rows, name=name if name != "constant" else c.node.where or "index"))
    origins = frozenset(a.origin for a in leaves(weight.stored[0]))
    ref = c.record(
        Product(columns, (source,), parameter=weight.name, into=rows, contracted=origins, chosen=weight.chosen)
    )
    dims = c.fresh(c.shapes(index))
    return c.scaled(Tensor((*dims, columns), ref), weight.power)


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
    weights = softmax(c, c.scaled(logits, power), causal=causal)
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
    else:
        if not isinstance(inner, Tensor) or leaves(weight.dims[1]):
            raise c.refuse(
                "a convolution in groups of several channels has no rule", "Use one group, or one for each channel"
            )
        y = _convolved(c, inner, weight, [*batch, "I", *places], ["I", "", *taps], [*batch, "I", *places])
    y = replace(y, dims=(*y.dims[: len(batch) + 1], *new))
    if isinstance(bias, Parameter):
        bias = replace(bias, dims=(*bias.dims, *((),) * pixels), stored=(*bias.stored, *((),) * pixels))
    return affine(c, y, None, bias)


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
