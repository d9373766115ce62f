"""Concatenation: parts one after the other along a dimension, of features or of positions.

Along features they become the segments of one atom. Along positions a generic one holds any of the parts: the result
is their sum, and what is read back at the positions of one part is that part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tensorprog.trace.atoms import Atom, Dim, coordinates, leaves, regroup, unify
from tensorprog.trace.recording import Concatenated, Rotated, Source
from tensorprog.trace.values import Constant, Mixture, Parameter, Slice, Tensor, Written

if TYPE_CHECKING:
    from tensorprog.trace.conversion import Conversion

__all__ = ["Spans", "assembled", "joined", "placed", "stacked"]

Spans = tuple[tuple[int, int, int], ...]
"""(start, stop, step) at every width."""
Shapes = tuple[tuple[int, ...], ...]


def joined(c: Conversion, parts: Sequence[Any], at: int, shapes: Shapes) -> Any:
    """Parts one after the other along a dimension.

    Args:
        at: that dimension.
        shapes: of the result.
    """
    parts = [p for p in parts if not _is_empty(p, at)]
    if len(parts) == 1:
        return parts[0]
    whole = _put_together(parts)
    if whole is not None and whole.dim == at and not whole.dropped:
        return _rotated(c, whole.of)
    if all(isinstance(p, Parameter | Constant) for p in parts):
        raise c.refuse_weight(parts)
    # Parameters and constants take the axis of the rest.
    like = next(c.tensor(p) for p in parts if not isinstance(p, Parameter | Constant))
    parts = [p if isinstance(p, Parameter | Constant) else c.tensor(p) for p in parts]
    own = {a for p in parts if isinstance(p, Tensor) for a in c.features(p)}
    along = any(a in own for p in parts if isinstance(p, Tensor) for a in leaves(p.dims[at]))
    for p in parts:
        if not isinstance(p, Constant):
            _aligned(p.dims, like.dims, at)
    return (_along_features if along else _along_positions)(c, parts, at, shapes, like)


def _is_empty(x: Any, dim: int) -> bool:
    """Whether it has no coordinates along a dimension, such as what is left of a head that is rotated as a whole."""
    if isinstance(x, Constant):
        return not any(v.numel() for v in x.values)
    return any(set(a.sizes) == {0} for a in leaves(x.dims[dim]))


def _aligned(a: Sequence[Dim], b: Sequence[Dim], but: int | None = None) -> None:
    """Dimensions that two values have in common are the same ones."""
    for k, (x, y) in enumerate(zip(a, b, strict=True)):
        if k != but and leaves(x) and leaves(y):
            unify(x, y)


def _along_positions(c: Conversion, parts: Sequence[Any], at: int, shapes: Shapes, like: Tensor) -> Tensor:
    place = Atom(shapes[at])
    dims = tuple(like.dims[k] if k != at else (place,) for k in range(len(shapes)))
    start = (0,) * len(c.widths)
    places: list[tuple[Spans, int]] = []
    result: Tensor | None = None
    for p in parts:
        stop = tuple(a + n for a, n in zip(start, _length(c, p, at), strict=True))
        if not isinstance(p, Constant):  # constants are at further positions
            t = c.tensor(p, like)
            result = Tensor(dims, t.ref) if result is None else c.add(result, t, dims)
            places.append((tuple((a, b, 1) for a, b in zip(start, stop, strict=True)), t.ref))
        start = stop
    assert result is not None
    c.places[result.ref] = place, tuple(places)
    return result


def _length(c: Conversion, p: Any, at: int) -> tuple[int, ...]:
    return c.shapes(p)[at] if isinstance(p, Constant) else coordinates(leaves(p.dims[at]), len(c.widths))


def placed(c: Conversion, x: Tensor, at: int, spans: Sequence[tuple[int, int, int]]) -> int | None:
    """The operation whose result is at these positions of a dimension, where it is one part that was put there."""
    atoms = leaves(x.dims[at])
    return _placed(c, x.ref, atoms[0], spans) if len(atoms) == 1 else None


def _placed(c: Conversion, ref: int, place: Atom, spans: Sequence[tuple[int, int, int]]) -> int | None:
    op = c.recording[ref]
    if isinstance(op, Concatenated):  # of features, each of them at these positions
        found = tuple(_placed(c, arg, place, spans) for arg in op.args)
        refs = tuple(r for r in found if r is not None)
        return c.recording.add(replace(op, args=refs)) if len(refs) == len(found) else None
    known, parts = c.places.get(ref, (None, ()))
    for where, part in parts if known is not None and known.root is place else ():
        inside = all(a <= lo and hi <= b for (a, b, _), (lo, hi, _) in zip(where, spans, strict=True))
        if inside and set(leaves(c.recording[part].features)) == set(leaves(op.features)):
            return part
    return None


def _along_features(c: Conversion, parts: Sequence[Any], at: int, shapes: Shapes, like: Tensor) -> Tensor:
    tensors = [_given(c, p, at, like) if isinstance(p, Constant) else c.tensor(p, like) for p in parts]
    atom = Atom(shapes[at])
    segments = atom.concatenate([coordinates(leaves(t.dims[at]), len(c.widths)) for t in tensors])
    for segment, t in zip(segments, tensors, strict=True):
        unify((segment,), t.dims[at])
    first = tensors[0]
    mine = set(leaves(first.dims[at]))
    features = tuple(dict.fromkeys([*(atom if a in mine else a for a in c.features(first)), atom]))
    ref = c.record(Concatenated(features, tuple(t.ref for t in tensors), atom=atom))
    return Tensor(c.replaced(first.dims, at, (atom,)), ref)


def _given(c: Conversion, p: Constant, at: int, like: Tensor) -> Tensor:
    """Features that are constants, on an axis of their own length."""
    mine = set(leaves(like.dims[at]))
    own = Atom(c.shapes(p)[at])
    features = tuple(dict.fromkeys([*(own if a in mine else a for a in c.features(like)), own]))
    ref = c.record(Source(features, name=c.name(p), power=c.power(p).exponent))
    return Tensor(c.replaced(like.dims, at, (own,)), ref)


def stacked(c: Conversion, parts: Sequence[Any], at: int, shapes: Shapes) -> Tensor:
    """Parts along a dimension of their own."""
    whole = _put_together(parts)
    if whole is not None and at == whole.dim + (not whole.dropped):
        rotated = _rotated(c, whole.of)
        return Tensor(regroup(rotated.dims, shapes), rotated.ref)
    if all(isinstance(p, Parameter | Constant) for p in parts):
        raise c.refuse_weight(parts)
    tensors = [c.tensor(p) for p in parts]
    first = tensors[0]
    for t in tensors[1:]:
        _aligned(first.dims, t.dims)
    atom = Atom(shapes[at])
    atom.concatenate([(1,) * len(c.widths)] * len(tensors))
    ref = c.record(Concatenated((atom, *c.features(first)), tuple(t.ref for t in tensors), atom=atom))
    return Tensor((*first.dims[:at], (atom,), *first.dims[at:]), ref)


def assembled(c: Conversion, x: Written) -> Any:
    """A constant with what was written into it."""
    sizes = c.shapes(x.base)[x.dim]
    ends: list[Spans] = [spans for spans, _ in x.parts]
    ends.append(tuple((n, n, 1) for n in sizes))
    start = (0,) * len(sizes)
    parts = []
    for spans, value in zip(ends, [*(v for _, v in x.parts), None], strict=True):
        rows = zip(x.base.values, start, spans, strict=True)
        parts.append(Constant(tuple(v.narrow(x.dim, a, b - a) for v, a, (b, _, _) in rows)))
        parts += [] if value is None else [value]
        start = tuple(b for _, b, _ in spans)
    return joined(c, parts, x.dim, c.shapes(x.base))


def _put_together(parts: Sequence[Any]) -> Slice | None:
    """A slice of the tensor whose slices, all of them, mixed or in another order, are put together."""
    if not all(isinstance(p, Slice | Mixture) for p in parts):
        return None
    slices = list(dict.fromkeys(s for p in parts for s in (p.parts if isinstance(p, Mixture) else (p,))))
    first = slices[0]
    if len(slices) != len(parts) or any((s.of.ref, s.dim, s.dropped) != _place(first) for s in slices):
        return None
    for w, size in enumerate(coordinates(leaves(first.of.dims[first.dim]), len(first.spans))):
        covered = sorted(k for s in slices for k in range(*s.spans[w]))
        if covered != list(range(size)):
            return None
    return first


def _place(s: Slice) -> tuple[int, int, bool]:
    return s.of.ref, s.dim, s.dropped


def _rotated(c: Conversion, x: Tensor) -> Tensor:
    return Tensor(x.dims, c.record(Rotated(c.features(x), (x.ref,))))
