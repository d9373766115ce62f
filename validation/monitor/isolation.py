"""Isolation: a probe pass leaves no trace in the training that it watches.

Besides its result, a forward pass draws random numbers (dropout) and writes to buffers (the running statistics of batch
normalisation). Every probe pass draws the same numbers, so that masks are the same at every step, and afterwards all
random streams are what they were. It writes to copies of the buffers, so that it may come between the forward and the
backward pass of the training. There is no autograd graph, and no gradient is touched.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tensorprog.errors import SettingError, Unsupported

__all__ = ["Isolation"]


@dataclass(frozen=True)
class Stream:
    """A global random stream.

    Args:
        start: its state at the start of every probe pass.
    """

    get: Callable[[], Any]
    set: Callable[[Any], Any]
    start: Any

    @property
    def drawn(self) -> bool:
        """Numbers were drawn since the start."""
        return repr(self.get()) != repr(self.start)


def _torch_streams(devices: Iterable[torch.device], seed: int) -> list[Stream]:
    generators = [torch.default_generator]
    for device in devices:
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            generators.append(torch.cuda.default_generators[index])
    return [
        Stream(g.get_state, g.set_state, torch.Generator(g.device).manual_seed(seed).get_state()) for g in generators
    ]


@dataclass(frozen=True)
class Held:
    """A buffer: where it is registered, it and its version, and the copy that a pass gets if it writes to it."""

    owner: dict[str, Tensor | None]
    name: str
    buffer: Tensor
    version: int
    copy: Tensor | None

    @property
    def written(self) -> bool:
        """The pass has written to it, or has registered another tensor in its place."""
        used, version = (self.buffer, self.version) if self.copy is None else (self.copy, 0)
        if self.owner.get(self.name) is not used or used._version != version:
            return True
        # Batch normalisation writes its statistics without a new version.
        return self.copy is not None and not torch.equal(self.copy, self.buffer)


class Isolation:
    """The context of each forward pass of a model.

    Args:
        model: in the train or eval mode that it is to be measured in.
        devices: that random numbers may be drawn on, besides the CPU.
        seed: of the random streams in every pass.
    """

    def __init__(self, model: nn.Module, devices: Iterable[torch.device], seed: int) -> None:
        self._modules = list(model.modules())
        self._modes = [m.training for m in self._modules]
        self._streams = _torch_streams(devices, seed)
        # These are slow to copy; the first pass shows whether the model draws from them.
        self._slow_streams = [
            Stream(random.getstate, random.setstate, random.Random(seed).getstate()),
            Stream(np.random.get_state, np.random.set_state, np.random.RandomState(seed).get_state()),
        ]
        self._written: set[tuple[int, str]] | None = None
        """Buffers that passes write to, by owner and name, once the first pass has shown which."""
        self._states: list[tuple[Stream, Any]] = []
        self._buffers: list[Held] = []
        self._no_grad = torch.no_grad()

    def __enter__(self) -> None:
        """Before a forward pass.

        Raises:
            SettingError: a module's train or eval mode is not the one at construction.
        """
        if [m.training for m in self._modules] != self._modes:
            need = "initial values were taken before the switch; switch back to measure, or build the check after it"
            raise SettingError("mode of the model", "a switch between train and eval", need)
        self._no_grad.__enter__()
        self._buffers = self._held()
        self._states = [(s, s.get()) for s in [*self._streams, *self._slow_streams]]
        for s, _ in self._states:
            s.set(s.start)

    def __exit__(self, *error: object) -> None:
        """After it: everything is put back, also where it failed."""
        if self._written is None:
            self._slow_streams = [s for s in self._slow_streams if s.drawn]
        for s, state in self._states:
            s.set(state)
        self._no_grad.__exit__(None, None, None)
        self._put_back()

    def _held(self) -> list[Held]:
        held: list[Held] = []
        copies: dict[int, Tensor] = {}
        for m in self._modules:
            for name, b in m._buffers.items():
                if b is None:
                    continue
                copy = None
                if self._written is None or (id(m._buffers), name) in self._written:
                    copy = m._buffers[name] = copies.setdefault(id(b), b.clone())
                held.append(Held(m._buffers, name, b, b._version, copy))
        return held

    def _put_back(self) -> None:
        written = {(id(b.owner), b.name) for b in self._buffers if self._written is None and b.written}
        missed = [b.name for b in self._buffers if b.copy is None and b.written]
        for b in self._buffers:
            b.owner[b.name] = b.buffer
        self._buffers = []
        if self._written is None:
            self._written = written
        if missed:
            raise Unsupported(
                f"a forward pass that writes to buffer {missed[0]!r} at some steps only",
                "it had no copy to write to",
                "Probe a part of the model whose control flow does not depend on the step.",
            )
