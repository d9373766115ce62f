"""The tape: the calls of a forward pass and the sites among them, found once and followed at every later pass."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from validation.monitor.primitives import Function, Rule

__all__ = ["Call", "Site", "Slot", "Tape"]


@dataclass(slots=True, eq=False)
class Slot:
    """A value of the pass that is compared with its initial one.

    Args:
        sized: its own size is wanted, not only its change.
        initial: x_0, once recorded.
    """

    sized: bool = False
    initial: Tensor | None = None


@dataclass(slots=True, eq=False)
class Call:
    """One call of a torch function.

    Args:
        rule: what to do instead of calling it, which starts with this primitive of the pass.
        slot: where its result is compared.
    """

    function: Function
    rule: Rule | None = None
    primitive: int | None = None
    slot: Slot | None = None


@dataclass(slots=True, eq=False)
class Site:
    """One use of a parameter.

    Args:
        name: the qualified name of the parameter, the first of a tied one, of all in a weight computed from several;
            with #2, #3 for further uses.
        parameters: that its weight comes from.
        place: of the weight among the tensors of the primitive.
        parameter: the weight itself, None if it is computed from parameters.
        inputs: place and slot of every other tensor that changes in training.
        alpha: a factor of the weight in the call.
        fan_in: terms of the sum, None if there is none.
        keeps: f(w_0, x_0) is kept.
        activation: after bias and nonlinearity; None for the output of the model.
        slot: where the result of the primitive itself is compared.
        scales: the multiplications that follow, by their order among all that are followed.
        weight, result: w_0, and f(w_0, x_0) if it is kept.
        weight_size, input_size, result_size: of w_0, of the input where it never changes, of f(w_0, x_0).
    """

    name: str
    parameters: tuple[str, ...]
    place: int
    parameter: nn.Parameter | None
    inputs: list[tuple[int, Slot]] = field(default_factory=list)
    alpha: float = 1.0
    fan_in: int | None = None
    keeps: bool = False
    activation: Slot | None = None
    slot: Slot | None = None
    scales: list[int] = field(default_factory=list)
    # Recorded at initialisation.
    weight: Tensor = field(default_factory=lambda: torch.empty(0))
    result: Tensor = field(default_factory=lambda: torch.empty(0))
    weight_size: float = 0.0
    input_size: float = 0.0
    result_size: float = 0.0


@dataclass(frozen=True)
class Tape:
    """What to follow.

    Args:
        calls: of torch functions, in order.
        primitives: for each primitive of their rules its site, None where no parameter takes part.
    """

    calls: list[Call]
    primitives: list[Site | None]

    @property
    def sites(self) -> list[Site]:
        """Without the primitives that no parameter takes part in."""
        return [s for s in self.primitives if s is not None]
