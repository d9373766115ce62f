"""Conditions on symbols, as they are written: ``"r <= 0"``, ``"b >= c"``, ``"c = 1"`` or sympy relations."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from tensorprog.errors import RegionError
from tensorprog.exponent import Exponent, exponent
from tensorprog.region import Region

__all__ = ["assumptions"]


def assumptions(conditions: Iterable[Any]) -> list[Region]:
    """Regions described by conditions such as ``"r <= 0"``, ``"b >= c"``, ``"c = 1"`` or sympy relations.

    A closed condition gives two regions, its interior and its boundary, because regions are open.

    Raises:
        RegionError: where a condition is not an affine (in)equality or no point satisfies them all.
    """
    regions = [Region()]
    for condition in conditions:
        form, kind = _condition(condition)
        cut: list[Region] = []
        for region in regions:
            local = form.substitute(region.substitution)
            if not local.coefficients:
                if (local.const > 0 and kind != "=") or (not local.const and kind != ">"):
                    cut.append(region)
                continue
            if kind != "=":
                cut.append(region.where(local))
            if kind != ">":
                cut.append(region.where_zero(local))
        regions = [region for region in cut if not region.is_empty()]
    if not regions:
        raise RegionError(f"no point satisfies the assumptions {', '.join(map(str, conditions))}")
    return regions


_KINDS: dict[type, tuple[int, str]] = {
    ast.Gt: (1, ">"),
    ast.GtE: (1, ">="),
    ast.Lt: (-1, ">"),
    ast.LtE: (-1, ">="),
    ast.Eq: (1, "="),
}


def _condition(condition: Any) -> tuple[Exponent, str]:
    """A condition as (form, kind): form > 0, form >= 0 or form = 0."""
    text = str(condition)
    if type(condition).__name__ == "Equality":  # sympy prints Eq(a, b)
        text = f"{condition.lhs} == {condition.rhs}"
    if "==" not in text and ">=" not in text and "<=" not in text:
        text = text.replace("=", "==")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        tree = None
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1 or type(tree.ops[0]) not in _KINDS:
        raise RegionError(f"assumption {text!r} is not an inequality; write for example 'r <= 0' or 'b > c'")
    sign, kind = _KINDS[type(tree.ops[0])]
    left = exponent(ast.unparse(tree.left), f"assumption {text!r}")
    right = exponent(ast.unparse(tree.comparators[0]), f"assumption {text!r}")
    return (left - right) * sign, kind
