"""Multipliers in the code that belong to no single weight: what grows or vanishes with all weights scaled as claimed.

Attention logits, logits that are a sum over features, tied readouts, and multipliers of sums such as embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tensorprog.derivation import Derivation
from tensorprog.exponent import ZERO, Exponent
from tensorprog.program import Add, Data, MatMul, Moment, Program, Scaled, Site
from tensorprog.trace.departure import Departure, Kind
from tensorprog.trace.scalings import logit_multiplier, multiplier, multiplying

__all__ = ["structure"]


def structure(program: Program, reference: Derivation, entries: Mapping[str, Exponent]) -> Iterator[Departure]:
    """What is not Theta(1) although every weight is scaled as claimed.

    A sum over n features that training aligns is n times as large as one of them; what follows from one that grows is
    not told again.

    Args:
        reference: the derivation of the program with the claim's weights.
        entries: the size of every weight's entries, with the changes that are told of the weights themselves.
    """
    found = [*_attention(program, reference), *_logits(program), *_readouts(program, entries)]
    found += _unattributed(program, reference)
    yield from found or _growing(program, reference)


def _attention(program: Program, reference: Derivation) -> Iterator[Departure]:
    for name, index in program.observed:
        power, summed = _contracted(program, index)
        if summed == ZERO or power <= -summed or _top(reference, index) <= ZERO:
            continue
        off = power + summed
        usual = (power, off) == (Exponent(-1) / 2, Exponent(1) / 2)
        told = "scale them by 1/d, not 1/sqrt(d), d the head dimension" if usual else f"multiply them by n^({-off})"
        mend = f"The attention logits grow as n^({off}): {told}"
        yield Departure(Kind.MULTIPLIER, (name,), power, -summed, mend)


def _logits(program: Program) -> Iterator[Departure]:
    """Logits that are a sum of features, without a readout."""
    power, summed = _contracted(program, program.output)
    if summed != ZERO and power != -summed:
        mend = f"A sum of n^({summed}) features, which training aligns: multiply it by n^({-summed - power})"
        yield Departure(Kind.MULTIPLIER, ("the logits",), power, -summed, mend)


def _contracted(program: Program, index: int) -> tuple[Exponent, Exponent]:
    """Of a value that sums products of features, perhaps with a bias: its multiplier, and the number of them."""
    ins = program.instructions[index]
    match ins:
        case Moment():
            axis = ins.over or ins.axis
            return logit_multiplier(program, index), axis.size if axis.wide else ZERO
        case Scaled():
            power, summed = _contracted(program, ins.args[0])
            return power + ins.exponent, summed
        case Add():
            return max((_contracted(program, x) for x in ins.args), key=lambda found: found[1])
    return ZERO, ZERO


def _readouts(program: Program, entries: Mapping[str, Exponent]) -> Iterator[Departure]:
    """Later uses of a tied weight, as a readout."""
    for site in program.sites:
        ins, w = program.instructions[site.product], site.weight
        assert isinstance(ins, MatMul)
        out, into = ins.axes
        if site.name == w.name or out.wide or not into.wide or entries[w.name].infinite:
            continue
        power, aligned = multiplier(program, site), into.size + entries[w.name]
        if power + aligned > ZERO:
            off = power + aligned
            mend = f"It grows as n^({off}) with all weights scaled as claimed: multiply it by n^({-off})"
            yield Departure(Kind.MULTIPLIER, (site.name,), power, -aligned, mend)


def _growing(program: Program, reference: Derivation) -> Iterator[Departure]:
    """The first site that grows, when it does first."""
    for step in reference.path.steps:
        for site in program.sites:
            top = step.now[_end(program, site)].top
            if top > ZERO and site.weight.into.name != "one" and step.now[_read(program, site)].top <= ZERO:
                mend = f"It grows as n^({top}) with all weights scaled as claimed: multiply it by n^({-top})"
                power = multiplier(program, site)
                yield Departure(Kind.MULTIPLIER, (site.name,), power, power - top, mend)
                return


def _end(program: Program, site: Site) -> int:
    """A site's product with its multipliers."""
    return max(program.multipliers(site.product), default=site.product)


def _read(program: Program, site: Site) -> int:
    (x,) = program.instructions[site.product].args
    return x


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
