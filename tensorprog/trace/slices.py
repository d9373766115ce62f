"""Slices on their own: segments of a concatenation, or fewer positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorprog.trace.atoms import Misaligned, around, coordinates, holding, leaves, unify
from tensorprog.trace.recording import Narrowed
from tensorprog.trace.values import Mixture, Slice, Tensor

if TYPE_CHECKING:
    from tensorprog.trace.conversion import Conversion

__all__ = ["cut", "mixed"]


def cut(c: Conversion, s: Slice) -> Tensor:
    """A slice on its own: a segment of its atom, or fewer positions."""
    own = set(c.features(s.of))
    parts = leaves(s.of.dims[s.dim])
    if not any(a in own for a in parts):
        return Tensor(s.dims, s.of.ref)
    if any(step != 1 for _, _, step in s.spans):
        raise c.refuse("it takes every other feature", "Take contiguous parts")
    if s not in c.cuts:
        c.cuts[s] = _segment(c, s)
    return c.cuts[s]


def _segment(c: Conversion, s: Slice) -> Tensor:
    """Some of the features along a dimension."""
    parts = leaves(s.of.dims[s.dim])
    rest = coordinates(parts[1:], len(c.widths))
    spans = [(a // r, b // r) for (a, b, _), r in zip(s.spans, rest, strict=True)]
    if any(a % r or b % r for (a, b, _), r in zip(s.spans, rest, strict=True)):
        raise Misaligned
    if any(a >= b for a, b in spans):
        raise c.refuse("it takes no features at some width", "Take some at every width")
    atom, ref = parts[0], s.of.ref
    siblings = [tuple(n // r for n, r in zip(sizes, rest, strict=True)) for sizes in s.siblings]
    while not all(a == 0 and b == n for (a, b), n in zip(spans, atom.sizes, strict=True)):
        if not atom.segments:
            atom.concatenate(siblings or around(spans, atom.sizes))
        index, spans = holding(atom.segments, spans)
        segment = atom.segments[index].root
        features = tuple(segment if a is atom else a for a in leaves(c.recording[ref].features))
        ref = c.record(Narrowed(features, (ref,), atom=atom, index=index))
        atom, siblings = segment, []
    dims = c.replaced(s.of.dims, s.dim, (atom, *parts[1:]))
    return Tensor(dims[: s.dim] + dims[s.dim + 1 :] if s.dropped else dims, ref)


def mixed(c: Conversion, m: Mixture) -> Tensor:
    """A sum of slices as it is."""
    first, *rest = (cut(c, s) for s in m.parts)
    for other in rest:
        for a, b in zip(first.dims, other.dims, strict=True):
            if leaves(a) and leaves(b):
                unify(a, b)
        first = c.add(first, other, first.dims)
    return first
