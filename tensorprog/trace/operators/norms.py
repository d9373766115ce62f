"""Norm layers, means and softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tensorprog.joint import BATCH_NORM, CAUSAL_SOFTMAX, SOFTMAX
from tensorprog.trace.atoms import Dim, leaves
from tensorprog.trace.conversion import Conversion, operator
from tensorprog.trace.operators.functions import FUNCTIONS, MAXIMUM
from tensorprog.trace.recording import Centered, Contracted, Elementwise, Normalized, Observed
from tensorprog.trace.values import Indices, Parameter, Statistic, Tensor, Which

__all__ = ["affine", "normalized", "pooled", "softmax"]


def affine(c: Conversion, y: Tensor, gain: Any, bias: Any) -> Tensor:
    """gain * y + bias."""
    if gain is not None:
        dims, a, b = c.together(y, gain)
        y = c.multiply(a, b, dims)
    if bias is not None:
        dims, a, b = c.together(y, bias)
        y = c.add(a, b, dims)
    return y


def _last(c: Conversion, x: Tensor, count: int) -> Dim:
    own = set(c.features(x))
    return tuple(a for d in x.dims[len(x.dims) - count :] for a in leaves(d) if a in own)


def normalized(c: Conversion, x: Tensor, over: Dim, *, center: bool) -> Tensor:
    """x over its root mean square; over positions alone its features keep their independent signs."""
    if not over:
        return c.apply(BATCH_NORM, x)
    if center and set(over) == set(c.features(x)):
        x = Tensor(x.dims, c.record(Centered(c.features(x), (x.ref,))))
    return Tensor(x.dims, c.record(Normalized(c.features(x), (x.ref,), over=over)))


@operator("aten.layer_norm")
def _layer_norm(c: Conversion, x: Any, shape: Sequence[int], gain: Any = None, bias: Any = None, *args: Any) -> Tensor:
    t = c.tensor(x)
    return affine(c, normalized(c, t, _last(c, t, len(shape)), center=True), gain, bias)


@operator("aten.rms_norm")
def _rms_norm(c: Conversion, x: Any, shape: Sequence[int], gain: Any = None, *args: Any) -> Tensor:
    t = c.tensor(x)
    return affine(c, normalized(c, t, _last(c, t, len(shape)), center=False), gain, None)


@operator("aten._native_batch_norm_legit", "aten._native_batch_norm_legit_functional")
def _native_batch_norm(c: Conversion, x: Any, gain: Any = None, bias: Any = None, *args: Any) -> list[Any]:
    count = len(c.node.shapes)
    c.node = replace(c.node, shapes=c.node.shapes[0])
    return [_batch_norm(c, x, gain, bias), *[Indices()] * (count - 1)]


@operator("aten.batch_norm", "aten.instance_norm")
def _batch_norm(c: Conversion, x: Any, gain: Any = None, bias: Any = None, *args: Any) -> Tensor:
    t = c.tensor(x)
    return affine(c, c.apply(BATCH_NORM, t), _channels(t, gain), _channels(t, bias))


def _channels(x: Tensor, p: Any) -> Any:
    """A vector over the second dimension."""
    if not isinstance(p, Parameter):
        return None
    after = ((),) * (len(x.dims) - 2)
    return replace(p, dims=(*p.dims, *after), stored=(*p.stored, *after))


@operator("aten.group_norm")
def _group_norm(c: Conversion, x: Any, groups: Any, gain: Any = None, bias: Any = None, *args: Any) -> Tensor:
    t = c.tensor(x)
    own = set(c.features(t))
    channels = tuple(a for a in leaves(t.dims[1]) if a in own)
    count = c.power(groups).exponent
    # Groups of finitely many channels, or finitely many groups: one norm for each channel, or for all, to exponents.
    y = normalized(c, t, channels if count == 0 else (), center=False)
    return affine(c, y, _channels(t, gain), _channels(t, bias))


def _averaged(c: Conversion, x: Any, dims: Any) -> tuple[Tensor, Dim, set[int]]:
    t = c.tensor(x)
    if dims is None:
        chosen = set(range(len(t.dims)))
    else:
        chosen = {k % len(t.dims) for k in ([dims] if isinstance(dims, int) else dims)}
    own = set(c.features(t))
    return t, tuple(a for k in sorted(chosen) for a in leaves(t.dims[k]) if a in own), chosen


def _reduced(t: Tensor, chosen: set[int], keep: bool) -> tuple[Dim, ...]:
    if keep:
        return tuple(() if k in chosen else d for k, d in enumerate(t.dims))
    return tuple(d for k, d in enumerate(t.dims) if k not in chosen)


@operator("aten.mean", "aten.sum")
def _mean(c: Conversion, x: Any, dims: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
    t, over, chosen = _averaged(c, x, dims)
    result = _reduced(t, chosen, keepdim)
    if not over:
        return Tensor(result, t.ref)
    which, of = (Which.MEAN, t.ref) if t.square is None else (Which.MEAN_SQUARE, t.square)
    return Statistic(which, of, over, result, total=c.node.operator.endswith("sum"))


@operator("aten.var")
def _var(c: Conversion, x: Any, dims: Any = None, *args: Any, keepdim: bool = False, **kwargs: Any) -> Any:
    keep = keepdim or (len(args) > 1 and bool(args[1]))
    t, over, chosen = _averaged(c, x, dims)
    return Statistic(Which.MEAN_SQUARE, t.ref, over, _reduced(t, chosen, keep), centered=True)


@operator("aten.std")
def _std(c: Conversion, x: Any, dims: Any = None, *args: Any, **kwargs: Any) -> Any:
    return replace(_var(c, x, dims, *args, **kwargs), which=Which.RMS)


@operator("aten.linalg_vector_norm", "aten.norm")
def _norm(c: Conversion, x: Any, order: Any = 2, dims: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
    if order not in (1, 2):
        raise c.refuse(f"the {order}-norm has no rule", "Use the 1-norm or the 2-norm")
    t, over, chosen = _averaged(c, x, dims)
    if not over:  # over positions: a number for every feature
        return replace(c.apply(FUNCTIONS["aten.abs"], t), dims=_reduced(t, chosen, keepdim))
    return Statistic(Which.RMS, t.ref, over, _reduced(t, chosen, keepdim), total=True, order=int(order))


@operator("aten.log_softmax", "aten._log_softmax")
def _log_softmax(c: Conversion, x: Any, dim: int, *args: Any, **kwargs: Any) -> Tensor:
    """Log-probabilities of finitely many classes: logits less a number, which no loss sees."""
    t = c.tensor(x)
    if any(a.grows for a in (*leaves(t.dims[dim]), *c.features(t))):
        raise c.refuse(
            "log-probabilities have no rule but for finitely many classes",
            "Use a softmax over positions, or declare a program with tensorprog.Builder",
        )
    return t


@operator("aten.softmax", "aten._softmax", "aten._safe_softmax")
def _softmax(c: Conversion, x: Any, dim: int, *args: Any, **kwargs: Any) -> Tensor:
    t = c.tensor(x)
    own = set(c.features(t))
    over = [a for a in leaves(t.dims[dim]) if a in own]
    if any(a.grows for a in over):
        raise c.refuse(
            "a softmax over features whose number grows with the width has no rule",
            "Declare a program with tensorprog.Builder",
        )
    return softmax(c, t) if not over else c.apply(SOFTMAX, t)


def softmax(c: Conversion, logits: Tensor, *, causal: bool = False) -> Tensor:
    """Over positions: the logits are reported."""
    name = c.node.where or "attention"
    taken = sum(isinstance(o, Observed) and o.name.startswith(f"{name}.logits") for o in c.recording.operations)
    told = f"{name}.logits" + (f"#{taken + 1}" if taken else "")
    seen = c.record(Observed(c.features(logits), (logits.ref,), name=told))
    function = CAUSAL_SOFTMAX if causal else SOFTMAX
    ref = c.record(Elementwise(c.features(logits), (seen,), function=function))
    return Tensor(logits.dims, ref)


@operator("aten.topk")
def _topk(c: Conversion, x: Any, k: int, dim: int = -1, *args: Any, **kwargs: Any) -> list[Any]:
    """The largest of finitely many: some of them, and which."""
    return [_some(c, x, dim, c.node.shapes[0]), Indices()]


@operator("aten.gather", "aten.take_along_dim")
def _gather(c: Conversion, x: Any, dim: int, *args: Any, **kwargs: Any) -> Tensor:
    """Some positions, or some of finitely many features."""
    return _some(c, x, dim, c.node.shapes)


def _some(c: Conversion, x: Any, dim: int, shapes: Any) -> Tensor:
    t = c.tensor(x)
    own = set(c.features(t))
    ref = _any_of(c, t, tuple(a for a in leaves(t.dims[dim]) if a in own))
    return Tensor(c.replaced(t.dims, dim % len(t.dims), c.fresh(shapes)[dim]), ref)


def _any_of(c: Conversion, t: Tensor, over: Dim) -> int:
    """Generic ones of finitely many features: any of them may be chosen."""
    if any(a.grows for a in over):
        raise c.refuse("it chooses among features whose number grows with the width", "Keep their number fixed")
    kept = tuple(a for a in c.features(t) if a not in set(over))
    return c.record(Contracted(kept, (t.ref,), over=over)) if over else t.ref


@operator("aten.argmax", "aten.argsort", "aten.gt", "aten.lt", "aten.ge", "aten.le", "aten.eq", "aten.ne", "aten.isnan")
def _chosen(c: Conversion, *args: Any, **kwargs: Any) -> Indices:
    return Indices()


@operator("aten.max_pool1d", "aten.max_pool2d", "aten.max_pool3d", "aten.adaptive_max_pool2d")
def _max_pool(c: Conversion, x: Any, *args: Any, **kwargs: Any) -> Tensor:
    return pooled(c, c.apply(MAXIMUM, x))


@operator("aten.amax", "aten.amin")
def _extreme(c: Conversion, x: Any, dims: Any = None, keepdim: bool = False) -> Tensor:
    """The largest of finitely many features, or over positions."""
    t, over, chosen = _averaged(c, x, None if dims == [] else dims)
    result = _reduced(t, chosen, keepdim)
    t = Tensor(result if over else t.dims, _any_of(c, t, over))
    return replace(c.apply(MAXIMUM, t), dims=result)


@operator("aten.max", "aten.min")
def _extreme_and_where(c: Conversion, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    if dim is not None and not isinstance(dim, int):
        raise c.refuse("the larger of two values is torch.maximum", "Use it")
    found = _extreme(c, x, dim, keepdim)
    return found if dim is None else [found, Indices()]


@operator("aten.avg_pool1d", "aten.avg_pool2d", "aten.avg_pool3d", "aten.adaptive_avg_pool1d",
          "aten.adaptive_avg_pool2d", "aten.upsample_nearest2d", "aten.upsample_bilinear2d")  # fmt: skip
def _avg_pool(c: Conversion, x: Any, *args: Any, **kwargs: Any) -> Tensor:
    return pooled(c, c.tensor(x))


def pooled(c: Conversion, x: Tensor) -> Tensor:
    """Fewer pixels, the same channels: the first dimensions stay."""
    shapes, fresh = c.node.shapes, c.fresh()
    own = set(c.features(x))
    dims = tuple(
        d if any(a in own for a in leaves(d)) else fresh[k] for k, d in zip(range(len(shapes)), x.dims, strict=True)
    )
    return Tensor(dims, x.ref)
