"""Rules for ATen operators; importing the modules registers them.

To add one: write ``@operator("aten.name")`` over a function of the conversion and the operator's arguments, which are
:mod:`tensorprog.trace.values` where they depend on parameters, and plain numbers or :class:`Constant` else.
"""

from tensorprog.trace.operators import contractions, elementwise, norms, pairs, shapes, writes

__all__ = ["contractions", "elementwise", "norms", "pairs", "shapes", "writes"]
