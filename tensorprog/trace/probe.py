"""Probes: what an optimizer class that nobody has heard of does, measured.

One step on copies of the model with gradients of rank two, singular values 4 and 1: again with larger gradients, larger
learning rates and larger weights. The four answers tell the family:

    gradient times s    step times s: descent; the same: everything else
    entries all alike   sign-type
    singular values     alike: orthogonalised; 4 to 1: divided by a norm
    weights times s     step times s: a trust ratio, or parameter scaling
    rate times s        step times s; the same where something behind the direction sets the size of the step

What shape factors and hidden constants do to the size of the step is part of the measured rate.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorprog.errors import SettingError
from tensorprog.optimizers import LARS, SGD, Muon, NormalisedGD, Optimizer, SignSGD
from tensorprog.trace.powers import Power, power_of

if TYPE_CHECKING:
    import torch

__all__ = ["Probed", "probe", "several"]

FACTOR = 16.0
"""By which gradients, rates and weights are enlarged."""
RATIO = 4.0
"""Of the two singular values of a gradient."""
TOLERANCE = 0.2
"""Of a measured rate's exponent, which is a multiple of one half."""


@dataclass(frozen=True)
class Probed:
    """What a step of one parameter was found to be.

    Args:
        entry: of tensorprog, with the same direction.
        rate: the learning rate that this entry would need to make steps of this size.
        ignores_rate: the step does not change with the learning rate.
    """

    entry: Optimizer
    rate: Power
    ignores_rate: bool


def probe(make: Callable[[Any], Any], models: Sequence[torch.nn.Module], widths: Sequence[int]) -> dict[str, Probed]:
    """The direction and the size of the step of every parameter that a step moves.

    Args:
        make: the user's function model -> optimizer or list of optimizers.
        models: at every width; copies of them are trained for one step.
        widths: of the models.

    Raises:
        SettingError: where a step cannot be made, or is none that has a name.
    """
    plain = [_steps(make, m) for m in models]
    gradient = [_steps(make, m, gradient=FACTOR) for m in models]
    rate = [_steps(make, m, rate=FACTOR) for m in models]
    weight = [_steps(make, m, weight=FACTOR) for m in models]
    found = {}
    for name, step in plain[-1].items():
        if not float(step.norm()):
            continue
        degree, speed, trust = (_power(other[-1][name], step) for other in (gradient, rate, weight))
        entry = _entry(name, step, degree, trust)
        sizes = [_unit(entry, s[name], m.get_parameter(name)) for s, m in zip(plain, models, strict=True)]
        power = power_of(sizes, widths, TOLERANCE, (2,))
        if power is None:
            told = ", ".join(f"{x:.3g}" for x in sizes)
            raise SettingError(
                "optimizer", f"steps of {name} of size {told}", "needs steps that are a power of the width"
            )
        found[name] = Probed(entry, power, ignores_rate=speed < 0.5)
    return found


def several(made: Any) -> list[Any]:
    """The optimizers in what a user's function returns: one, a list, or with schedules as trainers take them.

    Raises:
        SettingError: for anything else.
    """
    if isinstance(made, Mapping) and "optimizer" in made:
        return several(made["optimizer"])
    if isinstance(made, list | tuple):
        return [one for part in made for one in several(part)]
    if hasattr(made, "param_groups"):
        return [made]
    if hasattr(made, "optimizer") and hasattr(made, "step"):  # a schedule of learning rates
        return []
    raise SettingError("optimizer", type(made).__name__, "needs a torch optimizer, or a list of them")


def _steps(
    make: Callable[[Any], Any], model: torch.nn.Module, *, gradient: float = 1.0, rate: float = 1.0, weight: float = 1.0
) -> dict[str, torch.Tensor]:
    """The change of every trained parameter in one step."""
    import torch

    trained = copy.deepcopy(model)
    own = {name: p for name, p in trained.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for p in own.values():
            p.mul_(weight)
    try:
        made = make(trained)
        optimizers = several(made)
        before = {}
        for k, (name, p) in enumerate(own.items()):
            before[name] = p.detach().clone()
            p.grad = gradient * _gradient(p, k)
        for one in optimizers:
            for group in one.param_groups:
                if group.get("lr") is not None:
                    group["lr"] = group.get("initial_lr", group["lr"]) * rate
                group["weight_decay"] = 0.0
            one.step()
    except Exception as error:  # whatever the user's optimizer raises
        told = f"{type(error).__name__}: {error}"
        raise SettingError("optimizer", told, "cannot make a step; declare what it does with entries={...}") from error
    return {name: (p.detach() - before[name]).double() for name, p in own.items()}


def _gradient(p: torch.Tensor, seed: int) -> torch.Tensor:
    """Entries of size one, rank two with singular values 4 and 1 where the parameter is a matrix."""
    import torch

    g = torch.Generator().manual_seed(seed)
    if p.dim() < 2:
        return torch.randn(p.shape, generator=g).to(p)
    rows, columns = p.shape[0], p.numel() // p.shape[0]
    u, _ = torch.linalg.qr(torch.randn(rows, min(2, rows, columns), generator=g))
    v, _ = torch.linalg.qr(torch.randn(columns, u.shape[1], generator=g))
    singular = torch.tensor([RATIO, 1.0])[: u.shape[1]]
    result = (u * singular) @ v.T
    scaled: torch.Tensor = (result / result.square().mean().sqrt()).reshape(p.shape).to(p)
    return scaled


def _power(larger: torch.Tensor, step: torch.Tensor) -> float:
    """The power of FACTOR by which a step has grown."""
    return math.log(max(float(larger.norm()), 1e-30) / float(step.norm())) / math.log(FACTOR)


def _entry(name: str, step: torch.Tensor, degree: float, trust: float) -> Optimizer:
    import torch

    sizes = step.abs().reshape(-1)
    alike = float(sizes.max() - sizes.min()) < 0.05 * float(sizes.max())
    if abs(degree - 1) < 0.1 and abs(trust) < 0.1:
        return SGD()
    if abs(degree) < 0.1:
        if alike and abs(trust) < 0.1:
            return SignSGD()
        matrix = step.reshape(step.shape[0], -1) if step.dim() > 1 else step.reshape(1, -1)
        singular = torch.linalg.svdvals(matrix)
        equal = len(singular) > 1 and float(singular[0] / singular[1]) < math.sqrt(RATIO)
        if equal and abs(trust) < 0.1:
            return Muon()
        if not equal:
            return LARS() if abs(trust - 1) < 0.1 else NormalisedGD()
    raise SettingError(
        "optimizer",
        f"a step of {name} that grows as gradient^{degree:.2g} and weight^{trust:.2g}",
        "is in no family that is known; declare what it does with entries={...}",
    )


def _unit(entry: Optimizer, step: torch.Tensor, weight: Any) -> float:
    """The size of a step over that of the entry's own at rate one, for gradients with entries of size one."""
    size = float(step.square().mean().sqrt())
    if isinstance(entry, Muon | NormalisedGD):
        return size * math.sqrt(step.numel())
    if isinstance(entry, LARS):
        return size / float(weight.detach().double().square().mean().sqrt())
    return size
