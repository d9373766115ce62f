"""Optimizers: how gradients become updates, as scales and as ordinary torch optimizers.

An entry maps what it sees of the weights at a step (:class:`Parameter`: axes, size, gradients so far) to the parts of
their updates *per unit learning rate*; the caller applies n^{-c} and the multiplier. Entries know sizes, patterns and
axes, never names.

To add one: write a frozen dataclass with ``direction`` (or ``update``, where weights depend on one another) and
``torch`` in the file of its family, and list it in ``OPTIMIZERS``; one that takes another optimizer in ``WRAPPERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from tensorprog.errors import SettingError, UnknownName
from tensorprog.optimizers.curvature import KFAC, SOAP, Shampoo
from tensorprog.optimizers.descent import SGD
from tensorprog.optimizers.entry import Entry, Optimizer
from tensorprog.optimizers.gradient import Gradient, Multiple, Outer, Parameter, Part
from tensorprog.optimizers.groups import PerGroup
from tensorprog.optimizers.norm import LAMB, LARS, Adafactor, GlobalNormalisedGD, NormalisedGD
from tensorprog.optimizers.orthogonal import Muon, ShapeFactor
from tensorprog.optimizers.sharpness import SAM
from tensorprog.optimizers.sign import Adagrad, Adam, AdamW, Lion, RMSProp, SignSGD
from tensorprog.optimizers.wrappers import Clipped, Decayed

__all__ = [
    "KFAC",
    "LAMB",
    "LARS",
    "OPTIMIZERS",
    "SAM",
    "SGD",
    "SOAP",
    "WRAPPERS",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Clipped",
    "Decayed",
    "Entry",
    "GlobalNormalisedGD",
    "Gradient",
    "Lion",
    "Multiple",
    "Muon",
    "NormalisedGD",
    "Optimizer",
    "Outer",
    "Parameter",
    "Part",
    "PerGroup",
    "RMSProp",
    "Shampoo",
    "ShapeFactor",
    "SignSGD",
    "optimizer",
]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    cls.name: cls
    for cls in (
        SGD,
        SignSGD,
        Adam,
        Muon,
        AdamW,
        Lion,
        RMSProp,
        Adagrad,
        Adafactor,
        NormalisedGD,
        GlobalNormalisedGD,
        LARS,
        LAMB,
        Shampoo,
        SOAP,
        KFAC,
    )
}

WRAPPERS: dict[str, Callable[..., Optimizer]] = {cls.name: cls for cls in (Clipped, Decayed, SAM)}
"""Optimizers around another one, their ``base_optimizer``."""


def optimizer(name: str | Optimizer | Mapping[str, Any], **options: Any) -> Optimizer:
    """An optimizer by name, with options: ``optimizer("adam", epsilon_exponent="-1")``.

    Args:
        name: of a registered optimizer or wrapper; ``"hidden=muon,else=adam"`` or a mapping by role or weight name for
            several in one network.
        options: its own; what a wrapper does not have goes to its base optimizer.

    Raises:
        UnknownName: listing the registered names.
        SettingError: for options that the optimizer does not have or values out of range.

    Example:
        >>> str(optimizer("clipped", base_optimizer="adam", epsilon_exponent="-1"))
        'clipped(base_optimizer=adam(epsilon_exponent=-1))'
    """
    if isinstance(name, Mapping) or (isinstance(name, str) and "=" in name):
        if options:
            raise SettingError("optimizer groups", ", ".join(options), "give options to the groups' own optimizers")
        return PerGroup(name)
    if not isinstance(name, str):
        if options:
            raise SettingError(f"optimizer {name}", ", ".join(options), "an optimizer that is made takes no options")
        return name
    entries = {**OPTIMIZERS, **WRAPPERS}
    if name not in entries:
        raise UnknownName("optimizer", name, entries)
    accepted = [f.name for f in fields(entries[name])]  # type: ignore[arg-type]
    if name in WRAPPERS:
        own = {key: options.pop(key) for key in accepted if key in options}
        return WRAPPERS[name](**{**own, "base_optimizer": optimizer(own.get("base_optimizer", "sgd"), **options)})
    for key in options:
        if key not in accepted:
            raise SettingError(
                f"optimizer {name}", key, f"its options are: {', '.join(accepted) if accepted else 'none'}"
            )
    return OPTIMIZERS[name](**options)
