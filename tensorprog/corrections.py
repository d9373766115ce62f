"""Corrections to scaling: the sub-leading powers of n that a derivation knows of.

A measured size is A n^p (1 + corrections), and at finite width the corrections bend its slope. The calculus knows where
they come from:

    terms          smaller terms of the quantity's own graded scale
    parts          the parts it is a sum of: x_t = x_0 + Delta x_t, f_t = f_0 + effective + propagating, ...
    fluctuations   a law-of-large-numbers sum over n^size coordinates has a central-limit remainder n^{size/2} below it

Parts of different sign patterns are uncorrelated, so sizes (RMS) add in quadrature: size^2 = A^2 n^{2p} + B^2 n^{2q}.

Ref: Wegner 1972 (Phys. Rev. B 5, 4529), corrections to scaling; the validation harness fits them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tensorprog.exponent import ZERO, Exponent
from tensorprog.scale import Scale, Term

if TYPE_CHECKING:
    from tensorprog.derivation import Derivation
    from tensorprog.program import Site
    from tensorprog.trajectory import Step

__all__ = ["corrections"]


def corrections(derivation: Derivation, target: str, *, step: int = 1) -> tuple[Exponent, ...]:
    """The exponents below the leading one that the derivation knows for a quantity, largest first.

    Args:
        target: as for :meth:`~tensorprog.derivation.Derivation.explain`.
        step: after how many optimizer steps.

    Returns:
        Distinct exponents q of n^q, all below the quantity's own; empty for a quantity that is exactly zero.

    Raises:
        UnknownName: for a target that the program does not have.

    Example: the readout's propagating update under Adam is n^(1/2) by alignment, with a central-limit remainder n^0.
        >>> import tensorprog as tp
        >>> d = tp.derive(tp.mlp(hidden_layers=2), "sp", optimizer="adam", loss="ce", lr_exponent=-1)
        >>> [str(e) for e in corrections(d, "readout.propagating", step=1)]
        ['0']
    """
    scale = derivation.scale(target, step=step)
    top = scale.top
    if top.infinite:
        return ()
    known = {t.exponent for t in scale} | {s.top for s in _parts(derivation, target, step)}
    known |= {top - below for below in _fluctuations(scale)}
    return tuple(sorted((e for e in known if e < top and not e.infinite), reverse=True))


def _parts(derivation: Derivation, target: str, t: int) -> Iterator[Scale]:
    """What the quantity is a sum of, up to a Lipschitz function."""
    program, step = derivation.setting.program, derivation.path.at(t)
    output = program.output
    name, _, quantity = target.rpartition(".")
    if not t:
        return
    if target in ("logits", "logit_update"):
        yield from [step.initial[output]] if target == "logits" else []
        for s in program.sites:
            if s.activation == output:
                yield from _products(step, s)
        return
    if target == "loss_gradient":
        # chi of a loss that grows: the targets' part stays.
        yield Scale.source(ZERO, rule="constant", what="targets")
        return
    observed = dict(program.observed)
    if name in observed:
        yield from [step.initial[observed[name]], step.change[observed[name]]] if quantity == "activation" else []
        return
    site = next(s for s in program.sites if s.name == name)
    if quantity == "activation":
        yield from (step.initial[site.activation], step.change[site.activation])
    elif quantity == "feature":
        for s in program.sharing(site):
            yield from _products(step, s)


def _products(step: Step, site: Site) -> Iterable[Scale]:
    return step.effective[site.product], step.propagating[site.product]


def _fluctuations(scale: Scale) -> set[Exponent]:
    """size/2 of every law-of-large-numbers sum that the leading terms come from."""
    found: set[Exponent] = set()
    seen: set[int] = set()
    waiting: list[Term] = list(scale.leading())
    while waiting:
        term = waiting.pop()
        if id(term) in seen:
            continue
        seen.add(id(term))
        if term.reason.rule == "lln":
            found.add(term.reason.gain / 2)
        waiting += term.reason.sources
    return found
