"""Programs: what a network computes, as typed instructions over vectors, scalars and weights.

A program is a list of instructions in static single assignment: instruction i computes value i. One program has two
interpreters: :mod:`tensorprog.derive` walks it with scales, the validation harness with tensors.
"""

from tensorprog.program.axes import ONE, Axis, Role, Weight
from tensorprog.program.builder import Builder, Value
from tensorprog.program.graph import Program, Site
from tensorprog.program.instructions import (
    Add,
    Apply,
    Center,
    Data,
    Instruction,
    MatMul,
    Moment,
    Multiply,
    Normalize,
    NormalizeGradient,
    Repeat,
    Rotate,
    Scaled,
)

__all__ = [
    "ONE",
    "Add",
    "Apply",
    "Axis",
    "Builder",
    "Center",
    "Data",
    "Instruction",
    "MatMul",
    "Moment",
    "Multiply",
    "Normalize",
    "NormalizeGradient",
    "Program",
    "Repeat",
    "Role",
    "Rotate",
    "Scaled",
    "Site",
    "Value",
    "Weight",
]
