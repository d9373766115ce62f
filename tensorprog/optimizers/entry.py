"""The contract of an optimizer and what entries share.

An entry maps what it sees of the weights at one step to the parts of their updates *per unit learning rate*; the time
loop applies n^-c and the multiplier. Most entries treat weights one by one and write :meth:`Entry.direction` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Flag, auto
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from tensorprog.errors import SettingError
from tensorprog.exponent import Exponent
from tensorprog.optimizers.gradient import Parameter, Part
from tensorprog.options import Options, read_exponents, read_positive
from tensorprog.program import Weight

if TYPE_CHECKING:
    import torch

__all__ = ["Entry", "Fact", "Optimizer", "Parts", "read_decay", "weight_of"]

Parts = Mapping[Weight, Iterable[Part]]


class Fact(Flag):
    """What an entry declares of itself; wrappers derive it from what they wrap.

    MONOTONE: a larger part of a gradient never gives a smaller part of any update. False for an optimizer that divides
    by what it remembers, by other weights' norms or by other parts. Bounds from leading terms need it.
    LINEAR: the updates are linear in the gradients.
    ELEMENTWISE: the torch half treats every entry of a parameter on its own, so that parameters can be stacked.
    """

    NONE = 0
    MONOTONE = auto()
    LINEAR = auto()
    ELEMENTWISE = auto()


class Optimizer(Protocol):
    """The contract."""

    name: ClassVar[str]
    ref: ClassVar[str]

    @property
    def monotone(self) -> bool:
        """See :attr:`Fact.MONOTONE`."""

    @property
    def linear(self) -> bool:
        """See :attr:`Fact.LINEAR`."""

    @property
    def elementwise(self) -> bool:
        """See :attr:`Fact.ELEMENTWISE`."""

    def update(self, network: Sequence[Parameter]) -> Parts:
        """The step of every weight per unit learning rate: w <- w - eta n^-c * (sum of parts)."""

    def perturbation(self, network: Sequence[Parameter]) -> Parts:
        """Where the gradient of this step is to be taken: at w + (sum of parts). Empty: at w."""

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        """The optimizer itself.

        Args:
            groups: one per weight, with ``params`` and ``lr``; ``weight`` (the program's Weight) where an option
                depends on roles or names, ``factors`` where the entry asks for them.
            width: the number n of which options are exponents.
        """

    def by_parts(self, weight: Weight) -> bool:
        """Whether some rows or columns of a weight take the steps of a matrix of their own, up to a factor for all."""

    def treatment(self, weight: Weight) -> object:
        """What options say of this weight: equal for weights that are treated alike."""

    def check(self, weights: Sequence[Weight]) -> None:
        """Raise where an option names a role or weight that the network does not have."""

    def options(self) -> dict[str, str]:
        """The options that differ from their defaults, for settings and labels."""

    @property
    def symbols(self) -> frozenset[str]:
        """Free symbols of the options."""

    def substitute(self, values: Mapping[str, Exponent]) -> Self:
        """The optimizer with symbols replaced."""


class Entry(Options):
    """What entries share: options are their dataclass fields, facts are declared."""

    kind: ClassVar[str] = "optimizer"
    name: ClassVar[str]
    ref: ClassVar[str]
    facts: ClassVar[Fact] = Fact.NONE

    @property
    def monotone(self) -> bool:
        """See :attr:`Fact.MONOTONE`."""
        return Fact.MONOTONE in self.facts

    @property
    def linear(self) -> bool:
        """See :attr:`Fact.LINEAR`."""
        return Fact.LINEAR in self.facts

    @property
    def elementwise(self) -> bool:
        """See :attr:`Fact.ELEMENTWISE`."""
        return Fact.ELEMENTWISE in self.facts

    def direction(self, p: Parameter) -> Iterable[Part]:
        """The step direction of one weight."""
        raise NotImplementedError(f"{type(self).__name__} defines neither direction nor update")

    def update(self, network: Sequence[Parameter]) -> Parts:
        return {p.weight: tuple(self.direction(p)) for p in network}

    def perturbation(self, network: Sequence[Parameter]) -> Parts:
        return {}

    def by_parts(self, weight: Weight) -> bool:
        """Elementwise entries do."""
        return self.elementwise

    def treatment(self, weight: Weight) -> object:
        """Most entries treat all weights alike."""
        return None

    def check(self, weights: Sequence[Weight]) -> None:
        """Most entries take any network."""


def read_decay(entry: Entry) -> None:
    """Read ``decay_exponent`` and ``decay``, lambda = decay * n^decay_exponent, in place."""
    read_exponents(entry, "decay_exponent", zero="no decay")
    read_positive(entry, "decay")


def weight_of(group: Mapping[str, Any], what: str) -> Weight:
    """The program's weight behind a parameter group; ``what`` needs it."""
    weight = group.get("weight")
    if not isinstance(weight, Weight):
        raise SettingError(
            what, f"a parameter group with {', '.join(group)}", "needs its 'weight', the program's Weight, in the group"
        )
    return weight
