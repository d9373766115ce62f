"""Prescriptions: factors on init, learning rate, epsilon and decay that put a user's model into a parametrization.

At the base width nothing changes. At width n every factor is a power of n / base, by parameter name; so a prescription
survives compilation, wrapping and checkpoints, and can be kept as JSON beside the code that trains.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tensorprog.errors import SettingError, Unsupported
from tensorprog.exponent import ZERO, Exponent, exponent
from tensorprog.parametrizations import Parametrization
from tensorprog.program import ONE
from tensorprog.trace.advice import MAXIMAL, check, decay_of, entry_of, gradients, merged
from tensorprog.trace.departure import Kind
from tensorprog.trace.model import Traced
from tensorprog.trace.powers import power_of
from tensorprog.trace.scalings import targets
from tensorprog.trace.structure import structure

if TYPE_CHECKING:
    import torch

__all__ = ["WRAPPERS", "Prescription", "Scaling", "prescribe"]

WRAPPERS = ("_fsdp_wrapped_module", "_orig_mod", "_checkpoint_wrapped_module", "module")
"""What wrapping adds to the paths of parameters."""


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


@dataclass(frozen=True)
class Scaling:
    """The powers of n / base for one parameter.

    Args:
        init: of its initial entries, on top of what the model's own code does.
        rate, epsilon, decay: of the learning rate, epsilon and the weight decay.
        entry: what trains it, by tensorprog's name.
        shape: its shape at the base width.
        growth: the power of n by which each of its dimensions grows.
    """

    init: Exponent
    rate: Exponent
    epsilon: Exponent
    decay: Exponent
    entry: str
    shape: tuple[int, ...]
    growth: tuple[Exponent, ...]


@dataclass(frozen=True)
class Prescription:
    """How to train a model at any width with the hyperparameters of a base width.

    Args:
        claim: the parametrization that it realises.
        base_width: where nothing changes.
        scalings: by parameter name.
        aliases: further names of tied parameters.
        code: what parameter groups cannot mend: multipliers in the code, and inits of frozen parameters.
    """

    claim: str
    base_width: int
    scalings: Mapping[str, Scaling]
    aliases: Mapping[str, str]
    code: tuple[str, ...] = ()

    def factors(self, name: str, width: int) -> dict[str, float]:
        """The factors of one parameter at a width: ``init``, ``lr``, ``eps``, ``weight_decay``."""
        s, ratio = self.scaling(name), width / self.base_width
        powers = {"init": s.init, "lr": s.rate, "eps": s.epsilon, "weight_decay": s.decay}
        return {key: ratio ** float(e.const) for key, e in powers.items()}

    def scaling(self, name: str) -> Scaling:
        """The powers of one parameter, by its name in the bare or the wrapped model."""
        own = [*self.scalings, *self.aliases]
        # A user's own module may have the name of a wrapper.
        found = name if name in own else next((n for n in own if _unwrapped(n) == _unwrapped(name)), name)
        found = self.aliases.get(found, found)
        if found not in self.scalings:
            raise Unsupported(
                f"a scaling of parameter {name!r}",
                "it was no part of the traced model's logits",
                "Trace the model that you train, or freeze the parameter.",
            )
        return self.scalings[found]

    def width(self, model: torch.nn.Module) -> int:
        """The width of a model, from the shapes of its parameters.

        Raises:
            SettingError: where they do not fit one width; flat parameters of FSDP need ``width=...``.
        """
        found: dict[int, str] = {}
        for name, p in model.named_parameters():
            if not p.requires_grad:
                continue
            s = self.scaling(name)
            if p.dim() != len(s.shape):
                raise SettingError(
                    "width", f"{name} with shape {tuple(p.shape)}", "give width=...: shapes do not tell it"
                )
            for size, base, e in zip(p.shape, s.shape, s.growth, strict=True):
                if e == ZERO and size != base:
                    raise SettingError("model", f"{name} with shape {tuple(p.shape)}", f"was traced as {s.shape}")
                if e != ZERO:
                    found.setdefault(round(self.base_width * (size / base) ** (1 / float(e.const))), name)
        if len(found) != 1:
            told = ", ".join(f"{n} ({name})" for n, name in found.items()) or "no growing dimension"
            raise SettingError("width", told, "give width=...: the shapes do not tell one")
        return next(iter(found))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; :meth:`from_dict` reads them."""
        rows = {
            name: {
                "init": str(s.init),
                "rate": str(s.rate),
                "epsilon": str(s.epsilon),
                "decay": str(s.decay),
                "entry": s.entry,
                "shape": list(s.shape),
                "growth": [str(e) for e in s.growth],
            }
            for name, s in self.scalings.items()
        }
        return {
            "claim": self.claim,
            "base_width": self.base_width,
            "parameters": rows,
            "aliases": dict(self.aliases),
            "code": list(self.code),
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Prescription:
        """Read what :meth:`to_dict` wrote."""
        rows = {
            name: Scaling(
                init=exponent(r["init"], f"{name}, init"),
                rate=exponent(r["rate"], f"{name}, rate"),
                epsilon=exponent(r["epsilon"], f"{name}, epsilon"),
                decay=exponent(r["decay"], f"{name}, decay"),
                entry=r["entry"],
                shape=tuple(r["shape"]),
                growth=tuple(exponent(e) for e in r["growth"]),
            )
            for name, r in given["parameters"].items()
        }
        return cls(given["claim"], given["base_width"], rows, dict(given["aliases"]), tuple(given["code"]))

    def __str__(self) -> str:
        size = max(map(len, self.scalings))
        rows = [f"{self.claim} from base width {self.base_width}; powers of width / {self.base_width}:"]
        rows.append(f"  {'':{size}}  init   lr     eps    decay")
        for name, s in self.scalings.items():
            rows.append(f"  {name:{size}}  " + "  ".join(f"{e!s:5}" for e in (s.init, s.rate, s.epsilon, s.decay)))
        rows += [f"in the code: {text}" for text in self.code]
        return "\n".join(line.rstrip() for line in rows)


def prescribe(traced: Traced, base_width: int, claim: str | Parametrization = "mup") -> Prescription:
    """The factors that put a traced model into a parametrization, from a base width on.

    Args:
        claim: a parametrization; or ``maximal``, which keeps the model's own init and gives every weight its largest
            stable learning rate, or ``maximal-bounded``, the same with bounded logits and attention logits.

    Raises:
        SettingError: for a base width that is no positive integer.
        Unsupported: where parts of one parameter need different factors.
    """
    if isinstance(base_width, bool) or not isinstance(base_width, int) or base_width < 1:
        raise SettingError("base_width", base_width, "needs a positive integer")
    result = check(traced, claim)
    own = traced.parametrization.table
    wanted = targets(traced.program, result.claim, traced.optimizer, {name: abc.b for name, abc in own.items()})
    found: dict[str, Scaling] = {}
    for w in traced.program.weights:
        if not w.trained:
            continue
        name, target = traced.blocks[w.name].parameter, wanted[w.name]
        init = ZERO if own[w.name].b.infinite or target.b.infinite else own[w.name].b - target.b
        entry = entry_of(traced.optimizer, w)
        size = gradients(result.reference, w)
        decay = decay_of(entry)
        coupled = decay is not None and decay[1] and target.degree == ZERO and not own[w.name].b.infinite
        shrink = size + target.b if coupled and w.into is not ONE else target.c
        scaling = Scaling(
            init,
            -target.c,
            ZERO if size.infinite else size,
            shrink,
            entry.name,
            *_shape(traced, name, base_width),
        )
        known = found.get(name, scaling)
        # Epsilon and coupled decay must outgrow no part's gradient.
        found[name] = replace(known, epsilon=min(known.epsilon, scaling.epsilon), decay=min(known.decay, scaling.decay))
        if (known.init, known.rate) != (init, -target.c):
            raise Unsupported(
                f"a parameter group for {name!r}",
                f"its parts need different factors in {result.claim.name}: init n^({known.init}) and n^({init}), rate "
                f"n^({known.rate}) and n^({-target.c})",
                "Split it into one parameter for each part.",
            )
    canonical = _aliases(traced)
    entries = {name: -t.b for name, t in wanted.items()}
    left = list(structure(traced.program, result.reference, entries)) if result.claim.name in MAXIMAL else []
    frozen = {w.name for w in traced.program.weights if not w.trained}
    left += [d for d in result.faults if d.kind is Kind.INIT and frozen.intersection(d.where)]
    return Prescription(result.claim.name, base_width, found, canonical, tuple(map(str, merged(left))))


def _shape(traced: Traced, name: str, base: int) -> tuple[tuple[int, ...], tuple[Exponent, ...]]:
    """The shape at the base width, and how it grows."""
    shapes = [tuple(m.get_parameter(name).shape) for m in traced.built.models]
    at, growth = [], []
    for sizes in zip(*shapes, strict=True):
        e, size = _growth(sizes, traced.widths, base)
        growth.append(e)
        at.append(size)
    return tuple(at), tuple(growth)


def _growth(sizes: Sequence[int], widths: Sequence[int], base: int) -> tuple[Exponent, int]:
    power = power_of(sizes, widths)
    assert power is not None, "sizes are powers of the width, or the trace would have failed"
    return power.exponent, round(sizes[-1] * (base / widths[-1]) ** float(power.exponent.const))


def _aliases(traced: Traced) -> dict[str, str]:
    """Every further name of a tied parameter."""
    names: dict[int, str] = {}
    found = {}
    for name, p in traced.built.models[0].named_parameters(remove_duplicate=False):
        first = names.setdefault(id(p), name)
        if first != name:
            found[name] = first
    return found


def trained_parameters(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """The parameters that get a gradient, with their names."""
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


def is_finite(number: float, what: str) -> float:
    """A hyperparameter of the base width."""
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number) or number < 0:
        raise SettingError(what, number, "needs a number of at least 0")
    return float(number)
