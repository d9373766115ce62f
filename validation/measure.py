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

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from tensorprog.losses import Loss
from tensorprog.program import MatMul
from validation.data import Batch
from validation.realize import Network
from validation.sizes import rms

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
        network: at initialisation.
        loss: for chi.
        probe: the batch that everything is measured on.
    """

    def __init__(self, network: Network, loss: Loss, probe: Batch) -> None:
        self.network, self.loss, self.probe = network, loss, probe
        self.weights = {w: network.parameter(w).detach().clone() for w in network.program.weights}
        with torch.no_grad():
            self.initial = network.values(probe.x)

    def at(self, step: int) -> list[Measurement]:
        """All sizes now; ``step`` is only written down. Updates and changes exist from step 1 on."""
        with torch.no_grad():
            values = self.network.values(self.probe.x)
            return self._sites(step, values) + self._output(step, values)

    def _sites(self, step: int, values: Sequence[Tensor]) -> list[Measurement]:
        found: list[Measurement] = []

        def note(quantity: Quantity, x: Tensor) -> None:
            found.append(Measurement(site.name, quantity, step, rms(x)))

        program = self.network.program
        for name, i in program.observed:
            found.append(Measurement(name, Quantity.ACTIVATION, step, rms(values[i])))
            if step:
                found.append(Measurement(name, Quantity.FEATURE, step, rms(values[i] - self.initial[i])))
        for site in program.sites:
            matmul = program.instructions[site.product]
            assert isinstance(matmul, MatMul)
            (x,) = matmul.args
            if site.activation != program.output:
                note(Quantity.ACTIVATION, values[site.activation])
            if not step:
                continue
            w_0 = self.weights[site.weight]
            w_t = self.network.parameter(site.weight)
            note(Quantity.EFFECTIVE, self.network.product(matmul, w_t - w_0, values[x]))
            if site.trained_input:
                note(Quantity.PROPAGATING, self.network.product(matmul, w_0, values[x] - self.initial[x]))
            if site.activation != program.output:
                note(Quantity.FEATURE, values[site.activation] - self.initial[site.activation])
        return found

    def _output(self, step: int, values: Sequence[Tensor]) -> list[Measurement]:
        output = self.network.program.output
        found = [Measurement(OUTPUT, Quantity.LOGITS, step, rms(values[output]))]
        if step:
            change = values[output] - self.initial[output]
            found.append(Measurement(OUTPUT, Quantity.LOGIT_UPDATE, step, rms(change)))
        elif self.loss.degree:
            chi = self._chi(torch.zeros_like(values[output]))
            found.append(Measurement(OUTPUT, Quantity.TARGETS, step, rms(chi)))
        found.append(Measurement(OUTPUT, Quantity.LOSS_GRADIENT, step, rms(self._chi(values[output]))))
        return found

    def _chi(self, logits: Tensor) -> Tensor:
        """dL/dlogits of each example's own loss: a loss is a mean over the batch, so its gradient times the batch."""
        with torch.enable_grad():
            f = logits.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.loss.torch(f, self.probe.y), f)
        return gradient * len(self.probe.y)
