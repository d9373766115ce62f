"""Several optimizers in one network: each weight by its role or name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tensorprog.errors import Unsupported
from tensorprog.optimizers.entry import Entry, Optimizer, Parts, weight_of
from tensorprog.optimizers.gradient import Parameter, Part
from tensorprog.optimizers.roles import ByRole
from tensorprog.program import Weight

if TYPE_CHECKING:
    import torch

__all__ = ["PerGroup"]


@dataclass(frozen=True)
class PerGroup(Entry):
    """An optimizer for each weight, for example Muon for hidden matrices and Adam for the rest.

    A group's optimizer sees the weights of its group alone: clipping inside a group takes that group's norm.

    Args:
        groups: by role, weight name or ``else``: ``"hidden=muon,else=adam"``, or a mapping to names or optimizers.

    Ref: Jordan et al. 2024 (Muon).
    """

    name: ClassVar[str] = "groups"
    ref: ClassVar[str] = "Jordan et al. 2024 (Muon)"
    groups: str | Mapping[str, str | Optimizer] | ByRole[Optimizer] = "hidden=muon,else=adam"

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", ByRole.read(self.groups, "optimizer groups", _read))

    @property
    def choice(self) -> ByRole[Optimizer]:
        """The optimizers by role or name."""
        assert isinstance(self.groups, ByRole)
        return self.groups

    @property
    def monotone(self) -> bool:
        """Every group is."""
        return all(o.monotone for o in self.choice.values())

    @property
    def linear(self) -> bool:
        """Every group is."""
        return all(o.linear for o in self.choice.values())

    @property
    def elementwise(self) -> bool:
        """Every group is."""
        return all(o.elementwise for o in self.choice.values())

    def by_parts(self, weight: Weight) -> bool:
        chosen = self.choice.get(weight)
        return chosen is not None and chosen.by_parts(weight)

    def treatment(self, weight: Weight) -> object:
        chosen = self.choice.get(weight)
        return chosen, chosen and chosen.treatment(weight)

    def check(self, weights: Sequence[Weight]) -> None:
        self.choice.check(weights, "optimizer groups", complete=True)
        for chosen in self.choice.values():
            chosen.check([w for w in weights if self.choice.get(w) == chosen])

    def update(self, network: Sequence[Parameter]) -> Parts:
        steps: dict[Weight, Iterable[Part]] = {}
        for chosen in self.choice.values():
            if group := [p for p in network if self.choice.get(p.weight) == chosen]:
                steps.update(chosen.update(group))
        return steps

    def options(self) -> dict[str, str]:
        return {key: str(value) for key, value in self.choice.items}

    def torch(self, groups: list[dict[str, Any]], width: float = 1.0) -> torch.optim.Optimizer:
        from tensorprog.torch_optimizers import Several

        what = f"optimizer {self.choice}"
        self.choice.check([weight_of(g, what) for g in groups], what, complete=True)
        members = []
        for chosen in self.choice.values():
            if mine := [g for g in groups if self.choice.get(weight_of(g, what)) == chosen]:
                members.append(chosen.torch(mine, width))
        return Several(members)

    def __str__(self) -> str:
        return str(self.choice)


def _read(value: str | Optimizer, what: str) -> Optimizer:
    from tensorprog.optimizers import WRAPPERS, optimizer

    chosen = optimizer(value)
    if isinstance(chosen, WRAPPERS["sam"]):  # type: ignore[arg-type]
        raise Unsupported(
            f"sam for some of the weights ({what})",
            "its second gradient belongs to the whole network",
            "Put the groups inside: SAM(base_optimizer={...}).",
        )
    return chosen
