"""Multipliers in the code that belong to no single weight: what grows or vanishes with all weights scaled as claimed.

Attention logits, logits that are a sum over features, tied readouts, and multipliers of sums such as embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tensorprog.derivation import Derivation
from tensorprog.exponent import ZERO, Exponent
from tensorprog.program import Data, Moment, Program, Scaled, Site
from tensorprog.trace.departure import Departure, Kind
from tensorprog.trace.scalings import logit_multiplier, multiplier, multiplying

__all__ = ["structure"]


def structure(program: Program, reference: Derivation, mended: Mapping[str, Exponent]) -> Iterator[Departure]:
    """What is not Theta(1) although every weight is scaled as claimed.

    Args:
        reference: the derivation of the program with the claim's weights.
        mended: by weight, what is too large of a multiplier that is to be mended in place of the weight itself.
    """
    for d in _departures(program, reference, mended):
        yield replace(d, in_code=True)


def _departures(program: Program, reference: Derivation, mended: Mapping[str, Exponent]) -> Iterator[Departure]:
    steps = reference.steps
    for name, index in program.observed:
        top = max(s.sites[name].activation for s in steps)
        if top > ZERO:
            power = logit_multiplier(program, index)
            usual = power == Exponent(-1) / 2 and top == Exponent(1) / 2
            told = "scale them by 1/d, not 1/sqrt(d), d the head dimension" if usual else f"multiply them by n^({-top})"
            mend = f"The attention logits grow as n^({top}): {told}"
            yield Departure(Kind.MULTIPLIER, (name,), power, power - top, mend)
    summed = _summed(program)
    if summed is not None:
        power = logit_multiplier(program, program.output)
        if power != -summed:
            mend = f"A sum of n^({summed}) features, which training aligns: multiply it by n^({-summed - power})"
            yield Departure(Kind.MULTIPLIER, ("the logits",), power, -summed, mend)
            return
    for site in program.sites:
        # A tied weight whose own multiplier is to be mended is larger than the reference's at its other uses.
        top = _top(reference, max(program.multipliers(site.product), default=site.product))
        top = top + (mended.get(site.weight.name, ZERO) if site.name != site.weight.name else ZERO)
        if top > ZERO and site.weight.into.name != "one" and not _explained(program, site, reference):
            mend = f"It grows as n^({top}) with all weights scaled as claimed: multiply it by n^({-top})"
            power = multiplier(program, site)
            yield Departure(Kind.MULTIPLIER, (site.name,), power, power - top, mend)
            return
    yield from _unattributed(program, reference)


def _summed(program: Program) -> Exponent | None:
    """The number of features that the logits sum, where no weight does."""
    ins = program.instructions[program.output]
    while isinstance(ins, Scaled):
        ins = program.instructions[ins.args[0]]
    if not isinstance(ins, Moment):
        return None
    axis = ins.over or ins.axis
    return axis.size if axis.wide else None


def _explained(program: Program, site: Site, reference: Derivation) -> bool:
    """Whether something before it has grown already."""
    (x,) = program.instructions[site.product].args
    return _top(reference, x) > ZERO


def _top(reference: Derivation, index: int) -> Exponent:
    return max(step.now[index].top for step in reference.path.steps)


def _unattributed(program: Program, reference: Derivation) -> Iterator[Departure]:
    """Multipliers of sums, which are no weight's own."""
    taken = multiplying(program)
    for i, ins in enumerate(program.instructions):
        after = [program.instructions[r] for r in program.consumers(i)]
        if not isinstance(ins, Scaled) or i in taken or all(isinstance(r, Scaled) for r in after):
            continue
        power, start = ZERO, i
        while isinstance(scaled := program.instructions[start], Scaled):
            power, start = power + scaled.exponent, scaled.args[0]
        before, top = _top(reference, start), _top(reference, i)
        unit = before == ZERO and not isinstance(program.instructions[start], Data)
        # Vectors of unit norm are small on purpose where they are contracted.
        if unit and (top > ZERO or (top < ZERO and not all(isinstance(r, Moment) for r in after))):
            told = "grows" if top > ZERO else "vanishes"
            why = f"What they add up to {told} as n^({top}) with all weights scaled as claimed"
            mend = f"{why}: multiply it by n^({-top})"
            yield Departure(Kind.MULTIPLIER, _sources(program, start), power, power - top, mend)


def _sources(program: Program, index: int) -> tuple[str, ...]:
    """The sites that a value is made of."""
    made = {site.product: site.name for site in program.sites}
    found: dict[str, None] = {}
    waiting, seen = [index], set()
    while waiting:
        i = waiting.pop(0)
        if i in made:
            found[made[i]] = None
        elif i not in seen:
            seen.add(i)
            waiting += program.instructions[i].args
    return tuple(found)
