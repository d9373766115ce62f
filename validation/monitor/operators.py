"""Operators: which primitives a torch function is made of.

Normalisations are taken apart: the normalisation proper, which has no parameters, then a product (gain) and a shift
(bias). Functions that torch writes in Python, such as attention, are entered: their own calls are seen one by one.

To add an operator: write a rule with the arguments of the function, and name the function in ``_TABLE``.
"""

from __future__ import annotations

import math
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tensorprog.errors import Unsupported
from validation.monitor.primitives import Function, Pass, Product, Rule, tensors_in

__all__ = ["ADDS", "LAYERS", "RULES", "enter", "opened", "scale_of", "times"]

LINEAR = Product(lambda x, w: int(w.shape[-1]), linear=True)
MATMUL = Product(lambda x, y: int(x.shape[-1]))
CONVOLUTION = Product(lambda x, w: math.prod(w.shape[1:]))
GAIN = MULTILINEAR = Product()


# -- products


def _linear(p: Pass, f: Function, /, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y = p.product(LINEAR, f, p.value(input), weight)
    return y if bias is None else p.shift(lambda: y + bias, y, bias)


def _matmul(p: Pass, f: Function, /, x: Tensor, y: Tensor) -> Tensor:
    return p.product(MATMUL, f, x, y)


def _matmul_reversed(p: Pass, f: Function, /, y: Tensor, x: Tensor) -> Tensor:
    return p.product(MATMUL, torch.matmul, x, y)


def _grouped_matmul(p: Pass, f: Function, /, x: Tensor, y: Tensor, *how: Any, **named: Any) -> Tensor:
    """Rows by the matrix of their expert."""
    return p.product(MATMUL, lambda x, y: f(x, y, *how, **named), x, y)


def _addmm(
    p: Pass, f: Function, /, input: Tensor, x: Tensor, y: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    if alpha == 1:
        z = p.product(MATMUL, torch.matmul, x, y)
    else:
        z = p.product(MULTILINEAR, lambda x, y: alpha * torch.matmul(x, y), x, y)
    return p.shift(lambda: z + beta * input, z, input, beta)


def _einsum(p: Pass, f: Function, /, equation: str, *operands: Any) -> Tensor:
    tensors = operands if isinstance(operands[0], Tensor) else operands[0]
    return p.product(_einsum_kind(equation), lambda *t: f(equation, *t), *tensors)


@cache
def _einsum_kind(equation: str) -> Product:
    """The terms of its sum: the sizes of the labels in both operands and not in the result."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    labels = left.split(",")
    if not arrow or len(labels) != 2 or "." in equation:
        return MULTILINEAR
    summed = (set(labels[0]) & set(labels[1])) - set(right)
    return Product(lambda x, y: math.prod(int(x.shape[labels[0].index(s)]) for s in summed))


def _convolution(
    p: Pass, f: Function, /, input: Tensor, weight: Tensor, bias: Tensor | None = None, *how: Any, **named: Any
) -> Tensor:
    # How many terms an entry of a transposed convolution has depends on the stride and on the entry.
    kind = MULTILINEAR if "transpose" in f.__name__ else CONVOLUTION
    y = p.product(kind, lambda x, w: f(x, w, None, *how, **named), p.value(input), weight)
    return y if bias is None else p.shift(lambda: y + _channels(bias, weight.ndim - 1), y, bias)


def _bilinear(p: Pass, f: Function, /, input1: Tensor, input2: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    y = p.product(MULTILINEAR, f, p.value(input1), p.value(input2), weight)
    return y if bias is None else p.shift(lambda: y + bias, y, bias)


def _multiply(p: Pass, f: Function, /, input: Tensor, other: Tensor) -> Tensor:
    return p.product(GAIN, torch.mul, input, other, result=lambda: f(input, other))


def _divide(p: Pass, f: Function, /, input: Tensor, other: Tensor) -> Tensor:
    inverse = p.plain(torch.reciprocal, other)
    return p.product(GAIN, torch.mul, input, inverse, result=lambda: f(input, other))


# -- shifts and picks


def _add(p: Pass, f: Function, /, input: Tensor, other: Tensor, *, alpha: float = 1) -> Tensor:
    return p.shift(lambda: f(input, other, alpha=alpha), input, other, alpha)


def _embedding(
    p: Pass,
    f: Function,
    /,
    input: Tensor,
    weight: Tensor,
    padding_idx: Any = None,
    max_norm: Any = None,
    *_: Any,
    **__: Any,
) -> Tensor:
    if max_norm is not None:
        raise Unsupported("an embedding with max_norm", "its forward pass changes the parameter", "Leave max_norm out.")
    return p.pick(lambda w: functional.embedding(input, w), weight, input)


def _item(p: Pass, f: Function, /, x: Tensor, index: Any) -> Tensor:
    return p.pick(lambda w: f(w, index), x, *tensors_in(index))


def _index_select(p: Pass, f: Function, /, input: Tensor, dim: int, index: Tensor) -> Tensor:
    return p.pick(lambda w: f(w, dim, index), input, index)


# -- normalisations


def _channels(w: Tensor, axes: int) -> Tensor:
    """w of shape [channels], to be combined with [..., channels, ...]: ``axes`` counts from the channels to the end."""
    return w.view(-1, *[1] * (axes - 1))


def _affine(p: Pass, z: Tensor, weight: Tensor | None, bias: Tensor | None, axes: int) -> Tensor:
    """Gain and bias of what was normalised; ``axes`` as in :func:`_channels`, or 0 where they have its last axes."""
    y = z
    if weight is not None:
        y = p.product(GAIN, (lambda z, w: z * _channels(w, axes)) if axes else torch.mul, z, weight)
    if bias is None:
        return y
    return p.shift(lambda: y + (_channels(bias, axes) if axes else bias), y, bias)


def _layer_norm(
    p: Pass,
    f: Function,
    /,
    input: Tensor,
    shape: Any = (),
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *_: Any,
    normalized_shape: Any = (),
) -> Tensor:
    z = p.plain(lambda x: f(x, shape or normalized_shape, None, None, eps), p.value(input))
    return _affine(p, z, weight, bias, 0)


def _rms_norm(
    p: Pass, f: Function, /, input: Tensor, normalized_shape: Any, weight: Any = None, eps: float | None = None
) -> Tensor:
    z = p.plain(lambda x: f(x, normalized_shape, None, eps), p.value(input))
    return _affine(p, z, weight, None, 0)


def _group_norm(
    p: Pass, f: Function, /, input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    z = p.plain(lambda x: f(x, num_groups, None, None, eps), p.value(input))
    return _affine(p, z, weight, bias, input.ndim - 1)


def _batch_norm(
    p: Pass,
    f: Function,
    /,
    input: Tensor,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    *how: Any,
    **named: Any,
) -> Tensor:
    # Running statistics follow the training, so what they normalise moves even where the input does not.
    z = p.plain(
        lambda x: f(x, running_mean, running_var, None, None, training, *how, **named),
        p.value(input),
        moves=not training,
    )
    return _affine(p, z, weight, bias, input.ndim - 1)


def _instance_norm(
    p: Pass,
    f: Function,
    /,
    input: Tensor,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    *how: Any,
    **named: Any,
) -> Tensor:
    return _batch_norm(p, f, input, running_mean, running_var, weight, bias, use_input_stats, *how, **named)


def _prelu(p: Pass, f: Function, /, input: Tensor, weight: Tensor) -> Tensor:
    x = p.value(input)
    slope = _affine(p, p.plain(lambda x: x.clamp(max=0), x), weight, None, x.ndim - 1 if weight.numel() > 1 else 0)
    y: Tensor = p.plain(torch.add, p.plain(torch.relu, x), slope)
    return y


# -- everything else


def _structure(p: Pass, f: Function, /, *args: Any, **kwargs: Any) -> Any:
    """Parameters among the activations of a function that has no weights of its own."""

    def value(x: Any) -> Any:
        if isinstance(x, Tensor):
            return p.value(x)
        return type(x)(map(value, x)) if type(x) in (list, tuple) else x

    # The first argument of a function that writes into it is where to write.
    args = (args[0], *map(value, args[1:])) if f in _WRITES else tuple(map(value, args))
    kwargs = {k: value(v) for k, v in kwargs.items()}
    return p.plain(lambda *_: f(*args, **kwargs), *tensors_in((args, kwargs)))


def enter(p: Pass, f: Function, /, *args: Any, **kwargs: Any) -> Any:
    """The rule of :func:`opened` functions."""
    inside = opened(f)
    assert inside is not None
    with p:
        return inside(*args, **kwargs)


@cache
def opened(f: Function) -> Function | None:
    """A function that torch writes in Python, such that the calls in its body are seen by a pass.

    Its body starts with "if some argument overrides torch functions, hand over to it", and a pass overrides them all:
    this is the same body, in which that question is answered with no. None for other functions.
    """
    if not isinstance(f, FunctionType) or not _OVERRIDES & set(f.__code__.co_names):
        return None
    answers = {name: lambda *_, **__: False for name in _OVERRIDES}
    same = FunctionType(f.__code__, {**f.__globals__, **answers}, f.__name__, f.__defaults__, f.__closure__)
    same.__kwdefaults__ = f.__kwdefaults__
    return same


_OVERRIDES = {"has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"}


def times(p: Pass, f: Function, /, x: Tensor, *number: float) -> Tensor:
    """The rule of multiplications by a number."""
    return p.scaled(scale_of(f, (x, *number)) or 0.0, lambda: f(x, *number))


def scale_of(f: Function, args: tuple[Any, ...]) -> float | None:
    """The factor of a call that multiplies a tensor by a Python number, None for all other calls."""
    match args:
        case (Tensor(), int() | float() as c) if f in _MULTIPLY:
            return float(c)
        case (Tensor(), int() | float() as c) if f in _DIVIDE and c:
            return 1 / c
        case (Tensor(),) if f in _NEGATE:
            return -1.0
    return None


T = torch.Tensor
_MULTIPLY = {torch.mul, torch.multiply, T.mul, T.mul_, T.multiply, T.multiply_}
_DIVIDE = {torch.div, torch.divide, torch.true_divide, T.div, T.div_, T.divide, T.divide_, T.true_divide}
_NEGATE = {torch.neg, torch.negative, T.neg, T.neg_, T.negative}
ADDS = frozenset({torch.add, torch.sub, torch.subtract, T.add, T.add_, T.sub, T.sub_, T.subtract})
_WRITES = {T.__setitem__, T.copy_}
_JOIN = {torch.cat, torch.concat, torch.concatenate, torch.stack, torch.hstack, torch.vstack, torch.where, T.where}
_CONVOLVE: set[Any] = {torch.conv1d, torch.conv2d, torch.conv3d}
_CONVOLVE |= {torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d}

_GROUPED = {getattr(torch, "_grouped_mm", None), getattr(functional, "grouped_mm", None)} - {None}  # of newer torch

_TABLE: list[tuple[set[Any], Rule]] = [
    ({functional.linear}, _linear),
    ({torch.matmul, torch.mm, torch.bmm, torch.mv, T.matmul, T.mm, T.bmm, T.mv}, _matmul),
    ({T.__rmatmul__}, _matmul_reversed),
    ({torch.addmm, torch.baddbmm, torch.addmv, T.addmm, T.baddbmm, T.addmv}, _addmm),
    (_GROUPED, _grouped_matmul),
    ({torch.einsum}, _einsum),
    (_CONVOLVE, _convolution),
    ({functional.bilinear}, _bilinear),
    (_MULTIPLY, _multiply),
    (_DIVIDE, _divide),
    (set(ADDS), _add),
    ({functional.embedding}, _embedding),
    ({T.__getitem__}, _item),
    ({torch.index_select, T.index_select}, _index_select),
    ({functional.layer_norm, torch.layer_norm}, _layer_norm),
    ({functional.rms_norm, torch.rms_norm}, _rms_norm),
    ({functional.group_norm}, _group_norm),
    ({functional.batch_norm}, _batch_norm),
    ({functional.instance_norm}, _instance_norm),
    ({functional.prelu, torch.prelu}, _prelu),
    (_JOIN | _WRITES | {functional.scaled_dot_product_attention}, _structure),
]
RULES: dict[Any, Rule] = {f: rule for functions, rule in _TABLE for f in functions}
"""Which rule takes a function that gets a parameter."""

LAYERS = frozenset({_linear, _convolution, _bilinear, _embedding, _layer_norm, _rms_norm, _group_norm, _batch_norm})
LAYERS |= {_instance_norm, _prelu}
"""Rules that apply even where nothing among the arguments depends on the data, such as positions that are embedded."""
