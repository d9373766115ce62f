"""Crossing widths: from which width on the leading term of a measured size leads, and what leads below it.

Exponents are derived, prefactors are measured: size ~ A n^p, and one more term B n^q with q < p, which is the larger
one below the crossing width n* = (B / A)^{1 / (p - q)}. Where a size is a sum of parts that are measured too, each of
them has its own prefactor. How they add up does not matter then, and it is not known: the effective and the propagating
update of the readout follow the same gradient and add, not in quadrature. All other terms have random signs of their
own, so they do add in quadrature, and n* is fitted:

    parts     logits, their update, activations, feature changes, chi of a growing loss: every smaller part against the
              largest of the leading ones (:func:`~validation.two_powers.two_parts`)
    fit       every other size, and sums without a smaller part: the largest derived sub-leading power
              (:func:`~validation.two_powers.two_powers`)

Where p > 0 the leading term is one that diverges, and n* is the width at which the divergence takes over: of the logits
in controlled divergence, of activations beyond the edge.

The numbers rest on both exponents being as derived, and on one term besides the leading one; further corrections widen
the interval as lack of fit, or where they look like the second term, move it. Far from the measured widths n* is an
extrapolation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tensorprog.derive import derive_setting
from tensorprog.exponent import ZERO, Exponent
from tensorprog.setting import Setting
from validation.claims import Key, Prediction, exponents, parts
from validation.fit import Sizes, fit
from validation.measure import OUTPUT, Quantity
from validation.two_powers import Estimate, Sight, TwoPowers, two_parts, two_powers
from validation.verdict import ALLOWANCE

__all__ = ["Crossing", "Power", "crossings"]


@dataclass(frozen=True)
class Power:
    """One of the two terms.

    Args:
        exponent: of its coordinate size.
        what: the term in formulas.
    """

    exponent: Exponent
    what: str


@dataclass(frozen=True)
class Crossing:
    """Where two terms of one measured size exchange dominance.

    Args:
        case: its name.
        site, quantity, step: of the size.
        leading, subleading: the two terms.
        law: their prefactors and the crossing width; None where no three widths have positive finite sizes.
        holds: whether the measured slopes are those of the law.
        sizes: of the quantity.
        parts: sizes of the leading and the sub-leading part, where both were measured.
    """

    case: str
    site: str
    quantity: Quantity
    step: int
    leading: Power
    subleading: Power
    law: TwoPowers | None
    holds: bool
    sizes: Sizes
    parts: tuple[Sizes, Sizes] | None = None

    @property
    def sight(self) -> Sight:
        """What the measured widths show of the two terms."""
        if self.law is None:
            return Sight.NOTHING
        return self.law.sight if self.holds else Sight.OTHER

    @property
    def width(self) -> Estimate | None:
        """n* with its interval; None where the sizes follow no such law."""
        return self.law.crossing if self.law is not None and self.holds else None

    @property
    def diverges(self) -> bool:
        """Whether beyond the crossing width the size grows with the width."""
        return self.leading.exponent > ZERO

    @property
    def extrapolated(self) -> bool:
        """Whether n* lies outside the measured widths."""
        return self.width is not None and not min(self.sizes) <= self.width.value <= max(self.sizes)

    @property
    def relevant(self) -> bool:
        """Whether the sub-leading term is seen, and may lead at a measured width or further up."""
        seen = self.sight in (Sight.BOTH, Sight.SUBLEADING)
        return seen and self.width is not None and self.width.high >= min(self.sizes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; a bound that does not exist is null."""
        result: dict[str, Any] = {
            "case": self.case,
            "site": self.site,
            "quantity": self.quantity.value,
            "step": self.step,
            "leading": {"exponent": str(self.leading.exponent), "what": self.leading.what},
            "subleading": {"exponent": str(self.subleading.exponent), "what": self.subleading.what},
            "from": "fit" if self.parts is None else "parts",
            "shown": self.sight.value,
            "diverges": self.diverges,
            "extrapolated": self.extrapolated,
            "width": None if self.width is None else _numbers(self.width),
        }
        if self.law is not None:
            result["leading"] |= {"prefactor": _numbers(self.law.leading)}
            result["subleading"] |= {"prefactor": _numbers(self.law.subleading)}
        return result


def _numbers(e: Estimate) -> dict[str, float | None]:
    """Four digits; infinite is null, and so is the value where it is not seen."""
    return {k: float(f"{v:.4g}") if math.isfinite(v) else None for k, v in vars(e).items()}


def crossings(
    case: str, of: Setting, table: Mapping[Key, Sizes], steps: Iterable[int], gap: Fraction = Fraction(1, 2)
) -> list[Crossing]:
    """The crossing widths of every measured size of one case that has a sub-leading term, in the order of the network.

    Args:
        case: its name.
        of: the setting whose exponents are taken, at its global learning-rate exponent; any regime.
        table: measured sizes.
        steps: those that were measured, besides initialisation.
        gap: the distance of exponents to their nearest rivals; a fifth of it is allowed for finite width.
    """
    known = {p.key: p for p in exponents(derive_setting(of), steps)}
    allowance = float(ALLOWANCE * gap)
    found: list[Crossing] = []
    for p in known.values():
        if p.key in table and not p.exponent.infinite and p.exponent.is_number:
            found += _of_parts(case, of, p, known, table, allowance) or _of_fit(case, p, table[p.key], allowance)
    return found


def _of_fit(case: str, p: Prediction, sizes: Sizes, allowance: float) -> list[Crossing]:
    if not p.subleading:
        return []
    q = p.corrections[0]
    law = two_powers(sizes, float(p.exponent.const), float(q.const))
    what = "; ".join(dict.fromkeys(s.described for s in p.subleading if s.exponent == q))
    terms = Power(p.exponent, "leading term"), Power(q, what)
    return [Crossing(case, *p.key, *terms, law, law is not None and law.holds(allowance), sizes)]


def _of_parts(
    case: str, of: Setting, p: Prediction, known: Mapping[Key, Prediction], table: Mapping[Key, Sizes], allowance: float
) -> list[Crossing]:
    # What the network has no part in, such as the targets, does not depend on the width.
    measured = {k: known[k].exponent if k in known else ZERO for k in parts(of, p) if k in table}
    first = [k for k, e in measured.items() if e == p.exponent]
    if not first:
        return []
    lead = max(first, key=lambda k: _size(table[k]))
    found = []
    for key, q in measured.items():
        if q.infinite or not q < p.exponent:
            continue
        law = two_parts(table[lead], table[key], float(p.exponent.const), float(q.const))
        terms = Power(p.exponent, _named(lead)), Power(q, _named(key))
        both = table[lead], table[key]
        holds = law is not None and law.holds(allowance)
        found.append(Crossing(case, *p.key, *terms, law, holds, table[p.key], both))
    return found


def _size(sizes: Sizes) -> float:
    """At the largest width; 0 where it is not finite."""
    means = fit(sizes).means
    return means[-1] if means else 0.0


def _named(key: Key) -> str:
    site, quantity, step = key
    name = quantity.value if site == OUTPUT else f"{site}.{quantity.value}"
    return name if step or quantity is Quantity.TARGETS else f"{name} at initialisation"
