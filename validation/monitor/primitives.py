"""Primitives: the few things that a torch function may do with a parameter w.

    product   f(w, x, ...), linear in each argument: linear, matmul, convolution, gain
    shift     x + w: bias, position embedding
    pick      entries of w chosen by integers: embedding
    value     w itself enters as an activation: a class token that is concatenated to a sequence

Each use of a parameter in a primitive is a *site* of the refined coordinate check. Operators say which primitives a
function is made of; the passes (trace, recording, measuring) say what happens at each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

__all__ = ["Compute", "Function", "Pass", "Product", "Rule", "name_of", "tensors_in"]

Function = Callable[..., Any]
Compute = Callable[..., Tensor]
Rule = Callable[..., Any]
"""rule(pass, function, *arguments of the function) returns what the function returns."""


@dataclass(frozen=True)
class Product:
    """A kind of product f(w, x, ...).

    Args:
        fan_in: terms in the sum that makes one entry of f, of the two tensors in order; None for gains, which sum
            nothing, and for products of more than two tensors.
        linear: f(x, w) = x w^T.
    """

    fan_in: Callable[..., int] | None = None
    linear: bool = False


class Pass(TorchFunctionMode, ABC):
    """A forward pass of the probe; rules say with its primitives what a function does with parameters.

    Where no tensor turns out to come from parameters, a primitive is an ordinary call.
    """

    @abstractmethod
    def product(self, kind: Product, f: Compute, *tensors: Tensor, result: Compute | None = None) -> Tensor:
        """f(*tensors); ``result`` computes the same in the function's own way, such as in place."""

    @abstractmethod
    def shift(self, result: Compute, x: Tensor, y: Tensor, alpha: float = 1.0) -> Tensor:
        """result() = x + alpha y."""

    @abstractmethod
    def pick(self, f: Compute, w: Tensor, *indices: Tensor) -> Tensor:
        """f(w): entries of w, chosen by the indices."""

    @abstractmethod
    def value(self, x: Tensor) -> Tensor:
        """x as an activation, whatever it was."""

    @abstractmethod
    def plain(self, f: Compute, *tensors: Tensor, moves: bool = False) -> Any:
        """f(*tensors), without parameters; ``moves`` says that it changes in training although its tensors do not."""

    @abstractmethod
    def scaled(self, factor: float, result: Compute) -> Tensor:
        """result() = factor x."""


def name_of(function: Function) -> str:
    """How a user finds it in torch's documentation."""
    return resolve_name(function) or str(getattr(function, "__name__", function))


def tensors_in(x: Any) -> Iterator[Tensor]:
    """The tensors of nested lists, tuples and dictionaries."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, (list, tuple)):
        for item in x:
            yield from tensors_in(item)
    elif isinstance(x, dict):
        for item in x.values():
            yield from tensors_in(item)
