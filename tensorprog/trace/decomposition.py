"""Decomposition: operators without a rule become those that they are made of, where torch says which.

So recurrent layers are unrolled over the positions of the example, with the same weights at each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Any

__all__ = ["decomposed", "operator_name"]

ROUNDS = 4
"""What an operator is made of may be made of further ones."""


def operator_name(node: Any) -> str:
    """As rules are registered: by the overload packet."""
    if node.op != "call_function":
        return str(node.op)
    packet = getattr(node.target, "overloadpacket", None)
    if packet is not None:
        return str(packet).removeprefix("torch.ops.")
    return getattr(node.target, "__name__", str(node.target))


def decomposed(program: Any, known: Container[str]) -> Any:
    """An exported program in which operators that are not known, and depend on parameters, are taken apart.

    Where it writes into parts of tensors, it becomes one that writes nowhere.
    """
    if _writes_into_parts(program):
        program = program.run_decompositions({})
    for _ in range(ROUNDS):
        table = {}
        for node in _trained(program):
            if operator_name(node).removesuffix("_") not in known and (rule := _rule(node.target)) is not None:
                table[node.target] = rule
        if not table:
            return program
        program = program.run_decompositions(table)
    return program


def _writes_into_parts(program: Any) -> bool:
    """Whether it changes a view of a tensor, or a tensor that there are views of."""
    viewed: set[Any] = set()
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        first = schema.arguments[0].alias_info if schema is not None and schema.arguments else None
        if first is None or not node.args:
            continue
        if first.is_write and node.args[0] in viewed:
            return True
        if not first.is_write:
            viewed |= {node, node.args[0]}
    return False


def _trained(program: Any) -> Iterator[Any]:
    """The calls that depend on parameters."""
    reached = set(program.graph_signature.inputs_to_parameters)
    for node in program.graph.nodes:
        if node.op == "call_function" and any(n.name in reached for n in node.all_input_nodes):
            reached.add(node.name)
            yield node


def _rule(target: Any) -> Callable[..., Any] | None:
    """How torch computes an operator from others; None for one that it computes as it is."""
    import torch

    if not isinstance(target, torch._ops.OpOverload):
        return None
    implicit = torch._C.DispatchKey.CompositeImplicitAutograd
    if (written := target.py_kernels.get(implicit)) is not None:
        return written
    found = torch.export.default_decompositions()
    if torch._C._dispatch_has_kernel_for_dispatch_key(str(target.name()), implicit) and target in found:  # type: ignore[no-untyped-call]
        made: Callable[..., Any] = found[target]
        return made
    return None
