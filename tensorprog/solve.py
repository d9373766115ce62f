"""The inverse problem: which exponents make training stable and every layer learn, exactly.

Free exponents span a space; on each cell of it one derivation holds, and the cells that meet all requirements are the
solutions. A cell is given up at the first step that breaks a requirement, so only the neighbourhood of the solutions is
derived to its end. Requirements at which no cell is left conflict; leaving out one after the other gives an irreducible
conflict.

No rule of a parametrization enters: muP comes out.

Ref: Yang & Hu 2021 (arXiv 2011.14522), Section 5, the maximal-update criterion; Chinneck & Dravnieks 1991 (ORSA Journal
on Computing 3) for the deletion filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorprog.alignment import DERIVED, Alignment
from tensorprog.bound import Bound
from tensorprog.errors import BeyondRules, SettingError, UnknownName
from tensorprog.exponent import ZERO, Exponent
from tensorprog.losses import Loss
from tensorprog.optimizers import Optimizer
from tensorprog.parametrizations import ABC, Parametrization
from tensorprog.program import Program, Role
from tensorprog.regimes import is_order_one
from tensorprog.region import Cell, Region, explored
from tensorprog.report.notebook import Display
from tensorprog.sandwich import agree, uncut
from tensorprog.scale import Scale
from tensorprog.setting import Setting, setting
from tensorprog.symbols import bind
from tensorprog.trajectory import Step, Trajectory, divergence
from tensorprog.union import Convex, convex_sets

__all__ = ["BOUNDS", "Solutions", "solutions", "solve", "unknowns"]

BOUNDS = ("activations", "updates", "logits")
"""What must stay bounded; each includes those before it."""

INIT = "activations are Theta(1) at initialisation"
STABLE = "the exponents settle"
NO_RULES = "there are rules"
MEANING = {
    "activations": "activations that a later layer reads stay bounded",
    "updates": "effective and propagating updates before the logits stay bounded",
    "logits": "logits stay bounded",
}


@dataclass(frozen=True)
class Solutions(Display):
    """All solutions of an inverse problem.

    Args:
        setting: with the free symbols.
        free: the symbols.
        requirements: what every solution meets.
        sets: the solutions as few convex polyhedra; empty where none exists.
        conflict: where none exists, requirements that exclude each other: without any one of them, there are solutions.
    """

    setting: Setting
    free: tuple[str, ...]
    requirements: tuple[str, ...]
    sets: tuple[Convex, ...]
    conflict: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.sets)

    @property
    def point(self) -> dict[str, Exponent]:
        """One solution: the most constrained one, such as the corner of an orthant.

        Raises:
            SettingError: where there is none.
        """
        if not self.sets:
            raise SettingError("solve", ", ".join(self.free), f"has no solution: {'; '.join(self.conflict)}")
        corner = max(self.sets, key=lambda c: len(c.region.substitution)).corner()
        return {s: corner.get(s, ZERO) for s in self.free}

    def exponents(self) -> dict[str, ABC]:
        """(a, b, c) of every weight at :attr:`point`."""
        return {w.name: abc for w, abc in self.setting.at(self.point).exponents().items()}

    def contains(self, **values: Any) -> bool:
        """Is the point a solution?"""
        from tensorprog.exponent import exponent

        at = {s: exponent(v, s) for s, v in values.items()}
        return any(c.contains(at) for c in self.sets)

    def told(self) -> list[str]:
        """The solutions as equations and inequalities, one line a polyhedron."""
        return [str(c) for c in self.sets]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        result: dict[str, Any] = {
            "setting": self.setting.to_dict(),
            "free": list(self.free),
            "requirements": list(self.requirements),
            "solvable": bool(self),
            "solutions": self.told(),
        }
        if not self:
            return result | {"conflict": list(self.conflict)}
        layers = {name: {k: str(getattr(e, k)) for k in "abc"} for name, e in self.exponents().items()}
        return result | {"point": {s: str(e) for s, e in self.point.items()}, "exponents": layers}

    def __str__(self) -> str:
        from tensorprog.report import document_of
        from tensorprog.report.text import text

        return text(document_of(self))


def unknowns(program: Program) -> tuple[str, ...]:
    """The symbols that :func:`solve` takes for unknown: an init and a learning-rate exponent for every role."""
    roles = list(dict.fromkeys(w.role for w in program.weights if w.role is not Role.FINITE))
    inits = [r for r in roles if any(not w.zero for w in program.weights if w.role is r) and r is not Role.VECTOR]
    rates = [r for r in roles if any(w.trained for w in program.weights if w.role is r)]
    return (*(f"b_{r.value}" for r in inits), *(f"c_{r.value}" for r in rates))


def solve(
    program: Program,
    parametrization: str | Parametrization = "sp",
    *,
    free: Sequence[str] = (),
    bounded: str = "logits",
    maximal: bool = True,
    optimizer: str | Optimizer | Mapping[str, Any] = "sgd",
    loss: str | Loss = "ce",
    zero_readout: bool = False,
    alignment: str | Alignment = DERIVED,
    assume: Iterable[Any] = (),
) -> Solutions:
    """Find the exponents for which training is stable and every layer's effective update is Theta(1).

    Args:
        parametrization: gives the exponents that are not free.
        free: the unknowns, named as in :mod:`tensorprog.symbols`; without them, b and c of every role. ``c`` alone is
            one learning rate tied over all layers.
        bounded: what must stay bounded: ``activations``, ``updates`` (and those) or ``logits`` (and all before).
        maximal: every effective update is Theta(1) at the settled end; else stability alone is asked for.
        alignment: of weights with what they act on, ``derived`` or assumed (``full``, ``none``).
        assume: conditions on the unknowns, such as ``"b_readout = 1/2"``.

    Returns:
        :class:`Solutions`: polyhedra, or an irreducible conflict.

    Assumes: genericity, fixed depth, batch and steps.

    Raises:
        UnknownName, SettingError: for unknowns or bounds that are not accepted.

    Example: muP for Adam, without being put in; the readout's init may be smaller.
        >>> import tensorprog as tp
        >>> found = tp.solve(tp.mlp(hidden_layers=1), optimizer="adam")
        >>> found.told()
        ['b_input = 0, c_input = 0, c_readout = 1, b_readout >= 1']

    Ref: Yang & Hu 2021 (arXiv 2011.14522), Section 5.
    """
    s = setting(
        program,
        parametrization,
        optimizer_=optimizer,
        loss_=loss,
        zero_readout=zero_readout,
        steps=1,
        alignment_=alignment,
    )
    names = tuple(free) or tuple(n for n in unknowns(program) if not (zero_readout and n == "b_readout"))
    return solutions(bind(s, names), names, bounded=bounded, maximal=maximal, assume=assume)


def solutions(
    s: Setting, names: Sequence[str], *, bounded: str = "logits", maximal: bool = True, assume: Iterable[Any] = ()
) -> Solutions:
    """The solutions for a setting with free symbols."""
    if bounded not in BOUNDS:
        raise UnknownName("bounded", bounded, BOUNDS)
    if not names or s.symbols != frozenset(names):
        has = ", ".join(sorted(s.symbols)) or "none"
        raise SettingError("free", ", ".join(names), f"needs the symbols of the setting, which has {has}")
    conditions = list(assume)
    told = {k: MEANING[k] for k in BOUNDS[: BOUNDS.index(bounded) + 1]}
    needed = [INIT, STABLE, *told.values()]
    needed += [_maximal(x.name) for x in s.program.sites if x.weight.trained] if maximal else []
    cells = [c for start in s.regions(conditions) for c in _cells(s, needed, start)]
    regions = [c.region for c in cells if c.result is None]
    conflict = [] if regions else _conflict(s, needed, cells)
    return Solutions(s, tuple(names), tuple(needed), tuple(convex_sets(regions)), tuple(conflict))


def _maximal(site: str) -> str:
    return f"the effective update of {site} is Theta(1)"


def _cells(s: Setting, needed: Iterable[str], start: Region) -> Iterator[Cell[str | None]]:
    """Cells of a region, each with a requirement that it breaks, or None where all hold."""
    required = frozenset(needed)

    def run(region: Region) -> str | None:
        try:
            return _breach(s.at(region.substitution), required)
        except BeyondRules:
            return NO_RULES  # nothing that is known to be bounded

    return explored(run, start)


def _conflict(s: Setting, needed: Sequence[str], cells: Sequence[Cell[str | None]]) -> list[str]:
    """Requirements of which each is broken somewhere where all others hold.

    Those that some cell was given up for exclude each other. One of them that can go without opening a solution is no
    part of the conflict; only cells that were given up for its sake are asked again.
    """
    broken = {cell.result for cell in cells}
    conflict = [name for name in needed if name in broken]
    for name in tuple(conflict):
        fewer = [n for n in conflict if n != name]
        again: list[Cell[str | None]] = []
        for cell in cells:
            again += _until_solved(_cells(s, fewer, cell.region)) if cell.result == name else [cell]
            if again[-1].result is None:
                break
        else:
            conflict, cells = fewer, again
    return conflict


def _until_solved(cells: Iterator[Cell[str | None]]) -> Iterator[Cell[str | None]]:
    for cell in cells:
        yield cell
        if cell.result is None:
            return


def _breach(s: Setting, needed: frozenset[str]) -> str | None:
    """A requirement that the setting breaks, the first that is met on the way; None where all hold."""
    program = s.program
    read = program.read_values()
    inner = {x.product: x for x in program.sites if x.product not in program.logit_terms}
    broken = ""

    def breach(step: Step, i: int) -> str:
        if i in read and not step.t and not _is_set(step.now[i]) and INIT in needed:
            return INIT
        if i in read and step.now[i].exceeds(ZERO) and MEANING["activations"] in needed:
            return MEANING["activations"]
        moved = (step.effective, step.propagating) if i in inner and step.t and MEANING["updates"] in needed else ()
        if any(inner[i].of(part).exceeds(ZERO) for part in moved):
            return MEANING["updates"]
        if i == program.output and MEANING["logits"] in needed and step.now[i].exceeds(ZERO):
            return MEANING["logits"]
        return ""

    def watch(step: Step, i: int) -> bool:
        nonlocal broken
        broken = breach(step, i)
        return bool(broken)

    learning = [x for x in program.sites if _maximal(x.name) in needed]

    def verdict(path: Trajectory) -> str | None:
        if path.stopped:
            return broken
        if STABLE in needed and path.settled_at is None:
            return STABLE
        return next((_maximal(x.name) for x in learning if not is_order_one(x.of(path.steps[-1].effective))), None)

    # Bounds first: they reject most of the space, before anything splits it further, and accept what is far from edges.
    if s.trajectory(watch=watch, limit=1, bound=Bound.LOWER).stopped:
        return broken
    try:
        upper = s.trajectory(watch=divergence(program), bound=Bound.UPPER)
    except BeyondRules:  # an upper bound may where nothing does
        return verdict(s.trajectory(watch=watch))
    lower = s.trajectory(watch=watch, bound=Bound.LOWER)
    if lower.stopped and agree(s, lower, upper, until=len(lower.steps)):
        return broken
    if None not in (lower.settled_at, upper.settled_at) and agree(s, lower, upper):
        for x in learning:
            if x.of(upper.steps[-1].effective).falls_below(ZERO):
                return _maximal(x.name)
        if uncut(lambda: verdict(lower) is None and verdict(s.trajectory(watch=watch, bound=Bound.UPPER)) is None):
            return None
    return verdict(s.trajectory(watch=watch))


def _is_set(scale: Scale) -> bool:
    """Theta(1), or exactly zero, as behind an adapter that starts there."""
    return scale.is_zero or is_order_one(scale)
