"""Operators that move, cut and join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tensorprog.trace.atoms import Atom, Dim, around, holding, leaves, regroup, unify
from tensorprog.trace.conversion import Conversion, operator
from tensorprog.trace.operators.functions import FUNCTIONS
from tensorprog.trace.recording import Concatenated, Rotated
from tensorprog.trace.values import Constant, Mixture, Parameter, PerWidth, Slice, Statistic, Tensor

__all__: list[str] = []


def _whole(c: Conversion, x: Any) -> Any:
    return c.tensor(x) if isinstance(x, Slice | Mixture) else x


@operator("aten.view", "aten.reshape", "aten.flatten", "aten.unflatten", "aten.squeeze", "aten.unsqueeze",
          "aten._unsafe_view", "aten.view_as", "aten.reshape_as")  # fmt: skip
def _view(c: Conversion, x: Any, *args: Any, **kwargs: Any) -> Any:
    x = _whole(c, x)
    dims = regroup(x.dims, c.node.shapes)
    if isinstance(x, Parameter):
        return replace(x, dims=dims, stored=regroup(x.stored, c.node.shapes))
    return replace(x, dims=dims)


def _moved(x: Any, order: Sequence[int]) -> Any:
    dims = tuple(x.dims[k] for k in order)
    if isinstance(x, Parameter):
        return replace(x, dims=dims, stored=tuple(x.stored[k] for k in order))
    return replace(x, dims=dims)


@operator("aten.permute")
def _permute(c: Conversion, x: Any, order: Sequence[int]) -> Any:
    x = _whole(c, x)
    return _moved(x, [k % len(x.dims) for k in order])


@operator("aten.transpose", "aten.swapaxes", "aten.swapdims")
def _transpose(c: Conversion, x: Any, a: int, b: int) -> Any:
    x = _whole(c, x)
    order = list(range(len(x.dims)))
    order[a], order[b] = order[b], order[a]
    return _moved(x, order)


@operator("aten.t", "aten.numpy_T", "aten.mT")
def _t(c: Conversion, x: Any) -> Any:
    x = _whole(c, x)
    order = list(range(len(x.dims)))
    order[-2:] = order[-2:][::-1]
    return _moved(x, order)


@operator("aten.movedim")
def _movedim(c: Conversion, x: Any, source: Any, destination: Any) -> Any:
    x = _whole(c, x)
    rank = len(x.dims)
    froms, tos = ([v] if isinstance(v, int) else list(v) for v in (source, destination))
    froms, tos = [k % rank for k in froms], [k % rank for k in tos]
    order = [k for k in range(rank) if k not in froms]
    for at, k in sorted(zip(tos, froms, strict=True)):
        order.insert(at, k)
    return _moved(x, order)


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


def _span(c: Conversion, start: Any, stop: Any, step: int, sizes: tuple[int, ...]) -> tuple[tuple[int, int, int], ...]:
    def at(value: Any, w: int) -> Any:
        return value.values[w] if isinstance(value, PerWidth) else value

    return tuple((*slice(at(start, w), at(stop, w)).indices(n)[:2], step) for w, n in enumerate(sizes))


@operator("aten.slice")
def _slice(c: Conversion, x: Any, dim: int = 0, start: Any = None, stop: Any = None, step: int = 1) -> Any:
    x = _whole(c, x)
    sizes = _sizes(c, x.dims[dim])
    spans = _span(c, start, stop, step, sizes)
    if step == 1 and all(a == 0 and b == n for (a, b, _), n in zip(spans, sizes, strict=True)):
        return x
    at = dim % len(x.dims)
    return _part(c, x, at, spans, c.node.shapes[at])


def _sizes(c: Conversion, dim: Dim) -> tuple[int, ...]:
    result = [1] * len(c.widths)
    for atom in leaves(dim):
        result = [r * n for r, n in zip(result, atom.sizes, strict=True)]
    return tuple(result)


def _part(c: Conversion, x: Any, dim: int, spans: Any, sizes: tuple[int, ...], siblings: Any = ()) -> Any:
    out: Dim = (Atom(sizes),) if set(sizes) != {1} else ()
    dims = c.replaced(x.dims, dim, out)
    if isinstance(x, Parameter):
        if any(a.grows for a in leaves(x.dims[dim])):
            return _block(c, x, dim, spans, siblings)
        stored: Dim = (Atom(sizes, leaves(x.stored[dim])[0].origin),) if out else ()
        return replace(x, dims=dims, stored=c.replaced(x.stored, dim, stored))
    if isinstance(x, Statistic):
        return replace(x, dims=dims)
    return Slice(c.tensor(x), dim, tuple(spans), dims, tuple(siblings))


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
    spans = tuple((s, s + n, 1) for s, n in zip(_each(c, start), sizes, strict=True))
    return _part(c, x, at, spans, sizes)


def _each(c: Conversion, value: Any) -> Sequence[int]:
    return value.values if isinstance(value, PerWidth) else [value] * len(c.widths)


@operator("aten.split", "aten.split_with_sizes", "aten.chunk", "aten.tensor_split")
def _split(c: Conversion, x: Any, sizes: Any, dim: int = 0) -> list[Any]:
    x = _whole(c, x)
    at = dim % len(x.dims)
    starts = [0] * len(c.widths)
    found = []
    siblings = [shape[at] for shape in c.node.shapes]
    for shape in c.node.shapes:
        stops = [a + n for a, n in zip(starts, shape[at], strict=True)]
        found.append(_part(c, x, at, [(a, b, 1) for a, b in zip(starts, stops, strict=True)], shape[at], siblings))
        starts = stops
    return found


@operator("aten.glu")
def _glu(c: Conversion, x: Any, dim: int = -1) -> Tensor:
    """One half times the sigmoid of the other."""
    x = c.tensor(_whole(c, x))
    at = dim % len(x.dims)
    sizes = c.node.shapes[at]
    spans = [[(0, n, 1) for n in sizes], [(n, 2 * n, 1) for n in sizes]]
    first, second = (c.tensor(_part(c, x, at, span, sizes, (sizes, sizes))) for span in spans)
    gate = c.apply(FUNCTIONS["aten.sigmoid"], second)
    dims, a, b = c.together(first, gate)
    return c.multiply(a, b, dims)


@operator("aten.select")
def _select(c: Conversion, x: Any, dim: int, index: Any) -> Any:
    x = _whole(c, x)
    at = dim % len(x.dims)
    return _chosen(c, x, at, index)


def _chosen(c: Conversion, x: Any, at: int, index: Any) -> Any:
    sizes = _sizes(c, x.dims[at])
    spans = [(i % n, i % n + 1, 1) for i, n in zip(_each(c, index), sizes, strict=True)]
    each = [(1,) * len(c.widths)] * sizes[0] if len(set(sizes)) == 1 else ()
    part = _part(c, x, at, spans, (1,) * len(c.widths), each)
    keep = [k for k in range(len(part.dims)) if k != at]
    return replace(_moved(part, keep), dropped=True) if isinstance(part, Slice) else _moved(part, keep)


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
                return _part(c, whole, k, spans, c.node.shapes[k])
    return _positions(c, whole)


@operator("aten.index_select", "aten.gather", "aten.take_along_dim", "aten.flip", "aten.roll", "aten.pad",
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


@operator("aten.cat", "aten.concat", "aten.concatenate")
def _cat(c: Conversion, parts: Sequence[Any], dim: int = 0) -> Any:
    at = dim % len(c.node.shapes)
    whole = _put_together(parts)
    if whole is not None and whole.dim == at and not whole.dropped:
        return _rotated(c, whole.of)
    like = next(c.tensor(p) for p in parts if isinstance(p, Tensor | Slice | Mixture))  # the rest takes its axis
    return _joined(c, parts, at, like)


def _put_together(parts: Sequence[Any]) -> Slice | None:
    """A slice of the tensor whose slices, all of them, mixed or in another order, are put together."""
    if not all(isinstance(p, Slice | Mixture) for p in parts):
        return None
    slices = list(dict.fromkeys(s for p in parts for s in (p.parts if isinstance(p, Mixture) else (p,))))
    first = slices[0]
    if len(slices) != len(parts) or any((s.of.ref, s.dim, s.dropped) != _place(first) for s in slices):
        return None
    for w, size in enumerate(_extent(first.of.dims[first.dim], len(first.spans))):
        covered = sorted(k for s in slices for k in range(*s.spans[w]))
        if covered != list(range(size)):
            return None
    return first


def _place(s: Slice) -> tuple[int, int, bool]:
    return s.of.ref, s.dim, s.dropped


def _extent(dim: Dim, count: int) -> list[int]:
    result = [1] * count
    for atom in leaves(dim):
        result = [r * n for r, n in zip(result, atom.sizes, strict=True)]
    return result


def _rotated(c: Conversion, x: Tensor) -> Tensor:
    return Tensor(x.dims, c.record(Rotated(c.features(x), (x.ref,))))


def _joined(c: Conversion, parts: Sequence[Any], at: int, like: Tensor) -> Tensor:
    own = set(c.features(like))
    along = any(a in own for a in leaves(like.dims[at])) or _is_feature(c, parts, at)
    tensors = []
    for p in parts:
        if isinstance(p, Constant) and not along:
            continue  # constants at further positions
        shaped = _whole(c, p)
        if not isinstance(shaped, Constant):
            for k, (a, b) in enumerate(zip(shaped.dims, like.dims, strict=True)):
                if k != at and leaves(a) and leaves(b):
                    unify(a, b)
        tensors.append(c.tensor(shaped, like))
    if not along:
        dims = tuple(
            like.dims[k] if k != at else ((Atom(s),) if set(s) != {1} else ()) for k, s in enumerate(c.node.shapes)
        )
        result = tensors[0]
        for t in tensors[1:]:
            result = c.add(result, t, dims)
        return Tensor(dims, result.ref)
    return _concatenated(c, tensors, at)


def _is_feature(c: Conversion, parts: Sequence[Any], at: int) -> bool:
    return any(isinstance(p, Tensor) and any(a in set(c.features(p)) for a in leaves(p.dims[at])) for p in parts)


def _concatenated(c: Conversion, tensors: Sequence[Tensor], at: int) -> Tensor:
    atom = Atom(c.node.shapes[at])
    segments = atom.concatenate([_sizes(c, t.dims[at]) for t in tensors])
    for segment, t in zip(segments, tensors, strict=True):
        unify((segment,), t.dims[at])
    first = tensors[0]
    mine = set(leaves(first.dims[at]))
    features: list[Atom] = []
    for a in c.features(first):
        if a not in mine:
            features.append(a)
        elif atom not in features:
            features.append(atom)
    if atom not in features:
        features.append(atom)
    ref = c.record(Concatenated(tuple(features), tuple(t.ref for t in tensors), atom=atom))
    return Tensor(c.replaced(first.dims, at, (atom,)), ref)


@operator("aten.stack")
def _stack(c: Conversion, parts: Sequence[Any], dim: int = 0) -> Any:
    at = dim % len(c.node.shapes)
    whole = _put_together(parts)
    if whole is not None and at == whole.dim + (not whole.dropped):
        rotated = _rotated(c, whole.of)
        return replace(rotated, dims=regroup(rotated.dims, c.node.shapes))
    tensors = [c.tensor(_whole(c, p)) for p in parts]
    first = tensors[0]
    for t in tensors[1:]:
        for a, b in zip(first.dims, t.dims, strict=True):
            if leaves(a) and leaves(b):
                unify(a, b)
    atom = Atom(c.node.shapes[at])
    atom.concatenate([(1,) * len(c.widths)] * len(tensors))
    features = (atom, *c.features(first))
    ref = c.record(Concatenated(features, tuple(t.ref for t in tensors), atom=atom))
    return Tensor((*first.dims[:at], (atom,), *first.dims[at:]), ref)
