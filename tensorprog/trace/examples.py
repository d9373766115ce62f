"""Example inputs: what a model is run on to be traced. Where none is given, one is made that the model takes."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tensorprog.errors import SettingError

if TYPE_CHECKING:
    import torch

__all__ = ["Inputs", "filled", "made", "read"]

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional arguments and keywords of a model."""

NEEDS = (
    "needs an input of the model: a tensor, a tuple, a dictionary of keywords, or a function of the width that returns "
    "one"
)
BATCH, POSITIONS, PIXELS = 4, (8, 16, 4), (32, 8, 28, 64, 224)
"""Sizes that are tried."""


def read(example: Any, width: int) -> Inputs:
    """What a user gave, for one width."""
    import torch

    if callable(example) and not isinstance(example, torch.Tensor):
        example = example(width)
    if example is None:
        raise SettingError("example", None, NEEDS)
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example) if isinstance(example, tuple | list) else (example,)), {}


def filled(value: Any) -> Any:
    """An input of zeros stands for data like any other."""
    import torch

    if isinstance(value, torch.Tensor) and value.is_floating_point() and not value.any():
        return torch.randn(value.shape, generator=torch.Generator().manual_seed(0)).to(value)
    return value


def made(model: torch.nn.Module) -> Inputs:
    """An input that a model takes: its own ``dummy_inputs``, or tokens, vectors or images as its first layer reads.

    Raises:
        SettingError: where it takes none of them.
    """
    import torch

    tried = copy.deepcopy(model)  # statistics of batches, for example, stay as they are
    why = "it has no layer that says what it reads"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for example in _candidates(tried):
            args, kwargs = inputs = read(example, 0)
            try:
                with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
                    tried(*args, **kwargs)
            except Exception as error:  # whatever the user's model raises
                why = f"made from its first layer, it raises {type(error).__name__}: {str(error).strip()[:200]}"
                continue
            return inputs
    raise SettingError("example", None, f"{NEEDS}; {' '.join(why.split())}")


def _candidates(model: torch.nn.Module) -> Iterator[Any]:
    import torch
    from torch import nn

    for name in ("dummy_inputs", "example_input_array"):
        with contextlib.suppress(Exception):
            if (own := getattr(model, name, None)) is not None:
                yield own
    for layer in model.modules():
        match layer:
            case nn.Embedding() | nn.EmbeddingBag():
                yield from (torch.randint(layer.num_embeddings, (BATCH, t)) for t in POSITIONS)
            case nn.Linear():
                yield torch.randn(BATCH, layer.in_features)
                yield from (torch.randn(BATCH, t, layer.in_features) for t in POSITIONS)
            case nn.Conv1d():
                yield from (torch.randn(BATCH, layer.in_channels, t) for t in PIXELS)
            case nn.Conv2d():
                yield from (torch.randn(BATCH, layer.in_channels, t, t) for t in PIXELS)
            case nn.RNNBase():
                yield torch.randn(BATCH, POSITIONS[0], layer.input_size)
            case _:
                continue
        return
