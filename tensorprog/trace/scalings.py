"""Scalings of a traced model: multipliers of its weights, and the point on each weight's orbit that a claim asks for.

A multiplier n^-a in the code and the raw weight's init n^-b and rate n^-c give the same function and the same training
along an orbit: a + theta, b - theta, c - (1 + k) theta, where an update grows as the k-th power of the gradient (k = 1
for SGD, 0 for Adam and Muon). What is invariant, a + b and c + (1 + k) a, is compared; what is not is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from tensorprog.exponent import ZERO, ZERO_SIZE, Exponent
from tensorprog.optimizers import Adam, AdamW, Clipped, Decayed, Gradient, Optimizer, Parameter, PerGroup
from tensorprog.parametrizations import ABC, Parametrization, parametrization
from tensorprog.program import Add, Instruction, MatMul, Moment, Program, Repeat, Role, Rotate, Scaled, Site, Weight
from tensorprog.scale import Scale

__all__ = ["Target", "bare", "degree", "logit_multiplier", "multiplier", "multipliers", "multiplying", "targets"]


@dataclass(frozen=True)
class Target:
    """What a claim asks of one weight, with the model's own multiplier.

    Args:
        a: the multiplier n^-a that the code has.
        b, c: init and rate exponents that realise the claim next to it.
        degree: the k of the weight's optimizer.
    """

    a: Exponent
    b: Exponent
    c: Exponent
    degree: Exponent


def multipliers(program: Program) -> dict[Weight, Exponent]:
    """The exponent a of the multiplier n^-a of every weight, at its first use.

    A multiplier belongs to the weight whose product, with its bias, it multiplies; else to the weights that read it.
    """
    found: dict[Weight, Exponent] = {}
    for site in program.sites:
        if site.weight not in found:
            found[site.weight] = -multiplier(program, site)
    return found


def multiplier(program: Program, site: Site) -> Exponent:
    """The power of n that multiplies one use of a weight."""
    taken = {i for s in program.sites for i in program.multipliers(s.product)}
    before = (i for i in _before(program, site.product) if i not in taken)
    return sum((_scaling(program, i) for i in before), site.multiplier)


def _scaling(program: Program, index: int) -> Exponent:
    ins = program.instructions[index]
    assert isinstance(ins, Scaled)
    return ins.exponent


def logit_multiplier(program: Program, index: int) -> Exponent:
    """The power of n that multiplies attention logits: after the contraction, and on queries and keys."""
    return sum((_scaling(program, i) for i in _of_logits(program, index)), ZERO)


def _of_logits(program: Program, index: int, *passed: type[Instruction]) -> Iterator[int]:
    waiting = [index]
    while waiting:
        i = waiting.pop()
        ins = program.instructions[i]
        if isinstance(ins, Scaled):
            yield i
        if isinstance(ins, (Scaled, Moment, Rotate, Repeat, *passed)):
            waiting += ins.args


def multiplying(program: Program) -> set[int]:
    """The multipliers of weights, of attention logits and of logits that are a sum of features."""
    found = {i for s in program.sites for i in (*program.multipliers(s.product), *_before(program, s.product))}
    for index in (*(i for _, i in program.observed), program.output):
        found.update(_of_logits(program, index, Add))
    return found


def _before(program: Program, product: int) -> Iterator[int]:
    """The multipliers of what a product reads, where nothing but products reads them."""
    (x,) = program.instructions[product].args
    while isinstance(program.instructions[x], Scaled):
        if not all(isinstance(program.instructions[r], MatMul | Scaled) for r in program.consumers(x)):
            return
        yield x
        (x,) = program.instructions[x].args


def bare(optimizer: Optimizer) -> Optimizer:
    """An optimizer without epsilon, decay and clipping: what a rule for rates is about."""
    match optimizer:
        case Decayed() | Clipped():
            return bare(optimizer.base)
        case PerGroup():
            return PerGroup({key: bare(value) for key, value in optimizer.choice.items})
        case AdamW():
            return Adam()
    entry: Any = optimizer
    if any(f.name == "epsilon_exponent" for f in fields(entry)):
        return cast("Optimizer", replace(entry, epsilon_exponent=ZERO_SIZE))
    return optimizer


def degree(optimizer: Optimizer, weight: Weight) -> Exponent:
    """The k with which a weight's update grows with its gradient, from the optimizer's own rule."""

    def size(power: Exponent) -> Exponent:
        unit = Scale.source(ZERO, rule="constant", what="x")
        gradient = Gradient.of([(unit, unit)]).shift(power)
        parts = bare(optimizer).update([Parameter(weight, (gradient,), lambda: ZERO)])[weight]
        return next(iter(part.size for part in parts))

    return size(Exponent(1)) - size(ZERO)


def targets(
    program: Program, claim: str | Parametrization, optimizer: Optimizer, initial: Mapping[str, Exponent] | None = None
) -> dict[str, Target]:
    """What a claim asks of every weight, by name.

    Args:
        claim: a parametrization.
        optimizer: of the model; its epsilon, decay and clipping are no part of the rule.
        initial: b of weights that may start smaller than asked, by name: vectors, and exact zeros, keep them.
    """
    chosen = parametrization(claim)
    plain = bare(optimizer)
    assigned = chosen.assign(program, plain)
    have = multipliers(program)
    found = {}
    for w, abc in assigned.items():
        k = degree(plain, w)
        b = abc.a + abc.b - have[w]
        kept = (initial or {}).get(w.name)
        if kept is not None and (kept.infinite or (w.role in (Role.VECTOR, Role.FINITE) and kept > b)):
            b = kept
        found[w.name] = Target(have[w], b, abc.c + (abc.a - have[w]) * (1 + k.const), k)
    return found


def table(found: Mapping[str, Target]) -> dict[str, ABC]:
    """Targets as exponents of weights; multipliers are in the program."""
    return {name: ABC(ZERO, t.b, t.c) for name, t in found.items()}
