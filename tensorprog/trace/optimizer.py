"""Optimizers read from parameter groups: rates, epsilon and decay of every parameter as powers of the width."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tensorprog.errors import SettingError
from tensorprog.exponent import ZERO_SIZE, Exponent
from tensorprog.optimizers import SGD, Adagrad, Adam, AdamW, Decayed, Lion, Muon, Optimizer, RMSProp, SignSGD, optimizer
from tensorprog.trace.powers import Power, power_of
from tensorprog.trace.probe import Probed, probe, several

if TYPE_CHECKING:
    import torch

__all__ = ["CLASSES", "NEGLIGIBLE", "ReadOptimizer", "Rule", "read_optimizer"]

NEGLIGIBLE = 1e-6
"""An epsilon up to this that does not depend on the width is taken to be zero; the advice says when it is not."""


@dataclass(frozen=True)
class Rule:
    """How one parameter is trained.

    Args:
        kind: the class of its optimizer.
        rate, epsilon, decay: as powers of n; None where the optimizer has none, or it is zero.
        options: other settings of its group.
        probed: what its step was found to be, where the class is not known.
    """

    kind: str
    rate: Power
    epsilon: Power | None = None
    decay: Power | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    probed: Probed | None = None

    @property
    def epsilon_exponent(self) -> Exponent:
        """The exponent of epsilon that the derivation uses: -oo where it is negligible."""
        e = self.epsilon
        if e is None or (e.exponent == 0 and e.constant <= NEGLIGIBLE):
            return ZERO_SIZE
        return e.exponent


@dataclass(frozen=True)
class ReadOptimizer:
    """The optimizer of a traced model.

    Args:
        rules: of every trained parameter, by its canonical name; one without is frozen.
        declared: the entry of all parameters, where no torch optimizer was given.
    """

    rules: Mapping[str, Rule]
    declared: Optimizer | None = None

    def entry(self, name: str, known: Mapping[str, Any], transposed: bool = False) -> Optimizer:
        """The entry that trains a parameter.

        Args:
            transposed: it is stored as in x out, which shape factors do not know.
        """
        if self.declared is not None:
            return self.declared
        rule = self.rules[name]
        if transposed:
            rule = replace(rule, options={**rule.options, "transposed": True})
        if rule.probed is not None:
            return _decayed(rule.probed.entry, rule, coupled=False)
        made = known[rule.kind]
        return made(rule) if callable(made) else optimizer(made)


def _decayed(base: Optimizer, rule: Rule, *, coupled: bool) -> Optimizer:
    return base if rule.decay is None else Decayed(base, rule.decay.exponent, coupled=coupled)


def _adamw(rule: Rule) -> Optimizer:
    if rule.decay is None:
        return Adam(rule.epsilon_exponent)
    return AdamW(rule.epsilon_exponent, decay_exponent=rule.decay.exponent)


def _adam(rule: Rule) -> Optimizer:
    if rule.options.get("decoupled_weight_decay"):
        return _adamw(rule)
    return _decayed(Adam(rule.epsilon_exponent), rule, coupled=True)


def _muon(rule: Rule) -> Optimizer:
    factors = {None: "original", "original": "original", "match_rms_adamw": "match-rms"}
    factor = factors[rule.options.get("adjust_lr_fn")]
    if factor == "original" and rule.options.get("transposed"):
        factor = "transposed"
    return _decayed(Muon(factor), rule, coupled=False)


CLASSES: dict[str, Callable[[Rule], Optimizer]] = {
    "SGD": lambda rule: _decayed(SGD(), rule, coupled=True),
    "Adam": _adam,
    "AdamW": _adamw,
    "NAdam": _adam,
    "RAdam": _adam,
    "RMSprop": lambda rule: _decayed(RMSProp(rule.epsilon_exponent), rule, coupled=True),
    "Adagrad": lambda rule: _decayed(Adagrad(rule.epsilon_exponent), rule, coupled=True),
    "Muon": _muon,
    "Lion": lambda rule: _decayed(Lion(), rule, coupled=False),
    "SignSGD": lambda rule: _decayed(SignSGD(), rule, coupled=False),
}
"""What the optimizer classes of torch do, by name. Others are declared with ``entries``, or probed."""


def read_optimizer(
    make: Any,
    models: Sequence[torch.nn.Module],
    widths: Sequence[int],
    canonical: Mapping[str, str],
    declared: Iterable[str] = (),
) -> ReadOptimizer:
    """The rules of every parameter.

    Args:
        make: ``make(model)`` returns a torch optimizer, or several; or an optimizer class of torch; or the name of an
            optimizer of tensorprog, or one, with one learning rate for all parameters.
        models: at every width.
        canonical: every parameter's canonical name.
        declared: classes of which the user says what they do; others that are not torch's own are probed.
    """
    trained = {canonical[n]: p.requires_grad for n, p in models[0].named_parameters()}
    if not (callable(make) or isinstance(make, str | Mapping) or hasattr(make, "update")):
        raise SettingError("optimizer", make, "needs a function model -> torch optimizer, or an optimizer's name")
    if not callable(make) or isinstance(make, Mapping):
        one = Power(Exponent(0), 1.0, 0.0)
        entry = optimizer(make)
        return ReadOptimizer({n: Rule(entry.name, one) for n, on in trained.items() if on}, entry)
    tables = [_settings(_made(make, m), m, canonical) for m in models]
    rules: dict[str, Rule] = {}
    for name, on in trained.items():
        rows = [t.get(name) for t in tables]
        if not on or all(r is None for r in rows):
            continue
        if any(r is None for r in rows):
            raise SettingError("optimizer", name, "is in a parameter group at some widths only")
        rules[name] = _rule(name, [r for r in rows if r is not None], widths)
    rules = {name: rule for name, rule in rules.items() if rule.rate.constant}
    if any(rule.kind not in {*CLASSES, *declared} for rule in rules.values()):
        found = probe(lambda model: _made(make, model), models, widths)
        for name, rule in rules.items():
            if rule.kind not in {*CLASSES, *declared} and name in found:
                rules[name] = replace(rule, rate=found[name].rate, probed=found[name])
        rules = {name: rule for name, rule in rules.items() if rule.probed or rule.kind in {*CLASSES, *declared}}
    return ReadOptimizer(rules)


def _made(make: Any, model: torch.nn.Module) -> Any:
    from torch.optim import Optimizer as TorchOptimizer

    called = getattr(make, "func", make)  # of functools.partial
    on_parameters = isinstance(called, type) and issubclass(called, TorchOptimizer)
    try:
        return make(model.parameters() if on_parameters else model)
    except Exception as error:  # whatever the user's code raises
        told = f"{type(error).__name__}: {error}"
        raise SettingError(
            "optimizer", told, "optimizer(model) needs to return a torch optimizer, or a list"
        ) from error


def _settings(made: Any, model: torch.nn.Module, canonical: Mapping[str, str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """(class, group) of every parameter."""
    names = {id(p): canonical[n] for n, p in model.named_parameters()}
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for opt in several(made):
        for group in opt.param_groups:
            settings = {k: v for k, v in group.items() if k != "params"}
            if "initial_lr" in group:  # a schedule, which may begin at zero, multiplies this one
                settings["lr"] = group["initial_lr"]
            for p in group["params"]:
                if id(p) in names:
                    found[names[id(p)]] = (_kind(opt), settings)
    if not found:
        raise SettingError(
            "optimizer", "no parameter of the model", "optimizer(model) needs the model's own parameters"
        )
    return found


def _kind(made: Any) -> str:
    """The name of a class; one that has the name of a class of torch, and is none, gets its module in front."""
    cls = type(made)
    own = cls.__name__ in CLASSES and not cls.__module__.startswith("torch.")
    return f"{cls.__module__}.{cls.__name__}" if own else cls.__name__


def _rule(name: str, rows: Sequence[tuple[str, dict[str, Any]]], widths: Sequence[int]) -> Rule:
    kinds = {kind for kind, _ in rows}
    if len(kinds) > 1:
        raise SettingError(
            "optimizer", ", ".join(sorted(kinds)), f"parameter {name!r} changes its class with the width"
        )
    groups = [group for _, group in rows]

    def read(key: str) -> Power | None:
        if any(g.get(key) is None for g in groups):
            return None
        try:
            numbers = [float(g[key]) for g in groups]
        except (TypeError, ValueError) as error:
            if key == "lr":
                raise SettingError(f"optimizer, lr of {name}", groups[0][key], "needs a number") from error
            return None  # such as the two epsilons of Adafactor
        power = power_of(numbers, widths)
        if power is None:
            told = ", ".join(f"{x:.4g}" for x in numbers)
            raise SettingError(
                f"optimizer, {key} of {name}", told, f"is no power of the width at {', '.join(map(str, widths))}"
            )
        return None if power.exponent.infinite else power

    given = all(g.get("lr") is not None for g in groups)
    rate = read("lr") or Power(Exponent(0), 0.0 if given else 1.0, 0.0)  # without one, the step is measured
    options: dict[str, Any] = {k: groups[0][k] for k in ("adjust_lr_fn", "decoupled_weight_decay") if k in groups[0]}
    return Rule(kinds.pop(), rate, read("eps"), read("weight_decay"), options)
