"""Parameter groups and init factors for torch: a prescription, applied.

``import torch`` happens inside functions: importing :mod:`tensorprog` needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tensorprog.errors import SettingError
from tensorprog.losses import Loss
from tensorprog.parametrizations import Parametrization
from tensorprog.trace.model import trace
from tensorprog.trace.prescription import Prescription, is_finite, trained_parameters
from tensorprog.trace.prescription import prescribe as _prescribe

if TYPE_CHECKING:
    import torch

__all__ = ["Prescription", "param_groups", "prescribe", "scale_init"]


def prescribe(
    build: Callable[[int], torch.nn.Module],
    *,
    base_width: int,
    example: Any = None,
    optimizer: Any = "adam",
    loss: str | Loss | Any = "ce",
    claim: str | Parametrization = "mup",
    **options: Any,
) -> Prescription:
    """How to train a model at any width with the hyperparameters of a base width.

    Args:
        build, example, optimizer, loss, options: as for :func:`tensorprog.trace`; of the optimizer only the kind
            matters.
        base_width: where the hyperparameters were tuned; nothing changes there.
        claim: the parametrization to be in; the default is the maximal-update one. ``maximal`` keeps the model's own
            init and gives every weight its largest stable learning rate, ``maximal-bounded`` the largest with which
            logits and attention logits stay bounded.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import tensorprog as tp
        >>> def build(n):
        ...     return nn.Sequential(nn.Linear(8, n, bias=False), nn.ReLU(), nn.Linear(n, 3, bias=False))
        >>> rules = tp.torch.prescribe(build, base_width=64, example=torch.randn(4, 8), optimizer="adam")
        >>> print(rules)
        mup from base width 64; powers of width / 64:
                    init   lr     eps    decay
          0.weight  0      0      -1     0
          2.weight  -1/2   -1     0      1
        >>> model = build(256)
        >>> tp.torch.scale_init(model, rules)
        >>> [group["lr"] for group in tp.torch.param_groups(model, rules, lr=0.01)]
        [0.01, 0.0025]
    """
    return _prescribe(trace(build, example=example, optimizer=optimizer, loss=loss, **options), base_width, claim)


def param_groups(
    model: torch.nn.Module,
    prescription: Prescription | None = None,
    *,
    lr: float,
    eps: float | None = None,
    weight_decay: float | None = None,
    width: int | None = None,
    entry: str | None = None,
    base_width: int | None = None,
    **traced: Any,
) -> list[dict[str, Any]]:
    """Parameter groups for any optimizer class, from hyperparameters of the base width.

    Args:
        model: of any width, compiled, wrapped or bare: parameters are known by name, and nothing is attached to them.
        prescription: from :func:`prescribe`; or its arguments ``build``, ``example``, ... and ``base_width``.
        lr, eps, weight_decay: at the base width; epsilon and decay are left to the optimizer where they are not given.
        width: of the model, where the shapes of its parameters do not tell it.
        entry: only the parameters of one optimizer of several, by tensorprog's name: ``muon``.

    Returns:
        One group for each combination of factors, in the order of the model.

    Raises:
        Unsupported: for a trained parameter that was no part of the traced model.
        SettingError: where the width is not clear, or a number is none.
    """
    if prescription is None:
        if base_width is None:
            raise SettingError("param_groups", None, "needs a prescription, or base_width, build and example")
        prescription = prescribe(base_width=base_width, **traced)
    elif traced or base_width is not None:
        raise SettingError("param_groups", ", ".join([*traced, "base_width"]), "is part of the prescription already")
    n = prescription.width(model) if width is None else width
    base = {"lr": is_finite(lr, "lr")}
    base |= {} if eps is None else {"eps": is_finite(eps, "eps")}
    base |= {} if weight_decay is None else {"weight_decay": is_finite(weight_decay, "weight_decay")}
    groups: dict[tuple[float, ...], dict[str, Any]] = {}
    for name, p in trained_parameters(model):
        if entry is not None and prescription.scaling(name).entry != entry:
            continue
        factors = prescription.factors(name, n)
        values = {key: number * factors[key] for key, number in base.items()}
        groups.setdefault(tuple(values.values()), {"params": [], **values})["params"].append(p)
    return list(groups.values())


def scale_init(model: torch.nn.Module, prescription: Prescription, *, width: int | None = None) -> None:
    """Multiply the initial entries of a freshly built model by the prescribed factors, in place.

    Raises:
        Unsupported: for a trained parameter that was no part of the traced model.
    """
    import torch

    n = prescription.width(model) if width is None else width
    factors = {name: prescription.factors(name, n)["init"] for name, _ in trained_parameters(model)}
    with torch.no_grad():
        for name, p in trained_parameters(model):
            if factors[name] != 1:
                p.mul_(factors[name])
