"""The trace: what a forward pass does with its parameters, found by running it once.

:class:`Trace` knows of each tensor whether it comes from parameters alone (weight-valued), from
the data, or from both, and writes down every torch call, with a rule where a parameter meets an activation. From the
readers of each value it then finds what follows a site: multiplications by numbers, a bias, the nonlinearity.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from tensorprog.errors import Unsupported
from validation.monitor.operators import ADDS, LAYERS, RULES, enter, opened, scale_of, times
from validation.monitor.primitives import Compute, Function, Pass, Product, Rule, name_of, tensors_in
from validation.monitor.tape import Call, Site, Slot, Tape

__all__ = ["Trace"]


class Reader(Enum):
    """What reads a value, as far as its activation is concerned."""

    BIAS = "a bias or another shift that does not depend on the data"
    SCALE = "a multiplication by a number"
    NONLINEAR = "a function of each entry"
    OTHER = "anything else"


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of a tensor.

    Args:
        node: what computed it, -1 if unknown.
        weights: names of the parameters it is computed from, if from nothing else.
        data: it depends on the probe.
        moves: it depends on parameters, so it changes in training.
    """

    node: int = -1
    weights: tuple[str, ...] = ()
    data: bool = False
    moves: bool = False


CONSTANT = Value()


@dataclass(slots=True)
class Node:
    """A computed value: how it was computed, and the call or site that returns it."""

    reader: Reader
    place: Call | Site | None
    readers: list[int] = field(default_factory=list)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NONLINEAR = _words(
    """relu relu6 gelu silu mish tanh sigmoid softplus elu selu celu leaky_relu hardtanh hardswish hardsigmoid softsign
    logsigmoid tanhshrink softshrink hardshrink threshold rrelu erf exp sin cos clamp clamp_min square abs pow"""
)
"""Functions of each entry."""
SHAPES = _words(
    """zeros_like ones_like empty_like full_like rand_like randn_like randint_like
    new_zeros new_ones new_empty new_full new_tensor"""
)
"""Functions whose result has only the shape of their argument."""
LIKE = _words("type_as expand_as view_as reshape_as to")
"""Methods whose further arguments only say a shape or a type."""
HARMLESS = _words("requires_grad_ detach_ share_memory_")
"""Methods named like those that write into a tensor, which do not."""


class Trace(Pass):
    """The first pass.

    Args:
        parameters: by qualified name, each once.
        probe: what depends on the data.
        alignments: whether they will be measured.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], probe: Any, alignments: bool = True) -> None:
        super().__init__()
        self._alignments = alignments
        self.calls: list[Call] = []
        self.primitives: list[Site | None] = []
        self._nodes: list[Node] = []
        self._slots: dict[int, Slot] = {}
        self._uses: dict[str, int] = defaultdict(int)
        self._values: dict[int, tuple[weakref.ref[Tensor], int, Value]] = {}
        self._storages = {p.untyped_storage().data_ptr(): name for name, p in parameters.items() if p.numel()}
        for name, p in parameters.items():
            self._know(p, Value(weights=(name,)))
        for x in tensors_in(probe):
            self._know(x, Value(data=True))

    # -- what is known of tensors

    def _know(self, x: Any, value: Value) -> None:
        self._values[id(x)] = (weakref.ref(x), x._version, value)

    def known(self, x: Any) -> Value:
        """What is known of a tensor."""
        reference, version, value = self._values.get(id(x), (lambda: None, 0, CONSTANT))
        same = reference()
        if same is None or same is not x:
            return CONSTANT
        if version == same._version:
            return value
        return Value(-1, value.weights, value.data, value.moves)  # written to behind our back, such as through a view

    def _compute(
        self, inputs: list[Value], result: Any, reader: Reader, place: Call | Site | None, moves: bool = False
    ) -> None:
        """Know the tensors of a result."""
        data = any(v.data for v in inputs)
        moves = moves or any(v.moves for v in inputs)
        weights = () if data or moves else tuple(dict.fromkeys(n for v in inputs for n in v.weights))
        results = list(tensors_in(result))
        for x in results:
            old = self._values.get(id(x))
            if old and old[0]() is x and old[1] == x._version:
                continue  # the function returned its argument
            node = -1
            if data or moves:
                node = len(self._nodes)
                self._nodes.append(Node(reader, place if len(results) == 1 else None))
                for v in {v.node for v in inputs if v.node >= 0}:
                    self._nodes[v].readers.append(node)
            value = Value(node, weights, data, moves)
            self._know(x, value)
            base = x._base
            if old and old[0]() is x and base is not None:  # written through a view
                self._know(base, Value(-1, weights, data, moves))

    # -- calls

    def __torch_function__(self, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        call = Call(func)
        self.calls.append(call)
        tensors = list(tensors_in((args, kwargs)))
        inputs = [self.known(t) for t in tensors]
        weights = tuple(dict.fromkeys(n for v in inputs for n in v.weights))
        mixed = bool(weights) and any(v.data or v.moves for v in inputs)
        name = str(getattr(func, "__name__", ""))
        self._refuse_to_write(func, name, args, kwargs)
        if name in SHAPES:
            inputs, mixed, weights = [], False, ()
        if name in LIKE and mixed:
            inputs, mixed = inputs[:1], False
        elif weights and (rule := self._rule(func, mixed)):
            call.rule = rule
            return self._obey(call, args, kwargs, weights)
        result = func(*args, **kwargs)
        if mixed and next(tensors_in(result), None) is not None:
            raise _unknown(func, weights)
        target = args[0] if result is None and args else result
        self._compute(inputs, target, _reader(func, name, args, kwargs, inputs), call)
        return result

    def _rule(self, func: Function, mixed: bool) -> Rule | None:
        rule = RULES.get(func)
        if rule is not None:
            return rule if mixed or rule in LAYERS else None
        inside = mixed or getattr(func, "__module__", "") == nn.functional.__name__
        return enter if inside and opened(func) is not None else None

    def _obey(self, call: Call, args: Any, kwargs: Any, weights: tuple[str, ...]) -> Any:
        rule = call.rule
        assert rule is not None
        what = f"{name_of(call.function)} with {', '.join(weights)}"
        if torch.is_grad_enabled():
            why = "this part of the forward pass records gradients, and the check would cut their graph"
            raise Unsupported(what, why, "Probe a part of the model that does not differentiate.")
        try:
            signature(rule).bind(self, call.function, *args, **kwargs)
        except TypeError as error:
            raise Unsupported(what, f"its rule takes no such arguments: {error}", "Use the plain form.") from None
        call.primitive = len(self.primitives)
        result = rule(self, call.function, *args, **kwargs)
        if result is None and args:  # x[i] = w
            self._compute([self.known(x) for x in tensors_in(args)], args[0], Reader.OTHER, call, moves=True)
        return result

    def _refuse_to_write(self, func: Function, name: str, args: Any, kwargs: Any) -> None:
        writes = (name.endswith("_") and not name.endswith("__") and name not in HARMLESS) or name == "__setitem__"
        for x in [*(args[:1] if writes else ()), kwargs.get("out")]:
            found = self._storages.get(x.untyped_storage().data_ptr()) if isinstance(x, Tensor) else None
            if found:
                why = "the forward pass changes the parameter, so measuring would change the training"
                raise Unsupported(
                    f"{name_of(func)} on {found}", why, "Change it in the training loop, or change a copy."
                )

    # -- primitives

    def product(self, kind: Product, f: Compute, *tensors: Tensor, result: Compute | None = None) -> Tensor:
        values = [self.known(t) for t in tensors]
        places = [i for i, v in enumerate(values) if v.weights]
        if len(places) > 1:
            raise _unknown(f, [n for v in values for n in v.weights])
        site = None
        if places:
            site = self._site(tensors[places[0]], places[0])
            others = [(i, v) for i, v in enumerate(values) if i != places[0]]
            if kind.fan_in is not None and len(others) == 1:
                terms = kind.fan_in(*tensors)
                site.fan_in = terms if terms > 1 and self._alignments else None
                site.keeps = terms > 1
            for i, v in others:
                if v.moves:
                    slot = self._slot(v.node)
                    slot.sized |= site.fan_in is not None
                    site.inputs.append((i, slot))
        self.primitives.append(site)
        y: Tensor = f(*tensors) if result is None else result()
        self._compute(values, y, Reader.OTHER, site, moves=site is not None)
        return y

    def shift(self, result: Compute, x: Tensor, y: Tensor, alpha: float = 1.0) -> Tensor:
        values = [self.known(x), self.known(y)]
        place = next((i for i, v in enumerate(values) if v.weights), None)
        site = None
        if place is not None:
            site = self._site((x, y)[place], place)
            site.alpha = abs(alpha) if place else 1.0
        self.primitives.append(site)
        z: Tensor = result()
        reader = Reader.BIAS if site is not None or sum(v.data for v in values) == 1 else Reader.OTHER
        self._compute(values, z, reader, site, moves=site is not None)
        return z

    def pick(self, f: Compute, w: Tensor, *indices: Tensor) -> Tensor:
        values = [self.known(i) for i in indices]
        if any(v.weights for v in values):
            raise _chosen([n for v in values for n in v.weights])
        site = None
        if self.known(w).weights:
            site = self._site(w, 0)
            site.keeps = not any(v.moves for v in values)
        self.primitives.append(site)
        y: Tensor = f(w)
        self._compute([self.known(w), *values], y, Reader.OTHER, site, moves=site is not None)
        return y

    def value(self, x: Tensor) -> Tensor:
        if not self.known(x).weights:
            self.primitives.append(None)
            return x
        site = self._site(x, 0)
        if not x.is_floating_point():
            raise _chosen(site.parameters)
        self.primitives.append(site)
        activation = x.view_as(x)  # to be told from the parameter, which other calls may use as a weight
        self._compute([], activation, Reader.OTHER, site, moves=True)
        return activation

    def plain(self, f: Compute, *tensors: Tensor, moves: bool = False) -> Any:
        values = [self.known(t) for t in tensors]
        y = f(*tensors)
        self._compute(values, y, Reader.OTHER, None, moves=moves)
        return y

    def scaled(self, factor: float, result: Compute) -> Tensor:
        raise AssertionError("multiplications by a number get their rule after the trace")

    def _site(self, w: Tensor, place: int) -> Site:
        names = self.known(w).weights
        name = "+".join(names)
        self._uses[name] += 1
        uses = self._uses[name]
        return Site(f"{name}#{uses}" if uses > 1 else name, names, place, w if isinstance(w, nn.Parameter) else None)

    def _slot(self, node: int) -> Slot:
        # Two values that nothing is known of are not the same.
        return self._slots.setdefault(node, Slot()) if node >= 0 else Slot()

    # -- what follows a site

    def tape(self, output: Tensor) -> Tape:
        """Everything to follow, when ``output`` is what the model returns as logits."""
        end = self.known(output)
        if not end.moves:
            why = "the model's output does not come from a torch call on its parameters that the check sees"
            raise Unsupported("this forward pass", why, "Scripted and otherwise compiled models hide their calls.")
        followed: dict[int, list[Call]] = {}
        for index, node in enumerate(self._nodes):
            if isinstance(node.place, Site):
                last, scales = self._follow(index, end.node)
                followed[index] = scales
                place = self._nodes[last].place
                if last != end.node and place is not None:
                    slot = self._slot(last)
                    slot.sized = True
                    place.slot = node.place.activation = slot
        used = {id(call) for scales in followed.values() for call in scales}
        order = {id(call): i for i, call in enumerate(c for c in self.calls if id(c) in used)}
        for call in self.calls:
            if id(call) in used:
                call.rule = times
        for index, scales in followed.items():
            site = self._nodes[index].place
            assert isinstance(site, Site)
            site.scales = [order[id(call)] for call in scales]
        return Tape(self.calls, self.primitives)

    def _follow(self, index: int, end: int) -> tuple[int, list[Call]]:
        """The activation of the site that computes a node, and the scales on the way, where each is the only reader."""
        scales: list[Call] = []
        while index != end and len(self._nodes[index].readers) == 1:
            (reader,) = self._nodes[index].readers
            node = self._nodes[reader]
            if node.reader is Reader.OTHER:
                break
            index = reader
            if node.reader is Reader.NONLINEAR:
                break
            if node.reader is Reader.SCALE:
                assert isinstance(node.place, Call)
                scales.append(node.place)
        return index, scales


def _reader(func: Function, name: str, args: Any, kwargs: Any, inputs: list[Value]) -> Reader:
    if not kwargs and scale_of(func, args) is not None:
        return Reader.SCALE
    if func in ADDS and sum(v.data for v in inputs) == 1:
        return Reader.BIAS
    return Reader.NONLINEAR if name.strip("_") in NONLINEAR and len(inputs) == 1 else Reader.OTHER


def _chosen(weights: Iterable[str]) -> Unsupported:
    return Unsupported(
        f"an index or a condition that is computed from parameter {', '.join(weights)}",
        "a choice has no part that is linear in the parameter",
        "Probe a part of the model without it.",
    )


def _unknown(func: Function, weights: Iterable[str]) -> Unsupported:
    return Unsupported(
        f"{name_of(func)} with parameter {', '.join(weights)}",
        "the refined coordinate check does not know how it depends on the parameter",
        "Write it with linear, matmul, einsum, convolutions, embeddings, +, * or normalisations, or add a rule to "
        "validation/monitor/operators.py.",
    )
