"""The graph of a program: its instructions in order, the axis of every value, and where each weight acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from tensorprog.exponent import ZERO, Exponent
from tensorprog.program.axes import ONE, Axis, Role, Weight
from tensorprog.program.instructions import (
    Add,
    Apply,
    Data,
    Instruction,
    MatMul,
    Moment,
    Multiply,
    Normalize,
    Repeat,
    Rotate,
    Scaled,
)
from tensorprog.scale import Scale

__all__ = ["Program", "Site", "saturable"]


@dataclass(frozen=True)
class Site:
    """A weight with the value it produces and the value after its bias and nonlinearity.

    Args:
        product: the instruction W x.
        activation: the value after multiplier, bias and nonlinearity.
        trained_input: whether training changes x.
        multiplier: the power of n that the program multiplies the product with; the weight's own, as n^-a is.
    """

    name: str
    weight: Weight
    product: int
    activation: int
    trained_input: bool
    multiplier: Exponent = ZERO

    def of(self, parts: Mapping[int, Scale]) -> Scale:
        """Its part of a step, such as the effective update, with the multiplier."""
        return parts[self.product].shift(self.multiplier, "multiplier", f"multiplier of {self.name}")


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

    @cached_property
    def symbols(self) -> frozenset[str]:
        """Free symbols of the sizes of axes and of multipliers."""
        found = [axis.symbols for axis in self.growing]
        found += [ins.exponent.symbols for ins in self.instructions if isinstance(ins, Scaled)]
        return frozenset().union(*found)

    @cached_property
    def growing(self) -> tuple[Axis, ...]:
        """The wide axes of all values and weights, and their factors."""
        axes = [*(a for a in self.axes if a is not None), *(a for w in self.weights for a in (w.out, w.into))]
        axes += [f for a in axes for f in a.factors]
        return tuple(a for a in dict.fromkeys(axes) if a.wide)

    @property
    def positive(self) -> tuple[Exponent, ...]:
        """What its symbols must keep positive: the sizes of its wide axes and numbers of layers side by side."""
        sizes = dict.fromkeys(size for a in self.growing for size in (a.size, a.copies))
        return tuple(size for size in sizes if size.symbols)

    def substitute(self, values: Mapping[str, Exponent]) -> Program:
        """The program with symbols replaced."""
        if not self.symbols.intersection(values):
            return self

        def moved(part: Any) -> Any:
            return part.substitute(values) if isinstance(part, Axis | Weight | Exponent) else part

        return replace(
            self,
            instructions=tuple(
                replace(i, **{f.name: moved(getattr(i, f.name)) for f in fields(i)}) for i in self.instructions
            ),
            axes=tuple(map(moved, self.axes)),
            weights=tuple(map(moved, self.weights)),
        )

    @property
    def independent(self) -> tuple[Weight, ...]:
        """The weights with exponents of their own: all but those that are further rows of another one."""
        return tuple(w for w in self.weights if w.like is None)

    @property
    def reads_images(self) -> bool:
        """Whether its data come with pixels."""
        return any(isinstance(ins, Data) and ins.pixels for ins in self.instructions)

    @property
    def reads_sequences(self) -> bool:
        """Whether positions look at each other: the program needs sequences for data."""
        return any(isinstance(ins, Moment | Multiply) and ins.across for ins in self.instructions)

    @cached_property
    def limited(self) -> frozenset[int]:
        """Values that a norm layer divides by or a function saturates in: their growth may make others smaller."""
        return frozenset(
            a
            for ins in self.instructions
            if isinstance(ins, Normalize)
            or (isinstance(ins, Apply) and (ins.function.facts.bounded or ins.function.facts.step))
            for a in ins.args
        )

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
    def trained_values(self) -> tuple[bool, ...]:
        """For each value, whether training changes it: whether any trained weight was used to compute it."""
        trained: list[bool] = []
        for ins in self.instructions:
            own = isinstance(ins, MatMul) and ins.weight.trained
            trained.append(own or any(trained[a] for a in ins.args))
        return tuple(trained)

    @cached_property
    def logit_terms(self) -> Mapping[int, Exponent]:
        """The values that the logits are a sum of, with the power of n that multiplies each on the way."""
        found, waiting = dict[int, Exponent](), [(self.output, ZERO)]
        while waiting:
            i, power = waiting.pop()
            found[i] = power
            ins = self.instructions[i]
            if isinstance(ins, Add | Scaled):
                waiting += [(a, power + ins.exponent if isinstance(ins, Scaled) else power) for a in ins.args]
        return found

    @cached_property
    def readouts(self) -> tuple[Weight, ...]:
        """The weights that write the logits and are no other layer's, such as a tied embedding.

        Others may map a wide axis to a finite one as well: a router, an adapter of finite rank.
        """
        written = (s.weight for s in self.sites if s.product in self.logit_terms)
        return tuple(dict.fromkeys(w for w in written if w.role is Role.READOUT))

    @cached_property
    def tied_readouts(self) -> Mapping[Weight, Exponent]:
        """The weights that write the logits transposed, such as a tied embedding, with the multiplier's power of n."""
        sites = ((self.instructions[s.product], s) for s in self.sites if s.product in self.logit_terms)
        return {s.weight: self.logit_terms[s.product] for ins, s in sites if isinstance(ins, MatMul) and ins.transposed}

    def sharing(self, site: Site) -> tuple[Site, ...]:
        """The sites whose products are summands of the same layer: a weight, its bias, its adapter."""
        return tuple(s for s in self.sites if s.activation == site.activation)

    @cached_property
    def saturable(self) -> tuple[int, ...]:
        """The wide vectors that a bounded function reads: where they diverge, it saturates."""
        return saturable(self.instructions, self.axes)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Where each weight acts, in program order."""
        trained, found, uses = self.trained_values, [], dict.fromkeys(self.weights, 0)
        for i, ins in enumerate(self.instructions):
            if not isinstance(ins, MatMul):
                continue
            uses[ins.weight] += 1
            name = ins.weight.name if uses[ins.weight] == 1 else f"{ins.weight.name}#{uses[ins.weight]}"
            power = sum((s.exponent for s in self.multipliers(i).values()), ZERO)
            found.append(Site(name, ins.weight, i, self._activation(i), trained[ins.args[0]], power))
        return tuple(found)

    def multipliers(self, product: int) -> dict[int, Scaled]:
        """What multiplies a product by powers of n, after its bias or before.

        What multiplies queries and keys belongs to the attention logits.
        """
        found: dict[int, Scaled] = {}
        index = product
        while len(self.consumers(index)) == 1:
            (index,) = self.consumers(index)
            ins = self.instructions[index]
            if isinstance(ins, Scaled):
                found[index] = ins
            elif isinstance(ins, Moment):
                return {}
            elif not (isinstance(ins, Rotate | Repeat) or (isinstance(ins, Add) and self._adds_bias(ins))):
                break
        return found

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
                if site.weight.role is not Role.VECTOR and isinstance(ins, Add) and self._one_layer(ins):
                    names[i], names[site.product] = f"h({site.name})", f"Wx({site.name})"
        names[self.output] = "logits"
        return tuple(names)

    def _activation(self, index: int) -> int:
        """Follow a product through the layer's sum and into the nonlinearity, where these are its only readers."""
        found, own = index, self.multipliers(index)
        while len(self.consumers(index)) == 1:
            (index,) = self.consumers(index)
            ins = self.instructions[index]
            if index in own or (isinstance(ins, Add) and self._one_layer(ins)):
                found = index
            elif not isinstance(ins, Scaled):
                elementwise = isinstance(ins, Apply) and ins.function.elementwise
                return index if elementwise and found in ins.args else found
        return found

    def _one_layer(self, ins: Add) -> bool:
        """Is it a product of weights with a value plus a bias, or plus other products with the same value?"""
        if self._adds_bias(ins):
            return True
        acted_on = {self._acted_on(a) for a in ins.args}
        return len(acted_on) == 1 and None not in acted_on

    def _adds_bias(self, ins: Add) -> bool:
        parts = [self.instructions[a] for a in ins.args]
        return any(isinstance(p, MatMul) and p.weight.into is ONE for p in parts)

    def _acted_on(self, index: int) -> int | None:
        """The value x of a product L x of weights with it, read by nothing else on the way; None for other values."""
        found = None
        while isinstance(ins := self.instructions[index], MatMul | Scaled):
            if found is not None and len(self.consumers(index)) > 1:
                break
            index = found = ins.args[0]
        return found

    def read_values(self) -> frozenset[int]:
        """Values that a weight or a contraction over a wide axis reads; what a norm layer reads may diverge."""
        read: set[int] = set()
        for ins in self.instructions:
            match ins:
                case MatMul() if ins.axes[1].wide:
                    read.update(ins.args)
                # What leaves an axis or pairs of positions is an attention logit: a softmax bounds it.
                case Moment((_, _), axis, None, False) if axis.wide:
                    read.update(ins.args)
        return frozenset(read)

    def __str__(self) -> str:
        return self.label


def saturable(instructions: Sequence[Instruction], axes: Sequence[Axis | None]) -> tuple[int, ...]:
    """The wide vectors that a bounded function reads: where they diverge, it saturates."""
    read = [ins.args[0] for ins in instructions if isinstance(ins, Apply) and ins.function.facts.bounded]
    return tuple(x for x in dict.fromkeys(read) if (axis := axes[x]) is not None and axis.wide)
