"""Export: one graph per width, aligned node by node.

The graphs come from ``torch.export`` without decomposition, so that linear, attention and norm layers are still to be
recognised. They differ in sizes and in constants only; a graph whose structure depends on the width is refused.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tensorprog.errors import SettingError, TensorprogError
from tensorprog.trace.decomposition import decomposed, operator_name
from tensorprog.trace.errors import TraceError
from tensorprog.trace.examples import Inputs, filled, made, read

if TYPE_CHECKING:
    import torch

__all__ = ["Built", "Graph", "Node", "Reference", "build_models", "export"]


@dataclass(frozen=True)
class Reference:
    """An argument that is another node's value."""

    name: str


@dataclass(frozen=True)
class Node:
    """One node of the aligned graphs.

    Args:
        name: of the node in the first graph.
        kind: ``call``, ``parameter``, ``constant`` (a buffer or a tensor in the code), ``input`` or ``output``.
        operator: such as ``aten.linear``; the in-place variant has the same name.
        where: the module path.
        args, kwargs: with references in place of nodes, one for each width.
        shapes: sizes at every width, one tuple per dimension; a list of them where the node has several results.
        targets: what is called, one for each width.
        writes: whether it changes its first argument.
        target: of a parameter or constant, its qualified name.
    """

    name: str
    kind: str
    operator: str
    where: str
    args: tuple[tuple[Any, ...], ...] = ()
    kwargs: tuple[Mapping[str, Any], ...] = ()
    shapes: Any = None
    targets: tuple[Any, ...] = ()
    writes: bool = False
    target: str = ""


@dataclass(frozen=True)
class Built:
    """The user's models, one for each width.

    Args:
        widths: in rising order.
        models: as ``build`` returned them.
        examples: positional and keyword inputs of each.
        build: makes the model of a width.
        seed: that the models were built with.
    """

    widths: tuple[int, ...]
    models: tuple[torch.nn.Module, ...]
    examples: tuple[Inputs, ...]
    build: Callable[[int], torch.nn.Module]
    seed: int
    _further: list[tuple[torch.nn.Module, ...]] = field(default_factory=list, repr=False, compare=False)

    def further(self) -> Iterator[tuple[torch.nn.Module, ...]]:
        """Models of other seeds, built when they are asked for."""
        for k in itertools.count():
            if k == len(self._further):
                self._further.append(tuple(_models(self.build, self.widths, self.seed + k + 1)))
            yield self._further[k]


@dataclass(frozen=True)
class Graph:
    """The aligned graphs of a model.

    Args:
        nodes: in order of execution.
        constants: values of buffers and lifted tensors at each width, by qualified name.
        inputs: the tensors of the example, by node name.
    """

    built: Built
    nodes: tuple[Node, ...]
    constants: tuple[Mapping[str, torch.Tensor], ...]
    inputs: tuple[Mapping[str, Any], ...]
    canonical: Mapping[str, str] = field(default_factory=dict)


def build_models(build: Callable[[int], torch.nn.Module], widths: Sequence[int], example: Any, seed: int = 0) -> Built:
    """Call ``build`` at every width with a fixed seed; the state of torch's generator is left as it was.

    Raises:
        SettingError: for widths that are no distinct positive integers, or where ``build`` returns no module, or the
            same one at every width.
    """
    import torch

    ns = tuple(widths)
    if len(ns) < 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in ns) or len(set(ns)) < len(ns):
        raise SettingError("widths", widths, "needs at least two different positive integers")
    ns = tuple(sorted(ns))
    with torch.random.fork_rng(devices=[]):
        examples = () if example is None else tuple(_example(example, n, seed) for n in ns)
    models = tuple(_models(build, ns, seed))
    shapes = {tuple(p.shape for p in m.parameters()) for m in models}
    if len(shapes) == 1:
        told = f"models of the same sizes at widths {', '.join(map(str, ns))}"
        raise SettingError("build", told, "needs at least one size that grows with the width")
    return Built(ns, models, examples or (made(models[0]),) * len(ns), build, seed)


def _example(example: Any, width: int, seed: int) -> Inputs:
    """What a user gave, the same draws at every width."""
    import torch

    torch.manual_seed(seed)
    return read(example, width)


def _models(build: Callable[[int], torch.nn.Module], widths: Sequence[int], seed: int) -> Iterator[torch.nn.Module]:
    import torch

    with torch.random.fork_rng(devices=[]):
        for n in widths:
            torch.manual_seed(seed)
            model = build(n)
            if not isinstance(model, torch.nn.Module):
                raise SettingError("build", type(model).__name__, f"build({n}) needs to return an nn.Module")
            if not any(True for _ in model.parameters()):
                raise SettingError("build", f"{type(model).__name__} without parameters", "has nothing to scale")
            yield getattr(model, "_orig_mod", model)  # of torch.compile


def pick(output: Any, chosen: str | int | None) -> Any:
    """The logits in what a model returns.

    Raises:
        SettingError: where it is not clear which.
    """
    import torch

    if chosen is not None:
        if isinstance(output, torch.Tensor):
            raise SettingError("output", chosen, "the model returns one tensor: leave it out")
        try:
            return output[chosen] if isinstance(chosen, int) or isinstance(output, Mapping) else getattr(output, chosen)
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            raise SettingError("output", chosen, f"the model's {type(output).__name__} has no such member") from error
    if isinstance(output, torch.Tensor):
        return output
    for name in ("logits", "last_hidden_state"):
        found = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(found, torch.Tensor):
            return found
    if isinstance(output, tuple | list):
        tensors = [x for x in output if isinstance(x, torch.Tensor)]
        if len(tensors) == 1 or (tensors and output[0] is tensors[0]):
            return tensors[0]
    raise SettingError("output", type(output).__name__, "say which member of the model's output holds the logits")


def _wrapped(model: torch.nn.Module, chosen: str | int | None) -> torch.nn.Module:
    from torch import nn

    class Logits(nn.Module):
        """The model, returning its logits alone: caches and the like need no pytree then."""

        def __init__(self) -> None:
            super().__init__()
            self.traced = model

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return pick(self.traced(*args, **kwargs), chosen)

    wrapped = Logits.__new__(Logits)
    Logits.__init__(wrapped)
    wrapped.training = model.training  # no train(): every submodule keeps its own mode
    return wrapped


PREFIX = "traced."


def export(built: Built, output: str | int | None = None, known: Container[str] = ()) -> Graph:
    """Export every model and align the graphs.

    Args:
        output: which member of the model's output holds the logits.
        known: operators that need not be taken apart.

    Raises:
        TraceError: where torch cannot export the model, or where the graph's structure depends on the width.
    """
    programs = []
    for n, model, (args, kwargs) in zip(built.widths, built.models, built.examples, strict=True):
        with _quiet():
            try:
                programs.append(decomposed(_exported(_wrapped(model, output), args, kwargs), known))
            except TensorprogError:
                raise
            except Exception as error:  # whatever the user's code or torch raises
                first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
                raise TraceError(
                    "torch.export",
                    "",
                    f"the model of width {n} cannot be exported: {type(error).__name__}: {first.strip()[:300]}",
                    "Check the example input first; branches on the values of tensors and loops over them have no "
                    "graph: declare a program with tensorprog.Builder instead",
                ) from error
    return _align(built, programs)


def _exported(model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    import torch

    program = torch.export.export(model, args, kwargs, strict=False)
    program.graph.eliminate_dead_code()  # such as a loss that the model returns, too
    return program


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's own messages: what matters is raised."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)


def _align(built: Built, programs: Sequence[Any]) -> Graph:
    lists = [list(p.graph.nodes) for p in programs]
    for others in lists[1:]:
        for a, b in zip(lists[0], others, strict=False):
            if a.op != b.op or (a.op == "call_function" and str(a.target) != str(b.target)):
                raise _differs(a, b)
        if len(others) != len(lists[0]):
            longer = max(lists[0], others, key=len)
            raise _differs(longer[min(len(others), len(lists[0]))], None)
    first = programs[0]
    names, constants, inputs = {}, [], []
    for p in programs:
        signature = p.graph_signature
        names = {**signature.inputs_to_parameters}
        held = {**signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
        constants.append({key: p.state_dict.get(t, p.constants.get(t)) for key, t in held.items()})
    user = [list(p.graph_signature.user_inputs) for p in programs]
    for w, (args, kwargs) in enumerate(built.examples):
        import torch.utils._pytree as pytree

        flat, _ = pytree.tree_flatten((args, kwargs))
        given = zip(user[w], map(filled, flat), strict=False)
        inputs.append({name: value for name, value in given if isinstance(name, str)})
    nodes = []
    for k, row in enumerate(zip(*lists, strict=True)):
        del k
        nodes.append(_node(row, programs, names, first.graph_signature))
    return Graph(built, tuple(nodes), tuple(constants), tuple(inputs), _canonical(built.models[0]))


def _canonical(model: torch.nn.Module) -> dict[str, str]:
    """Every name of a parameter to the first one: tied weights are one tensor."""
    names: dict[int, str] = {}
    return {name: names.setdefault(id(p), name) for name, p in model.named_parameters(remove_duplicate=False)}


def _differs(a: Any, b: Any) -> TraceError:
    got = (
        f"{operator_name(a)} at one width and {operator_name(b)} at another"
        if b is not None
        else "more nodes at one width"
    )
    return TraceError(
        operator_name(a),
        _where(a),
        f"the graph depends on the width ({got})",
        "Keep depth and, where they are looped over, the number of heads or experts the same at all widths",
    )


def _node(row: Sequence[Any], programs: Sequence[Any], names: Mapping[str, str], signature: Any) -> Node:
    node = row[0]
    if node.op == "placeholder":
        target = names.get(node.name, "")
        kind = "parameter" if target else "input" if node.name in signature.user_inputs else "constant"
        return Node(node.name, kind, kind, "", shapes=_shapes(row), target=target.removeprefix(PREFIX))
    if node.op == "get_attr":
        return Node(
            node.name,
            "attribute",
            "attribute",
            _where(node),
            target=str(node.target),
            shapes=_shapes(row),
            targets=tuple(_attribute(p.graph_module, n.target) for p, n in zip(programs, row, strict=True)),
        )
    if node.op == "output":
        returned = [p.graph_signature.user_outputs for p in programs]
        return Node(node.name, "output", "output", "", tuple(tuple(map(Reference, names)) for names in returned))
    args = tuple(_references(n.args) for n in row)
    kwargs = tuple(_references(n.kwargs) for n in row)
    operator = operator_name(node)
    return Node(
        node.name,
        "call",
        operator.removesuffix("_"),
        _where(node),
        args,
        kwargs,
        _shapes(row),
        tuple(n.target for n in row),
        writes=operator.endswith("_"),
    )


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


def _where(node: Any) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]) if stack else ""
    return path.removeprefix("traced").removeprefix(".")


def _references(value: Any) -> Any:
    from torch.fx import Node as Fx

    if isinstance(value, Fx):
        return Reference(value.name)
    if isinstance(value, tuple | list):
        return (
            type(value)(_references(v) for v in value)
            if type(value) in (tuple, list)
            else [_references(v) for v in value]
        )
    if isinstance(value, Mapping):
        return {k: _references(v) for k, v in value.items()}
    return value


def _shapes(row: Sequence[Any]) -> Any:
    values = [n.meta.get("val") for n in row]
    if all(hasattr(v, "shape") for v in values):
        return tuple(tuple(int(s) for s in sizes) for sizes in zip(*(v.shape for v in values), strict=True))
    if all(isinstance(v, tuple | list) for v in values):
        parts = list(zip(*values, strict=True))
        return [
            tuple(tuple(int(s) for s in sizes) for sizes in zip(*(v.shape for v in part), strict=True))
            if all(hasattr(v, "shape") for v in part)
            else None
            for part in parts
        ]
    return None
