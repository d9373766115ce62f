"""The error of tracing: operator, place in the user's code, and what to declare instead."""

from __future__ import annotations

from tensorprog.errors import TensorprogError

__all__ = ["TraceError"]


class TraceError(TensorprogError, ValueError):
    """A model that cannot be turned into a program.

    Args:
        operator: what the graph holds there, for example ``aten.linear``.
        where: the module path, empty for the top module.
        why: what is missing.
        instead: what to declare or change.
    """

    def __init__(self, operator: str, where: str, why: str, instead: str) -> None:
        self.operator, self.where, self.why, self.instead = operator, where, why, instead
        super().__init__(f"{operator} in {f'module {where!r}' if where else 'the model'}: {why}. {instead}")
