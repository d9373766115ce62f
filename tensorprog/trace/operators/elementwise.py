"""Operators that act entry by entry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tensorprog.exponent import ZERO
from tensorprog.trace.atoms import leaves
from tensorprog.trace.conversion import OPERATORS, Conversion, operator
from tensorprog.trace.operators.functions import DETACHED, FUNCTIONS, MAXIMUM, SHARE
from tensorprog.trace.recording import Centered, Normalized
from tensorprog.trace.values import Constant, Indices, Mixture, Parameter, PerWidth, Slice, Statistic, Tensor, Which

__all__: list[str] = []

Numbers = (int, float, Constant, PerWidth)
EPSILON = 1e-6
"""What is added and not larger keeps a denominator from zero."""


def _function(name: str) -> None:
    def rule(c: Conversion, x: Any, *args: Any, **kwargs: Any) -> Tensor:
        return c.apply(FUNCTIONS[name], x)

    OPERATORS[name] = rule


for _name in FUNCTIONS:
    _function(_name)


@operator(
    "aten.dropout", "aten.feature_dropout", "aten.alpha_dropout", "aten.contiguous",
    "aten.clone", "aten.to", "aten._to_copy", "aten.type_as", "aten.float", "aten.alias", "aten.lift_fresh_copy",
    "aten.neg", "aten.clamp", "aten.clamp_min", "aten.clamp_max", "aten.nan_to_num",
)  # fmt: skip
def _same(c: Conversion, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Exponents do not see a sign, a cast or a dropout mask. A clamp at constants is meant for numbers out of range."""
    return x


@operator("aten.native_dropout")
def _dropout(c: Conversion, x: Any, *args: Any, **kwargs: Any) -> list[Any]:
    return [x, Indices()]


@operator("aten._assert_tensor_metadata", "aten._assert_async", "aten._assert_scalar", "aten.sym_constrain_range")
def _nothing(c: Conversion, *args: Any, **kwargs: Any) -> None:
    """Checks of the exporter."""


@operator("aten.detach")
def _detach(c: Conversion, x: Any) -> Tensor:
    return c.apply(DETACHED, x)


@operator("wrap_with_set_grad_enabled")
def _without_gradients(c: Conversion, *args: Any, **kwargs: Any) -> Any:
    raise c.refuse("it computes a part of the model without gradients", "Detach what that part returns instead")


@operator("aten.add", "aten.sub", "aten.rsub")
def _add(c: Conversion, x: Any, y: Any, *, alpha: Any = 1) -> Any:
    if isinstance(x, Numbers):
        x, y = y, x
    if isinstance(y, Numbers) and isinstance(x, Statistic):
        return x  # epsilon
    if isinstance(y, Statistic) and y.which is Which.MEAN and isinstance(x, Tensor) and y.of == x.ref:
        return _centered(c, x, y)
    if isinstance(y, Numbers):
        if c.is_mask(y) or c.magnitude(y) <= EPSILON:
            t = x if isinstance(x, Parameter) else c.tensor(x)
            return replace(t, dims=c.broadcast(t))
        t = c.tensor(x)
        dims = c.broadcast(t)
        return c.add(t, c.source(y, t), dims)
    if isinstance(x, Slice | Mixture) and isinstance(y, Slice | Mixture):
        parts = tuple(dict.fromkeys([*_slices(x), *_slices(y)]))
        if len({(s.of.ref, s.dim, s.dropped) for s in parts}) == 1:
            return Mixture(parts)
    dims, a, b = c.together(x, y)
    return c.add(a, b, dims)


def _slices(x: Slice | Mixture) -> tuple[Slice, ...]:
    return x.parts if isinstance(x, Mixture) else (x,)


def _centered(c: Conversion, x: Tensor, mean: Statistic) -> Tensor:
    """x minus its mean over features; over a part of them the mean adds nothing that x does not have."""
    if set(mean.over) != set(c.features(x)):
        return replace(x, centered=x.ref)
    ref = c.record(Centered(c.features(x), (x.ref,)))
    return Tensor(x.dims, ref, centered=x.ref)


@operator("aten.mul")
def _mul(c: Conversion, x: Any, y: Any) -> Any:
    if isinstance(x, Numbers):
        x, y = y, x
    if isinstance(y, Numbers):
        return _times(c, x, y, 1)
    for a, b in ((x, y), (y, x)):
        if isinstance(a, Indices):
            return replace(c.tensor(b), dims=c.broadcast(b))  # truth values choose positions
        if isinstance(a, Statistic):
            return _normalised(c, c.tensor(b), a) if a.which is Which.INVERSE_RMS else _plain(c, x, y)
    return _plain(c, x, y)


def _plain(c: Conversion, x: Any, y: Any) -> Tensor:
    dims, a, b = c.together(x, y)
    return c.multiply(a, b, dims)


def _times(c: Conversion, x: Any, number: Any, sign: int) -> Any:
    """x times a constant, or over it."""
    power = c.power(number)
    if power.exponent.infinite and sign > 0:
        return c.zeros()
    e = power.exponent if sign > 0 else -power.exponent
    if isinstance(x, Parameter):
        return replace(x, power=x.power + e, dims=c.broadcast(x))
    if isinstance(x, Statistic):
        if e == ZERO:
            return x
        return c.scaled(c.statistic(x), e)
    if isinstance(x, Slice | Mixture) and e == ZERO:
        return x
    t = c.tensor(x)
    return replace(c.scaled(t, e), dims=c.broadcast(t))


def _normalised(c: Conversion, x: Tensor, s: Statistic) -> Tensor:
    if s.of not in (x.ref, x.centered):
        raise c.refuse(
            f"a vector is divided by the {Which.RMS.value} of another one",
            "Use torch.nn.functional.layer_norm or rms_norm",
        )
    dims = c.broadcast(x, s)
    ref = c.record(Normalized(c.features(x), (x.ref,), over=s.over))
    y = Tensor(dims, ref)
    return c.scaled(y, -c.size(s.over) / s.order) if s.total else y


@operator("aten.div", "aten.true_divide")
def _div(c: Conversion, x: Any, y: Any, *, rounding_mode: str | None = None) -> Any:
    if isinstance(y, Numbers):
        return _times(c, x, y, -1)
    if isinstance(y, Statistic) and y.which is Which.RMS:
        return _normalised(c, c.tensor(x), y)
    if isinstance(x, Tensor) and isinstance(y, Tensor) and x.ref == y.ref and not c.features(x):
        return c.apply(SHARE, x)  # y is the sum of x over positions
    raise c.refuse(
        "it divides by a value that depends on parameters",
        "Use a norm layer or softmax, or declare a program with tensorprog.Builder",
    )


@operator("aten.pow")
def _pow(c: Conversion, x: Any, power: Any) -> Any:
    if isinstance(x, Statistic) and power in (0.5, -0.5):
        return _rooted(c, x, power < 0)
    if not isinstance(power, int | float) or power not in (1, 2, 3):
        raise c.refuse(f"the power {power} of a value has no rule", "Use the powers 2 and 3")
    t = c.tensor(x)
    result = t
    for _ in range(int(power) - 1):
        result = c.multiply(result, t, t.dims)
    return result


@operator("aten.square")
def _square(c: Conversion, x: Any) -> Tensor:
    t = c.tensor(x)
    return c.multiply(t, t, t.dims)


def _rooted(c: Conversion, x: Any, inverse: bool) -> Statistic:
    if not isinstance(x, Statistic) or x.which is not Which.MEAN_SQUARE:
        raise c.refuse("a root has no rule but in a norm layer", "Use torch.nn.functional.layer_norm or rms_norm")
    return replace(x, which=Which.INVERSE_RMS if inverse else Which.RMS)


@operator("aten.sqrt")
def _sqrt(c: Conversion, x: Any) -> Statistic:
    return _rooted(c, x, False)


@operator("aten.rsqrt")
def _rsqrt(c: Conversion, x: Any) -> Statistic:
    return _rooted(c, x, True)


@operator("aten.reciprocal")
def _reciprocal(c: Conversion, x: Any) -> Statistic:
    if isinstance(x, Statistic) and x.which is Which.RMS:
        return replace(x, which=Which.INVERSE_RMS)
    raise c.refuse("a reciprocal has no rule but in a norm layer", "Use torch.nn.functional.layer_norm or rms_norm")


@operator("aten.where")
def _where(c: Conversion, condition: Any, x: Any, y: Any) -> Any:
    if isinstance(x, Numbers) or isinstance(y, Numbers):
        t = c.tensor(y if isinstance(x, Numbers) else x)
        return replace(t, dims=c.broadcast(t))
    dims, a, b = c.together(x, y)
    return c.add(a, b, dims)


@operator("aten.masked_fill")
def _masked(c: Conversion, x: Any, mask: Any, value: Any) -> Any:
    t = c.tensor(x)
    return replace(t, dims=c.broadcast(t))


@operator("aten.prelu", "aten._prelu_kernel")
def _prelu(c: Conversion, x: Any, slope: Any) -> Tensor:
    """relu(x) + slope min(x, 0); the slopes are those of channels, the second dimension."""
    t = c.tensor(x)
    if isinstance(slope, Parameter) and len(slope.dims) == 1 and len(t.dims) > 1 and leaves(slope.dims[0]):
        after = ((),) * (len(t.dims) - 2)
        slope = replace(slope, dims=(*slope.dims, *after), stored=(*slope.stored, *after))
    below = _mul(c, c.apply(MAXIMUM, t), slope)
    return c.add(c.apply(FUNCTIONS["aten.relu"], t), below, t.dims)


@operator("aten.maximum", "aten.minimum")
def _extreme(c: Conversion, x: Any, y: Any) -> Tensor:
    if isinstance(x, Numbers) or isinstance(y, Numbers):
        return c.apply(MAXIMUM, y if isinstance(x, Numbers) else x)
    dims, a, b = c.together(x, y)
    return c.apply(MAXIMUM, c.add(a, b, dims))
