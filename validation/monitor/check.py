"""Monitor: the refined coordinate check of any torch module, on a fixed probe batch.

Every use of a parameter in the forward pass is a *site*: linear, matmul, einsum, convolution, embedding, gain, bias,
whether a layer or ``x @ self.w``. Sizes are RMS over all entries, as in :mod:`validation.measure`:

    effective             (W_t - W_0) x_t
    propagating           W_0 (x_t - x_0), absent where x never changes
    activation, feature   x_t after bias and nonlinearity, and its change
    alignment_*           log(RMS(W x) / (RMS(W) RMS(x))) / log(fan_in) of W_0 x_t (initial), (W_t - W_0) x_t
                          (effective) and W_0 (x_t - x_0) (propagating): 1/2 for independent W and x, 1 for aligned ones
    gradient              of each parameter, as the last training step has left it in .grad
    logits, logit_update, loss_gradient (chi = dL/dlogits per example)

Nothing is attached to the model: a torch function mode sees the calls of the probe's own forward pass.

Ref: Haas et al. 2025 (arXiv 2505.22491), Section 4; alignment: Everett et al. 2024 (arXiv 2407.05872), Section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tensorprog.errors import SettingError, Unsupported
from validation.measure import Quantity
from validation.monitor.isolation import Isolation
from validation.monitor.primitives import Pass, tensors_in
from validation.monitor.reading import Layout, Reading
from validation.monitor.replay import Measuring, Recording
from validation.monitor.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RefinedCheck"]

SAME = 1e-2
"""Relative change up to which two passes are the same: the order of sums on a GPU in low precision is not."""


class RefinedCheck:
    """Remembers the model's initial weights and values; measures whenever it is asked to.

    Args:
        model: at initialisation, in the train or eval mode that it is to be measured in. Of a compiled model the
            original one is measured.
        probe: its input, fixed for all steps: a tensor, a tuple of several inputs, or a dictionary of keywords.
        loss: ``loss(logits, targets)``, a mean over examples, for chi.
        targets: of the probe.
        logits: finds the logits in what the model returns; needed where that is not a tensor, a tuple that starts with
            one, or an object or dictionary with ``logits``.
        seed: of dropout masks, which are the same at every step.
        alignments, gradients: whether to measure these; without them a check costs less.

    Attributes:
        sites: names, in the order of the forward pass: the parameter's name, with #2, #3 for further uses of a tied
            weight or of a module that is called again.
        unused: names of parameters that no site uses.
        readings: everything measured so far, one for each call of :meth:`at`.

    Assumes:
        The forward pass makes the same torch calls at every step; this is checked. Its buffers do not change in
        training, besides running statistics of normalisations.

    Raises:
        Unsupported: for an operator whose part in a parameter is not known, with its name.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> check = RefinedCheck(model, torch.ones(4, 2))
        >>> check.sites
        ('0.weight', '0.bias', '2.weight', '2.bias')
    """

    def __init__(
        self,
        model: nn.Module,
        probe: Any,
        *,
        loss: Callable[[Tensor, Any], Tensor] | None = None,
        targets: Any = None,
        logits: Callable[[Any], Tensor] | None = None,
        seed: int = 0,
        alignments: bool = True,
        gradients: bool = True,
    ) -> None:
        if (loss is None) != (targets is None):
            raise SettingError("loss" if loss is None else "targets", None, "chi needs both, a loss and targets")
        self._model = getattr(model, "_orig_mod", model)
        self._parameters = dict(self._model.named_parameters())
        for name, p in self._parameters.items():
            if isinstance(p, nn.parameter.UninitializedParameter):
                raise SettingError(f"parameter {name}", "no shape yet", "run a lazy model once before it is measured")
        self._probe, self._targets = _copy(probe), _copy(targets)
        self._loss, self._find_logits = loss, logits or _logits
        devices = {x.device for x in [*self._parameters.values(), *tensors_in(self._probe)]}
        self._isolated = Isolation(self._model, sorted(devices, key=str), seed)
        self._scratch: dict[Any, Tensor] = {}
        self._gradients = gradients
        self._layout: Layout | None = None
        self.readings: list[Reading] = []

        trace_of, self._rewrites = _copy(self._probe), False
        trace = Trace(self._parameters, trace_of, alignments)
        with self._isolated:
            self._tape = trace.tape(self._run(trace, trace_of))
        # A model that writes into its input gets a copy at every pass.
        self._rewrites = any(x._version for x in tensors_in(trace_of))
        used = {name for site in self._tape.sites for name in site.parameters}
        copies = {p: p.detach().clone() for name, p in self._parameters.items() if name in used}
        recording = Recording(self._tape, copies)
        with self._isolated:
            self._logits_0 = self._run(recording, self._probe).clone()
        recording.end()
        self._one_hot = _one_hot(loss, self._targets, self._logits_0)
        self.sites = tuple(site.name for site in self._tape.sites)
        self.unused = tuple(name for name in self._parameters if name not in used)
        _refuse_chance(self._read(1))

    def at(self, step: int) -> Reading:
        """All sizes now; ``step`` is only written down. Updates, changes and gradients exist from step 1 on."""
        self.readings.append(reading := self._read(step))
        return reading

    def _read(self, step: int) -> Reading:
        run = Measuring(self._tape, self._scratch)
        with self._isolated, np.errstate(over="ignore"):
            logits = self._run(run, self._probe)
            run.end()
            chi = self._chi(logits)
            add = run.sizes.add
            output = {Quantity.LOGITS: add(logits), Quantity.LOGIT_UPDATE: add(logits - self._logits_0)}
            if chi is not None:
                output[Quantity.LOSS_GRADIENT] = add(chi)
            measured = self._parameters.items() if self._gradients else ()
            gradients = [name for name, p in measured if p.grad is not None]
            for name in gradients:
                add(_dense(self._parameters[name].grad))
        if self._layout is None:
            self._layout = Layout(self._tape.sites, run, output)
        return Reading(self._layout, step, run.sizes.read(), run.scales, gradients)

    def frame(self) -> pd.DataFrame:
        """Everything measured so far in long form: site, quantity, step, size."""
        import pandas as pd

        rows = [(m.site, m.quantity.value, m.step, m.size) for reading in self.readings for m in reading]
        return pd.DataFrame(rows, columns=["site", "quantity", "step", "size"])

    def _run(self, run: Pass, probe: Any) -> Tensor:
        if self._rewrites:
            probe = _copy(probe)
        with run:
            if isinstance(probe, dict):
                output = self._model(**probe)
            elif isinstance(probe, (tuple, list)):
                output = self._model(*probe)
            else:
                output = self._model(probe)
            return self._find_logits(output)

    def _chi(self, logits: Tensor) -> Tensor | None:
        """dL/dlogits of each example's own loss: a loss is a mean over examples, so its gradient times their number."""
        if self._loss is None:
            return None
        if self._one_hot is not None:
            return logits.softmax(-1) - self._one_hot
        with torch.enable_grad():
            f = logits.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self._loss(f, self._targets), f)
        return gradient * (f.numel() // f.shape[-1] if f.ndim > 1 else f.numel())


def _refuse_chance(reading: Reading) -> None:
    """Make sure that nothing changes while no weight does."""
    sizes = {(m.site, m.quantity): m.size for m in reading}
    for change, of in ((Quantity.FEATURE, Quantity.ACTIVATION), (Quantity.LOGIT_UPDATE, Quantity.LOGITS)):
        for (site, quantity), size in sizes.items():
            if quantity is change and size > SAME * sizes[site, of]:
                raise Unsupported(
                    "a forward pass that gives another result each time",
                    f"with the same weights and input, the {of.value} of {site} changed by {size:.2g}",
                    "Probe it without random numbers from a generator of its own and without state between calls.",
                )


def _one_hot(loss: Any, targets: Any, logits: Tensor) -> Tensor | None:
    """What chi of cross-entropy subtracts from the probabilities; None for other losses, which need autograd."""
    plain = type(loss) is nn.CrossEntropyLoss and (loss.weight, loss.reduction, loss.label_smoothing) == (
        None,
        "mean",
        0,
    )
    if not plain and loss is not functional.cross_entropy:
        return None
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or targets.is_floating_point() or targets.min() < 0:
        return None
    return functional.one_hot(targets, logits.shape[1]).to(logits.dtype)


def _dense(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient if gradient.layout is torch.strided else gradient.to_dense()


def _logits(output: Any) -> Tensor:
    found = output
    if isinstance(output, Mapping):
        found = output.get("logits")
    elif hasattr(output, "logits"):
        found = output.logits
    elif isinstance(output, (tuple, list)) and output:
        found = output[0]
    if not isinstance(found, Tensor):
        raise SettingError(
            "output of the model", type(output).__name__, "pass logits=..., which finds the logits in it"
        )
    return found


def _copy(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x.detach().clone()
    if type(x) in (tuple, list):
        return type(x)(map(_copy, x))
    return {k: _copy(v) for k, v in x.items()} if type(x) is dict else x
