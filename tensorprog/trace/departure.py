"""Departures: one thing of a model that is not as claimed, and what mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tensorprog.exponent import Exponent

__all__ = ["Departure", "Kind", "listed"]


class Kind(StrEnum):
    """What departs."""

    INIT = "init"
    RATE = "learning rate"
    MULTIPLIER = "multiplier"
    EPSILON = "epsilon"
    DECAY = "decay"
    CLIPPING = "clipping"


@dataclass(frozen=True)
class Departure:
    """One thing that is not as claimed, for all weights that share it.

    Args:
        kind: what.
        where: weights of the program, or an observed value such as attention logits.
        got, wanted: as powers of n: of the initial entries, the learning rate, the multiplier, epsilon, the decay, the
            threshold; -oo for a learning rate of zero, in place of which no other is known: wanted is None.
        mend: what to change.
        fault: False for what is worth knowing but breaks no claim.
    """

    kind: Kind
    where: tuple[str, ...]
    got: Exponent
    wanted: Exponent | None
    mend: str
    fault: bool = True

    @property
    def off(self) -> Exponent | None:
        """got / wanted, as a power of n."""
        return None if self.wanted is None else self.got - self.wanted

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "kind": self.kind.value,
            "where": list(self.where),
            "got": str(self.got),
            "wanted": None if self.wanted is None else str(self.wanted),
            "off": None if self.off is None else str(self.off),
            "mend": self.mend,
            "fault": self.fault,
        }

    def __str__(self) -> str:
        of = f"{self.kind} of {listed(self.where)}"
        if self.wanted is None:
            return f"{of}: zero. {self.mend}"
        return f"{of}: n^({self.got}), should be n^({self.wanted}). {self.mend}"


def listed(names: Sequence[str]) -> str:
    """The first three of some names, and how many more."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
