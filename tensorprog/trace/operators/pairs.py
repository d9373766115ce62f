"""Complex numbers: pairs of coordinates, which constants turn."""

from __future__ import annotations

from typing import Any

from tensorprog.trace.atoms import leaves
from tensorprog.trace.conversion import Conversion, operator
from tensorprog.trace.recording import Rotated
from tensorprog.trace.values import Tensor

__all__: list[str] = []


@operator("aten.view_as_complex")
def _complex(c: Conversion, x: Any) -> Tensor:
    """A vector of pairs; their axis stays a factor of its own."""
    t = c.tensor(x)
    if set(leaves(t.dims[-1])) - set(c.features(t)):
        raise c.refuse("the parts of its complex numbers are no features", "Rotate features")
    return Tensor(t.dims[:-1], t.ref)


@operator("aten.view_as_real")
def _real(c: Conversion, x: Any) -> Tensor:
    """Once constants have turned them, the pairs are a fixed mixing of what they were."""
    t = c.tensor(x)
    kept = {a for d in t.dims for a in leaves(d)}
    pair = tuple(a for a in c.features(t) if a not in kept)
    ref = c.record(Rotated(c.features(t), (t.ref,)))
    return Tensor((*t.dims, pair), ref)
