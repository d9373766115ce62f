"""Architectures: compositions of layers.

To add one: write a function that returns a :class:`~tensorprog.program.Program` and list it in ``ARCHITECTURES``.
"""

from __future__ import annotations

from collections.abc import Callable

from tensorprog.errors import SettingError
from tensorprog.layers import dense
from tensorprog.nonlinearities import Nonlinearity, nonlinearity
from tensorprog.program import Builder, Program

__all__ = ["ARCHITECTURES", "mlp"]


def mlp(hidden_layers: int = 2, activation: str | Nonlinearity = "relu", bias: bool = False) -> Program:
    """A multilayer perceptron: input, hidden_layers - 1 hidden matrices, readout.

    Args:
        hidden_layers: the number of wide activation layers, at least 1; ``hidden_layers=2`` has the sites
            ``input``, ``hidden.1``, ``readout``.
        activation: a name in ``tensorprog.nonlinearities.NONLINEARITIES``.
        bias: trainable biases in every layer.

    Raises:
        SettingError: where ``hidden_layers`` is not a positive integer.
        UnknownName: for an activation that is not registered.

    Example:
        >>> [site.name for site in mlp(hidden_layers=3).sites]
        ['input', 'hidden.1', 'hidden.2', 'readout']
    """
    if isinstance(hidden_layers, bool) or not isinstance(hidden_layers, int) or hidden_layers < 1:
        raise SettingError("hidden_layers", hidden_layers, "needs an integer of at least 1")
    phi = nonlinearity(activation)
    b = Builder()
    x = dense(b, "input", b.data("x"), b.width, phi, bias=bias)
    for i in range(1, hidden_layers):
        x = dense(b, f"hidden.{i}", x, b.width, phi, bias=bias)
    logits = dense(b, "readout", x, b.finite("classes"), bias=bias)
    label = f"mlp(hidden_layers={hidden_layers}, activation={phi.name}{', bias=True' if bias else ''})"
    return b.build(logits, label, model="mlp", hidden_layers=hidden_layers, activation=phi.name, bias=bias)


ARCHITECTURES: dict[str, Callable[..., Program]] = {"mlp": mlp}
