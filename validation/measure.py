"""Measurement: the refined coordinate check, on a fixed probe batch.

All sizes are RMS over all entries [examples x coordinates], multipliers included (W is the effective weight n^-a w):

    activation      x_t, after bias and nonlinearity
    effective       (W_t - W_0) x_t, computed from the difference of the weights: the difference of two large
                    outputs would lose small updates in float32
    propagating     W_0 (x_t - x_0), absent where the weight reads data, which never change
    feature         change of the activation since initialisation
    logits, logit_update, loss_gradient (chi = dL/dlogits per example)

Ref: Haas et al. 2025 (arXiv 2505.22491), Section 4, "refined coordinate check"; Yang & Hu 2021 (arXiv 2011.14522).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from tensorprog.losses import Loss
from tensorprog.program import MatMul
from validation.data import Batch
from validation.ensemble import mean_loss
from validation.realize import Network
from validation.sizes import rms, rms_of_each

__all__ = ["OUTPUT", "CoordinateCheck", "Measurement", "Quantity", "rms"]

OUTPUT = "output"
"""The site of quantities that belong to the whole network."""


class Quantity(Enum):
    """What is measured; the values are the names in predictions, records and JSON."""

    ACTIVATION = "activation"
    EFFECTIVE = "effective"
    PROPAGATING = "propagating"
    FEATURE = "feature"
    LOGITS = "logits"
    LOGIT_UPDATE = "logit_update"
    LOSS_GRADIENT = "loss_gradient"
    GRADIENT = "gradient"
    ALIGNMENT_INITIAL = "alignment_initial"
    ALIGNMENT_EFFECTIVE = "alignment_effective"
    ALIGNMENT_PROPAGATING = "alignment_propagating"
    TARGETS = "targets"
    """Of a loss that grows: chi at zero logits, which is what the targets alone contribute to it."""
    REGIME = "regime"
    """Not a size: the quantity that a predicted regime is about."""


@dataclass(frozen=True)
class Measurement:
    """One measured size.

    Args:
        site: of the weight, or ``OUTPUT``.
        step: optimizer steps taken so far.
        size: RMS over entries; nan and inf are kept as they are, a diverged run is data.
    """

    site: str
    quantity: Quantity
    step: int
    size: float


class CoordinateCheck:
    """Remembers the initial weights and the probe's initial values; measures whenever it is asked to.

    Nothing is attached to the network: no hooks, no flags. It reads values and parameters under ``no_grad`` and draws
    no random numbers, so training runs the same with and without it.

    Args:
        network: at initialisation; one, or several side by side.
        loss: for chi.
        probe: the batch that everything is measured on; of several networks, one of each, stacked.
    """

    def __init__(self, network: Network, loss: Loss, probe: Batch) -> None:
        self.network, self.loss, self.probe = network, loss, probe
        initial = {w: network.parameter(w).detach().clone() for w in network.program.weights}
        # Found once: they take longer to find than a product of a small network.
        self._sites = [(s, network.parameter(s.weight), initial[s.weight]) for s in network.program.sites]
        self._observed = network.program.observed
        # Differences of weights go into memory that is kept: to allocate it takes as long as to fill it.
        self._scratch = {w.shape: torch.empty_like(w) for w in initial.values()}
        with torch.no_grad():
            self.initial = network.values(probe.x)

    def at(self, step: int) -> list[Measurement]:
        """All sizes of one network now; ``step`` is only written down. Updates and changes exist from step 1 on."""
        (found,) = self.of_each(step)
        return found

    def of_each(self, step: int) -> list[list[Measurement]]:
        """All sizes now, of each of the networks."""
        together = self.network.seeds is not None
        with torch.no_grad():
            found = [
                (site, quantity, rms_of_each(x) if together else [rms(x)]) for site, quantity, x in self._taken(step)
            ]
        count = len(found[0][2])
        return [[Measurement(site, q, step, sizes[i]) for site, q, sizes in found] for i in range(count)]

    def _taken(self, step: int) -> Iterator[tuple[str, Quantity, Tensor]]:
        """Everything whose size is measured."""
        network, initial, output = self.network, self.initial, self.network.program.output
        values = network.values(self.probe.x)
        for name, i in self._observed:
            yield name, Quantity.ACTIVATION, values[i]
            if step:
                yield name, Quantity.FEATURE, values[i] - initial[i]
        for site, w_t, w_0 in self._sites:
            matmul = network.program.instructions[site.product]
            assert isinstance(matmul, MatMul)
            (x,) = matmul.args
            if site.activation != output:
                yield site.name, Quantity.ACTIVATION, values[site.activation]
            if not step:
                continue
            update = torch.sub(w_t, w_0, out=self._scratch[w_0.shape])
            factor = network.multiplier(site)
            yield site.name, Quantity.EFFECTIVE, factor * network.product(matmul, update, values[x])
            if site.trained_input:
                yield site.name, Quantity.PROPAGATING, factor * network.product(matmul, w_0, values[x] - initial[x])
            if site.activation != output:
                yield site.name, Quantity.FEATURE, values[site.activation] - initial[site.activation]
        yield OUTPUT, Quantity.LOGITS, values[output]
        if step:
            yield OUTPUT, Quantity.LOGIT_UPDATE, values[output] - initial[output]
        elif self.loss.degree:
            yield OUTPUT, Quantity.TARGETS, self._chi(torch.zeros_like(values[output]))
        yield OUTPUT, Quantity.LOSS_GRADIENT, self._chi(values[output])

    def _chi(self, logits: Tensor) -> Tensor:
        """dL/dlogits of each example's own loss: a loss is a mean over examples, so its gradient times their number."""
        with torch.enable_grad():
            f = logits.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(mean_loss(self.network, self.loss, f, self.probe.y), f)
        return gradient * logits.shape[: 1 if self.network.seeds is None else 2].numel()
