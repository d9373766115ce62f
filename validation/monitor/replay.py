"""Replay: what happens at each call on the tape when the forward pass is run again.

:class:`Recording` follows the tape at initialisation and keeps the initial values. :class:`Measuring` follows it later
and takes the sizes of the two updates at every site on the way:

    effective     f(w_t - w_0, x_t)
    propagating   f(w_0, x_t - x_0)

both directly, because f is linear in each argument; differences of outputs would lose small updates in float32. The
value that the rest of the pass needs is f(w_t, x_t) = f(w_0, x_0) + propagating + effective, which saves a third of the
work. The sum has the rounding errors of its parts, so it is taken only where none is a hundred times as large as it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tensorprog.errors import Unsupported
from validation.monitor.primitives import Compute, Function, Pass, Product, name_of
from validation.monitor.tape import Site, Slot, Tape
from validation.sizes import BLOCK, UNDERFLOW, Sizes, rms

__all__ = ["Measuring", "Recording"]

WIDE, STRIP_EXAMPLES = 1 << 19, 256
"""Entries of a weight from which on, and examples up to which, a linear layer is multiplied strip by strip."""
SUMMED = 1 << 16
"""Entries of a weight from which on its product with x_t is summed from parts rather than multiplied out."""
CANCELS = 1e-2
"""A sum is exact enough if it is at least this part of the largest summand."""
SCRATCH = 1 << 14
"""Entries from which on a difference of weights is written into memory that is kept: allocating it costs as much."""


class Following(Pass):
    """A pass that does what the tape says, and makes sure that the model still calls what is on it."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._calls, self._primitives = tape.calls, tape.primitives
        self._call = self._primitive = 0

    def __torch_function__(self, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        place = self._call
        self._call = place + 1
        if place == len(self._calls):
            raise self._changed("no further call")
        call = self._calls[place]
        # Attribute getters are equal, but made anew at each access.
        if call.function is not func and call.function != func:
            raise self._changed(name_of(call.function), name_of(func))
        if call.rule is not None:
            if call.primitive is not None and call.primitive != self._primitive:
                raise self._changed("after a call with other arguments")
            result = call.rule(self, func, *args, **kwargs) if kwargs else call.rule(self, func, *args)
        else:
            result = func(*args, **kwargs) if kwargs else func(*args)
        if call.slot is not None:
            self._meet(call.slot, result)
        return result

    def end(self) -> None:
        """Make sure that nothing is left over."""
        if self._call != len(self._calls):
            raise self._changed(name_of(self._calls[self._call].function), "the end")
        if self._primitive != len(self._primitives):
            raise self._changed("with other arguments")

    def _changed(self, then: str, now: str = "another one") -> Unsupported:
        return Unsupported(
            "a forward pass that changes between calls",
            f"torch call {self._call} was {then} at initialisation, and is {now}",
            "Probe a part of the model whose control flow depends neither on values nor on chance nor on the step.",
        )

    def _next(self, tensors: tuple[Tensor, ...]) -> Site | None:
        place = self._primitive
        self._primitive = place + 1
        if place == len(self._primitives):
            raise self._changed("with other arguments")
        site = self._primitives[place]
        if site is not None and site.parameter is not None and site.parameter is not tensors[site.place % len(tensors)]:
            raise self._changed(f"with parameter {site.name}", "with another tensor")
        return site

    def _meet(self, slot: Slot, x: Tensor) -> Tensor:
        raise NotImplementedError

    def plain(self, f: Compute, *tensors: Tensor, moves: bool = False) -> Any:
        return f(*tensors)


class Recording(Following):
    """The pass that keeps the initial values.

    Args:
        parameters: for each, its copy; weights that are views of parameters become views of these.
    """

    def __init__(self, tape: Tape, parameters: Mapping[nn.Parameter, Tensor]) -> None:
        super().__init__(tape)
        self._copies = {id(p): copy for p, copy in parameters.items()}
        self._storages = {p.untyped_storage().data_ptr(): p for p in parameters}

    def _copy(self, w: Tensor) -> Tensor:
        if id(w) in self._copies:
            return self._copies[id(w)]
        p = self._storages.get(w.untyped_storage().data_ptr())
        if p is not None and w.dtype is p.dtype and self._copies[id(p)].stride() == p.stride():
            return self._copies[id(p)].as_strided(w.shape, w.stride(), w.storage_offset() - p.storage_offset())
        return w.detach().clone()

    def _meet(self, slot: Slot, x: Tensor) -> Tensor:
        if slot.initial is None:
            slot.initial = x.clone()
        return slot.initial

    def product(self, kind: Product, f: Compute, *tensors: Tensor, result: Compute | None = None) -> Tensor:
        site = self._next(tensors)
        if site is None:
            return f(*tensors) if result is None else result()
        w = tensors[site.place]
        site.weight = self._copy(w)
        for place, slot in site.inputs:
            self._meet(slot, tensors[place])
        if site.fan_in is not None:
            site.weight_size = rms(w)
            site.input_size = rms(tensors[1 - site.place])
        y: Tensor = f(*tensors) if result is None else result()
        if site.keeps:
            site.result = y.clone()
            site.result_size = rms(y)
        return self._done(site, y)

    def shift(self, result: Compute, x: Tensor, y: Tensor, alpha: float = 1.0) -> Tensor:
        site = self._next((x, y))
        if site is None:
            return result()
        site.weight = self._copy((x, y)[site.place])
        return self._done(site, result())

    def pick(self, f: Compute, w: Tensor, *indices: Tensor) -> Tensor:
        site = self._next((w,))
        y: Tensor = f(w)
        if site is None:
            return y
        if site.keeps:
            site.result = y.clone()
        else:
            site.weight = self._copy(w)
        return self._done(site, y)

    def value(self, x: Tensor) -> Tensor:
        site = self._next((x,))
        if site is None:
            return x
        site.weight = self._copy(x)
        return self._done(site, x)

    def scaled(self, factor: float, result: Compute) -> Tensor:
        return result()

    def _done(self, site: Site, y: Tensor) -> Tensor:
        if site.slot is not None:
            self._meet(site.slot, y)
        return y


class Measuring(Following):
    """A pass that takes all sizes.

    Args:
        scratch: memory for differences of weights, kept from pass to pass.

    Attributes:
        sizes: all of them; the other attributes are numbers in it.
        effective, propagating, initial, update: per site, of f(w_t - w_0, x_t), f(w_0, x_t - x_0), f(w_0, x_t) and
            w_t - w_0, the last two where alignments are defined.
        values, changes: per slot, of x_t and x_t - x_0.
        scales: the numbers that followed products are multiplied with.
    """

    def __init__(self, tape: Tape, scratch: dict[Any, Tensor]) -> None:
        super().__init__(tape)
        self.sizes = Sizes()
        self.effective: dict[Site, int] = {}
        self.propagating: dict[Site, int] = {}
        self.initial: dict[Site, int] = {}
        self.update: dict[Site, int] = {}
        self.values: dict[Slot, int] = {}
        self.changes: dict[Slot, int] = {}
        self.scales: list[float] = []
        self._moved: dict[Slot, Tensor] = {}
        self._scratch = scratch

    def _meet(self, slot: Slot, x: Tensor) -> Tensor:
        change = self._moved.get(slot)
        if change is None:
            assert slot.initial is not None
            if x.shape != slot.initial.shape:
                raise self._changed(f"about a tensor {list(slot.initial.shape)}", f"about one {list(x.shape)}")
            change = self._moved[slot] = x - slot.initial
            if slot.sized:
                self.values[slot] = self.sizes.add(x)
                self.changes[slot] = self.sizes.add(change)
        return change

    def _difference(self, site: Site, w: Tensor) -> Tensor:
        if w.numel() < SCRATCH:
            return w - site.weight
        key = w.shape, w.stride(), w.dtype, w.device
        if key not in self._scratch:
            self._scratch[key] = torch.empty_like(site.weight)
        return torch.sub(w, site.weight, out=self._scratch[key])

    def product(self, kind: Product, f: Compute, *tensors: Tensor, result: Compute | None = None) -> Tensor:
        site = self._next(tensors)
        if site is None:
            return f(*tensors) if result is None else result()
        w = tensors[site.place]
        if kind.linear and site.keeps and w.numel() >= WIDE and _in_strips(w, tensors[0]):
            return self._done(site, self._linear(site, w, tensors[0]))
        # Sizes are numbered in the same order as in _linear.
        moved = [(place, slot, self._meet(slot, tensors[place])) for place, slot in site.inputs]
        args = list(tensors)
        args[site.place] = change = self._difference(site, w)
        if site.fan_in is not None:
            self.update[site] = self.sizes.add(change)
        effective: Tensor = f(*args)
        self.effective[site] = self.sizes.add(effective)
        args[site.place] = site.weight
        propagating: Tensor | None = None
        for place, slot, change in moved:
            # Of several inputs one after the other, from x_0 to x_t: these changes add up to the whole.
            args[place] = change
            part = f(*args)
            propagating = part if propagating is None else propagating + part
            assert slot.initial is not None
            args[place] = slot.initial
        if propagating is not None:
            self.propagating[site] = self.sizes.add(propagating)
        if site.keeps and (site.fan_in is not None or w.numel() >= SUMMED):
            initial = site.result if propagating is None else site.result + propagating
            self.initial[site] = self.sizes.add(initial)
            if self._exact(site):
                return self._done(site, initial + effective)
        return self._done(site, f(*tensors) if result is None else result())

    def _exact(self, site: Site) -> bool:
        """The sum of f(w_0, x_t) and the effective update is not much smaller than anything that is added.

        By the triangle inequality, from sizes that are known anyway. On an accelerator they are not known yet.
        """
        effective, initial = self.sizes[self.effective[site]], self.sizes[self.initial[site]]
        propagating = self.sizes[self.propagating[site]] if site in self.propagating else 0.0
        if effective is None or initial is None or propagating is None:
            return False
        # Never true where something is not a number.
        return abs(initial - effective) >= CANCELS * max(initial, effective, propagating, site.result_size)

    def _linear(self, site: Site, w: Tensor, x: Tensor) -> Tensor:
        """The product x w^T of a wide weight, strip by strip.

        The weights are the most that is to be read from memory: each strip of w_t and w_0 is read once, and what is
        made of it stays in the processor's cache.
        """
        slot = site.inputs[0][1] if site.inputs else None
        dx = None if slot is None else self._meet(slot, x)
        columns = [v.reshape(-1, w.shape[1]).t().contiguous() for v in (x, dx) if v is not None]
        out = w.new_empty(2, w.shape[0], columns[0].shape[1])  # effective and propagating, [outputs, examples]
        height = max(1, BLOCK // w.shape[1])
        key = height, w.shape[1], w.dtype
        if key not in self._scratch:
            self._scratch[key] = w.new_empty(height, w.shape[1])
        change, norms = self._scratch[key], w.new_empty(w.shape[0])
        sized = site.fan_in is not None
        strips = (torch.split(v, height) for v in (w, site.weight, norms, out[0], out[1]))
        for rows, initial, norm, effective, propagating in zip(*strips, strict=True):
            update = torch.sub(rows, initial, out=change[: len(initial)])
            if sized:
                torch.linalg.vector_norm(update, dim=1, out=norm)
            torch.mm(update, columns[0], out=effective)
            if dx is not None:
                torch.mm(initial, columns[1], out=propagating)
        if sized:
            size = float(torch.linalg.vector_norm(norms, dtype=torch.float64)) / math.sqrt(w.numel())
            # Squares that are no float32 numbers are measured with more care.
            representable = UNDERFLOW < size < math.inf
            self.update[site] = self.sizes.note(size) if representable else self.sizes.add(w - site.weight)
        self.effective[site] = self.sizes.add(out[0])
        shape = *x.shape[:-1], w.shape[0]
        total = site.result
        if dx is not None:
            self.propagating[site] = self.sizes.add(out[1])
            total = total + out[1].t().reshape(shape)
        self.initial[site] = self.sizes.add(total)
        return total + out[0].t().reshape(shape) if self._exact(site) else functional.linear(x, w)

    def shift(self, result: Compute, x: Tensor, y: Tensor, alpha: float = 1.0) -> Tensor:
        site = self._next((x, y))
        if site is None:
            return result()
        self.effective[site] = self.sizes.add((y if site.place else x) - site.weight)
        return self._done(site, result())

    def pick(self, f: Compute, w: Tensor, *indices: Tensor) -> Tensor:
        site = self._next((w,))
        y: Tensor = f(w)
        if site is None:
            return y
        self.effective[site] = self.sizes.add(y - (site.result if site.keeps else f(site.weight)))
        return self._done(site, y)

    def value(self, x: Tensor) -> Tensor:
        site = self._next((x,))
        if site is None:
            return x
        self.effective[site] = self.sizes.add(x - site.weight)
        return self._done(site, x)

    def scaled(self, factor: float, result: Compute) -> Tensor:
        self.scales.append(abs(factor))
        return result()

    def _done(self, site: Site, y: Tensor) -> Tensor:
        if site.slot is not None:
            self._meet(site.slot, y)
        return y


def _in_strips(w: Tensor, x: Tensor) -> bool:
    """Few examples on a CPU: reading the weight takes longer than multiplying."""
    few = x.numel() // x.shape[-1] <= STRIP_EXAMPLES
    return few and w.is_cpu and w.is_contiguous() and x.dtype == w.dtype and not torch.is_autocast_enabled("cpu")
