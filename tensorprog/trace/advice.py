"""Advice: which parameters of a traced model depart from a parametrization, by which exponent, and what mends it.

Weights are compared by what is invariant on their orbit (:mod:`tensorprog.trace.scalings`), epsilon and decay with the
gradients and rates of the claim itself. What no parameter's own scaling explains (attention logits, tied readouts) is
read off the claim's derivation on the same program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from textwrap import fill
from typing import Any

from tensorprog.derivation import Derivation
from tensorprog.derive import derive
from tensorprog.errors import Unsupported
from tensorprog.exponent import ZERO, ZERO_SIZE, Exponent, exponent
from tensorprog.optimizers import AdamW, Clipped, Decayed, Optimizer, PerGroup
from tensorprog.parametrizations import Parametrization
from tensorprog.program import Role, Weight
from tensorprog.trace.departure import Departure, Kind, listed
from tensorprog.trace.maximal import Maximal, claimed
from tensorprog.trace.model import Traced
from tensorprog.trace.optimizer import NEGLIGIBLE
from tensorprog.trace.parametrization import Measured
from tensorprog.trace.scalings import Target, bare, table, targets
from tensorprog.trace.structure import structure

__all__ = [
    "MAXIMAL",
    "Check",
    "ClaimError",
    "Departure",
    "Kind",
    "check",
    "decay_of",
    "entry_of",
    "gradients",
    "merged",
]

MAXIMAL = ("mup", "mfp")
"""Claims under which nothing may grow: attention logits and logits of tied readouts are checked, too."""


class ClaimError(AssertionError):
    """A model is not in the parametrization that it was claimed to be in."""


@dataclass(frozen=True)
class Check:
    """A traced model held against a parametrization.

    Args:
        traced: the model.
        claim: what it is compared with.
        claimed: whether it was claimed, or is the maximal-update parametrization that nobody asked for.
        shift: a global learning-rate exponent on top of the claim's rates, where those are defined up to one.
        departures: faults first.
        reference: the derivation of the same program, scaled as claimed.
        largest: without a claim, the largest stable learning rates at the model's own init, or why there are none.
    """

    traced: Traced
    claim: Parametrization
    claimed: bool
    shift: Exponent
    departures: tuple[Departure, ...]
    reference: Derivation
    largest: Maximal | Unsupported | None = None

    @property
    def faults(self) -> tuple[Departure, ...]:
        """The departures that break the claim."""
        return tuple(d for d in self.departures if d.fault)

    @property
    def holds(self) -> bool:
        """Whether the model is in the parametrization."""
        return not self.faults

    def differences(self) -> Iterator[tuple[str, str, Exponent, Exponent]]:
        """(site, quantity, exponent, exponent as claimed) wherever they differ, at init and after training."""
        own, claimed = self.traced.derivation, self.reference
        for step, quantities in ((0, ("activation",)), (own.setting.steps, ("activation", "effective", "feature"))):
            a, b = own.steps[step], claimed.steps[step]
            for name, site in a.sites.items():
                for q in quantities:
                    x, y = getattr(site, q), getattr(b.sites[name], q)
                    if x is not None and y is not None and x != y:
                        yield name, q if step else f"{q} at initialisation", x, y

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        d = self.traced.derivation
        return {
            "model": self.traced.program.label,
            "widths": list(self.traced.widths),
            "claim": self.claim.name,
            "claimed": self.claimed,
            "holds": self.holds,
            "lr_exponent": str(self.shift),
            "departures": [x.to_dict() for x in self.departures],
            "differences": [
                {"site": s, "quantity": q, "exponent": str(x), "claimed": str(y)} for s, q, x, y in self.differences()
            ],
            "regime": d.regime.value,
            "learning": d.learning.value,
            "parameters": [
                {
                    "name": w.name,
                    "role": w.role.value,
                    "axes": [w.out.name, w.into.name],
                    "init": str(-self.traced.inits[w.name].b),
                    "init_residual": round(self.traced.inits[w.name].residual, 4),
                    "learning_rate": str(-self.traced.parametrization.table[w.name].c) if w.trained else None,
                }
                for w in self.traced.program.weights
            ],
            "unused": list(self.traced.unused),
            "largest_stable": self._largest_as_values(),
        }

    def _largest_as_values(self) -> dict[str, Any] | None:
        match self.largest:
            case Maximal():
                d = self.largest.derivation
                return {**self.largest.to_dict(), "regime": d.regime.value, "learning": d.learning.value}
            case Unsupported():
                return {"none": self.largest.why}
        return None

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        d, t = self.traced.derivation, self.traced
        yield f"{t.program.label}: {len(t.program.weights)} weights, traced at widths {', '.join(map(str, t.widths))}"
        yield f"as it is: regime {d.regime.value.replace('_', ' ')}, learning {d.learning.value}"
        name = self.claim.name + (f" with learning rates n^({self.shift})" if self.shift != ZERO else "")
        count = len(self.faults)
        told = f"{count} departure{'s' * (count != 1)}" if count else "holds" if self.claimed else "no departures"
        yield f"{'claim' if self.claimed else 'compared with'} {name}: {told}"
        for departure in self.faults:
            yield _wrapped(departure)
        notes = [x for x in self.departures if not x.fault]
        if notes:
            yield "worth knowing:"
            for departure in notes:
                yield _wrapped(departure)
        found = list(self.differences()) if count else []
        if found:
            yield "what follows, as powers of n (as claimed):"
            for site, quantity, x, y in found[:SHOWN]:
                yield f"  - {quantity} of {site}: {x} ({y})"
            if len(found) > SHOWN:
                yield f"  - and {len(found) - SHOWN} more"
        yield from self._largest_lines()
        frozen = [w.name for w in t.program.weights if not w.trained and not self._forgotten(w.name)]
        if frozen:
            yield f"frozen: {listed(frozen)}"
        if t.unused:
            yield f"not used by the logits: {', '.join(t.unused)}"

    def _forgotten(self, name: str) -> bool:
        return any(d.wanted is None and name in d.where for d in self.departures)

    def _largest_lines(self) -> Iterator[str]:
        """Every rate against the largest stable one, those that are too large first."""
        if isinstance(self.largest, Unsupported):
            yield from fill(f"no learning rate is stable with its own init: {self.largest.why}", LINE).splitlines()
        if not isinstance(self.largest, Maximal):
            return
        found: dict[tuple[Exponent, Exponent], list[str]] = {}
        for name, rate in self.largest.rates.items():
            own = -self.traced.parametrization.table[name].c
            if not rate.exponent.infinite and rate.exponent != own:
                found.setdefault((rate.exponent, own), []).append(name)
        head = "largest stable learning rates with its own init"
        yield f"{head}:" if found else f"{head}: those that it has"
        for (most, own), names in sorted(found.items(), key=lambda item: item[0][0] > item[0][1]):
            told = f"too large by n^({own - most})" if own > most else f"smaller by n^({most - own})"
            text = f"n^({most}) for {listed(names)}; n^({own}) is {told}"
            yield fill(text, LINE, initial_indent="  - ", subsequent_indent="    ", break_long_words=False)


LINE = 100
"""The length of a line."""
SHOWN = 6
"""How many consequences are listed."""


def check(traced: Traced, claim: str | Parametrization | None = None) -> Check:
    """Hold a traced model against a parametrization.

    Args:
        traced: from :func:`tensorprog.trace`.
        claim: what the model is meant to be in, a parametrization, ``maximal`` or ``maximal-bounded``; None compares it
            with the maximal-update parametrization, and its rates with the largest stable ones.

    Returns:
        A :class:`Check`, whose ``holds`` is the verdict and whose text says what departs and what mends it.
    """
    chosen = claimed(traced, "mup" if claim is None else claim)
    program, own = traced.program, traced.parametrization.table
    wanted = targets(program, chosen, traced.optimizer, {name: abc.b for name, abc in own.items()})
    shift = ZERO if callable(chosen.c) or isinstance(chosen, Measured) else _shift(traced, wanted)
    wanted = {name: replace(t, c=t.c - shift) for name, t in wanted.items()}
    # Epsilon, decay and clipping are no part of the claim: without them, what they change shows as a difference.
    reference = derive(
        program,
        Measured(chosen.name, table=table(wanted)),
        optimizer=bare(traced.optimizer),
        loss=traced.loss,
    )
    found = [*_scalings(traced, wanted), *_epsilon(traced, reference), *_decay(traced, wanted, reference)]
    found += _clipping(traced, wanted, reference)
    if chosen.name in MAXIMAL:
        # Where a multiplier is to be mended, entries stay.
        kept = {d.where[0] for d in found if d.kind is Kind.MULTIPLIER}
        entries = {name: -(own[name].b if name in kept else t.b) for name, t in wanted.items()}
        found += structure(traced.program, reference, entries)
    departures = merged(found)
    departures.sort(key=lambda d: not d.fault)
    largest = _largest(traced) if claim is None else None
    return Check(traced, chosen, claim is not None, shift, tuple(departures), reference, largest)


def _largest(traced: Traced) -> Maximal | Unsupported:
    try:
        return traced.maximal()
    except Unsupported as error:
        return error


def _shift(traced: Traced, wanted: Mapping[str, Target]) -> Exponent:
    """The power of n by which most rates exceed the claim's."""
    matrices = [w for w in traced.program.weights if w.trained and w.role is not Role.VECTOR]
    off = [wanted[w.name].c - traced.parametrization.table[w.name].c for w in matrices]
    return max(dict.fromkeys(off), key=off.count) if off else ZERO


def _scalings(traced: Traced, wanted: Mapping[str, Target]) -> Iterator[Departure]:
    for w in traced.program.weights:
        own, target = traced.parametrization.table[w.name], wanted[w.name]
        if not w.trained and traced.built.models[0].get_parameter(traced.blocks[w.name].parameter).requires_grad:
            mend = "It requires a gradient, and no step moves it: give it a learning rate, or freeze it"
            yield Departure(Kind.RATE, (w.name,), ZERO_SIZE, None, mend)
        init = ZERO if own.b.infinite or target.b.infinite else target.b - own.b  # the entries are n^init too large
        rate = target.c - own.c if w.trained else ZERO
        if init != ZERO and w.trained and rate == init * (1 + target.degree.const):
            a = target.a
            mend = f"Multiply its output by n^({-init}): the code has a multiplier n^({-a})"
            yield Departure(Kind.MULTIPLIER, (w.name,), -a, -a - init, mend)
            continue
        if init != ZERO:
            yield Departure(Kind.INIT, (w.name,), -own.b, -target.b, f"Multiply its initial entries by n^({-init})")
        rule = traced.rule(w.name)
        if rule is not None and rule.probed is not None and rule.probed.ignores_rate:
            mend = "Its step has the same size at any learning rate: nothing may rescale the step after the direction"
            yield Departure(Kind.RATE, (w.name,), -own.c, -target.c, mend)
        elif rate != ZERO:
            yield Departure(Kind.RATE, (w.name,), -own.c, -target.c, f"Multiply its learning rate by n^({-rate})")


def gradients(reference: Derivation, w: Weight) -> Exponent:
    """The largest gradient entries of a weight over the steps."""
    sizes = [step.gradients[w] for step in reference.path.steps if w in step.gradients]
    return max(sizes) if sizes else ZERO


def smallest_gradients(traced: Traced, reference: Derivation) -> dict[str, Exponent]:
    """By parameter, the gradient entries of the part that has the smallest: one epsilon must suit all parts."""
    found: dict[str, Exponent] = {}
    for w in traced.program.weights:
        size, name = gradients(reference, w), traced.blocks[w.name].parameter
        if not size.infinite:
            found[name] = min(size, found.get(name, size))
    return found


def _epsilon(traced: Traced, reference: Derivation) -> Iterator[Departure]:
    smallest = smallest_gradients(traced, reference)
    for w in traced.program.weights:
        rule = traced.rule(w.name)
        if rule is None or rule.epsilon is None or traced.trained.declared is not None:
            continue
        size, e = smallest.get(traced.blocks[w.name].parameter), rule.epsilon
        if size is None or e.exponent <= size:
            continue
        small = e.exponent == ZERO and e.constant <= NEGLIGIBLE
        why = f"Its gradient entries are n^({size}); epsilon is {e.constant:.2g} n^({e.exponent}) and outgrows them"
        mend = f"{why}{', which at these widths it may not' if small else ''}: multiply it by n^({size - e.exponent})"
        yield Departure(Kind.EPSILON, (w.name,), e.exponent, size, mend, fault=not small)


def _decay(traced: Traced, wanted: Mapping[str, Target], reference: Derivation) -> Iterator[Departure]:
    for w in traced.program.weights:
        found = decay_of(entry_of(traced.optimizer, w)) if w.trained else None
        if found is None or not (w.out.wide or w.into.wide) or w.role is Role.VECTOR:
            continue
        d, coupled = found
        own = traced.parametrization.table[w.name]
        if coupled and wanted[w.name].degree == ZERO:  # else it takes rate times decay of the weight, as if decoupled
            size = gradients(reference, w)
            limit = size + own.b if not own.b.infinite and not size.infinite else d
            if d > limit:
                mend = f"Coupled decay outgrows the gradient, n^({size}): multiply it by n^({limit - d})"
                yield Departure(Kind.DECAY, (w.name,), d, limit, mend)
            continue
        c = wanted[w.name].c
        if d != c:
            grows = d > c
            told = "grows with the width" if grows else "vanishes as the width grows"
            why = f"Each step takes rate times decay, n^({d - c}), of the weight, which {told}"
            mend = f"{why}: multiply it by n^({c - d})"
            yield Departure(Kind.DECAY, (w.name,), d, c, mend, fault=grows)


def _clipping(traced: Traced, wanted: Mapping[str, Target], reference: Derivation) -> Iterator[Departure]:
    """A global norm that outgrows its threshold makes every step smaller that knows the size of its gradient."""
    clipped, trained = traced.optimizer, [w for w in traced.program.weights if w.trained]
    if not isinstance(clipped, Clipped) or all(wanted[w.name].degree == ZERO for w in trained):
        return
    norm = max(gradients(reference, w) + (w.out.size + w.into.size) / 2 for w in trained)
    threshold = exponent(clipped.threshold_exponent)
    if norm > threshold:
        why = f"The norm grows as n^({norm}), which makes every step n^({threshold - norm}) of what is claimed"
        mend = f"{why}: multiply the threshold by n^({norm - threshold}), or do not clip"
        yield Departure(Kind.CLIPPING, ("the global gradient norm",), threshold, norm, mend)


def entry_of(optimizer: Optimizer, w: Weight) -> Optimizer:
    """The entry of one weight."""
    if isinstance(optimizer, Clipped):
        return entry_of(optimizer.base, w)
    if isinstance(optimizer, PerGroup):
        return optimizer.choice.get(w) or optimizer
    return optimizer


def decay_of(entry: Optimizer) -> tuple[Exponent, bool] | None:
    """(decay exponent, whether it is coupled), where there is any."""
    if isinstance(entry, AdamW | Decayed):
        e = entry.decay_exponent
        assert isinstance(e, Exponent)
        return None if e.infinite else (e, isinstance(entry, Decayed) and entry.coupled)
    return None


def _wrapped(departure: Departure) -> str:
    return fill(str(departure), LINE, initial_indent="  - ", subsequent_indent="    ", break_long_words=False)


def merged(found: list[Departure]) -> list[Departure]:
    """Departures that differ in the weight alone, as one."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    first: dict[tuple[Any, ...], Departure] = {}
    for d in found:
        key = (d.kind, d.got, d.wanted, d.mend, d.fault)
        groups.setdefault(key, []).extend(d.where)
        first.setdefault(key, d)
    return [replace(first[key], where=tuple(names)) for key, names in groups.items()]
