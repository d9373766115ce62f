"""The maximal stable parametrization at given initial sizes: the largest learning rate of every weight, exact.

Where an effective update is Theta(1), its rate is the largest: a larger one moves the layer by more than Theta(1). So
rates at which all of them are, and at which training is stable, need one derivation to be recognised. Else rates are
found one after the other from the readout down, each given those behind it and with the layers in front of it at rest.
Stability bounds rates jointly: where one could only rise at the cost of another, the layer nearer to the logits has its
way.

Weights that the program treats alike (the same kind of layer, next to the same operations) share one search.

Ref: Everett et al. 2024 (arXiv 2407.05872), Section 3; Haas et al. 2025 (arXiv 2505.22491), Section 3.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from tensorprog.bound import Bound
from tensorprog.derivation import Derivation
from tensorprog.derive import derive_setting
from tensorprog.errors import UnknownName, Unsupported
from tensorprog.exponent import INFINITE, ZERO, ZERO_SIZE, Exponent
from tensorprog.losses import Loss, loss
from tensorprog.optimizers import Optimizer
from tensorprog.parametrizations import ABC, PARAMETRIZATIONS, Parametrization, parametrization, unit_updates
from tensorprog.program import Program, Weight
from tensorprog.setting import Setting
from tensorprog.stability import Bounded, Supremum, bounded_logits, bounded_updates, holds, largest_rate
from tensorprog.trace.parametrization import Measured
from tensorprog.trace.scalings import bare, multipliers
from tensorprog.trajectory import Step

if TYPE_CHECKING:
    from tensorprog.trace.model import Traced

__all__ = ["CLAIMS", "Maximal", "claimed", "maximal"]

ANY = Supremum(INFINITE, False)
"""The largest rate of a weight that nothing moves."""
GUESSES = 3
"""How often rates are corrected by the effective updates they give before the search takes over."""
ROUNDS = 4
"""How many operations around a weight tell which weights are treated alike."""


def _tolerant(step: Step, program: Program) -> Iterator[Exponent]:
    """All updates but what the logits' initial weights pass on, which a bounded loss derivative tolerates."""
    yield from bounded_updates(step, program)
    if step.t:
        yield from (site.of(step.effective).top for site in program.sites)


def _strict(step: Step, program: Program) -> Iterator[Exponent]:
    """All updates, logits and attention logits."""
    yield from _tolerant(step, program)
    yield from bounded_logits(step, program)
    yield from (step.now[i].top for _, i in program.observed)


CLAIMS: Mapping[str, Bounded] = {"maximal": _tolerant, "maximal-bounded": _strict}
"""By name, what stays bounded; the second keeps logits and attention logits bounded, too."""


@dataclass(frozen=True)
class Maximal:
    """The largest stable learning rates of a program at given initial sizes.

    Args:
        claim: one of :data:`CLAIMS`.
        setting: with these rates.
        rates: by weight, the supremum of -c; oo where no rate moves anything.
    """

    claim: str
    setting: Setting
    rates: Mapping[str, Supremum]

    @cached_property
    def derivation(self) -> Derivation:
        """Of the program at these rates."""
        return derive_setting(self.setting)

    @property
    def parametrization(self) -> Measured:
        """As a claim: with the multipliers that the program has."""
        have, own = multipliers(self.setting.program), self.setting.exponents()
        table = {w.name: ABC(have[w], abc.b, abc.c) for w, abc in own.items()}
        return Measured(self.claim, table=table)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"claim": self.claim, "rates": {name: str(s.exponent) for name, s in self.rates.items()}}


def maximal(
    program: Program,
    initial: Mapping[str, ABC],
    optimizer: Optimizer,
    loss_: str | Loss,
    claim: str = "maximal",
) -> Maximal:
    """The largest stable learning rates.

    Args:
        program: with multipliers in it, as a trace writes it.
        initial: (a, b, c) of every weight; c is ignored.
        optimizer: its epsilon, decay and clipping are left out.
        claim: what stays bounded, see :data:`CLAIMS`.

    Returns:
        :class:`Maximal`; none of its rates can be larger while the others are what they are.

    Raises:
        Unsupported: where something diverges at initialisation, whatever the rates.
    """
    if claim not in CLAIMS:
        raise UnknownName("claim", claim, CLAIMS)
    search = _Search(program, dict(initial), bare(optimizer), loss(loss_), CLAIMS[claim])
    found, rates = search.run()
    return Maximal(claim, search.setting(rates), found)


def claimed(traced: Traced, claim: str | Parametrization) -> Parametrization:
    """A claim about a traced model: a parametrization, or the name of one that follows from the model's own init.

    Raises:
        UnknownName: for a name that is none.
        Unsupported: see :func:`maximal`.
    """
    if isinstance(claim, str):
        if claim in CLAIMS:
            return traced.maximal(claim).parametrization
        if claim not in PARAMETRIZATIONS:
            raise UnknownName("claim", claim, [*PARAMETRIZATIONS, *CLAIMS])
    return parametrization(claim)


@dataclass
class _Search:
    """The search for one program.

    Args:
        bounded: what stays bounded.
    """

    program: Program
    initial: Mapping[str, ABC]
    optimizer: Optimizer
    loss: Loss
    bounded: Bounded
    trained: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.trained = tuple(w.name for w in self.program.weights if w.trained)

    def setting(self, rates: Mapping[str, Exponent]) -> Setting:
        """With these rates; what has none does not move."""
        table = {
            name: replace(abc, c=-rates[name] if name in rates else INFINITE) for name, abc in self.initial.items()
        }
        return Setting(self.program, Measured("maximal", table=table), self.optimizer, self.loss)

    def run(self) -> tuple[dict[str, Supremum], dict[str, Exponent]]:
        """The suprema, and rates that attain them; some rate where any will do."""
        self._starts_bounded()
        unit = self._unit()
        moved = self._moved(unit)
        if all(e == ZERO or e.infinite for e in moved.values()) and holds(self.setting(unit), self.bounded):
            return {name: ANY if moved[name].infinite else Supremum(e, True) for name, e in unit.items()}, unit
        rates: dict[str, Exponent] = {}
        found: dict[str, Supremum] = {}
        waiting = self._groups()
        while waiting:
            later = []
            for group in waiting:
                top = self._most(rates, group, unit[group[0]])
                if top.infinite:
                    later.append(group)  # nothing that it could move with moves yet
                    continue
                rate = largest_rate(partial(self._with_rate, rates, group), self.bounded, top)
                found |= dict.fromkeys(group, rate)
                rates |= dict.fromkeys(group, rate.exponent)
            if len(later) == len(waiting):
                break
            waiting = later
        return {name: found.get(name, ANY) for name in self.trained}, {**unit, **rates}

    def _with_rate(self, rates: Mapping[str, Exponent], group: Sequence[str], rate: Exponent) -> Setting:
        return self.setting({**rates, **dict.fromkeys(group, rate)})

    def _starts_bounded(self) -> None:
        at_rest = self.setting({})
        start = at_rest.trajectory(stop=lambda step: True).steps[0]
        over = [i for i in sorted(self.program.read_values()) if start.now[i].exceeds(ZERO)]
        if self.bounded is _strict:
            logits = [*(i for _, i in self.program.observed), self.program.output]
            over += [i for i in logits if start.now[i].exceeds(ZERO)]
        if over:
            told, size = _told(self.program, over[0]), start.now[over[0]].top
            raise Unsupported(
                "a maximal stable parametrization with these initial entries",
                f"{told} is n^({size}) at initialisation, at any learning rate",
                "Use other inits, or prescribe them with the maximal-update parametrization.",
            )

    def _unit(self) -> dict[str, Exponent]:
        """Rates whose effective updates are Theta(1) where all vectors are, corrected by those that they give."""
        have = multipliers(self.program)
        shapes = {w: ABC(have[w], self.initial[w.name].b) for w in self.program.weights}
        rates = {w.name: -c for w, c in unit_updates(self.program, shapes, self.optimizer).items()}
        for _ in range(GUESSES):
            off = {name: e for name, e in self._moved(rates).items() if not e.infinite and e != ZERO}
            if not off:
                break
            rates |= {name: rates[name] - e for name, e in off.items()}
        return rates

    def _moved(self, rates: Mapping[str, Exponent]) -> dict[str, Exponent]:
        """The largest effective update of every weight."""
        path = self.setting(rates).trajectory(steps=2)
        found: dict[str, Exponent] = dict.fromkeys(self.trained, ZERO_SIZE)
        for step in path.steps[1:]:
            for name, e in self._effective(step):
                found[name] = max(found[name], e)
        return found

    def _effective(self, step: Step) -> Iterator[tuple[str, Exponent]]:
        return ((s.weight.name, s.of(step.effective).top) for s in self.program.sites if s.weight.trained)

    def _most(self, rates: Mapping[str, Exponent], group: Sequence[str], guess: Exponent) -> Exponent:
        """No rate of a group is larger: its first effective update would be, which grows at least as its rate.

        It is oo where the group does not move.
        """

        def own(step: Step) -> Exponent:
            return max(e for name, e in self._effective(step) if name in group)

        s = self._with_rate(rates, group, guess)
        bound = Bound.LOWER if s.optimizer.monotone else Bound.EXACT
        path = s.trajectory(stop=lambda step: bool(step.t) and not own(step).infinite, bound=bound)
        first = own(path.steps[-1])
        return INFINITE if first.infinite else guess - min(first, ZERO)

    def _groups(self) -> list[tuple[str, ...]]:
        """Trained weights that are treated alike, the last of the network first."""
        around = _colours(self.program)
        uses: dict[Weight, list[Hashable]] = {}
        for site in reversed(self.program.sites):
            if site.weight.trained:
                uses.setdefault(site.weight, []).append(around[site.product])
        groups: dict[Hashable, list[str]] = {}
        for w, colours in uses.items():
            key = (w.out, w.into, w.zero, self.initial[w.name].b, self.optimizer.treatment(w), *colours)
            groups.setdefault(key, []).append(w.name)
        return [tuple(group) for group in groups.values()]


def _told(program: Program, index: int) -> str:
    """How a message calls a value: by its own name, else by the weight that it comes from."""
    made = {site.product: site.name for site in program.sites}
    names, waiting = program.value_names, [index]
    while waiting:
        i = waiting.pop(0)
        if i == index and names[i] != f"v{i}":
            return names[i]
        if i in made:
            return f"what is read after {made[i]}"
        waiting += program.instructions[i].args
    return names[index]


def _colours(program: Program) -> list[int]:
    """A number for every instruction, equal for those that do the same, next to others that do the same."""

    def own(i: int) -> Hashable:
        ins = program.instructions[i]
        told = (getattr(ins, f.name) for f in fields(ins) if f.name not in ("args", "weight", "name"))
        return type(ins).__name__, program.axes[i], *told

    count = range(len(program.instructions))
    colours = _numbered([own(i) for i in count])
    for _ in range(ROUNDS):
        reads = [tuple(colours[a] for a in program.instructions[i].args) for i in count]
        read_by = [
            tuple(sorted((colours[r], program.instructions[r].args.index(i)) for r in program.consumers(i)))
            for i in count
        ]
        colours = _numbered([(colours[i], reads[i], read_by[i]) for i in count])
    return colours


def _numbered(keys: Sequence[Hashable]) -> list[int]:
    known: dict[Hashable, int] = {}
    return [known.setdefault(key, len(known)) for key in keys]
