"""Explanations: the rule chain behind an exponent, with the reference of every rule."""

from __future__ import annotations

from dataclasses import dataclass

from tensorprog.exponent import ZERO, Exponent
from tensorprog.scale import Reason, Scale, Term

__all__ = ["RULES", "Rule", "chain", "derivation_tree", "references"]

MASTER = "Tensor Programs master theorem (Yang 2020, arXiv 2009.10685)"


@dataclass(frozen=True)
class Rule:
    """How a rule is told.

    Args:
        text: with ``{what}`` for the operation, ``{gain}`` for the exponent it added.
        ref: the source of the rule, empty for arithmetic.
        short: its name in a one-line chain.
    """

    text: str
    ref: str = ""
    short: str = ""


RULES: dict[str, Rule] = {
    "initial-weight": Rule("initial weight {what}: entries n^({gain})", "abc-parametrization (Yang & Hu 2021)"),
    "data": Rule("data {what}: Theta(1) coordinates"),
    "constant": Rule("{what}"),
    "loss": Rule("loss derivative chi ({what})", "Haas et al. 2025 (arXiv 2505.22491)", "loss derivative"),
    "value": Rule("{what}"),
    "product": Rule("product of"),
    "finite-sum": Rule("contraction {what} over a finite axis: no width factor"),
    "lln": Rule(
        "law of large numbers in {what}: sign patterns meet, the mean survives, {gain:+}",
        MASTER,
        "law of large numbers",
    ),
    "clt": Rule(
        "central limit in {what}: the mean vanishes by a sign flip, only {gain:+}",
        MASTER,
        "central limit",
    ),
    "fresh": Rule(
        "fresh Gaussian field {what}(.): random signs, entry size times sqrt(fan-in), {gain:+}",
        MASTER + ", Gaussian part",
        "fresh field",
    ),
    "back-reaction": Rule(
        "back-reaction in {what}(.): the argument depends on the transposed field {what}^T y, "
        "so the product has a component along y",
        MASTER + ", dotted part (Stein's lemma)",
        "back-reaction",
    ),
    "projection": Rule("normalised by |y|^2: {gain:+}"),
    "update": Rule("update {what}: step size x <in, x> x out", "outer-product form of the gradient", "update"),
    "learning-rate": Rule("{what}", "", "step size"),
    "multiplier": Rule("multiplier, {what}: {gain:+}"),
    "normalised": Rule("normalised to unit L2 norm, {what}: {gain:+}", "Muon (Jordan et al. 2024)", "normalised"),
    "sign": Rule(
        "sign-type normalisation {what}: entries Theta(1), patterns kept (sign is odd)",
        "Yang & Littwin 2023 (arXiv 2308.01814)",
        "sign",
    ),
    "nonlin": Rule("{what} of the leading terms: generic function, {gain:+}", "", "nonlinearity"),
    "saturated": Rule("{what} saturates: only a fraction of the coordinates moves, {gain:+}", "", "saturated"),
}


def _signed(e: Exponent) -> str:
    text = str(e)
    return text if text.startswith("-") else f"+{text}"


def _tell(reason: Reason) -> str:
    text = RULES[reason.rule].text.replace("{gain:+}", _signed(reason.gain))
    return text.format(what=reason.what, gain=reason.gain)


def _dominating(scale: Scale) -> Term | None:
    terms = scale.leading()
    return terms[0] if terms else None


def chain(scale: Scale, limit: int = 6) -> str:
    """The rules behind the dominating term in one line, last applied first."""
    term = _dominating(scale)
    parts: list[str] = []
    while term is not None and len(parts) < limit:
        rule = RULES[term.reason.rule]
        name = rule.short and f"{rule.short} {term.reason.what}".strip()
        if name and (not parts or parts[-1] != name):
            parts.append(name)
        sources = term.reason.sources
        # Follow the factor that was derived longest: the vector that carries the pattern, never a weight entry.
        term = max(sources, key=_weight_of_story, default=None)
    return " <- ".join(parts)


def _weight_of_story(term: Term) -> int:
    return 0 if not term.reason.sources else 2 if term.reason.rule == "value" else 1


def derivation_tree(scale: Scale, title: str, *, depth: int = 7) -> list[str]:
    """An indented derivation of the dominating term.

    Args:
        scale: what to explain.
        title: the first line.
        depth: how many levels of rules are unfolded; deeper parts show their exponent only.

    Returns:
        One line per rule, ``n^(e)`` first.
    """
    term = _dominating(scale)
    if term is None:
        return [f"{title} = 0 exactly: no term reaches it"]
    lines = [f"{title} ~ n^({term.exponent})"]
    _unfold(term, 1, depth, lines, set())
    others = [t for t in scale.terms if t is not term]
    if others:
        tail = ", ".join(f"n^({t.exponent}) by {_rule_name(t)}" for t in others[:6])
        lines.append(f"  further terms: {tail}{', ...' if len(others) > 6 else ''}")
    return lines


def _rule_name(term: Term) -> str:
    while term.reason.rule in ("value", "product") and term.reason.sources:
        term = max(term.reason.sources, key=_weight_of_story)
    return RULES[term.reason.rule].short or term.reason.rule


def _unfold(term: Term, level: int, depth: int, lines: list[str], told: set[int]) -> None:
    reason = term.reason
    pad = "  " * level
    if reason.rule == "product" or (reason.rule == "value" and not level):
        factors = [t for t in reason.sources if not _is_one(t)]
        if len(factors) == 1:
            _unfold(factors[0], level, depth, lines, told)
            return
    lines.append(f"{pad}n^({term.exponent})  {_tell(reason)}")
    if id(term) in told and reason.sources:
        lines[-1] += "  (as above)"
        return
    told.add(id(term))
    if level >= depth:
        if reason.sources:
            lines[-1] += "  (...)"
        return
    for source in reason.sources:
        if not _is_one(source):
            _unfold(source, level + 1, depth, lines, told)


def _is_one(term: Term) -> bool:
    """The number one: it says nothing in a product."""
    reason = term.reason
    return (
        term.exponent == ZERO
        and not reason.sources
        and reason.rule in ("constant", "data")
        and bool(term.pattern.has_mean)
    )


def references(scale: Scale) -> list[str]:
    """The references of all rules behind the dominating term."""
    term = _dominating(scale)
    found: dict[str, None] = {}
    stack, seen = [term] if term else [], set()
    while stack:
        here = stack.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        if RULES[here.reason.rule].ref:
            found[RULES[here.reason.rule].ref] = None
        stack += here.reason.sources
    return sorted(found)
