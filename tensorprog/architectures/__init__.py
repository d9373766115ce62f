"""Architectures: compositions of layers.

To add one: write a function that returns a :class:`~tensorprog.program.Program` and list it in ``ARCHITECTURES``.
"""

from collections.abc import Callable

from tensorprog.architectures.convolutional import cnn, resnet
from tensorprog.architectures.mlp import mlp, resnet_mlp
from tensorprog.architectures.transformer import transformer
from tensorprog.program import Program

__all__ = ["ARCHITECTURES", "cnn", "mlp", "resnet", "resnet_mlp", "transformer"]

ARCHITECTURES: dict[str, Callable[..., Program]] = {
    "mlp": mlp,
    "resnet-mlp": resnet_mlp,
    "transformer": transformer,
    "cnn": cnn,
    "resnet": resnet,
}
