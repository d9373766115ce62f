"""Exact linear programs: is a vector a non-negative combination of others?

Regions ask little of linear programming, small systems and a yes or no, but the answer must be exact: rational
arithmetic, no tolerance.
"""

from __future__ import annotations

from fractions import Fraction

__all__ = ["combine", "minimum"]


def combine(columns: list[list[Fraction]], target: list[Fraction]) -> list[Fraction] | None:
    """Non-negative coefficients that combine the columns to the target, or None."""
    found = minimum(columns, target, [Fraction(0)] * len(columns))
    return None if found is None else found[1]


def minimum(
    columns: list[list[Fraction]], target: list[Fraction], costs: list[Fraction]
) -> tuple[Fraction, list[Fraction]] | None:
    """The least cost of a non-negative combination of the columns that gives the target, and its coefficients.

    min costs . x  subject to  sum_j x_j columns_j = target, x >= 0. Both phases of the simplex method with Bland's rule
    (which cannot cycle), in exact arithmetic.

    Returns:
        None where no combination gives the target.

    Raises:
        OverflowError: where the cost is unbounded below.
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
        _pivot(table, basis, cost, entering)
    if any(costs):
        # Artificial columns left in the basis are zero there; they leave at the first pivot that touches their row.
        cost = [*costs, *[Fraction(0)] * rows, Fraction(0)]
        for row, j in zip(table, basis, strict=True):
            if j < n and (factor := cost[j]):
                cost = [v - factor * p for v, p in zip(cost, row, strict=True)]
        while (entering := next((j for j in range(n) if cost[j] < 0), None)) is not None:
            _pivot(table, basis, cost, entering, artificial=n)
    solution = [Fraction(0)] * n
    for i, j in enumerate(basis):
        if j < n:
            solution[j] = table[i][-1]
    return -cost[-1] if any(costs) else Fraction(0), solution


def _pivot(
    table: list[list[Fraction]],
    basis: list[int],
    cost: list[Fraction],
    entering: int,
    artificial: int | None = None,
) -> None:
    """Bring a column into the basis; ``artificial``: basic columns from there on must stay zero."""
    ratios = [(row[-1] / row[entering], basis[i], i) for i, row in enumerate(table) if row[entering] > 0]
    if artificial is not None:
        ratios += [
            (Fraction(0), basis[i], i) for i, row in enumerate(table) if basis[i] >= artificial and row[entering] < 0
        ]
    if not ratios:
        raise OverflowError("the linear program is unbounded")
    leaving = min(ratios)[2]
    pivot = table[leaving][entering]
    table[leaving] = [v / pivot for v in table[leaving]]
    for row in (*(r for i, r in enumerate(table) if i != leaving), cost):
        factor = row[entering]
        if factor:
            row[:] = [v - factor * p for v, p in zip(row, table[leaving], strict=True)]
    basis[leaving] = entering
