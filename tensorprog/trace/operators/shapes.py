"""Operators that move, cut and join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tensorprog.trace.atoms import Atom, Dim, around, coordinates, holding, leaves, regroup
from tensorprog.trace.concatenation import joined, placed, stacked
from tensorprog.trace.conversion import Conversion, operator
from tensorprog.trace.operators.functions import FUNCTIONS
from tensorprog.trace.values import Constant, Mixture, Parameter, Slice, Statistic, Tensor, Written

__all__ = ["moved", "piece", "spans_of", "unsqueezed"]


def _whole(c: Conversion, x: Any) -> Any:
    return c.tensor(x) if isinstance(x, Slice | Mixture | Written) else x


def _sizes(c: Conversion, dim: Dim) -> tuple[int, ...]:
    return coordinates(leaves(dim), len(c.widths))


@operator("aten.view", "aten.reshape", "aten.flatten", "aten.unflatten", "aten.squeeze", "aten.unsqueeze",
          "aten._unsafe_view", "aten.view_as", "aten.reshape_as")  # fmt: skip
def _view(c: Conversion, x: Any, *args: Any, **kwargs: Any) -> Any:
    x = _whole(c, x)
    dims = regroup(x.dims, c.node.shapes)
    if isinstance(x, Parameter):
        return replace(x, dims=dims, stored=regroup(x.stored, c.node.shapes))
    return replace(x, dims=dims)


def moved(x: Any, order: Sequence[int]) -> Any:
    """A value with its dimensions in another order."""
    dims = tuple(x.dims[k] for k in order)
    if isinstance(x, Parameter):
        return replace(x, dims=dims, stored=tuple(x.stored[k] for k in order))
    return replace(x, dims=dims)


@operator("aten.permute")
def _permute(c: Conversion, x: Any, order: Sequence[int]) -> Any:
    x = _whole(c, x)
    return moved(x, [k % len(x.dims) for k in order])


@operator("aten.transpose", "aten.swapaxes", "aten.swapdims")
def _transpose(c: Conversion, x: Any, a: int, b: int) -> Any:
    x = _whole(c, x)
    order = list(range(len(x.dims)))
    order[a], order[b] = order[b], order[a]
    return moved(x, order)


@operator("aten.t", "aten.numpy_T", "aten.mT")
def _t(c: Conversion, x: Any) -> Any:
    x = _whole(c, x)
    order = list(range(len(x.dims)))
    order[-2:] = order[-2:][::-1]
    return moved(x, order)


@operator("aten.movedim")
def _movedim(c: Conversion, x: Any, source: Any, destination: Any) -> Any:
    x = _whole(c, x)
    rank = len(x.dims)
    froms, tos = ([v] if isinstance(v, int) else list(v) for v in (source, destination))
    froms, tos = [k % rank for k in froms], [k % rank for k in tos]
    order = [k for k in range(rank) if k not in froms]
    for at, k in sorted(zip(tos, froms, strict=True)):
        order.insert(at, k)
    return moved(x, order)


@operator("aten.expand", "aten.expand_as", "aten.repeat", "aten.tile", "aten.broadcast_to")
def _expand(c: Conversion, x: Any, *args: Any, **kwargs: Any) -> Any:
    x = _whole(c, x)
    shapes = c.node.shapes
    old = (*((),) * (len(shapes) - len(x.dims)), *x.dims)
    dims = tuple(_repeated(c, d, s) for d, s in zip(old, shapes, strict=True))
    if isinstance(x, Parameter):
        stored = (*((),) * (len(shapes) - len(x.dims)), *x.stored)
        return replace(x, dims=dims, stored=stored)
    return replace(x, dims=dims)


def _repeated(c: Conversion, dim: Dim, sizes: tuple[int, ...]) -> Dim:
    """A dimension that is copied as a whole gets a new factor in front."""
    have = [1] * len(sizes)
    for a in leaves(dim):
        have = [h * n for h, n in zip(have, a.sizes, strict=True)]
    copies = tuple(n // h for n, h in zip(sizes, have, strict=True))
    return dim if set(copies) == {1} else (Atom(copies), *dim)


@operator("aten.repeat_interleave")
def _interleave(c: Conversion, x: Any, repeats: Any, dim: int | None = None, **kwargs: Any) -> Any:
    t = c.tensor(_whole(c, x))
    if dim is None:
        raise c.refuse("it flattens its input", "Name the dimension")
    copies = _repeated(c, t.dims[dim], c.node.shapes[dim])
    at = dim % len(t.dims)
    new = (*copies[1:], copies[0]) if len(copies) > len(t.dims[at]) else t.dims[at]
    return replace(t, dims=c.replaced(t.dims, at, new))


@operator("<built-in function getitem>", "getitem")
def _getitem(c: Conversion, x: Any, index: int) -> Any:
    return x[index]


def spans_of(
    c: Conversion, start: Any, stop: Any, step: int, sizes: tuple[int, ...]
) -> tuple[tuple[int, int, int], ...]:
    """A slice as written, at every width."""
    ends = zip(c.per_width(start), c.per_width(stop), sizes, strict=True)
    return tuple((*slice(a, b).indices(n)[:2], step) for a, b, n in ends)


@operator("aten.slice")
def _slice(c: Conversion, x: Any, dim: int = 0, start: Any = None, stop: Any = None, step: int = 1) -> Any:
    at = dim % len(c.node.shapes)
    if isinstance(x, Written) and step == 1:
        found = _of_written(c, x, at, spans_of(c, start, stop, step, c.shapes(x.base)[at]))
        if found is not None:
            return found
    x = _whole(c, x)
    sizes = _sizes(c, x.dims[at])
    spans = spans_of(c, start, stop, step, sizes)
    if step == 1 and all(a == 0 and b == n for (a, b, _), n in zip(spans, sizes, strict=True)):
        return x
    if all(a >= b for a, b, _ in spans):
        return _empty(c)
    return piece(c, x, at, spans, c.node.shapes[at])


def _of_written(c: Conversion, x: Written, at: int, spans: Any) -> Any:
    """One of the parts, or what nothing was written over; None where it is neither."""
    if at != x.dim:
        return None
    for where, value in x.parts:
        if where == spans:
            return value
    if any(a < d and e < b for where, _ in x.parts for (a, b, _), (e, d, _) in zip(where, spans, strict=True)):
        return None
    return Constant(tuple(v.narrow(at, a, b - a) for v, (a, b, _) in zip(x.base.values, spans, strict=True)))


def _empty(c: Conversion) -> Constant:
    """A part without coordinates, such as what a rotation of all coordinates leaves as it is."""
    import torch

    return Constant(tuple(torch.empty(shape) for shape in zip(*c.node.shapes, strict=True)))


def piece(c: Conversion, x: Any, dim: int, spans: Any, sizes: tuple[int, ...], siblings: Any = ()) -> Any:
    """The part of a value from ``spans[i][0]`` to ``spans[i][1]`` along a dimension at the i-th width.

    Args:
        sizes: its lengths over the widths.
        siblings: lengths of all parts that the same call cuts: the blocks that a weight is made of.
    """
    out: Dim = (Atom(sizes),) if set(sizes) != {1} else ()
    dims = c.replaced(x.dims, dim, out)
    if isinstance(x, Parameter):
        if any(a.grows for a in leaves(x.dims[dim])):
            return _block(c, x, dim, spans, siblings)
        stored: Dim = (Atom(sizes, leaves(x.stored[dim])[0].origin),) if out else ()
        return replace(x, dims=dims, stored=c.replaced(x.stored, dim, stored))
    if isinstance(x, Statistic):
        return replace(x, dims=dims)
    t = c.tensor(x)
    part = placed(c, t, dim, spans)
    return Slice(t, dim, tuple(spans), dims, tuple(siblings)) if part is None else Tensor(dims, part)


def _block(c: Conversion, p: Parameter, dim: int, spans: Any, siblings: Any) -> Parameter:
    """A part of a parameter along a dimension that grows."""
    whole = leaves(p.dims[dim])
    if len(whole) > 1:
        raise c.refuse(f"parameter {p.name!r} is reshaped and then cut", "Cut it before it is reshaped")
    atom = whole[0]
    if not atom.segments:
        atom.concatenate(siblings or around([(a, b) for a, b, _ in spans], atom.sizes))
    index, inner = holding(atom.segments, [(a, b) for a, b, _ in spans])
    segment = atom.segments[index].root
    if any(a or b != n for (a, b), n in zip(inner, segment.sizes, strict=True)):
        raise c.refuse(f"parameter {p.name!r} is cut twice at different places", "Use several parameters")
    origin = leaves(p.stored[dim])[0].origin
    return replace(
        p,
        dims=c.replaced(p.dims, dim, (segment,)),
        stored=c.replaced(p.stored, dim, (Atom(segment.sizes, origin),)),
        chosen=p.chosen | {(atom, index)},
    )


@operator("aten.narrow")
def _narrow(c: Conversion, x: Any, dim: int, start: Any, length: Any) -> Any:
    x = _whole(c, x)
    at = dim % len(x.dims)
    sizes = c.node.shapes[at]
    spans = tuple((s, s + n, 1) for s, n in zip(c.per_width(start), sizes, strict=True))
    return piece(c, x, at, spans, sizes)


@operator(
    "aten.split",
    "aten.split_with_sizes",
    "aten.chunk",
    "aten.tensor_split",
    "aten.unsafe_split",
    "aten.unsafe_split_with_sizes",
    "aten.unsafe_chunk",
)
def _split(c: Conversion, x: Any, sizes: Any, dim: int = 0) -> list[Any]:
    x = _whole(c, x)
    at = dim % len(x.dims)
    starts = [0] * len(c.widths)
    found = []
    siblings = [shape[at] for shape in c.node.shapes]
    for shape in c.node.shapes:
        stops = [a + n for a, n in zip(starts, shape[at], strict=True)]
        found.append(piece(c, x, at, [(a, b, 1) for a, b in zip(starts, stops, strict=True)], shape[at], siblings))
        starts = stops
    return found


@operator("aten.glu")
def _glu(c: Conversion, x: Any, dim: int = -1) -> Tensor:
    """One half times the sigmoid of the other."""
    x = c.tensor(_whole(c, x))
    at = dim % len(x.dims)
    sizes = c.node.shapes[at]
    spans = [[(0, n, 1) for n in sizes], [(n, 2 * n, 1) for n in sizes]]
    first, second = (c.tensor(piece(c, x, at, span, sizes, (sizes, sizes))) for span in spans)
    gate = c.apply(FUNCTIONS["aten.sigmoid"], second)
    dims, a, b = c.together(first, gate)
    return c.multiply(a, b, dims)


@operator("aten.select")
def _select(c: Conversion, x: Any, dim: int, index: Any) -> Any:
    at = dim % (len(c.node.shapes) + 1)
    if isinstance(x, Written):
        rows = zip(c.per_width(index), c.shapes(x.base)[at], strict=True)
        found = _of_written(c, x, at, tuple((i % n, i % n + 1, 1) for i, n in rows))
        if isinstance(found, Constant):
            return Constant(tuple(v.squeeze(at) for v in found.values))
        if found is not None:
            return moved(_whole(c, found), [k for k in range(len(c.node.shapes) + 1) if k != at])
    return _chosen(c, _whole(c, x), at, index)


def _chosen(c: Conversion, x: Any, at: int, index: Any) -> Any:
    sizes = _sizes(c, x.dims[at])
    spans = [(i % n, i % n + 1, 1) for i, n in zip(c.per_width(index), sizes, strict=True)]
    each = [(1,) * len(c.widths)] * sizes[0] if len(set(sizes)) == 1 else ()
    part = piece(c, x, at, spans, (1,) * len(c.widths), each)
    keep = [k for k in range(len(part.dims)) if k != at]
    return replace(moved(part, keep), dropped=True) if isinstance(part, Slice) else moved(part, keep)


@operator("aten.unbind")
def _unbind(c: Conversion, x: Any, dim: int = 0) -> list[Any]:
    x = _whole(c, x)
    at = dim % len(x.dims)
    return [_chosen(c, x, at, i) for i in range(len(c.node.shapes))]


@operator("aten.index")
def _index(c: Conversion, x: Any, indices: Sequence[Any]) -> Any:
    """Positions, or features that lie side by side."""
    whole = _whole(c, x)
    at = [k for k, i in enumerate(indices) if i is not None]
    if len(at) == 1 and isinstance(indices[at[0]], Constant) and isinstance(whole, Tensor):
        k = at[0]
        chosen = [v.reshape(-1).tolist() for v in indices[k].values]
        sizes = _sizes(c, whole.dims[k])
        if any(a in set(c.features(whole)) for a in leaves(whole.dims[k])) and indices[k].values[0].dim() == 1:
            spans = [(v[0] % n, v[0] % n + len(v), 1) for v, n in zip(chosen, sizes, strict=True)]
            if all(v == list(range(v[0], v[0] + len(v))) for v in chosen):
                return piece(c, whole, k, spans, c.node.shapes[k])
    return _positions(c, whole)


@operator("aten.index_select", "aten.flip", "aten.roll", "aten.pad",
          "aten.constant_pad_nd", "aten.tril", "aten.triu")  # fmt: skip
def _positions(c: Conversion, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Positions chosen or moved: a generic position is what it was."""
    t = c.tensor(_whole(c, x))
    own = set(c.features(t))
    shapes = c.node.shapes
    kept = [d for d in t.dims if any(a in own for a in leaves(d))]
    dims: list[Dim] = []
    for sizes in shapes:
        match = next((d for d in kept if _sizes(c, d) == sizes), None)
        if match is not None:
            kept.remove(match)
        dims.append(match if match is not None else ((Atom(sizes),) if set(sizes) != {1} else ()))
    if kept:
        raise c.refuse("it chooses or moves features, not positions", "Keep features where they are")
    return Tensor(tuple(dims), t.ref)


@operator("aten.cumsum")
def _cumulated(c: Conversion, x: Any, dim: int, **kwargs: Any) -> Any:
    """Sums over the positions so far."""
    t = c.tensor(_whole(c, x))
    if set(leaves(t.dims[dim])) & set(c.features(t)):
        raise c.refuse("it sums features one after the other", "Sum all of them, or over positions")
    return t


@operator("aten.cat", "aten.concat", "aten.concatenate")
def _cat(c: Conversion, parts: Sequence[Any], dim: int = 0) -> Any:
    return joined(c, parts, dim % len(c.node.shapes), c.node.shapes)


@operator("aten.stack")
def _stack(c: Conversion, parts: Sequence[Any], dim: int = 0) -> Any:
    at = dim % len(c.node.shapes)
    return unsqueezed(c, parts[0], at) if len(parts) == 1 else stacked(c, parts, at, c.node.shapes)


def unsqueezed(c: Conversion, x: Any, at: int) -> Any:
    """With another dimension of one."""
    if isinstance(x, Constant):
        return Constant(tuple(v.unsqueeze(at) for v in x.values))
    if isinstance(x, Parameter):
        return replace(x, dims=(*x.dims[:at], (), *x.dims[at:]), stored=(*x.stored[:at], (), *x.stored[at:]))
    t = c.tensor(x)
    return replace(t, dims=(*t.dims[:at], (), *t.dims[at:]))
