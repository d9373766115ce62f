"""Data: what networks are trained on, as a function of (seed, step) alone.

The theory's chi = dL/dlogits is Theta(1) because targets are. On a memorised training set chi shrinks, and faster the
wider the network, which bends every later slope. So two principles hold for every entry: batches are drawn afresh at
every step, and by default a fixed fraction of the targets is noise that no network can fit, drawn anew at every batch.
A third one keeps the layers' asymptotic order visible at moderate widths: the mean squared L2 norm of inputs is one.

To add one: write a frozen dataclass in a file of its own that has what :class:`Data` asks for (checked options
and the configuration come with :class:`~validation.data.batch.Entry`), and list it in ``DATA``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tensorprog.errors import UnknownName
from tensorprog.program import Program
from validation.data.batch import Batch, Data
from validation.data.characters import Characters, CharacterSequences
from validation.data.cifar10 import CIFAR10
from validation.data.digits import Digits
from validation.data.mnist import MNIST
from validation.data.teacher import Teacher, TeacherRegression

__all__ = [
    "CIFAR10",
    "DATA",
    "MNIST",
    "Batch",
    "CharacterSequences",
    "Characters",
    "Data",
    "Digits",
    "Teacher",
    "TeacherRegression",
    "data",
    "suitable",
]

DATA: Mapping[str, Callable[..., Data]] = MappingProxyType(
    {
        entry.name: entry
        for entry in (Digits, Teacher, TeacherRegression, Characters, CharacterSequences, MNIST, CIFAR10)
    }
)


def suitable(program: Program) -> Data:
    """Small data without files of the form that a program reads: sequences, images, or vectors."""
    if program.reads_sequences:
        return CharacterSequences(batch=2, probe=16, context=8)
    return Digits(batch=16, probe=32, images=True) if program.reads_images else Digits()


def data(name: str | Data, **options: object) -> Data:
    """Data by name, with the options of the entry.

    Raises:
        UnknownName: listing the registered names.
        SettingError: for options out of range, and for files that are not where they are expected.
    """
    if not isinstance(name, str):
        return name
    if name not in DATA:
        raise UnknownName("data", name, DATA)
    return DATA[name](**options)
