"""Contractions in the notation of einsum: of a parameter with a vector, and of two vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorprog.trace.atoms import Atom, Dim, is_stack, leaves, unify
from tensorprog.trace.conversion import Conversion
from tensorprog.trace.recording import Contracted, Product, Vector
from tensorprog.trace.values import Constant, Parameter, Tensor

__all__ = ["contract"]

Letters = Sequence[str]


def contract(c: Conversion, a: Any, b: Any, la: Letters, lb: Letters, lo: Letters) -> Tensor:
    """Sum over the letters of two values that the result does not have.

    Args:
        a, b: two values, of which at most one is a parameter.
        la, lb, lo: one letter for each dimension of a, of b and of the result.
    """
    if isinstance(a, Parameter) and isinstance(b, Parameter):
        raise c.refuse(
            f"it multiplies two parameters, {a.name!r} and {b.name!r}",
            "Apply them to the activations one after the other",
        )
    if isinstance(a, Parameter):
        a, b, la, lb = b, a, lb, la
    if isinstance(b, Parameter):
        return _weighted(c, a, b, la, lb, lo)
    if isinstance(a, Constant):
        return _averaged(c, b, a, lb, lo)
    if isinstance(b, Constant):
        return _averaged(c, a, b, la, lo)
    return _moment(c, c.tensor(a), c.tensor(b), la, lb, lo)


def _letters(a: Any, b: Any, la: Letters, lb: Letters) -> dict[str, Dim]:
    """The dimension of every letter; where both have it, the two are unified."""
    found: dict[str, Dim] = {}
    for dims, letters in ((a.dims, la), (b.dims, lb)):
        for dim, letter in zip(dims, letters, strict=True):
            known = found.get(letter, ())
            if leaves(known) and leaves(dim):
                unify(known, dim)
            elif not leaves(known):
                found[letter] = dim
    return found


def _weighted(c: Conversion, x: Any, p: Parameter, lx: Letters, lp: Letters, lo: Letters) -> Tensor:
    """A parameter acts on a vector."""
    data = isinstance(x, Constant)
    here = Tensor(c.fresh(c.shapes(x)), -1) if data else c.tensor(x)
    dims = _letters(here, p, lx, lp)
    summed = [k for k in lp if k in set(lx) and k not in set(lo)]
    atoms = tuple(a for k in summed for a in leaves(dims[k]))
    if data:  # of data, what a weight contracts are the features, and all else are positions
        here = Tensor(here.dims, c.source(x, features=atoms).ref)
    own = c.features(here)
    out = tuple(a for k in lp if k not in set(lx) and k in set(lo) for a in leaves(dims[k]))
    family = tuple(a for k in lp if k not in set(lx) and k not in set(lo) for a in leaves(dims[k]))
    if any(a.grows for a in family):
        raise c.refuse(f"the members of {p.name!r} grow in number with the width", "Keep the number of experts fixed")
    into = tuple(a for a in atoms if a in set(own))
    batch = tuple(a for k in lp if k in set(lx) and k in set(lo) for a in leaves(dims[k]) if a in set(own))
    result = tuple(dims[k] for k in lo)
    stacked = tuple(a for a in own if a not in {*into, *batch} and is_stack(a)) if into else ()
    if batch and not into:
        # Every channel on its own, summed over finitely many taps: a vector of weights.
        gain = c.record(Vector(batch, parameter=p.name, rows=bool(atoms or out), chosen=p.chosen))
        return c.scaled(c.multiply(here, Tensor(result, gain), result), p.power)
    if own and not into:
        return _mixed(c, here, p, result)
    if any(a not in {*into, *batch, *stacked} for a in own) or any(a.grows for a in batch):
        raise c.refuse(
            f"parameter {p.name!r} acts on some features of a vector and not on others of it",
            "Reshape so that it acts on all of them, or declare a program with tensorprog.Builder",
        )
    contracted = frozenset(a.origin for k, d in zip(lp, p.stored, strict=True) if k in summed for a in leaves(d))
    product = Product(
        (*stacked, *batch, *out),
        (here.ref,),
        parameter=p.name,
        into=(*batch, *into),
        contracted=contracted,
        chosen=p.chosen,
    )
    return c.scaled(Tensor(result, c.record(product)), p.power)


def _mixed(c: Conversion, x: Tensor, p: Parameter, dims: tuple[Dim, ...]) -> Tensor:
    """Positions mixed by a parameter: finitely many numbers times vectors."""
    if any(a.grows for d in p.dims for a in leaves(d)):
        raise c.refuse(
            f"parameter {p.name!r} mixes positions, and their number grows with the width",
            "Keep the sizes of token mixing fixed",
        )
    number = c.record(Vector((), parameter=p.name, rows=True, chosen=p.chosen))
    return c.scaled(c.multiply(Tensor(dims, number), x, dims), p.power)


def _averaged(c: Conversion, x: Any, constant: Constant, lx: Letters, lo: Letters) -> Tensor:
    """Positions mixed by constants."""
    t = c.tensor(x)
    own = set(c.features(t))
    for letter, dim in zip(lx, t.dims, strict=True):
        if letter not in set(lo) and any(a in own for a in leaves(dim)):
            raise c.refuse("features are multiplied by a constant matrix", "Make it a parameter that is not trained")
    table = dict(zip(lx, t.dims, strict=True))
    dims = tuple(table.get(letter, new) for letter, new in zip(lo, c.fresh(), strict=True))
    return c.scaled(Tensor(dims, t.ref), c.power(constant).exponent)


def _alone(c: Conversion, x: Tensor, letters: Letters, others: set[str]) -> tuple[Tensor, Letters]:
    """The sum over what neither the other factor nor the result has."""
    summed = [k for k in letters if k not in others]
    if not summed:
        return x, letters
    own = set(c.features(x))
    over = tuple(a for k, d in zip(letters, x.dims, strict=True) if k in summed for a in leaves(d) if a in own)
    dims = tuple(d for k, d in zip(letters, x.dims, strict=True) if k not in summed)
    kept = tuple(a for a in c.features(x) if a not in set(over))
    ref = c.record(Contracted(kept, (x.ref,), over=over)) if over else x.ref
    return Tensor(dims, ref), [k for k in letters if k not in summed]


def _moment(c: Conversion, x: Tensor, y: Tensor, lx: Letters, ly: Letters, lo: Letters) -> Tensor:
    """A sum over features, or over positions, of the product of two vectors."""
    x, lx = _alone(c, x, lx, {*ly, *lo})
    y, ly = _alone(c, y, ly, {*lx, *lo})
    dims = _letters(x, y, lx, ly)
    summed = [k for k in dims if k not in set(lo)]
    either = set(c.features(x)) | set(c.features(y))
    over: tuple[Atom, ...] = tuple(a for k in summed for a in leaves(dims[k]) if a in either)
    result = tuple(dims[k] for k in lo)
    if not over:
        return c.multiply(x, y, result, across=True)
    # Every position of one against every position of the other: these are attention logits.
    across = any(k not in set(ly) for k in lo) and any(k not in set(lx) for k in lo)
    kept = tuple(a for a in c.union(x, y) if a not in set(over))
    return Tensor(result, c.record(Contracted(kept, (x.ref, y.ref), over=over, across=across)))
