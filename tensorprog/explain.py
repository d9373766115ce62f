"""Explanations: the rule chain behind an exponent, as a derivation with the reason and reference of every rule.

Each term of a scale knows the rule that made it and the terms it was made from. :func:`explanation` unfolds the
dominating term into named values (h, x, dh, dx of a site at a step), each with its formula, its exponents added up,
and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tensorprog.exponent import ZERO, Exponent
from tensorprog.flips import Flips
from tensorprog.report.notebook import Display
from tensorprog.rules import FORWARD, RULES, Rule, chain, factors, name, rank
from tensorprog.scale import Scale, Term
from tensorprog.subleading import Subleading

if TYPE_CHECKING:
    from tensorprog.setting import Setting

__all__ = ["Explanation", "Node", "chain", "explanation", "signed_sum"]


CONTRACTIONS = ("lln", "clt", "aligned", "unaligned")
"""Rules of a sum over a wide axis, whose gain is one more summand of the exponent."""


@dataclass(frozen=True)
class Node:
    """One rule application: ``name ~ n^exponent`` because of ``rule`` on ``sources``.

    Args:
        name: the term in formulas.
        exponent: of its coordinate size.
        rule: a key of :data:`RULES`.
        formula: what it was made of, in the names of its sources; empty for a leaf.
        summands: the exponents that add up to ``exponent``: those of the factors and the rule's own.
        why: the rule in words, with the reason for its alignment.
        odd: the sources of random signs whose flip flips a named value; empty where a part has a fixed sign.
        ref: the rule's reference.
        named: True for a value of the program, which a derivation lists on its own line.
        initial: True where only initial weights and data lie behind it.
        cut: True where the sources were left out, beyond the depth asked for.
    """

    name: str
    exponent: Exponent
    rule: str
    formula: str = ""
    summands: tuple[Exponent, ...] = ()
    why: str = ""
    odd: str = ""
    ref: str = ""
    sources: tuple[Node, ...] = field(default=(), repr=False)
    named: bool = False
    initial: bool = False
    cut: bool = False

    @property
    def gain(self) -> Exponent:
        """What the rule added to the exponents of its sources."""
        return self.exponent - sum((s.exponent for s in self.sources), ZERO) if self.summands else ZERO

    def inline(self) -> Iterator[Node]:
        """This node and the unnamed ones it is built from, outermost first."""
        yield self
        for source in self.sources:
            if not source.named:
                yield from source.inline()

    def uses(self) -> list[Node]:
        """The named values it is built from, in the order of the formula."""
        found = {id(s): s for node in self.inline() for s in node.sources if s.named}
        return list(found.values())

    def to_dict(self) -> dict[str, Any]:
        """The nested derivation as JSON values; a value that occurred before is ``repeated`` without its sources."""
        return self._to_dict(set())

    def _to_dict(self, told: set[int]) -> dict[str, Any]:
        again = id(self) in told and bool(self.sources)
        told.add(id(self))
        return {
            "exponent": str(self.exponent),
            "name": self.name,
            "rule": self.rule,
            "what": self.formula or self.name,
            "gain": str(self.gain),
            "summands": [str(e) for e in self.summands],
            "why": self.why,
            "odd_in": self.odd,
            "reference": self.ref,
            "sources": [] if again else [s._to_dict(told) for s in self.sources],
            **({"repeated": True} if again else {}),
            **({"cut": True} if self.cut else {}),
        }


@dataclass(frozen=True)
class Explanation(Display):
    """The derivation of one exponent.

    Args:
        setting: what was derived.
        target: for example ``readout.propagating``.
        meaning: the target as a formula.
        step: optimizer steps taken.
        derived_at: the step whose derivation it is, an earlier one where the exponents have settled.
        exponent: the answer; -oo for exact zero.
        root: the dominating term; None for exact zero.
        others: further terms of the sum, largest first, with names and reasons but no sources.
        parts: names and exponents of what adds up to the target, where that has a name.
        subleading: the powers below it that the derivation knows, largest first; none with free symbols.
    """

    setting: Setting
    target: str
    meaning: str
    step: int
    derived_at: int
    exponent: Exponent
    root: Node | None
    others: tuple[Node, ...] = ()
    parts: tuple[tuple[str, Exponent], ...] = ()
    subleading: tuple[Subleading, ...] = ()

    @property
    def references(self) -> list[str]:
        """The references of all rules used, in order of use."""
        return list(dict.fromkeys(n.ref for value in self.values for n in value.inline() if n.ref))

    @property
    def values(self) -> list[Node]:
        """The derivation from the result down: trained values first, then what holds at initialisation."""
        if self.root is None:
            return []
        found: dict[int, Node] = {id(self.root): self.root}
        stack = self.root.uses()[::-1]
        while stack:
            here = stack.pop()
            if id(here) not in found:
                found[id(here)] = here
                stack += here.uses()[::-1]
        return sorted(found.values(), key=lambda n: n.initial and n is not self.root)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON values: the answer and the nested derivation."""
        return {
            "setting": self.setting.to_dict(),
            "target": self.target,
            "meaning": self.meaning,
            "step": self.step,
            "derived_at": self.derived_at,
            "exponent": str(self.exponent),
            "parts": {part: str(e) for part, e in self.parts},
            "derivation": None if self.root is None else self.root.to_dict(),
            "further_terms": [n.to_dict() for n in self.others],
            "subleading": [s.to_dict() for s in self.subleading],
            "references": self.references,
        }

    def __str__(self) -> str:
        from tensorprog.report import explanation_text

        return explanation_text(self)


def explanation(
    scale: Scale,
    setting: Setting,
    *,
    target: str,
    meaning: str,
    step: int,
    derived_at: int,
    depth: int,
    parts: Iterable[tuple[str, Exponent]] = (),
    subleading: tuple[Subleading, ...] = (),
) -> Explanation:
    """Unfold the dominating term of a scale.

    Args:
        scale: what to explain.
        setting: names the weights and their exponents.
        target, meaning, step, derived_at, parts, subleading: what the scale is, as in :class:`Explanation`.
        depth: levels of named values to unfold below the result.
    """
    terms = sorted(scale.terms, key=lambda t: (t.exponent < scale.top, rank(t)))
    if not terms:
        return Explanation(setting, target, meaning, step, derived_at, scale.top, None, (), tuple(parts))
    root = _Unfolding(setting, terms[0], depth).node(terms[0], target)
    others = tuple(_Unfolding(setting, t, 0).node(t, name(t)) for t in terms[1:])
    return Explanation(setting, target, meaning, step, derived_at, scale.top, root, others, tuple(parts), subleading)


class _Unfolding:
    """Builds the nodes behind one term: every term once, named values only down to ``depth`` levels."""

    def __init__(self, setting: Setting, root: Term, depth: int) -> None:
        program = setting.program
        self.flips = Flips.of(program.weights, [program.value_names[i] for i in program.saturable])
        self.weights = {
            f"{w.name}_0{suffix}": (abc.initial, axis.size)
            for w, abc in setting.exponents().items()
            for suffix, axis in (("", w.into), ("^T", w.out))
        }
        self.nodes: dict[int, Node] = {}
        self.open = set(self._levels(root, depth))

    def _levels(self, root: Term, depth: int) -> Iterator[int]:
        """The named terms at most ``depth`` levels down; breadth first, a shared value opens if any path is short."""
        level, seen = [root], {id(root)}
        for _ in range(depth + 1):
            yield from map(id, level)
            below = [t for term in level for t in self._named(term)]
            level = [t for t in {id(t): t for t in below}.values() if id(t) not in seen]
            seen.update(map(id, level))

    def _named(self, term: Term) -> Iterator[Term]:
        for source in factors(_content(term)):
            if source.reason.rule == "value":
                yield source
            else:
                yield from self._named(source)

    def node(self, term: Term, alias: str = "") -> Node:
        if id(term) not in self.nodes:
            self.nodes[id(term)] = self._node(term, alias)
        return self.nodes[id(term)]

    def _node(self, term: Term, alias: str) -> Node:
        named = term.reason.rule == "value" or bool(alias)
        title = name(term) if term.reason.rule == "value" else alias or name(term)
        # A value that only passes on another one (a sum of one term) is told on one line, under its own name.
        inside = _content(term)
        initial = rank(term) == FORWARD
        rule = RULES[inside.reason.rule]
        if named and id(term) not in self.open:
            return Node(title, term.exponent, inside.reason.rule, named=True, initial=initial, cut=True)
        parts = factors(inside)
        return Node(
            title,
            term.exponent,
            inside.reason.rule,
            formula=name(inside) if parts else "",
            summands=self._summands(inside, parts),
            why=self._why(inside, rule),
            odd=self.flips.odd_in(term.pattern) if named else "",
            ref=rule.ref,
            sources=tuple(self.node(f) for f in parts),
            named=named,
            initial=initial,
        )

    def _summands(self, term: Term, parts: list[Term]) -> tuple[Exponent, ...]:
        reason = term.reason
        if reason.rule == "fresh":
            std, size = self.weights[reason.what]
            return (term.exponent - reason.gain, std, size / 2)
        if reason.rule in ("product", "update", "back-reaction", *CONTRACTIONS):
            found = (*(f.exponent for f in parts), *((reason.gain,) if reason.rule in CONTRACTIONS else ()))
        elif reason.gain != ZERO and parts:
            found = (parts[0].exponent, reason.gain)
        else:
            found = ()
        # Some sizes are no sums: a back-reaction is capped by what its argument carries, a saturated function counts.
        return found if found and sum(found, ZERO) == term.exponent else ()

    def _why(self, term: Term, rule: Rule) -> str:
        reason = term.reason
        text = rule.text.format(
            what=reason.what,
            site=reason.what.removeprefix("Delta "),
            e=term.exponent,
            gain=reason.gain,
            minus=-reason.gain,
        )
        if reason.rule in ("lln", "clt"):
            tell = self.flips.why_mean if reason.rule == "lln" else self.flips.why_no_mean
            return f"{text}: {tell(reason.sources[0].pattern, reason.sources[1].pattern)}"
        if reason.rule == "nonlin":
            grows = f"{reason.what} of coordinates n^({reason.sources[0].exponent})" if reason.gain != ZERO else ""
            mixes = "a generic function of terms of equal size keeps every random sign of each"
            return ", ".join(filter(None, (grows, mixes if len(reason.sources) > 1 else "")))
        if reason.rule == "back-reaction" and sum((f.exponent for f in factors(term)), ZERO) != term.exponent:
            return f"{text}, no larger than its argument can carry"
        return text


def _content(term: Term) -> Term:
    """The rule behind a named value."""
    while term.reason.rule == "value":
        (term,) = term.reason.sources
    return term


def signed_sum(summands: Iterable[Exponent]) -> str:
    """Exponents added up as people write it: ``-1/2 + 0 + 1``."""
    text = ""
    for e in summands:
        part = str(e)
        wrapped = f"({part})" if e.coefficients and len(part.split()) > 1 else part
        if not text:
            text = part
        elif part.startswith("-") and not wrapped.startswith("("):
            text += f" - {part[1:]}"
        else:
            text += f" + {wrapped}"
    return text
