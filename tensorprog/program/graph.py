"""The graph of a program: its instructions in order, the axis of every value, and where each weight acts."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from tensorprog.program.axes import ONE, Axis, Role, Weight
from tensorprog.program.instructions import Add, Apply, Data, Instruction, MatMul, Moment, Scaled

__all__ = ["Program", "Site"]


@dataclass(frozen=True)
class Site:
    """A weight with the value it produces and the value after its bias and nonlinearity."""

    name: str
    weight: Weight
    product: int
    activation: int
    trained_input: bool


@dataclass(frozen=True)
class Program:
    """A network as instructions; build one with :class:`Builder` or compose layers.

    Args:
        instructions: in order of execution.
        axes: the axis of each value (None for scalars).
        weights: in order of first use.
        output: the index of the logits.
        label: how outputs name it, for example ``mlp(hidden_layers=2, activation=relu)``.
        description: the architecture and its options, for JSON.
        observed: (name, value) of values that are reported though no weight writes them: attention logits.
    """

    instructions: tuple[Instruction, ...]
    axes: tuple[Axis | None, ...]
    weights: tuple[Weight, ...]
    output: int
    label: str = "program"
    description: dict[str, object] = field(default_factory=dict, compare=False, hash=False)
    observed: tuple[tuple[str, int], ...] = ()

    @property
    def reads_sequences(self) -> bool:
        """Whether positions look at each other: the program needs sequences for data."""
        return any(getattr(ins, "across", False) for ins in self.instructions)

    def consumers(self, index: int) -> tuple[int, ...]:
        """The instructions that read a value."""
        return self._readers[index]

    @cached_property
    def _readers(self) -> tuple[tuple[int, ...], ...]:
        found: list[list[int]] = [[] for _ in self.instructions]
        for i, ins in enumerate(self.instructions):
            for a in dict.fromkeys(ins.args):
                found[a].append(i)
        return tuple(map(tuple, found))

    @cached_property
    def depends_on_weights(self) -> tuple[bool, ...]:
        """For each value, whether any weight was used to compute it."""
        trained: list[bool] = []
        for ins in self.instructions:
            trained.append(isinstance(ins, MatMul) or any(trained[a] for a in ins.args))
        return tuple(trained)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Where each weight acts, in program order."""
        trained, found, uses = self.depends_on_weights, [], dict.fromkeys(self.weights, 0)
        for i, ins in enumerate(self.instructions):
            if not isinstance(ins, MatMul):
                continue
            uses[ins.weight] += 1
            name = ins.weight.name if uses[ins.weight] == 1 else f"{ins.weight.name}#{uses[ins.weight]}"
            found.append(Site(name, ins.weight, i, self._activation(i), trained[ins.args[0]]))
        return tuple(found)

    @cached_property
    def value_names(self) -> tuple[str, ...]:
        """How explanations call each value: h(site) for a product with its bias, x(site) for its activation."""
        names = [ins.name if isinstance(ins, Data) else f"v{i}" for i, ins in enumerate(self.instructions)]
        for name, i in self.observed:
            names[i] = name
        for site in reversed(self.sites):
            names[site.activation] = f"x({site.name})"
            names[site.product] = f"h({site.name})"
            for i in self.consumers(site.product):
                ins = self.instructions[i]
                if site.weight.role is not Role.VECTOR and isinstance(ins, Add) and self._adds_bias(ins):
                    names[i], names[site.product] = f"h({site.name})", f"Wx({site.name})"
        names[self.output] = "logits"
        return tuple(names)

    def _activation(self, index: int) -> int:
        """Follow a product through a bias and into the nonlinearity, where these are its only readers."""
        while len(self.consumers(index)) == 1:
            (reader,) = self.consumers(index)
            ins = self.instructions[reader]
            if isinstance(ins, Add) and self._adds_bias(ins):
                index = reader
                continue
            if isinstance(ins, Scaled) and reader == self.output:
                return reader
            return reader if isinstance(ins, Apply) else index
        return index

    def _adds_bias(self, ins: Add) -> bool:
        parts = [self.instructions[a] for a in ins.args]
        return any(isinstance(p, MatMul) and p.weight.into is ONE for p in parts)

    def read_values(self) -> frozenset[int]:
        """Values that a weight or a contraction over a wide axis reads; what a norm layer reads may diverge."""
        read: set[int] = set()
        for ins in self.instructions:
            match ins:
                case MatMul() if ins.axes[1].wide:
                    read.update(ins.args)
                # What leaves an axis or pairs of positions is an attention logit: a softmax bounds it.
                case Moment(_, axis, None, False) if axis.wide:
                    read.update(ins.args)
        return frozenset(read)

    def __str__(self) -> str:
        return self.label
