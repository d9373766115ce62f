"""Sub-leading powers: the terms below the leading one that a derivation knows of.

A coordinate size is a sum of powers, A n^p + B n^q + ... with p > q > ..., and its exponent is that of the first. At
finite width a term with a smaller exponent and a larger prefactor leads, up to the crossing width n* = (B/A)^{1/(p-q)}.
The calculus knows the exponents of the others and where they come from:

    term         another term of the quantity's own graded scale, of other random signs
    part         one of the parts it is a sum of: x_t = x_0 + Delta x_t, f_t = f_0 + effective + propagating, ...
    remainder    of an aligned sum: a law-of-large-numbers sum over n^size coordinates has a central-limit remainder,
                 n^{size/2} below it

Terms of different sign patterns are uncorrelated, so sizes (RMS) add in quadrature: size^2 = A^2 n^{2p} + B^2 n^{2q}.
Parts may share patterns and then need not: the readout's effective and propagating update follow one gradient, and
their sizes nearly add.

The list is not complete. The engine drops a term that lies half an axis or more below another one, because it can
decide no later exponent (:meth:`~tensorprog.scale.Scale.resolved`), and a term that another one of at least its size
and all its sign patterns covers; of these, only parts and remainders come back here. Nor does any rule write down the
corrections of a nonlinearity to its own leading term.

Ref: Wegner 1972 (Phys. Rev. B 5, 4529), corrections to scaling; the validation harness measures their prefactors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from tensorprog.exponent import ZERO, Exponent
from tensorprog.rules import chain, name
from tensorprog.scale import Scale, Term

if TYPE_CHECKING:
    from tensorprog.derivation import Derivation
    from tensorprog.program import Site
    from tensorprog.trajectory import Step

__all__ = ["Origin", "Subleading", "parts", "subleading"]


class Origin(Enum):
    """Where a sub-leading power comes from; see the head of this module."""

    TERM = "term"
    PART = "part"
    REMAINDER = "remainder"


@dataclass(frozen=True)
class Subleading:
    """A power of n below the leading one.

    Args:
        exponent: q of n^q, of a coordinate size.
        origin: which kind of term it is.
        what: the term in formulas, with the rule that made it.
    """

    exponent: Exponent
    origin: Origin
    what: str

    def to_dict(self) -> dict[str, str]:
        """As JSON values; the exponent is a string."""
        return {"exponent": str(self.exponent), "origin": self.origin.value, "what": self.what}

    def __str__(self) -> str:
        return f"n^({self.exponent}) {self.described}"

    @property
    def described(self) -> str:
        """The term as a phrase."""
        return f"part {self.what}" if self.origin is Origin.PART else self.what


def subleading(derivation: Derivation, target: str, step: int) -> tuple[Subleading, ...]:
    """See :meth:`tensorprog.derivation.Derivation.subleading`."""
    return _below(derivation, target, step, derivation.scale(target, step=step), {})


def listed(derivation: Derivation) -> Iterator[dict[str, Any]]:
    """Every target of every reported step that has sub-leading powers, as JSON values."""
    nearest: _Nearest = {}
    for at in derivation.steps:
        for target, scale in derivation.scales(at.step).items():
            found = _below(derivation, target, at.step, scale, nearest)
            if found:
                terms = [s.to_dict() for s in found]
                yield {"step": at.step, "target": target, "exponent": str(scale.top), "terms": terms}


def _below(derivation: Derivation, target: str, step: int, scale: Scale, nearest: _Nearest) -> tuple[Subleading, ...]:
    top = scale.top
    if top.infinite:
        return ()
    found = [Subleading(t.exponent, Origin.TERM, _told(t)) for t in scale.lower()]
    found += [
        Subleading(s.top, Origin.PART, part)
        for part, s in parts(derivation, target, step)
        if s.top < top and not s.top.infinite
    ]
    found += [
        Subleading(top - below, Origin.REMAINDER, f"central-limit remainder of {name(t)}")
        for below, t in _aligned(scale.leading(), nearest).items()
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda s: s.exponent, reverse=True))


def parts(derivation: Derivation, target: str, t: int) -> Iterator[tuple[str, Scale]]:
    """What a quantity is a sum of, up to a Lipschitz function: names and scales; none where it is no such sum."""
    program, step = derivation.setting.program, derivation.path.at(t)
    output = program.output
    site, _, quantity = target.rpartition(".")
    if not t:
        return
    if target in ("logits", "logit_update"):
        yield from [("logits at initialisation", step.initial[output])] if target == "logits" else []
        for s in program.sites:
            if s.product in program.logit_terms:
                yield from _products(step, s)
        return
    if target == "loss_gradient":
        # chi of a loss that grows: the targets' part stays.
        yield "targets", Scale.source(ZERO, rule="constant", what="targets")
        return
    values = {**{s.name: s.activation for s in program.sites}, **dict(program.observed)}
    if quantity == "activation":
        yield f"{target} at initialisation", step.initial[values[site]]
        yield f"{site}.feature", step.change[values[site]]
    elif quantity == "feature" and site not in dict(program.observed):
        for s in program.sharing(next(s for s in program.sites if s.name == site)):
            yield from _products(step, s)


def _products(step: Step, site: Site) -> Iterator[tuple[str, Scale]]:
    yield f"{site.name}.effective", site.of(step.effective)
    if site.trained_input:
        yield f"{site.name}.propagating", site.of(step.propagating)


def _told(term: Term) -> str:
    """A term in formulas, led by the rule where it has a name."""
    return chain(Scale((term,), pruned=True), limit=1) or name(term)


_Nearest = dict[Term, dict[Exponent, Term]]
"""What :func:`_aligned` finds behind a term."""


def _aligned(leading: Sequence[Term], nearest: _Nearest) -> dict[Exponent, Term]:
    """size/2 of every law-of-large-numbers sum that the leading terms come from, with such a sum.

    Args:
        nearest: what earlier calls found; walked without recursion, since a derivation is as deep as the network.
    """
    stack = list(leading)
    while stack:
        term = stack[-1]
        waiting = [s for s in term.reason.sources if s not in nearest]
        if waiting and term not in nearest:
            stack += waiting
            continue
        stack.pop()
        if term not in nearest:
            own = {term.reason.gain / 2: term} if term.reason.rule == "lln" else {}
            nearest[term] = _united([own, *(nearest[s] for s in term.reason.sources)])
    return _united(nearest[t] for t in leading)


def _united(found: Iterable[Mapping[Exponent, Term]]) -> dict[Exponent, Term]:
    """All of them; the first counts."""
    result: dict[Exponent, Term] = {}
    for each in found:
        result = {**each, **result}
    return result
