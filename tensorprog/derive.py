"""`derive`: program x parametrization x optimizer x loss -> Derivation.

The derivation knows types, never names, and never whether its exponents are numbers or symbols.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tensorprog.alignment import Alignment
from tensorprog.derivation import Derivation
from tensorprog.exponent import ExponentLike
from tensorprog.family import family
from tensorprog.losses import Loss
from tensorprog.optimizers import Optimizer
from tensorprog.parametrizations import Parametrization
from tensorprog.program import Program
from tensorprog.regimes import classify
from tensorprog.setting import Setting, setting

__all__ = ["derive", "derive_setting"]


def derive_setting(s: Setting) -> Derivation:
    """Derive one resolved setting; comparisons of symbols are decided by the region in force."""
    path = s.trajectory(steps=s.steps)
    return Derivation(s, path, classify(s.program, path))


def derive(
    program: Program,
    parametrization: str | Parametrization = "sp",
    *,
    optimizer: str | Optimizer | Mapping[str, Any] = "sgd",
    loss: str | Loss = "ce",
    lr_exponent: ExponentLike = 0,
    zero_readout: bool = False,
    steps: int = 4,
    alignment: str | Alignment = "derived",
    assume: Iterable[Any] = (),
) -> Any:
    """Derive how every quantity of a network in training scales with its width n.

    Args:
        program: for example ``tensorprog.mlp(hidden_layers=2)``.
        parametrization: a name, or a :class:`~tensorprog.parametrizations.Parametrization`.
        optimizer: a name or an entry; a mapping from roles or weight names to them for several in one network, such as
            ``{"hidden": "muon", "else": "adam"}``.
        loss: a name or an entry.
        lr_exponent: r, a global factor n^r on every learning rate.
        zero_readout: initialise the readout to exact zeros.
        steps: optimizer steps to report; the regime always looks at the settled end.
        alignment: of weights with what they act on. ``derived`` from symmetry, or assumed as Everett et al. do:
            ``full``, every inner product of an update with a vector, forward or backward, is a law-of-large-numbers
            sum; ``none``, it is a central-limit sum; in both, initial weights are not aligned with changes of their
            input (no aligned readout, no back-reaction). See :mod:`tensorprog.alignment`.
        assume: conditions on symbols, such as ``"r <= 0"``, where exponents have any.

    Returns:
        A :class:`Derivation`; a :class:`~tensorprog.family.Family` of them, one per cell of symbol space, where an
        exponent contains symbols.

    Assumes: genericity, fixed depth, batch and steps (:data:`tensorprog.derivation.ASSUMPTIONS`).

    Raises:
        TensorprogError: for anything that cannot be read or has no rule.

    Example:
        >>> import tensorprog as tp
        >>> d = tp.derive(tp.mlp(hidden_layers=2), "sp", optimizer="sgd", loss="ce", lr_exponent="-1/2")
        >>> d.regime.value, str(d.steps[1].sites["readout"].effective)
        ('controlled_divergence', '1/2')

    Ref: Haas et al. 2025 (arXiv 2505.22491); Yang & Hu 2021 (arXiv 2011.14522).
    """
    s = setting(
        program,
        parametrization,
        optimizer_=optimizer,
        loss_=loss,
        lr_exponent=lr_exponent,
        zero_readout=zero_readout,
        steps=steps,
        alignment_=alignment,
    )
    conditions = list(assume)
    if not s.symbols and not conditions:
        return derive_setting(s)
    return family(s, derive_setting, conditions)
