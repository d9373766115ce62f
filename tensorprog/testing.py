"""Assertions for the tests of users' own models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tensorprog.losses import Loss
from tensorprog.parametrizations import Parametrization

if TYPE_CHECKING:
    import torch

    from tensorprog.trace.advice import Check

__all__ = ["assert_parametrization"]


def assert_parametrization(
    build: Callable[[int], torch.nn.Module],
    *,
    optimizer: Any,
    loss: str | Loss | Any = "ce",
    claim: str | Parametrization = "mup",
    **options: Any,
) -> Check:
    """Assert that a model and its optimizer are in the parametrization that they are claimed to be in.

    Args:
        build, optimizer, loss, options: as for :func:`tensorprog.trace`, such as an ``example`` input.
        claim: a parametrization, ``maximal`` or ``maximal-bounded``.

    Returns:
        The check, for what is worth knowing beyond the verdict.

    Raises:
        ClaimError: an ``AssertionError`` with the text of ``tensorprog check``.

    Example: in a test module.
        >>> import torch
        >>> from torch import nn
        >>> def build(n):
        ...     return nn.Sequential(nn.Linear(8, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 3))
        >>> loss = nn.functional.cross_entropy
        >>> check = assert_parametrization(build, optimizer=torch.optim.SGD, loss=loss, claim="sp")
        >>> check.holds
        True
        >>> try:
        ...     assert_parametrization(build, optimizer=torch.optim.SGD, loss="ce", claim="mup")
        ... except AssertionError as error:
        ...     print(str(error).splitlines()[2])
        claim mup: 2 departures
    """
    from tensorprog.trace import trace
    from tensorprog.trace.advice import ClaimError

    check = trace(build, optimizer=optimizer, loss=loss, **options).check(claim)
    if not check.holds:
        raise ClaimError(str(check))
    return check
