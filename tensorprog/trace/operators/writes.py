"""Tensors that are made to be written into, and what is written: a program writes nowhere, it returns copies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tensorprog.trace.atoms import leaves
from tensorprog.trace.concatenation import Spans, joined
from tensorprog.trace.conversion import Conversion, operator
from tensorprog.trace.operators.shapes import piece, spans_of, unsqueezed
from tensorprog.trace.values import Constant, Parameter, PerWidth, Tensor, Written

__all__: list[str] = []

Numbers = (int, float, Constant, PerWidth)


@operator("aten.zeros_like", "aten.new_zeros", "aten.new_empty", "aten.empty_like")
def _zeros(c: Conversion, x: Any, *args: Any, **kwargs: Any) -> Constant:
    """Of a value, its shape alone."""
    return c.zeros()


def _full(c: Conversion, number: Any) -> Constant:
    if not isinstance(number, Numbers):
        raise c.refuse("it fills a tensor with a value that depends on parameters", "Expand the value instead")
    return Constant(tuple(z + v for z, v in zip(c.zeros().values, c.per_width(number), strict=True)))


@operator("aten.ones_like", "aten.new_ones")
def _ones(c: Conversion, x: Any, *args: Any, **kwargs: Any) -> Constant:
    return _full(c, 1.0)


@operator("aten.full_like", "aten.fill")
def _filled(c: Conversion, x: Any, fill_value: Any, **kwargs: Any) -> Constant:
    return _full(c, fill_value)


@operator("aten.new_full")
def _new_full(c: Conversion, x: Any, size: Any, fill_value: Any, **kwargs: Any) -> Constant:
    return _full(c, fill_value)


@operator("aten.copy")
def _copied(c: Conversion, x: Any, y: Any, *args: Any, **kwargs: Any) -> Any:
    """What was there before is gone."""
    if isinstance(y, Numbers):
        return _full(c, y)
    t = y if isinstance(y, Parameter) else c.tensor(y)
    return replace(t, dims=c.broadcast(t))


@operator("aten.slice_scatter")
def _slice_scatter(
    c: Conversion, x: Any, y: Any, dim: int = 0, start: Any = None, stop: Any = None, step: int = 1
) -> Any:
    """x with y in place of some of its coordinates or positions."""
    at = dim % len(c.node.shapes)
    return _written(c, x, y, at, spans_of(c, start, stop, step, c.node.shapes[at]))


@operator("aten.select_scatter")
def _select_scatter(c: Conversion, x: Any, y: Any, dim: int, index: Any) -> Any:
    """x with y in place of one coordinate or position."""
    at = dim % len(c.node.shapes)
    rows = zip(c.per_width(index), c.node.shapes[at], strict=True)
    return _written(c, x, unsqueezed(c, y, at), at, tuple((i % n, i % n + 1, 1) for i, n in rows))


def _written(c: Conversion, x: Any, y: Any, at: int, spans: Spans) -> Any:
    sizes = c.node.shapes[at]
    if all((0, n, 1) == span for span, n in zip(spans, sizes, strict=True)):
        return y
    if isinstance(x, Constant) and all(step == 1 for _, _, step in spans):
        x = Written(x, at, ())
    if isinstance(x, Written) and x.dim == at:
        kept = [p for p in x.parts if p[0] != spans]
        if not any(a < d and e < b for where, _ in kept for (a, b, _), (e, d, _) in zip(where, spans, strict=True)):
            return replace(x, parts=tuple(sorted((*kept, (spans, y)), key=lambda p: p[0])))
    return _replaced(c, x, y, at, spans)


def _replaced(c: Conversion, x: Any, y: Any, at: int, spans: Spans) -> Any:
    """Features of a vector replaced by others; at positions, a generic one has either, and both are kept."""
    values = [c.tensor(v) for v in (x, y) if not isinstance(v, Numbers)]
    if not any(set(leaves(v.dims[at])) & set(c.features(v)) for v in values):
        first, *rest = (replace(v, dims=c.replaced(v.dims, at, c.fresh()[at])) for v in values)
        for other in rest:
            dims = c.broadcast(first, other)
            first = c.add(first, other, dims)
        return first
    if any(step != 1 for _, _, step in spans):
        raise c.refuse(
            "it writes every other feature", "Stack the features and flatten them, or write contiguous parts"
        )
    if not isinstance(x, Tensor):
        x = c.tensor(x)
    before = [(0, a, 1) for a, _, _ in spans]
    after = [(b, n, 1) for (_, b, _), n in zip(spans, c.node.shapes[at], strict=True)]
    pieces = []
    for around, value in ((before, None), (spans, y), (after, None)):
        count = tuple(b - a for a, b, _ in around)
        if any(count):
            pieces.append(piece(c, x, at, around, count) if value is None else value)
    return joined(c, pieces, at, c.node.shapes)
