"""Depth: blocks that repeat are derived once.

A deep program is mostly one block written out many times. Where a further copy of the block changes no exponent,
neither does the next one: the program is derived with two copies and with three; if the one in the middle equals one of
its neighbours and everything else is as with two, every copy in between is like it. Otherwise (signals that grow from
layer to layer, updates that need as many steps as there are layers) the program is derived as it is.

That one more copy repeats is checked; that all further ones do is the induction this rests on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

from tensorprog.alignment import DERIVED, Alignment
from tensorprog.bound import Bound
from tensorprog.losses import Loss
from tensorprog.optimizers import Optimizer
from tensorprog.parametrizations import ABC
from tensorprog.program import Data, Instruction, MatMul, Program, Weight
from tensorprog.scale import Scale
from tensorprog.trajectory import Step, Trajectory, Watch, unrolled

__all__ = ["Repeats", "repeats", "trajectory"]

COPIES = 3
"""What a repeated block is written out to: the first copy, the last, and one that stands for all between."""
FEWEST = 5
"""So many copies are worth the check."""


@dataclass(frozen=True)
class Repeats:
    """A stretch of a program that is one block written out ``copies`` times.

    Args:
        start: the first instruction.
        period: instructions of one copy.
        copies: how many.
    """

    start: int
    period: int
    copies: int

    @property
    def end(self) -> int:
        return self.start + self.period * self.copies

    def source(self, i: int, copies: int) -> int:
        """Instruction i of the program, in the one with fewer copies."""
        if i < self.start:
            return i
        if i >= self.end:
            return i - (self.copies - copies) * self.period
        copy, offset = divmod(i - self.start, self.period)
        kept = copies - 1 if copy == self.copies - 1 else min(copy, copies - 2)
        return self.start + kept * self.period + offset

    def shortened(self, program: Program, copies: int) -> Program:
        """The program with fewer copies."""
        dropped = range(self.start + (copies - 1) * self.period, self.end - self.period)
        place = {old: new for new, old in enumerate(i for i in range(len(program.instructions)) if i not in dropped)}

        def moved(ins: Instruction) -> Instruction:
            # What reads a dropped copy is the last copy: it reads the one before the gap in its place.
            args = tuple(place[a - len(dropped) if a in dropped else a] for a in ins.args)
            return replace(ins, args=args)  # type: ignore[arg-type]

        instructions = [moved(program.instructions[i]) for i in place]
        used = dict.fromkeys(ins.weight for ins in instructions if isinstance(ins, MatMul))
        return replace(
            program,
            instructions=tuple(instructions),
            axes=tuple(program.axes[i] for i in place),
            weights=tuple(w for w in program.weights if w in used),
            output=place[program.output],
            observed=tuple((name, place[i]) for name, i in program.observed if i in place),
        )


def repeats(program: Program, key: Callable[[Weight], object]) -> Repeats | None:
    """The longest stretch of repeated blocks, or None where there are too few.

    Args:
        key: what must be equal for the weights of two copies.
    """
    instructions = program.instructions
    middle = len(instructions) // 2
    best: Repeats | None = None
    for period in range(1, len(instructions) // FEWEST + 1):
        if middle + period >= len(instructions) or not _alike(program, middle, period, key):
            continue
        low = high = middle
        while low and _alike(program, low - 1, period, key):
            low -= 1
        while high + 1 + period < len(instructions) and _alike(program, high + 1, period, key):
            high += 1
        found = Repeats(low, period, (high - low + 1) // period + 1)
        if found.copies >= FEWEST and _self_contained(program, found):
            best = found
            break
    return best


def _alike(program: Program, i: int, period: int, key: Callable[[Weight], object]) -> bool:
    """Is instruction i + period the same as i, in a copy of the block?"""
    x, y = program.instructions[i], program.instructions[i + period]
    if type(x) is not type(y) or isinstance(x, Data) or program.axes[i] != program.axes[i + period]:
        return False
    for f in fields(x):
        a, b = getattr(x, f.name), getattr(y, f.name)
        if f.name == "weight":
            if a == b or key(a) != key(b) or (a.out, a.into, a.zero) != (b.out, b.into, b.zero):
                return False
        elif f.name != "args" and a != b:
            return False
    return all(b in (a, a + period) for a, b in zip(x.args, y.args, strict=True))


def _self_contained(program: Program, r: Repeats) -> bool:
    """Copies read the copy before them, themselves, or what stands before all; the rest reads the last one or that."""
    last = r.end - r.period
    for i, ins in enumerate(program.instructions[r.start :], r.start):
        inside = i < r.end
        first = r.start + (i - r.start) // r.period * r.period - r.period if inside else last
        if any(r.start <= a < max(first, r.start) for a in ins.args):
            return False
    named: dict[Weight, int] = {}
    for i, ins in enumerate(program.instructions):
        if isinstance(ins, MatMul):
            copy = (i - r.start) // r.period if r.start <= i < r.end else -1
            if named.setdefault(ins.weight, copy) != copy:
                return False  # one weight in several copies
    return True


@dataclass(frozen=True)
class _Short:
    """A program with fewer copies of its block, and how its steps are those of the whole one."""

    whole: Program
    repeats: Repeats
    copies: int

    @cached_property
    def program(self) -> Program:
        return self.repeats.shortened(self.whole, self.copies)

    @cached_property
    def sources(self) -> tuple[int, ...]:
        """For each instruction of the whole program the one here."""
        return tuple(self.repeats.source(i, self.copies) for i in range(len(self.whole.instructions)))

    @cached_property
    def weights(self) -> dict[Weight, Weight]:
        """For each weight of the whole program the one here."""
        found: dict[Weight, Weight] = {}
        for i, ins in enumerate(self.whole.instructions):
            here = self.program.instructions[self.sources[i]]
            if isinstance(ins, MatMul) and isinstance(here, MatMul):
                found[ins.weight] = here.weight
        return found

    def written_out(self, step: Step) -> Step:
        """A step of the whole program."""
        seen = step.perturbed
        return replace(
            step,
            initial=self._all(step.initial),
            change=self._all(step.change),
            now=self._all(step.now),
            effective=self._some(step.effective),
            propagating=self._some(step.propagating),
            gradient_parts={
                w: step.gradient_parts[here] for w, here in self.weights.items() if here in step.gradient_parts
            },
            perturbed=seen and replace(seen, now=self._all(seen.now), effective=self._some(seen.effective)),
        )

    def _all(self, values: Sequence[Scale]) -> tuple[Scale, ...]:
        return tuple(values[i] for i in self.sources)

    def _some(self, values: Mapping[int, Scale]) -> dict[int, Scale]:
        return {i: values[here] for i, here in enumerate(self.sources) if here in values}


def trajectory(
    program: Program,
    exponents: Mapping[Weight, ABC],
    optimizer: Optimizer,
    loss: Loss,
    *,
    steps: int,
    limit: int,
    stop: Callable[[Step], bool] | None = None,
    watch: Watch | None = None,
    bound: Bound = Bound.EXACT,
    alignment: Alignment = DERIVED,
) -> Trajectory:
    """The trajectory of a program, repeated blocks derived once; see :func:`tensorprog.trajectory.unrolled`."""

    def derived(of: Program, stop: Callable[[Step], bool] | None, watch: Watch | None = None) -> Trajectory:
        return unrolled(
            of,
            {w: exponents[w] for w in of.weights},
            optimizer,
            loss,
            steps=steps,
            limit=max(steps, limit - len(program.weights) + len(of.weights)),
            stop=stop,
            watch=watch,
            bound=bound,
            alignment=alignment,
        )

    def short(found: Repeats, copies: int) -> tuple[_Short, Trajectory]:
        of = _Short(program, found, copies)
        return of, derived(
            of.program, None if stop is None and watch is None else lambda step: ends(of.written_out(step))
        )

    def ends(step: Step) -> bool:
        watched = watch is not None and any(watch(step, i) for i in range(len(program.instructions)))
        return watched or (stop is not None and stop(step))

    found = repeats(program, lambda w: (exponents[w], optimizer.treatment(w)))
    if found is not None:
        (several, path), (few, other) = (short(found, copies) for copies in (COPIES, COPIES - 1))
        if _one_more_changes_nothing(several, path, few, other):
            return replace(path, steps=tuple(map(several.written_out, path.steps)), repeated=found.copies)
    return derived(program, stop, watch)


def _one_more_changes_nothing(several: _Short, path: Trajectory, few: _Short, other: Trajectory) -> bool:
    """Are two copies the first and the last of three, and is the one in the middle like one of them?"""
    if (path.settled_at, path.stopped, path.growth) != (other.settled_at, other.stopped, other.growth):
        return False
    r = several.repeats
    middle = r.start + r.period

    def aligned(shift: int) -> list[int]:
        """The instructions of the program with two copies that those with three should equal."""
        count = len(several.program.instructions)
        return [i if i < middle else i - r.period if i >= middle + r.period else i + shift for i in range(count)]

    return any(
        all(_equal(a, b, aligned(shift)) for a, b in zip(path.steps, other.steps, strict=False))
        for shift in (0, -r.period)
    )


def _equal(a: Step, b: Step, place: Sequence[int]) -> bool:
    """Have two steps the same sizes, instruction i of the one being ``place[i]`` of the other?"""

    def tops(step: Step, at: Iterable[int]) -> Iterator[object]:
        for i in at:
            yield step.now[i].top, step.change[i].top
            yield tuple(of[i].top if i in of else None for of in (step.effective, step.propagating))
            if step.perturbed is not None:
                yield step.perturbed.now[i].top

    if a.chi.top != b.chi.top or set(a.gradients.values()) != set(b.gradients.values()):
        return False
    return all(x == y for x, y in zip(tops(a, range(len(place))), tops(b, place), strict=True))
