"""Rules as they are told: what each rule of the calculus does, its reference, and how a term is written in formulas.

A term of a scale knows the rule that made it and the terms it was made from; this module puts both into words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tensorprog.scale import Scale, Term

__all__ = ["BACKWARD", "FORWARD", "RULES", "TRAINED", "Rule", "chain", "factors", "name", "rank"]

MASTER = "Yang 2020 (arXiv 2009.10685): Tensor Programs master theorem, Gaussian and dotted part of W x"
ABC_REF = "Yang & Hu 2021 (arXiv 2011.14522): abc-parametrizations"
LOSS_REF = "Haas et al. 2025 (arXiv 2505.22491): loss derivatives"
SIGN_REF = "Yang & Littwin 2023 (arXiv 2308.01814): sign-type updates"
MUON_REF = "Jordan et al. 2024 (Muon): orthogonalised updates"
DECAY_REF = "Loshchilov & Hutter 2019 (arXiv 1711.05101): weight decay"
EVERETT_REF = "Everett et al. 2024 (arXiv 2407.05872): alignment as an assumption"
NORM_REF = "Ba et al. 2016 (arXiv 1607.06450): layer normalization"

TERMS_IN_A_NAME = 3


@dataclass(frozen=True)
class Rule:
    """How a rule is told.

    Args:
        formula: the term in the names of its sources: ``(what, names) -> text``.
        text: what the rule does; ``{what}`` is the operation, ``{gain}`` the exponent it added, ``{e}`` the result's.
        ref: its source, empty for arithmetic.
        short: its name in a one-line chain, empty where a chain skips it.
    """

    formula: Callable[[str, list[str]], str]
    text: str = ""
    ref: str = ""
    short: str = ""


def _leaf(what: str, names: list[str]) -> str:
    return what


def _passed(what: str, names: list[str]) -> str:
    return names[0]


def _applied(what: str, names: list[str]) -> str:
    return f"{what}({_sum(names)})"


def _inner(what: str, names: list[str]) -> str:
    return f"<{', '.join(names)}>"


def _matrix(what: str, names: list[str]) -> str:
    return f"{what} ({_sum(names)})" if len(set(names)) > 1 else f"{what} {names[0]}"


def _product(what: str, names: list[str]) -> str:
    # A weight stands before its vector as in W x; other factors are multiplied coordinate by coordinate.
    first, *rest = names
    weight = first.endswith(("_0", "_0^T")) and " " not in first and len(rest) == 1
    return f"{first} {rest[0]}" if weight else " * ".join(names)


def _sum(names: list[str]) -> str:
    names = list(dict.fromkeys(names))  # two terms of one value are one name
    return " + ".join(names[:TERMS_IN_A_NAME]) + (" + ..." if len(names) > TERMS_IN_A_NAME else "")


RULES: dict[str, Rule] = {
    "value": Rule(_passed),
    "data": Rule(_leaf),
    "constant": Rule(_leaf),
    "initial-weight": Rule(_leaf, "initial entries n^({e}), exponent -(a + b)", ABC_REF),
    "loss": Rule(lambda what, names: "chi", "dL/df of {what}", LOSS_REF),
    "capped": Rule(_passed, "no larger than the cap of {what}"),
    "learning-rate": Rule(lambda what, names: what.split(",")[0], "{what}"),
    "product": Rule(_product),
    "finite-sum": Rule(_inner, "a finite axis, no width factor"),
    "lln": Rule(_inner, "aligned, law of large numbers", MASTER, "law of large numbers in"),
    "clt": Rule(_inner, "not aligned, central limit", MASTER, "central limit in"),
    "blocks": Rule(_inner, "aligned in part: along one factor of the axis only", MASTER, "partly aligned"),
    "merged": Rule(lambda what, names: _sum(names), "many terms of one size, taken together"),
    "aligned": Rule(_inner, "aligned by assumption", EVERETT_REF, "assumed aligned"),
    "unaligned": Rule(_inner, "not aligned by assumption", EVERETT_REF, "assumed not aligned"),
    "fresh": Rule(_matrix, "fresh Gaussian field, n terms with independent random signs", MASTER, "fresh field"),
    "back-reaction": Rule(
        lambda what, names: f"({names[0]} / |{names[1]}|^2) {names[1]}",
        "back-reaction (dotted part): the argument contains {what}^T y, so {what} times it has a part along y",
        MASTER,
        "back-reaction",
    ),
    "projection": Rule(_passed, "divided by |y|^2 = n^({minus})"),
    "update": Rule(
        lambda what, names: " * ".join(names), "update of {site}: step size * <in, x> * out", short="update"
    ),
    "decay": Rule(
        lambda what, names: f"decay * {names[0]}", "{what}, learning rate times decay n^({gain})", DECAY_REF, "decay"
    ),
    "multiplier": Rule(_passed, "{what}: n^({gain})"),
    "normalised": Rule(lambda what, names: f"{names[0]}/|.|", "divided by its L2 norm n^({minus})", MUON_REF, "norm"),
    "norm": Rule(lambda what, names: f"({names[0]}) {what}", "norm layer: {what}, n^({gain})", NORM_REF, "norm"),
    "sign": Rule(lambda what, names: f"sign({_sum(names)})", "entries Theta(1), random signs kept", SIGN_REF),
    "nonlin": Rule(_applied, short="{what}"),
    "jumps": Rule(_applied, "a choice: only what is within reach of the change is chosen anew", short="{what}"),
    "saturated": Rule(_applied, "saturated: only coordinates within reach of the change move", short="{what}"),
}


# -- names and chains ----------------------------------------------------------------------------------------------


def name(term: Term) -> str:
    """A term in formulas: a named value such as ``x_0(input)``, or the operation on its sources."""
    reason = term.reason
    if reason.rule == "value":
        return reason.what
    if reason.rule == "multiplier":
        return f"n^({reason.gain}) {name(reason.sources[0])}"
    return RULES[reason.rule].formula(reason.what, [name(s) for s in factors(term)])


def factors(term: Term) -> list[Term]:
    """The sources of a term; factors of nested products in one list, without ones."""
    if term.reason.rule != "product":
        return list(term.reason.sources)
    found: list[Term] = []
    for source in term.reason.sources:
        found += factors(source) if source.reason.rule == "product" else [source]
    return [t for t in found if t.reason.rule != "constant"] or found[:1]


def chain(scale: Scale, limit: int = 4) -> str:
    """The rules behind the dominating term in one line, last applied first."""
    terms = scale.leading()
    term = terms[0] if terms else None
    parts: list[str] = []
    while term is not None and len(parts) < limit:
        rule = RULES[term.reason.rule]
        if rule.short:
            text = rule.short.replace("{what}", term.reason.what)
            inner = rule.formula in (_inner, _matrix) or term.reason.rule == "update"
            parts.append(f"{text} {name(term)}" if inner else text)
        term = min(factors(term), key=rank, default=None)
    return " <- ".join(parts)


FORWARD, BACKWARD, TRAINED = 2, 1, 0
"""What lies behind a term: initial weights and data only; a loss derivative; an update. Smaller tells more."""


def rank(term: Term) -> int:
    """FORWARD, BACKWARD or TRAINED; walked without recursion, since a derivation is as deep as the network."""
    result, stack, seen = FORWARD, [term], {id(term)}
    while stack:
        here = stack.pop()
        if here.reason.rule == "learning-rate":
            return TRAINED
        if here.reason.rule == "loss":
            result = BACKWARD
        fresh = [s for s in here.reason.sources if id(s) not in seen]
        seen.update(map(id, fresh))
        stack += fresh
    return result
