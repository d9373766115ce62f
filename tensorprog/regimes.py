"""Regimes: stable, controlled divergence, catastrophic; and what is learned.

Ref: Haas, Bordt, von Luxburg, Vankadara 2025 (arXiv 2505.22491), Section 3; for the learning classes Yang & Hu 2021
(arXiv 2011.14522), Section 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tensorprog.exponent import ZERO, Exponent
from tensorprog.program import MatMul, Program, Role, Scaled
from tensorprog.scale import Scale
from tensorprog.trajectory import Step, Trajectory

__all__ = ["Finding", "Learning", "Regime", "Verdict", "classify", "is_order_one"]


class Regime(StrEnum):
    """How training behaves as n grows; each value explains itself."""

    STABLE = "stable"
    CONTROLLED_DIVERGENCE = "controlled_divergence"
    CATASTROPHIC = "catastrophic"

    @property
    def meaning(self) -> str:
        return {
            Regime.STABLE: "nothing diverges with width",
            Regime.CONTROLLED_DIVERGENCE: "something diverges that the dynamics tolerate; activations stay bounded",
            Regime.CATASTROPHIC: "an activation that a later layer reads diverges, or the exponents never settle",
        }[self]


class Learning(StrEnum):
    """What moves by Theta(1) or more."""

    TRIVIAL = "trivial"
    KERNEL = "kernel"
    FEATURE = "feature"
    MAXIMAL = "maximal"

    @property
    def meaning(self) -> str:
        return {
            Learning.TRIVIAL: "the logits do not move",
            Learning.KERNEL: "the logits move, the readout's input does not",
            Learning.FEATURE: "the readout's input moves by Theta(1) or more",
            Learning.MAXIMAL: "every layer's effective update is Theta(1)",
        }[self]


@dataclass(frozen=True)
class Finding:
    """One reason of a verdict.

    Args:
        quantity: what was looked at, for example ``activation``.
        site: where; a layer name or ``logits``.
        step: after how many optimizer steps.
        consequence: what follows.
        scale: the graded scale, whose reasons are the rule chain.
    """

    quantity: str
    site: str
    step: int
    consequence: str
    scale: Scale

    @property
    def exponent(self) -> Exponent:
        """Of its coordinate size."""
        return self.scale.top

    @property
    def chain(self) -> str:
        """The rules that made the dominating term, last applied first."""
        from tensorprog.explain import chain

        return chain(self.scale)

    def __str__(self) -> str:
        when = "at initialisation" if not self.step else f"after step {self.step}"
        chain = f" [{self.chain}]" if self.chain else ""
        return f"{self.quantity} of {self.site} is n^({self.exponent}) {when}: {self.consequence}{chain}"


@dataclass(frozen=True)
class Verdict:
    """A regime and a learning class with their reasons."""

    regime: Regime
    learning: Learning
    reasons: tuple[Finding, ...]


def classify(program: Program, path: Trajectory) -> Verdict:
    """Read regime and learning class off a trajectory."""
    regime, reasons = _regime(program, path)
    learning, learned = _learning(program, path)
    return Verdict(regime, learning, (*reasons, *learned))


def _regime(program: Program, path: Trajectory) -> tuple[Regime, list[Finding]]:
    read, names = program.read_values(), program.value_names
    fatal: list[Finding] = []
    tolerated: list[Finding] = []
    seen: set[int] = set()
    for step in path.steps:
        for i in range(len(program.instructions)):
            scale = step.now[i]
            if i in seen or not scale.exceeds(ZERO) or _is_unscaled(program, i):
                continue
            seen.add(i)
            if i in read:
                what = "a later layer reads it, so updates and activations blow up"
                fatal.append(Finding("activation", _site(names[i]), step.t, what, scale))
            elif not _passes_on(program, i, step):
                tolerated.append(_tolerated(program, names[i], i, step, scale))
    tolerated += _perturbed(program, path)
    output = program.output
    if path.growth is not None:
        last = path.steps[-1]
        feeds = last.chi.exceeds(ZERO)
        loop = "the loss derivative grows with the logits and feeds them" if feeds else "updates feed on themselves"
        what = f"{loop}, by n^({path.growth}) or more at every step: the exponents never settle"
        fatal.append(Finding("value", "logits", last.t, what, last.now[output]))
    elif path.settled_at is None and not fatal:
        last = path.steps[-1]
        what = "the exponents still change from step to step: they never settle"
        fatal.append(Finding("value", "logits", last.t, what, last.now[output]))
    if fatal:
        return Regime.CATASTROPHIC, fatal + tolerated
    if tolerated:
        return Regime.CONTROLLED_DIVERGENCE, tolerated
    return Regime.STABLE, []


def _perturbed(program: Program, path: Trajectory) -> Iterator[Finding]:
    """What diverges at perturbed weights only: it reaches training through the gradient alone."""
    seen: set[int] = set()
    looked_at = sorted({*program.read_values(), program.output})
    for step in path.steps:
        if step.perturbed is None:
            continue
        for i in looked_at:
            scale = step.perturbed.now[i]
            if i not in seen and scale.exceeds(ZERO) and not step.now[i].exceeds(ZERO):
                seen.add(i)
                what = "the gradient is taken there, and the weights return"
                yield Finding("perturbed value", _site(program.value_names[i]), step.t, what, scale)


def _is_unscaled(program: Program, i: int) -> bool:
    """Is it one factor of a product with a power of n, which alone means nothing?"""
    readers = program.consumers(i)
    return bool(readers) and all(isinstance(program.instructions[j], Scaled) for j in readers)


def _passes_on(program: Program, i: int, step: Step) -> bool:
    """Does the divergence simply continue in a later value (pre-activation -> activation)?"""
    return any(step.now[j].exceeds(ZERO) for j in program.consumers(i))


def _tolerated(program: Program, name: str, i: int, step: Step, scale: Scale) -> Finding:
    if i == program.output:
        bounded = "the loss derivative stays Theta(1) and drives no update beyond it"
        grows = step.chi.exceeds(ZERO)
        what = f"the loss derivative is n^({step.chi.top}) and the loss value diverges" if grows else bounded
        return Finding("value", "logits", step.t, what, scale)
    if i in dict(program.observed).values():
        return Finding("value", name, step.t, "the softmax saturates and bounds it", scale)
    if any(isinstance(program.instructions[j], MatMul) for j in program.consumers(i)):
        return Finding("value", _site(name), step.t, "what reads it is small enough to bound it", scale)
    return Finding("pre-activation", _site(name), step.t, "the nonlinearity saturates and bounds it", scale)


def _site(name: str) -> str:
    return name[2:-1] if name[1:2] == "(" else name


def _learning(program: Program, path: Trajectory) -> tuple[Learning, list[Finding]]:
    last = path.steps[-1]
    moved = last.change[program.output]
    if moved.falls_below(ZERO):
        what = f"learning is {Learning.TRIVIAL}: {Learning.TRIVIAL.meaning}"
        return Learning.TRIVIAL, [Finding("update", "logits", last.t, what, moved)]
    matrices = [s for s in program.sites if s.weight.role is not Role.VECTOR and s.weight.like is None]
    if all(is_order_one(s.of(last.effective)) for s in matrices):
        what = f"learning is {Learning.MAXIMAL}: {Learning.MAXIMAL.meaning}"
        return Learning.MAXIMAL, [Finding("update", "logits", last.t, what, moved)]
    products = [program.instructions[i] for i in sorted(program.logit_terms)]
    inputs = [p.args[0] for p in products if isinstance(p, MatMul) and p.axes[1].wide]
    still = all(last.change[i].falls_below(ZERO) for i in inputs)
    learning = Learning.KERNEL if still else Learning.FEATURE
    found = []
    for i in inputs:
        what = f"learning is {learning}: {learning.meaning}"
        found.append(Finding("feature change", _site(program.value_names[i]), last.t, what, last.change[i]))
    return learning, found


def is_order_one(scale: Scale) -> bool:
    """Theta(1), asked term by term."""
    return not scale.exceeds(ZERO) and any(t.exponent == ZERO for t in scale)
