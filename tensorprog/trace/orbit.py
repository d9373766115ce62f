"""Orbits: every choice of multiplier, init, rate, epsilon and decay of one parameter that gives the same function.

With multiplier n^-a, init n^-b, rate n^-c, epsilon n^e and decay n^d, and an update that grows as the k-th power of the
gradient, every t gives the same network at every step:

    a + t,  b - t,  c - (1 + k) t,  e - t,  d - (1 + k) t  (coupled decay: d - 2 t)

The gradient of the raw weight is multiplied by n^-t, and so is an epsilon that stands next to it.

Ref: Yang & Hu 2021 (arXiv 2011.14522), Section 3.1; epsilon and decay: Yang et al. 2022 (arXiv 2203.03466), Appendix B.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tensorprog.errors import SettingError, UnknownName
from tensorprog.exponent import ZERO, Exponent, ExponentLike, exponent
from tensorprog.trace.advice import decay_of, entry_of
from tensorprog.trace.model import Traced
from tensorprog.trace.scalings import degree, multipliers

__all__ = ["Orbit", "Point", "orbit"]


@dataclass(frozen=True)
class Point:
    """One of the equivalent choices, as powers of n.

    Args:
        t: where on the orbit, 0 for the model as it is.
        multiplier, init, rate: of the output, the initial entries and the learning rate; init is None for exact zeros.
        epsilon, decay: None where the optimizer has none.
    """

    t: Exponent
    multiplier: Exponent
    init: Exponent | None
    rate: Exponent
    epsilon: Exponent | None
    decay: Exponent | None


@dataclass(frozen=True)
class Orbit:
    """All equivalent scalings of one weight.

    Args:
        weight: its name in the program.
        origin: the model as it is.
        degree: the k of its optimizer.
        coupled: whether its decay is part of the gradient.
    """

    weight: str
    origin: Point
    degree: Exponent
    coupled: bool = False

    def at(self, t: ExponentLike) -> Point:
        """The point with a multiplier smaller by n^-t."""
        s, o = exponent(t, "t"), self.origin
        if not s.is_number:
            raise SettingError("t", str(s), "needs a number")
        k = 1 + self.degree.const
        return Point(
            s,
            o.multiplier - s,
            None if o.init is None else o.init + s,
            o.rate + s * k,
            None if o.epsilon is None else o.epsilon - s,
            None if o.decay is None else o.decay - s * (2 if self.coupled else k),
        )

    def points(self) -> Iterator[tuple[str, Point]]:
        """The choices that people make: as it is, without a multiplier, with unit init, with a rate without width."""
        k = 1 + self.degree.const
        o = self.origin
        named = [("as it is", ZERO), ("no multiplier", o.multiplier)]
        named += [] if o.init is None else [("unit init", -o.init)]
        named += [("constant rate", -o.rate / k)] if k else []
        seen: dict[Exponent, list[str]] = {}
        for name, t in named:
            seen.setdefault(t, []).append(name)
        for t, names in seen.items():
            yield ", ".join(names), self.at(t)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        rows = {name: {key: None if e is None else str(e) for key, e in vars(p).items()} for name, p in self.points()}
        return {"weight": self.weight, "degree": str(self.degree), "points": rows}

    def __str__(self) -> str:
        rows = [(name, *(_told(e) for e in list(vars(p).values())[1:])) for name, p in self.points()]
        head = ("", "multiplier", "init", "rate", "epsilon", "decay")
        sizes = [max(len(r[i]) for r in (head, *rows)) for i in range(len(head))]
        lines = [
            "  ".join(cell.ljust(size) for cell, size in zip(r, sizes, strict=True)).rstrip() for r in (head, *rows)
        ]
        return "\n".join([f"{self.weight}: the same network at every step", *lines])


def _told(e: Exponent | None) -> str:
    return "." if e is None else "1" if e == ZERO else f"n^({e})"


def orbit(traced: Traced, weight: str) -> Orbit:
    """The orbit of one weight of a traced model.

    Raises:
        UnknownName: listing the model's weights.
    """
    by_name = {w.name: w for w in traced.program.weights}
    if weight not in by_name:
        raise UnknownName("weight", weight, by_name)
    w, own = by_name[weight], traced.parametrization.table[weight]
    rule, entry = traced.rule(weight), entry_of(traced.optimizer, by_name[weight])
    decay = decay_of(entry)
    origin = Point(
        ZERO,
        -multipliers(traced.program)[w],
        None if own.b.infinite else -own.b,
        -own.c,
        rule.epsilon.exponent if rule is not None and rule.epsilon is not None else None,
        decay[0] if decay is not None else None,
    )
    return Orbit(weight, origin, degree(traced.optimizer, w), decay is not None and decay[1])
