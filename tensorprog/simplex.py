"""Exact linear programs: is a vector a non-negative combination of others?

Regions ask little of linear programming, small systems and a yes or no, but the answer must be exact: rational
arithmetic, no tolerance.
"""

from __future__ import annotations

from fractions import Fraction

__all__ = ["combine"]


def combine(columns: list[list[Fraction]], target: list[Fraction]) -> list[Fraction] | None:
    """Non-negative coefficients that combine the columns to the target, or None.

    Phase 1 of the simplex method with Bland's rule (which cannot cycle), in exact arithmetic.
    """
    rows, n = len(target), len(columns)
    table = []
    for i in range(rows):
        sign = -1 if target[i] < 0 else 1
        row = [sign * c[i] for c in columns] + [Fraction(int(i == j)) for j in range(rows)]
        table.append([*row, sign * target[i]])
    basis = [n + i for i in range(rows)]
    cost = [-sum((row[j] for row in table), Fraction(0)) for j in range(n)]
    cost += [Fraction(0)] * rows + [-sum((row[-1] for row in table), Fraction(0))]
    while cost[-1] < 0:
        entering = next((j for j in range(n) if cost[j] < 0), None)
        if entering is None:
            return None
        ratios = [(row[-1] / row[entering], basis[i], i) for i, row in enumerate(table) if row[entering] > 0]
        leaving = min(ratios)[2]
        pivot = table[leaving][entering]
        table[leaving] = [v / pivot for v in table[leaving]]
        for row in (*(r for i, r in enumerate(table) if i != leaving), cost):
            factor = row[entering]
            if factor:
                row[:] = [v - factor * p for v, p in zip(row, table[leaving], strict=True)]
        basis[leaving] = entering
    solution = [Fraction(0)] * n
    for i, j in enumerate(basis):
        if j < n:
            solution[j] = table[i][-1]
    return solution
