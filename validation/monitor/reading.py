"""Reading: the sizes that one pass has taken, by site and quantity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

from validation.measure import OUTPUT, Measurement, Quantity
from validation.monitor.replay import Measuring
from validation.monitor.tape import Site

__all__ = ["Layout", "Reading"]

Key = tuple[str, Quantity]


class Reading(Sequence[Measurement]):
    """The measurements of one step, made when they are looked at: a training loop should not wait for them.

    Args:
        layout: what the sizes are of.
        sizes: of everything in one pass, gradients last.
        scales: the numbers that products were multiplied with.
        gradients: parameters that had one.
    """

    def __init__(
        self, layout: Layout, step: int, sizes: list[float], scales: list[float], gradients: Sequence[str]
    ) -> None:
        self.step = step
        self._source = layout, sizes, scales, gradients

    @cached_property
    def _measurements(self) -> list[Measurement]:
        layout, sizes, scales, gradients = self._source
        found = [Measurement(site, q, self.step, x) for (site, q), x in layout.read(sizes, scales)]
        if not self.step:
            return [m for m in found if m.quantity in AT_THE_START]
        last = sizes[len(sizes) - len(gradients) :]
        return found + [
            Measurement(name, Quantity.GRADIENT, self.step, x) for name, x in zip(gradients, last, strict=True)
        ]

    @overload
    def __getitem__(self, index: int) -> Measurement: ...
    @overload
    def __getitem__(self, index: slice) -> list[Measurement]: ...
    def __getitem__(self, index: int | slice) -> Measurement | list[Measurement]:
        return self._measurements[index]

    def __len__(self) -> int:
        return len(self._measurements)


AT_THE_START = frozenset({Quantity.ACTIVATION, Quantity.ALIGNMENT_INITIAL, Quantity.LOGITS, Quantity.LOSS_GRADIENT})
"""Quantities at step 0; the others are changes."""


class Layout:
    """Where the quantities are among the sizes of a pass; it is the same for all passes.

    Args:
        run: some pass, after its end.
        output: numbers of the quantities of the whole model.
    """

    def __init__(self, sites: Sequence[Site], run: Measuring, output: Mapping[Quantity, int]) -> None:
        self._rows = [row for site in sites for row in _rows(site, run)]
        self._rows += [Row((OUTPUT, quantity), number) for quantity, number in output.items()]

    def read(self, sizes: Sequence[float], scales: Sequence[float]) -> Iterator[tuple[Key, float]]:
        """The quantities of a pass, without alignments of what is zero."""
        for row in self._rows:
            size = sizes[row.number]
            if row.fan_in is None:
                yield row.key, size * row.factor * math.prod(scales[i] for i in row.scales)
                continue
            weight, vector = (x if isinstance(x, float) else sizes[x] for x in row.of)
            if size and weight and vector:
                yield row.key, (math.log(size) - math.log(weight) - math.log(vector)) / math.log(row.fan_in)


@dataclass(frozen=True)
class Row:
    """Where one quantity is found.

    Args:
        number: of the size.
        factor, scales: that it is multiplied with; scales by their place among those of the pass.
        fan_in: of an alignment.
        of: the weight and the vector whose product is aligned, their numbers or, where these never change, sizes.
    """

    key: Key
    number: int
    factor: float = 1.0
    scales: Sequence[int] = ()
    fan_in: int | None = None
    of: tuple[int | float, ...] = ()


def _rows(site: Site, run: Measuring) -> Iterator[Row]:
    def key(quantity: Quantity) -> Key:
        return site.name, quantity

    if site.activation is not None:
        yield Row(key(Quantity.ACTIVATION), run.values[site.activation])
    yield Row(key(Quantity.EFFECTIVE), run.effective[site], site.alpha, site.scales)
    if site in run.propagating:
        yield Row(key(Quantity.PROPAGATING), run.propagating[site], site.alpha, site.scales)
    if site.activation is not None:
        yield Row(key(Quantity.FEATURE), run.changes[site.activation])
    if site.fan_in is None:
        return

    def aligned(quantity: Quantity, number: int, *of: int | float) -> Row:
        return Row(key(quantity), number, fan_in=site.fan_in, of=of)

    slot = site.inputs[0][1] if site.inputs else None
    x = site.input_size if slot is None else run.values[slot]
    yield aligned(Quantity.ALIGNMENT_INITIAL, run.initial[site], site.weight_size, x)
    yield aligned(Quantity.ALIGNMENT_EFFECTIVE, run.effective[site], run.update[site], x)
    if slot is not None:
        yield aligned(Quantity.ALIGNMENT_PROPAGATING, run.propagating[site], site.weight_size, run.changes[slot])
