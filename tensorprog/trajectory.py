"""Time: forward, backward, update, forward again, as scales, until nothing new happens.

Every value at step t is kept three times: its initial scale, the scale of its change, and its own scale now. So the
effective update (W_t - W_0) x_t, the propagating update W_0 (x_t - x_0) and the feature change are read off, not
reconstructed. The value now is not the sum of the other two: tanh(h_0 + d) with a large d has forgotten tanh(h_0),
which is in x_0 and, with the opposite sign, in the change.

The state that carries over is the list of update pieces and of the fields W_0 x seen so far; once a step adds neither,
all later steps are equal and the trajectory is *settled*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise

from tensorprog.alignment import DERIVED, Alignment
from tensorprog.backward import Backward, backward
from tensorprog.bound import Bound
from tensorprog.calculus import Calculus, Piece
from tensorprog.exponent import ZERO, Exponent
from tensorprog.losses import Loss
from tensorprog.optimizers import Gradient, Multiple, Optimizer, Outer, Parameter
from tensorprog.optimizers.entry import Parts
from tensorprog.parametrizations import ABC
from tensorprog.program import Data, MatMul, Program, Weight
from tensorprog.scale import NOTHING, Reason, Scale, Term

__all__ = ["Step", "Trajectory", "Watch", "diverged", "divergence", "unrolled"]

PATIENCE = 12
"""Steps beyond the number of weights that a trajectory may take to settle."""
GROWTH_STEPS = 2
"""Beyond the number of weights, how many rises in a row make growth certain."""


@dataclass(frozen=True)
class Perturbed:
    """A second look at a step, with perturbed weights W_t + E, where the gradient is taken (SAM).

    Args:
        now: per value x~.
        effective: per matrix product, E x~.
        chi: dL/df at the perturbed logits.
    """

    now: tuple[Scale, ...]
    effective: Mapping[int, Scale]
    chi: Scale


@dataclass(frozen=True)
class Step:
    """All scales after ``t`` optimizer steps.

    Args:
        t: 0 is initialisation.
        initial, change, now: per value of the program, x_0, x_t - x_0 and x_t.
        effective, propagating: per matrix product (index of the instruction), its two parts.
        chi: dL/df at these logits.
        gradient_parts: each weight's gradient at this step.
        perturbed: what the optimizer's perturbation of the weights does, where it has one.
    """

    t: int
    initial: Sequence[Scale]
    change: Sequence[Scale]
    now: Sequence[Scale]
    effective: Mapping[int, Scale]
    propagating: Mapping[int, Scale]
    chi: Scale
    gradient_parts: Mapping[Weight, Gradient]
    perturbed: Perturbed | None = None

    @cached_property
    def gradients(self) -> dict[Weight, Exponent]:
        """The entry exponent of each weight's gradient: on demand, because with symbols it may split a region."""
        return {w: g.size for w, g in self.gradient_parts.items()}


@dataclass(frozen=True)
class Trajectory:
    """The steps that were computed and how they end.

    Args:
        steps: from initialisation on.
        settled_at: the first step after which nothing changes any more, or None.
        growth: by how much some exponent rises at every step for good, or None.
        stopped: True where the ``stop`` condition ended it.
        repeated: how many copies of a repeated block stand for each other (:mod:`tensorprog.depth`); 0 for none.
    """

    steps: tuple[Step, ...]
    settled_at: int | None
    growth: Exponent | None
    stopped: bool = False
    repeated: int = 0

    @property
    def growing(self) -> bool:
        """True where some exponent rises without end."""
        return self.growth is not None

    def at(self, t: int) -> Step:
        """Step t; beyond a settled end it is the last one."""
        return self.steps[min(t, len(self.steps) - 1)]


Watch = Callable[[Step, int], bool]


class _Run:
    def __init__(
        self,
        program: Program,
        exponents: Mapping[Weight, ABC],
        optimizer: Optimizer,
        loss: Loss,
        back: Backward,
        bound: Bound,
        alignment: Alignment,
    ) -> None:
        self.program, self.exponents, self.optimizer, self.loss, self.back = program, exponents, optimizer, loss, back
        initial = {w: abc.initial for w, abc in exponents.items()}
        self.calculus = Calculus(program.weights, initial, program.saturable, bound=bound, alignment=alignment)
        self.history: dict[Weight, list[Gradient]] = {w: [] for w in program.weights}
        self.initial: list[Scale] = []
        self.names = program.value_names

    # -- one step

    def forward(self, t: int, watch: Watch | None) -> Step | None:
        """Changes of all values and the values now, with the two parts of every product; None where watch ends it."""
        delta: list[Scale] = []
        now: list[Scale] = []
        effective: dict[int, Scale] = {}
        propagating: dict[int, Scale] = {}
        step = Step(t, self.initial, delta, now, effective, propagating, NOTHING, {})
        for i, ins in enumerate(self.program.instructions):
            if not t:
                args = [self.initial[a] for a in ins.args]
                value = _data(ins) if isinstance(ins, Data) else self.calculus.value(ins, args)
                named = value if isinstance(ins, Data) else value.explained("value", _at(self.names[i], 0))
                self.initial.append(named)
                delta.append(NOTHING)
                now.append(named)
            elif isinstance(ins, Data):
                delta.append(NOTHING)
                now.append(self.initial[i])
            elif isinstance(ins, MatMul):
                (x,) = ins.args
                propagating[i] = self.calculus.initial_product(ins.weight, delta[x], ins.transposed)
                through = self.calculus.initial_product(ins.weight, now[x], ins.transposed)
                effective[i] = self.calculus.update_product(ins.weight, now[x], ins.transposed, initial=through)
                delta.append((effective[i] + propagating[i]).explained("value", self._change_name(i, t)))
                now.append((through + effective[i]).explained("value", _at(self.names[i], t)))
            else:
                initial = [self.initial[a] for a in ins.args]
                changed = self.calculus.change(ins, initial, [delta[a] for a in ins.args])
                delta.append(changed.explained("value", self._change_name(i, t)))
                value = self.calculus.value(ins, [now[a] for a in ins.args])
                now.append(value.explained("value", _at(self.names[i], t)) if delta[i] else self.initial[i])
            if watch is not None and watch(step, i):
                return None
        return step

    def _change_name(self, index: int, t: int) -> str:
        return f"Delta {_at(self.names[index], t)}"

    def differentiate(self, t: int, now: Sequence[Scale], chi: Scale) -> list[Scale]:
        """All values and cotangents with the current weights."""
        values = list(now)
        for ins, name in zip(self.back.instructions, self.back.names, strict=True):
            if isinstance(ins, Data):
                values.append(chi)
            else:
                value = self.calculus.value(ins, [values[a] for a in ins.args], trained=True)
                values.append(value.explained("value", _at(name, t)))
        return values

    def perturb(self, t: int, at: Sequence[Scale], pieces: Mapping[Weight, Sequence[Piece]]) -> Perturbed:
        """Forward once more with pieces E on top of the weights: (W_t + E) x~ - W_t x_t = W_t (x~ - x_t) + E x~."""
        change: list[Scale] = []
        now: list[Scale] = []
        effective: dict[int, Scale] = {}
        for i, ins in enumerate(self.program.instructions):
            args, moved = [change[a] for a in ins.args], [now[a] for a in ins.args]
            if isinstance(ins, Data):
                change.append(NOTHING)
                now.append(at[i])
                continue
            value = self.calculus.value(ins, moved, trained=True)
            if isinstance(ins, MatMul):
                own = pieces.get(ins.weight, ())
                effective[i] = self.calculus.piece_product(ins.weight, own, moved[0], ins.transposed)
                value = value + effective[i]
                change.append(self.calculus.value(ins, args, trained=True) + effective[i])
            else:
                change.append(self.calculus.change(ins, [at[a] for a in ins.args], args))
            now.append(value.explained("value", _at(self.names[i], t, "~")))
        return Perturbed(tuple(now), effective, self.loss.gradient(now[self.program.output]))

    def parameters(self, values: Sequence[Scale]) -> list[Parameter]:
        """What the optimizer sees: raw weights w, whose effective weight is n^-a w."""
        network = []
        for w, pairs in self.back.gradients.items():
            a = self.exponents[w].a
            raw = Gradient.of((values[o].shift(-a, "multiplier", "gradient of n^-a w"), values[i]) for o, i in pairs)
            network.append(Parameter(w, (*self.history[w], raw), partial(self._entries, w)))
        return network

    def _entries(self, weight: Weight) -> Exponent:
        return self.calculus.entries(weight) + self.exponents[weight].a

    def pieces(self, t: int, parts: Parts, rates: Mapping[Weight, Exponent], what: str) -> dict[Weight, list[Piece]]:
        """The outer products among an optimizer's parts, as pieces of the effective weights.

        Args:
            rates: a further power of n for every weight.
            what: how explanations call the coefficients.
        """
        return {
            w: [
                Piece(_coefficient(part.power + rates[w] - self.exponents[w].a, w, what), part.out, part.into, t)
                for part in of
                if isinstance(part, Outer) and not part.is_zero
            ]
            for w, of in parts.items()
        }

    def update(self, t: int, network: Sequence[Parameter]) -> dict[Weight, Gradient]:
        """Move every weight by the optimizer's step; returns the gradients."""
        steps = {w: tuple(parts) for w, parts in self.optimizer.update(network).items()}
        rates = {w: -abc.c for w, abc in self.exponents.items()}
        pieces = self.pieces(t, steps, rates, "step size")
        for w, parts in steps.items():
            for part in parts:
                if isinstance(part, Multiple) and not part.power.infinite:
                    self.calculus.add_multiple(w, part.power + rates[w])
            for piece in pieces[w]:
                self.calculus.add_piece(w, piece)
        for p in network:
            self.history[p.weight].append(p.gradient)
        return {p.weight: p.gradient for p in network}

    def look(self, t: int, watch: Watch | None) -> Step | None:
        """The forward half of a step; its gradients are not known yet."""
        step = self.forward(t, watch)
        return None if step is None else replace(step, chi=self.loss.gradient(step.now[self.program.output]))

    def learn(self, step: Step) -> Step:
        """The backward half: gradients at these weights or perturbed ones, and the update that the next step sees."""
        network = self.parameters(self.differentiate(step.t, step.now, step.chi))
        perturbed: Perturbed | None = None
        if moved := {w: tuple(parts) for w, parts in self.optimizer.perturbation(network).items()}:
            pieces = self.pieces(step.t, moved, dict.fromkeys(moved, ZERO), "size of the perturbation")
            perturbed = self.perturb(step.t, step.now, pieces)
            with self.calculus.perturbed(pieces):
                network = self.parameters(self.differentiate(step.t, perturbed.now, perturbed.chi))
        return replace(step, gradient_parts=self.update(step.t, network), perturbed=perturbed)


def unrolled(
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
    """Run the time loop for at least ``steps`` steps, and on until it settles, grows for certain, or ``limit``.

    Args:
        program: what the network computes.
        exponents: (a, b, c) per weight, the global learning-rate exponent folded into c.
        optimizer, loss: the entries.
        steps: report at least these.
        limit: give up looking for a settled step after so many.
        stop: end at the first step for which this is true.
        watch: asked after every instruction i of a step's forward pass, with the step so far: end at once. What comes
            after need not be derived then, and splits no region.
        bound: everything, or cheap bounds.
        alignment: of weights with what they act on, derived or assumed.
    """
    run = _Run(program, exponents, optimizer, loss, backward(program), bound, alignment)
    done: list[Step] = []
    settled_at: int | None = None
    growth: Exponent | None = None
    while True:
        t = len(done)
        before = run.calculus.knowledge
        seen = run.look(t, watch)
        if seen is None:
            return Trajectory(tuple(done), None, None, stopped=True)
        done.append(seen)
        if stop is not None and stop(done[t]):
            return Trajectory(tuple(done), None, None, stopped=True)
        if t == 1 and optimizer.linear and loss.degree and not program.limited:
            growth = _fed_back(*done)
            if growth and t >= steps:
                break
        done[t] = run.learn(done[t])
        if t and run.calculus.knowledge == before:
            settled_at = next(s for s in range(t + 1) if _same(done[s], done[t]))
            break
        growth = growth or _growth(done, len(program.weights) + GROWTH_STEPS)
        if t >= steps and (growth or t >= limit or diverged(done[t], program)):
            break
    if settled_at is None and not growth and not diverged(done[-1], program) and _same_sizes(done):
        # The patterns still gain sub-leading terms, but every size has stopped moving.
        settled_at = len(done) - 2
    return Trajectory(tuple(done), settled_at, growth)


def _at(name: str, t: int, mark: str = "") -> str:
    """A value at step t as explanations write it: h(input) -> h_0(input), relu'(h(input)) -> relu'(h_0(input))."""
    head, bracket, tail = name.rpartition("(")
    return f"{head}{mark}_{t}({tail}" if bracket else f"{name}{mark}_{t}"


def _data(ins: Data) -> Scale:
    return Scale.source(ZERO, rule="data", what=ins.name)


def _coefficient(power: Exponent, weight: Weight, what: str) -> Scale:
    reason = Reason("learning-rate", f"n^({power}), {what} of {weight.name}", power)
    return Scale((Term(power, Scale.source(ZERO, rule="", what="").terms[0].pattern, reason),))


def _same(a: Step, b: Step) -> bool:
    return a.change == b.change and a.effective == b.effective and a.propagating == b.propagating


def _same_sizes(done: list[Step]) -> bool:
    a, b = done[-2:]
    return all(x.top == y.top for x, y in zip(a.change, b.change, strict=True)) and a.gradients == b.gradients


def diverged(step: Step, program: Program) -> bool:
    """Some value that a later layer reads diverges: the regime is known, later steps only confirm it."""
    return any(step.now[i].exceeds(ZERO) for i in program.read_values())


def divergence(program: Program) -> Watch:
    """Ends a trajectory at the first value that diverges though a later layer reads it."""
    read = program.read_values()
    return lambda step, i: i in read and step.now[i].exceeds(ZERO)


def _fed_back(initial: Step, first: Step) -> Exponent | None:
    """The rise per step that the first step proves, or None.

    Where updates are linear in the loss derivative and nothing shrinks what it enters, the second step adds to the
    logits at least what the first one did times chi_1 / chi_0, and so on: chi grows by this factor at least, for good.
    """
    if not first.chi.exceeds(initial.chi.top):
        return None
    return first.chi.top - initial.chi.top


def _growth(done: list[Step], rises_needed: int) -> Exponent | None:
    """The rise per step of an exponent that rises for good: ``rises_needed`` times in a row, never by less than before.

    A rise that is handed from layer to layer ends after as many steps as there are weights; one that lasts longer
    goes round a loop.
    """
    if len(done) < rises_needed + 2:
        return None
    recent = [_sizes(step) for step in done[-rises_needed - 1 :]]
    for tops in zip(*recent, strict=True):
        if tops[0].infinite:
            continue
        rises: list[Exponent] = [b - a for a, b in pairwise(tops)]
        if all(r > ZERO for r in rises) and all(a <= b for a, b in pairwise(rises)):
            return rises[-1]
    return None


def _sizes(step: Step) -> list[Exponent]:
    return [*(x.top for x in step.change), *step.gradients.values()]
