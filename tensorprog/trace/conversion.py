"""Conversion: a walk along the aligned graph that turns it into a recording.

What depends on no parameter is computed, with torch itself; the operators of :mod:`tensorprog.trace.operators` see the
rest. This module has what they are made of: constants as data, parameters as vectors, slices, broadcasting, arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tensorprog.errors import TensorprogError
from tensorprog.exponent import ZERO, Exponent
from tensorprog.trace.atoms import Atom, Dim, Misaligned, coordinates, is_stack, leaves, unify
from tensorprog.trace.concatenation import Spans, assembled
from tensorprog.trace.constants import constant_power, is_mask, magnitude
from tensorprog.trace.errors import TraceError
from tensorprog.trace.export import Graph, Node, Reference
from tensorprog.trace.powers import Power
from tensorprog.trace.recording import (
    Contracted,
    Elementwise,
    Multiplied,
    Recording,
    Rescaled,
    Source,
    Summed,
    Vector,
)
from tensorprog.trace.slices import cut, mixed
from tensorprog.trace.values import (
    Constant,
    Indices,
    Mixture,
    Parameter,
    PerWidth,
    Slice,
    Statistic,
    Tensor,
    Which,
    Written,
    is_differentiable,
    is_trained,
)

__all__ = ["OPERATORS", "Conversion", "operator"]

Rule = Callable[..., Any]
OPERATORS: dict[str, Rule] = {}
"""By operator: (conversion, arguments) -> value. One entry per ATen operator; :func:`operator` adds one."""

RULE_ERRORS = (TypeError, ValueError, KeyError, IndexError, AttributeError, AssertionError, StopIteration)
"""What a rule raises where it is given arguments that it was not written for."""


def operator(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators, by the name of the overload packet: ``@operator("aten.linear")``."""

    def register(rule: Rule) -> Rule:
        for name in names:
            OPERATORS[name] = rule
        return rule

    return register


class Conversion:
    """A graph on its way to a recording.

    Args:
        graph: the aligned graphs.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.widths = graph.built.widths
        self.recording = Recording()
        self.values: dict[str, Any] = {}
        self.parameters: dict[str, tuple[Dim, ...]] = {}
        self.cuts: dict[Slice, Tensor] = {}
        """Slices that were needed on their own."""
        self.places: dict[int, tuple[Atom, tuple[tuple[Spans, int], ...]]] = {}
        """Of operations that put parts together along positions: the spans of every part, and its own operation."""
        self.node: Node = graph.nodes[0]

    # -- the walk

    def run(self) -> Tensor:
        """Convert every node; returns the logits."""
        for node in self.graph.nodes:
            self.node = node
            if node.kind == "output":
                (logits,) = self._merged(node.args)
                if not is_differentiable([logits]):
                    raise self.refuse("the logits depend on no parameter", "Return what the model computes")
                return self._unstacked(self.tensor(logits))
            try:
                self.values[node.name] = self.visit(node)
            except TensorprogError:  # a ValueError, too, which says what is wrong already
                raise
            except Misaligned as error:
                raise self.refuse(
                    "it cuts a dimension at other places than the operators before it",
                    "Give heads, groups and concatenated parts sizes that divide one another at every width",
                ) from error
            except RULE_ERRORS as error:
                told = " ".join(f"{type(error).__name__} {error}".split())
                raise self.refuse(
                    f"its rule does not cover these arguments ({told[:200]})",
                    "Add a rule with tensorprog.trace.operator, or declare a program with tensorprog.Builder",
                ) from error
        raise self.refuse("the graph has no output", "Return the logits")

    def _unstacked(self, x: Tensor) -> Tensor:
        """The logits at all steps at once, where values of single steps were stacked."""
        over = tuple(a for a in self.features(x) if is_stack(a))
        if not over:
            return x
        kept = tuple(a for a in self.features(x) if a not in over)
        return replace(x, ref=self.record(Contracted(kept, (x.ref,), over=over)))

    def visit(self, node: Node) -> Any:
        """The value of one node."""
        match node.kind:
            case "parameter":
                return self.parameter(node)
            case "constant" if node.name not in self.graph.constants[0]:
                return None  # a number or a flag, which torch has put where it is used
            case "constant":
                return Constant(tuple(c[node.name] for c in self.graph.constants))
            case "input":
                return Constant(tuple(i[node.name] for i in self.graph.inputs))
            case "attribute":
                return Constant(node.targets)
        args = self._merged(list(node.args))
        kwargs = {key: self._merged([k[key] for k in node.kwargs]) for key in node.kwargs[0]}
        if not is_trained([*args, *kwargs.values()]):
            return self._computed(node)
        if not is_differentiable([*args, *kwargs.values()]):
            return Indices() if not isinstance(node.shapes, list) else [Indices() for _ in node.shapes]
        rule = OPERATORS.get(node.operator)
        if rule is None:
            given = [v for v in args if is_differentiable([v])]
            if all(isinstance(v, Parameter) for v in given):
                raise self.refuse_weight(given)
            raise self.refuse(
                "there is no rule for this operator",
                "Add one with tensorprog.trace.operator, or declare a program with tensorprog.Builder",
            )
        result = rule(self, *args, **kwargs)
        if node.writes and isinstance(node.args[0][0], Reference):
            self.values[node.args[0][0].name] = result
        return result

    def parameter(self, node: Node) -> Parameter:
        """A parameter; tied ones share their atoms."""
        name = self.graph.canonical.get(node.target, node.target)
        dims = self.parameters.setdefault(name, tuple((Atom(s),) for s in node.shapes))
        return Parameter(name, dims, tuple((Atom(s, i),) for i, s in enumerate(node.shapes)))

    def _merged(self, rows: Sequence[Any]) -> Any:
        """One argument out of those at every width: values for references, numbers where they agree."""
        first = rows[0]
        if isinstance(first, Reference):
            return self.values[first.name]
        if isinstance(first, tuple | list):
            if len({len(r) for r in rows}) > 1:
                return PerWidth(tuple(rows))
            return [self._merged(parts) for parts in zip(*rows, strict=True)]
        if isinstance(first, Mapping):
            return {key: self._merged([r[key] for r in rows]) for key in first}
        return first if all(type(r) is type(first) and r == first for r in rows) else PerWidth(tuple(rows))

    def _computed(self, node: Node) -> Any:
        import torch

        results = []
        for w, target in enumerate(node.targets):
            args = self._at(node.args[w], w)
            kwargs = self._at(node.kwargs[w], w)
            with torch.no_grad():
                results.append(target(*args, **kwargs))
        if isinstance(results[0], tuple | list):
            return [Constant(parts) for parts in zip(*results, strict=True)]
        return Constant(tuple(results))

    def _at(self, value: Any, w: int) -> Any:
        if isinstance(value, Reference):
            held = self.values[value.name]
            return [h.values[w] for h in held] if isinstance(held, list) else held.values[w]
        if isinstance(value, tuple | list):
            return type(value)(self._at(v, w) for v in value)
        if isinstance(value, Mapping):
            return {k: self._at(v, w) for k, v in value.items()}
        return value

    def refuse(self, why: str, instead: str) -> TraceError:
        """An error at the current node."""
        return TraceError(self.node.operator, self.node.where, why, instead)

    def refuse_weight(self, parameters: Sequence[Any]) -> TraceError:
        """An error at an operator that makes a weight out of parameters."""
        names = ", ".join(repr(p.name) for p in parameters if isinstance(p, Parameter))
        return self.refuse(
            f"it computes a weight from {names}, and weights of a program are parameters as they are",
            "Apply every parameter to the activations and combine the results, or trace the model without it "
            "(torch.nn.utils.parametrize.remove_parametrizations)",
        )

    # -- values

    def features(self, x: Tensor) -> Dim:
        """The atoms of its axis."""
        return leaves(self.recording[x.ref].features)

    def tensor(self, value: Any, like: Tensor | None = None) -> Tensor:
        """Any value as a tensor; a parameter takes its meaning from what it is added to or multiplied by."""
        match value:
            case Tensor():
                return value
            case Parameter():
                return self.vector(value, like)
            case Slice():
                return cut(self, value)
            case Mixture():
                return mixed(self, value)
            case Statistic():
                return self.statistic(value)
            case Constant():
                return self.source(value, like)
            case Written():
                return self.tensor(assembled(self, value))
        raise self.refuse(f"{type(value).__name__} is no tensor", "Report this model")

    def record(self, operation: Any) -> int:
        """Record an operation of the current node's module."""
        return self.recording.add(replace(operation, where=self.node.where))

    def fresh(self, shapes: Any = None) -> tuple[Dim, ...]:
        """New multiplicities of the current node's shape."""
        return tuple((Atom(s),) if set(s) != {1} else () for s in (self.node.shapes if shapes is None else shapes))

    def shapes(self, value: Constant) -> tuple[tuple[int, ...], ...]:
        """The sizes of a constant's dimensions at every width."""
        return tuple(tuple(int(s) for s in sizes) for sizes in zip(*(v.shape for v in value.values), strict=True))

    def power(self, value: Any) -> Power:
        """The power of n that a constant is: a number, or a tensor by its largest entry."""
        values = self.per_width(value)
        found = constant_power(values, self.widths)
        if found is None:
            told = ", ".join(f"{magnitude(v):.4g}" for v in values)
            raise self.refuse(
                f"a constant is {told} at widths {', '.join(map(str, self.widths))}, which is no power of the width",
                "Trace at larger widths, or write the constant as a power of a size",
            )
        return found

    def zeros(self) -> Constant:
        """The current node's value where it is exactly zero."""
        import torch

        sizes = ([s[w] for s in self.node.shapes] for w in range(len(self.widths)))
        return Constant(tuple(map(torch.zeros, sizes)))

    def is_zero(self, value: Any) -> bool:
        """Whether a value is a constant, and exactly zero at every width."""
        return isinstance(value, Constant) and not self.magnitude(value)

    def magnitude(self, value: Any) -> float:
        """The largest absolute value of a constant, at any width."""
        return max(map(magnitude, self.per_width(value)))

    def is_mask(self, value: Any) -> bool:
        """Whether a constant chooses positions and scales nothing."""
        return is_mask(self.per_width(value)[0])

    def per_width(self, value: Any) -> Sequence[Any]:
        """A constant or an argument at every width."""
        if isinstance(value, Constant | PerWidth):
            return value.values
        return [value] * len(self.widths)

    def source(self, value: Any, like: Tensor | None = None, features: Dim | None = None) -> Tensor:
        """A constant as data, on the axis of the tensor that it meets."""
        power = self.power(value)
        if features is None:
            features = self.features(like) if like is not None else ()
        name = self.name(value)
        ref = self.record(Source(features, name=name, power=power.exponent))
        return Tensor(self.fresh() if like is None else like.dims, ref)

    def name(self, value: Any) -> str:
        """What a constant is called in the graph."""
        return next((name for name, held in self.values.items() if held is value), "constant")

    def vector(self, p: Parameter, like: Tensor | None) -> Tensor:
        """A parameter as a vector, one for every position where it has such dimensions."""
        if like is not None:
            own = set(self.features(like))
            features = tuple(a for d in p.dims for a in leaves(d) if a in own)
            rows = [a for d in p.dims for a in leaves(d) if a not in own]
        else:
            if sum(any(a.grows for a in leaves(d)) for d in p.dims) > 1:
                raise self.refuse_weight([p])
            atoms = [a for d in p.dims for a in leaves(d)]
            features = tuple(a for a in atoms if a.grows)
            rows = [a for a in atoms if not a.grows]
        if any(a.grows for a in rows):
            raise self.refuse(
                f"parameter {p.name!r} has a growing dimension that is none of the vector it acts on",
                "Declare a program with tensorprog.Builder",
            )
        ref = self.record(Vector(features, parameter=p.name, rows=bool(rows), chosen=p.chosen))
        return self.scaled(Tensor(p.dims, ref), p.power)

    @staticmethod
    def replaced(dims: tuple[Dim, ...], at: int, dim: Dim) -> tuple[Dim, ...]:
        """Dimensions with another one in one place."""
        return (*dims[:at], dim, *dims[at + 1 :])

    # -- arithmetic

    def scaled(self, x: Tensor, power: Exponent) -> Tensor:
        """n^power x."""
        if power == ZERO:
            return x
        if power.infinite:
            return Tensor(x.dims, self.record(Source(self.features(x), name="zero", power=power)))
        return replace(x, ref=self.record(Rescaled(self.features(x), (x.ref,), power=power)), square=None)

    def broadcast(self, *values: Any) -> tuple[Dim, ...]:
        """The dimensions of an elementwise result; dimensions that meet are unified."""
        shapes = self.node.shapes
        result: list[Dim] = []
        for k, sizes in enumerate(shapes):
            found: Dim = ()
            for v in values:
                at = k - len(shapes) + len(v.dims) if is_differentiable([v]) else -1
                if at < 0 or not leaves(v.dims[at]):
                    continue
                if found:
                    unify(found, v.dims[at])
                else:
                    found = v.dims[at]
            result.append(found or ((Atom(sizes),) if set(sizes) != {1} else ()))
        return tuple(result)

    def together(self, x: Any, y: Any) -> tuple[tuple[Dim, ...], Tensor, Tensor]:
        """Two values that meet elementwise, as tensors, with the dimensions of the result."""
        x, y = (self.tensor(v) if isinstance(v, Slice | Mixture | Written) else v for v in (x, y))
        dims = self.broadcast(x, y)
        if isinstance(x, Parameter | Constant):
            other = self.tensor(y)
            return dims, self.tensor(x, other), other
        first = self.tensor(x)
        return dims, first, self.tensor(y, first)

    def union(self, x: Tensor, y: Tensor) -> Dim:
        """The features of a product or a sum, in the order of the one that has more."""
        a, b = self.features(x), self.features(y)
        longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
        return (*longer, *(f for f in shorter if f not in set(longer)))

    def add(self, x: Tensor, y: Tensor, dims: tuple[Dim, ...]) -> Tensor:
        """x + y."""
        return Tensor(dims, self.record(Summed(self.union(x, y), (x.ref, y.ref))))

    def multiply(self, x: Tensor, y: Tensor, dims: tuple[Dim, ...], *, across: bool = False) -> Tensor:
        """x y by coordinates."""
        ref = self.record(Multiplied(self.union(x, y), (x.ref, y.ref), across=across))
        return Tensor(dims, ref, square=x.ref if x.ref == y.ref else None)

    def apply(self, function: Any, x: Any) -> Tensor:
        """phi(x)."""
        t = self.tensor(x)
        return Tensor(t.dims, self.record(Elementwise(self.features(t), (t.ref,), function=function)))

    def statistic(self, s: Statistic) -> Tensor:
        """A mean or mean square as a value."""
        if s.which not in (Which.MEAN, Which.MEAN_SQUARE) or s.centered:
            raise self.refuse(
                f"a {s.which.value} is used outside a norm layer",
                "Divide the vector it belongs to by it, or use torch.nn.functional.layer_norm or rms_norm",
            )
        whole = leaves(self.recording[s.of].features)
        kept = tuple(a for a in whole if a not in set(s.over))
        args = (s.of,) if s.which is Which.MEAN else (s.of, s.of)
        ref = self.record(Contracted(kept, args, over=s.over))
        mean = Tensor(s.dims, ref)
        return mean if s.total else self.scaled(mean, -self.size(s.over))

    def size(self, atoms: Dim) -> Exponent:
        """The exponent of a number of coordinates."""
        return self.power(PerWidth(coordinates(leaves(atoms), len(self.widths)))).exponent
