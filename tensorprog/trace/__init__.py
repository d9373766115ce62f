"""A user's own model: traced, predicted, checked.

``torch`` is imported inside functions only, so that importing :mod:`tensorprog` never needs it.
"""

from tensorprog.trace import operators
from tensorprog.trace.conversion import operator
from tensorprog.trace.errors import TraceError
from tensorprog.trace.model import Traced, trace

__all__ = ["TraceError", "Traced", "operator", "operators", "trace"]
