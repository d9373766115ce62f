"""The largest stable learning rate of every layer, exact: what a per-layer prescription is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tensorprog.alignment import Alignment
from tensorprog.errors import Unsupported
from tensorprog.exponent import Exponent
from tensorprog.losses import Loss
from tensorprog.optimizers import Optimizer
from tensorprog.parametrizations import Parametrization
from tensorprog.program import Program, Role
from tensorprog.setting import Setting, setting
from tensorprog.stability import Supremum, largest_rate

__all__ = ["layer_rates"]

FROZEN = Exponent(1 << 30)
"""The c of layers that do not move: below every other exponent, even where the search tries huge rates."""


def layer_rates(
    program: Program,
    parametrization: str | Parametrization = "sp",
    *,
    optimizer: str | Optimizer | Mapping[str, Any] = "sgd",
    loss: str | Loss = "ce",
    alignment: str | Alignment = "derived",
) -> dict[str, Supremum]:
    """The largest learning-rate exponents -c, role by role, that keep activations, updates and logits bounded.

    Multipliers and inits are the parametrization's, its own c are ignored. Stability bounds rates jointly: under SGD a
    readout that grows makes the gradients of the layers below larger. Where one layer's rate could only rise at the
    cost of another's, the layer nearer to the input has its way: rates are found in the order of the network, each
    given those before it and with the later layers at rest.

    Args:
        program: its roles share one rate each.
        parametrization, optimizer, loss, alignment: as for :func:`tensorprog.derive`.

    Returns:
        By role, in the order of the network, the supremum of -c.

    Raises:
        Unsupported: where the parametrization or an entry has free symbols.

    Example: under the assumption of full alignment, and derived; the readout's alignment with changed features costs
    every layer before it half a power.
        >>> import tensorprog as tp
        >>> for how in ("full", "derived"):
        ...     rates = layer_rates(tp.mlp(hidden_layers=2), "sp", optimizer="adam", alignment=how)
        ...     print({role: str(-s.exponent) for role, s in rates.items()})
        {'input': '0', 'hidden': '1', 'readout': '1'}
        {'input': '1/2', 'hidden': '3/2', 'readout': '1'}

    Ref: Everett et al. 2024 (arXiv 2407.05872), Section 3: the prescriptions of their table.
    """
    s = setting(program, parametrization, optimizer_=optimizer, loss_=loss, steps=1, alignment_=alignment)
    if s.symbols:
        raise Unsupported(
            f"layer_rates with free symbols {', '.join(sorted(s.symbols))}", "it explores one symbol", "Give numbers."
        )
    for w in program.independent:
        s = _with_rate(s, w.role, -FROZEN)
    found: dict[str, Supremum] = {}
    for role in dict.fromkeys(w.role for w in program.weights):
        rate = largest_rate(partial(_with_rate, s, role))
        s = s if rate.exponent.infinite else _with_rate(s, role, rate.exponent)
        found[role.value] = rate
    return found


def _with_rate(s: Setting, role: Role, rate: Exponent) -> Setting:
    """The setting with c = -rate for the weights of one role."""
    scalings = s.parametrization
    for w in s.program.independent:
        scalings = scalings.where(w.name, c=-rate) if w.role is role else scalings
    return replace(s, parametrization=scalings)
