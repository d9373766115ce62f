"""Equivalent parametrizations: the shifts of (a, b, c) that change no exponent, computed.

A multiplier can be moved into the weight: (a, b) -> (a + t, b - t) leaves the initial effective weight alone. Which
shift of c leaves training alone depends on the optimizer: it is read off the effective update as a closed form in t.
Then every exponent of the first steps is derived with t as a free symbol and must not contain it.

Ref: Yang & Hu 2021 (arXiv 2011.14522), Section 3.1: c -> c - 2t for SGD, c - t for Adam.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from tensorprog.exponent import ZERO, Exponent, symbol
from tensorprog.formula import formulas_of
from tensorprog.losses import Loss
from tensorprog.optimizers import Optimizer
from tensorprog.parametrizations import ABC, Parametrization
from tensorprog.program import Program, Weight
from tensorprog.setting import Setting, setting

__all__ = ["Equivalence", "equivalence", "symmetry"]

SHIFT = "shift"
"""The symbol of the moved power."""
STEPS = 2
"""So many steps are compared: from the second on, what was trained takes part."""


@dataclass(frozen=True)
class Equivalence:
    """Two parametrizations compared up to the symmetry of program and optimizer.

    Args:
        shifts: by weight, the t of (a, b, c) -> (a + t, b - t, c + kappa t) that leads from the first to the second.
        rates: by weight, kappa.
        differences: by weight, what remains different after the shift; empty where they are equivalent.
    """

    shifts: Mapping[str, Exponent]
    rates: Mapping[str, Fraction | None]
    differences: Mapping[str, str]

    def __bool__(self) -> bool:
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "equivalent": bool(self),
            "shifts": {w: str(t) for w, t in self.shifts.items()},
            "kappa": {w: None if k is None else str(k) for w, k in self.rates.items()},
            "differences": dict(self.differences),
        }

    def __str__(self) -> str:
        if self:
            moved = ", ".join(f"{w}: t = {t}" for w, t in self.shifts.items() if t != 0)
            return "equivalent" + (f" ({moved})" if moved else " (equal)")
        return "not equivalent: " + "; ".join(f"{w}: {text}" for w, text in self.differences.items())


def symmetry(
    program: Program,
    parametrization: str | Parametrization = "mup",
    *,
    optimizer: str | Optimizer | Mapping[str, Any] = "sgd",
    loss: str | Loss = "ce",
) -> dict[str, Fraction | None]:
    """By weight, the kappa for which (a, b, c) -> (a + t, b - t, c + kappa t) changes no exponent, for every t.

    Returns:
        None for a weight that has no such shift, or that is not trained.

    Example:
        >>> import tensorprog as tp
        >>> [str(k) for k in symmetry(tp.mlp(hidden_layers=1), optimizer="sgd").values()]
        ['-2', '-2']
        >>> [str(k) for k in symmetry(tp.mlp(hidden_layers=1), optimizer="adam").values()]
        ['-1', '-1']
    """
    s = setting(program, parametrization, optimizer_=optimizer, loss_=loss, steps=STEPS)
    plain = _every_exponent(s)
    return {w.name: _kappa(s, w, plain) for w in program.independent}


def equivalence(
    program: Program,
    one: str | Parametrization,
    other: str | Parametrization,
    *,
    optimizer: str | Optimizer | Mapping[str, Any] = "sgd",
    loss: str | Loss = "ce",
) -> Equivalence:
    """Are two parametrizations the same up to the symmetry?

    Example:
        >>> import tensorprog as tp
        >>> from tensorprog import Parametrization
        >>> spectral = Parametrization.from_layers(a=["-1/2", "1/2"], b=["1/2", "1/2"], c=[0, 0])
        >>> print(equivalence(tp.mlp(hidden_layers=1), "mup", spectral, optimizer="sgd"))
        equivalent (input: t = -1/2, readout: t = 1/2)
        >>> print(equivalence(tp.mlp(hidden_layers=1), "mup", "sp", optimizer="sgd"))
        not equivalent: input: c differs by 1; readout: a + b differs by -1/2, c differs by -1
    """
    rates = symmetry(program, one, optimizer=optimizer, loss=loss)
    first, second = (setting(program, p, optimizer_=optimizer, loss_=loss).exponents() for p in (one, other))
    shifts: dict[str, Exponent] = {}
    differences: dict[str, str] = {}
    for w in program.independent:
        x, y = first[w], second[w]
        shifts[w.name] = t = y.a - x.a
        if text := _gap(x, y, t, rates[w.name]):
            differences[w.name] = text
    return Equivalence(shifts, rates, differences)


def _gap(x: ABC, y: ABC, t: Exponent, kappa: Fraction | None) -> str:
    found = []
    if x.initial != y.initial:
        zero = x.initial.infinite or y.initial.infinite
        found.append("one starts at zero" if zero else f"a + b differs by {x.initial - y.initial}")
    if kappa is None and t != ZERO:
        found.append(f"a differs by {t}, and no shift of c makes up for it")
    elif (left := y.c - x.c - t * (kappa or 0)) != ZERO:
        found.append(f"c differs by {left}")
    return ", ".join(found)


def _every_exponent(s: Setting) -> dict[tuple[int, str], Any]:
    from tensorprog.derive import derive_setting

    d = derive_setting(replace(s, steps=STEPS))
    found: dict[tuple[int, str], Any] = {}
    for at in d.steps:
        found[at.step, "logits"] = at.logits
        found[at.step, "chi"] = at.loss_gradient
        found |= {(at.step, name): site for name, site in at.sites.items()}
    return found


def _kappa(s: Setting, w: Weight, plain: Mapping[tuple[int, str], Any]) -> Fraction | None:
    abc = s.exponents()[w]
    t = symbol(SHIFT)
    free = replace(s, parametrization=s.parametrization.where(w.name, a=abc.a + t, c=abc.c))
    if not abc.b.infinite:
        free = replace(free, parametrization=free.parametrization.where(w.name, b=abc.b - t))
    slopes = set()
    site = next(x.name for x in s.program.sites if x.weight == w)
    for step in range(1, STEPS + 1):
        forms = formulas_of(free, step, [f"{site}.effective"]).members[0].form.forms
        slopes |= {dict(f.coefficients).get(SHIFT, Fraction(0)) for f in forms if not f.infinite}
        if slopes:
            break
    if len(slopes) != 1:
        return None
    (kappa,) = slopes
    moved = replace(free, parametrization=free.parametrization.where(w.name, c=abc.c + t * kappa))
    return kappa if _invariant(moved, plain) else None


def _invariant(s: Setting, plain: Mapping[tuple[int, str], Any]) -> bool:
    """Do all exponents stay what they are without the shift, whatever it is?"""
    from tensorprog.derive import derive_setting
    from tensorprog.family import family

    for cell in family(s, lambda here: derive_setting(here), []):
        here = cell.result
        for at in here.steps:
            if (at.logits, at.loss_gradient) != (plain[at.step, "logits"], plain[at.step, "chi"]):
                return False
            if any(plain[at.step, name] != site for name, site in at.sites.items()):
                return False
    return True
