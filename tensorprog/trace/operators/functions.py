"""Elementwise functions of models, with the facts that the calculus needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorprog.nonlinearities import GELU, RELU, SILU, TANH, Facts, Nonlinearity, Parity

__all__ = ["DETACHED", "FUNCTIONS", "MAXIMUM", "SHARE"]


def _entry(name: str, facts: Facts, torch_: Callable[[Any], Any], ref: str) -> Nonlinearity:
    return Nonlinearity(name, facts, lambda h: torch_(_tensor(h)).numpy(), torch_, ref)


def _tensor(h: Any) -> Any:
    import torch

    return torch.as_tensor(h)


def _functional() -> Any:
    from torch.nn import functional

    return functional


_SMOOTH = Facts(Parity.NONE, degree=1, taylor=(1, 2))
_KINKED = Facts(Parity.NONE, degree=1)
_STEP = Facts(Parity.NONE, degree=0, taylor=(0, 1, 3), bounded=True)

MAXIMUM = Nonlinearity("max", _KINKED, RELU.numpy, RELU.torch, "the largest of finitely many")
"""A maximum over pixels: homogeneous of degree one, neither odd nor even. Its numbers are one pixel's."""

SHARE = Nonlinearity(
    "share",
    Facts(Parity.NONE, degree=0),
    lambda h: h / h.sum(-1, keepdims=True),
    lambda h: h / h.sum(-1, keepdim=True),
    "finitely many numbers over their sum",
)
"""Routing weights, normalised."""

DETACHED = Nonlinearity(
    "detach",
    Facts(Parity.ODD, degree=1, taylor=(1,), polynomial=True),
    lambda h: h,
    lambda h: h.detach(),
    "a value without its gradient",
    stops=True,
)

FUNCTIONS: dict[str, Nonlinearity] = {
    "aten.relu": RELU,
    "aten.gelu": GELU,
    "aten.silu": SILU,
    "aten.tanh": TANH,
    "aten.leaky_relu": _entry("leaky-relu", _KINKED, lambda h: _functional().leaky_relu(h), "Maas et al. 2013"),
    "aten.abs": _entry("abs", Facts(Parity.EVEN, degree=1), lambda h: h.abs(), "absolute value"),
    "aten.sigmoid": _entry("sigmoid", _STEP, lambda h: h.sigmoid(), "logistic function"),
    "aten.hardsigmoid": _entry("hardsigmoid", _STEP, lambda h: _functional().hardsigmoid(h), "Howard et al. 2019"),
    "aten.softplus": _entry(
        "softplus",
        Facts(Parity.NONE, degree=1, taylor=(0, 1, 2)),
        lambda h: _functional().softplus(h),
        "Dugas et al. 2001",
    ),
    "aten.log_sigmoid": _entry(
        "log-sigmoid",
        Facts(Parity.NONE, degree=1, taylor=(0, 1, 2)),
        lambda h: _functional().logsigmoid(h),
        "-softplus",
    ),
    "aten.exp": _entry(
        "exp", Facts(Parity.NONE, degree=1, taylor=(0, 1, 2, 3), explodes=True), lambda h: h.exp(), "exponential"
    ),
    "aten.elu": _entry("elu", _SMOOTH, lambda h: _functional().elu(h), "Clevert et al. 2015 (arXiv 1511.07289)"),
    "aten.selu": _entry("selu", _SMOOTH, lambda h: _functional().selu(h), "Klambauer et al. 2017 (arXiv 1706.02515)"),
    "aten.celu": _entry("celu", _SMOOTH, lambda h: _functional().celu(h), "Barron 2017 (arXiv 1704.07483)"),
    "aten.mish": _entry("mish", _SMOOTH, lambda h: _functional().mish(h), "Misra 2019 (arXiv 1908.08681)"),
    "aten.hardswish": _entry("hardswish", _SMOOTH, lambda h: _functional().hardswish(h), "Howard et al. 2019"),
    "aten.erf": _entry("erf", TANH.facts, lambda h: h.erf(), "error function"),
    "aten.atan": _entry("atan", TANH.facts, lambda h: h.atan(), "arc tangent"),
    "aten.hardtanh": _entry("hardtanh", TANH.facts, lambda h: _functional().hardtanh(h), "clipped identity"),
    "aten.relu6": _entry(
        "relu6", Facts(Parity.NONE, degree=0, taylor=(1, 2), bounded=True), lambda h: _functional().relu6(h), "clipped"
    ),
}
"""By ATen operator."""
