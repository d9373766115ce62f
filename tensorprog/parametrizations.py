"""Parametrizations: exponents (a, b, c) for every weight.

Effective weight n^{-a} w, init std of w n^{-b}, learning rate eta n^{-c}. The signs follow the papers (Yang & Hu 2021,
Haas et al. 2025); the flip to coordinate sizes happens in :class:`ABC` alone.

To add one: write a :class:`Parametrization` and list it in ``PARAMETRIZATIONS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from tensorprog.errors import SettingError, UnknownName
from tensorprog.exponent import INFINITE, ZERO, Exponent, ExponentLike, exponent, largest
from tensorprog.optimizers import Gradient, Optimizer, Outer, Parameter, Part
from tensorprog.program import ONE, Program, Role, Weight
from tensorprog.scale import Scale

__all__ = ["ABC", "PARAMETRIZATIONS", "Parametrization", "parametrization"]


@dataclass(frozen=True)
class ABC:
    """The exponents of one weight: multiplier n^{-a}, init std n^{-b}, learning rate n^{-c}."""

    a: Exponent = ZERO
    b: Exponent = ZERO
    c: Exponent = ZERO

    @property
    def initial(self) -> Exponent:
        """Exponent of the initial effective weight's entries, -(a + b); -oo for a zero initialisation."""
        return -(self.a + self.b)

    def substitute(self, values: Mapping[str, Exponent]) -> ABC:
        return ABC(self.a.substitute(values), self.b.substitute(values), self.c.substitute(values))

    @property
    def symbols(self) -> frozenset[str]:
        return self.a.symbols | self.b.symbols | self.c.symbols


Rates = Callable[[Mapping[Weight, ABC], Optimizer], Mapping[Weight, Exponent]]
"""How an entry gives the c of every trained weight once a and b are known."""


@dataclass(frozen=True)
class Parametrization:
    """Exponents by role, with overrides for single weights.

    Args:
        name: the registry key, or ``custom``.
        a, b: multiplier and init exponents by role. A vector-like weight (bias) falls back on the input role,
            whose axes it shares (finite -> wide); a finite one has 0.
        c: learning-rate exponents by role, or a rule that derives them (see :func:`unit_updates`).
        overrides: (weight or role name, key) -> exponent; a weight wins over its role.
        layers: free exponents in program order (input, hidden..., readout), see :meth:`from_layers`.
        ref: source.
        fan_in: the exponents by role are powers of the fan-in, the size of the input axis; else of n.
    """

    name: str
    a: Mapping[Role, Exponent] = field(default_factory=dict)
    b: Mapping[Role, Exponent] = field(default_factory=dict)
    c: Mapping[Role, Exponent] | Rates = field(default_factory=dict)
    overrides: Mapping[tuple[str, str], Exponent] = field(default_factory=lambda: MappingProxyType({}))
    layers: tuple[ABC, ...] | None = None
    ref: str = ""
    fan_in: bool = False

    @classmethod
    def from_layers(
        cls,
        a: Sequence[ExponentLike],
        b: Sequence[ExponentLike],
        c: Sequence[ExponentLike],
        *,
        name: str = "custom",
    ) -> Parametrization:
        """Free exponents, one per layer in the order input, hidden..., readout.

        Raises:
            SettingError: where the lists differ in length or are empty.
            ExponentError: for entries that are not exact exponents.

        Example:
            >>> Parametrization.from_layers(a=[0, 0, 0], b=[0, "1/2", "1/2"], c=["1/2"] * 3).name
            'custom'
        """
        lists = {"a": a, "b": b, "c": c}
        for key, values in lists.items():
            if isinstance(values, str) or not isinstance(values, Sequence):
                raise SettingError(
                    f"from_layers, {key}", values, "needs a list of exponents: input, hidden..., readout"
                )
            if len(values) != len(b) or not values:
                sizes = ", ".join(f"{k} has {len(v)}" for k, v in lists.items())
                raise SettingError("from_layers", sizes, "needs lists of one length: input, hidden..., readout")
        rows = []
        for i in range(len(b)):
            parts = {k: _read(v[i], f"from_layers, {k}[{i}]", zero_ok=k == "b") for k, v in lists.items()}
            rows.append(ABC(**parts))
        return cls(name, layers=tuple(rows))

    @classmethod
    def from_roles(
        cls,
        *,
        b: Mapping[str, ExponentLike],
        c: Mapping[str, ExponentLike],
        a: Mapping[str, ExponentLike] | None = None,
        name: str = "custom",
    ) -> Parametrization:
        """Free exponents by role name: ``b={"input": 0, "hidden": "1/2", "readout": 1}``."""

        def read(key: str, values: Mapping[str, ExponentLike]) -> dict[Role, Exponent]:
            return {_role(r, key): _read(v, f"from_roles, {key}[{r}]", zero_ok=key == "b") for r, v in values.items()}

        return cls(name, read("a", a or {}), read("b", b), read("c", c))

    def where(self, target: str, **exponents: ExponentLike) -> Parametrization:
        """The same parametrization with other exponents for one role or weight: ``where("readout", b="3/4")``."""
        changed = dict(self.overrides)
        for key, value in exponents.items():
            if key not in ("a", "b", "c"):
                raise UnknownName(f"exponent of {target!r}", key, ("a", "b", "c"))
            changed[target, key] = _read(value, f"{target}.{key}", zero_ok=key == "b")
        return replace(self, overrides=MappingProxyType(changed))

    def assign(self, program: Program, optimizer: Optimizer) -> dict[Weight, ABC]:
        """The exponents of every weight of a program.

        Raises:
            SettingError: where ``from_layers`` lists do not fit the program, or an override names no weight.
        """
        result = {w: self._shape(w, program) for w in program.weights}
        rates = self.c
        if callable(rates):
            c = rates(result, optimizer)
            result = {w: replace(abc, c=c.get(w, ZERO)) for w, abc in result.items()}
        return self._override(result, program)

    def _shape(self, weight: Weight, program: Program) -> ABC:
        if self.layers is not None:
            matrices = [w for w in program.weights if w.into is not ONE]
            if len(self.layers) != len(matrices):
                raise SettingError(
                    f"parametrization {self.name}",
                    f"{len(self.layers)} layers",
                    f"the program {program.label} has {len(matrices)}: {', '.join(w.name for w in matrices)}",
                )
            if weight.into is ONE:  # a bias shares the input layer's axes, or is finite and has no exponents
                return self.layers[0] if weight.out.wide else ABC()
            return self.layers[matrices.index(weight)]
        rates = {} if callable(self.c) else self.c
        per = weight.into.size if self.fan_in and weight.into.wide else exponent(1)
        return ABC(*(_by_role(table, weight.role) * per.const for table in (self.a, self.b, rates)))

    def _override(self, result: dict[Weight, ABC], program: Program) -> dict[Weight, ABC]:
        by_name = {w.name: [w] for w in result}
        by_role: dict[str, list[Weight]] = {}
        for w in result:
            by_role.setdefault(w.role.value, []).append(w)
        # Roles first, so that a single weight wins over its role. "input" names both; they agree on it.
        for (target, key), value in sorted(self.overrides.items(), key=lambda item: item[0][0] in by_name):
            found = by_role.get(target) or by_name.get(target)
            if found is None:
                raise UnknownName(
                    f"exponent {target}.{key}: weight or role", target, dict.fromkeys([*by_role, *by_name])
                )
            for w in found:
                result[w] = replace(result[w], **{key: value})
        return result

    def __str__(self) -> str:
        return self.name + "".join(f", {t}.{k}={v}" for (t, k), v in sorted(self.overrides.items()))


def _by_role(table: Mapping[Role, Exponent], role: Role) -> Exponent:
    if role is Role.VECTOR and role not in table:
        role = Role.INPUT
    return table.get(role, ZERO)


def _role(name: str, key: str) -> Role:
    accepted = {r.value: r for r in Role}
    if name not in accepted:
        raise UnknownName(f"role in {key}", name, accepted)
    return accepted[name]


def _read(value: ExponentLike, what: str, *, zero_ok: bool) -> Exponent:
    e = exponent(value, what)
    if e.infinite and not (zero_ok and e == INFINITE):
        raise SettingError(what, str(e), "needs a finite exponent" + (", or oo for a zero init" if zero_ok else ""))
    return e


# -- rules for the learning rates ----------------------------------------------------------------------------------


def unit_updates(shapes: Mapping[Weight, ABC], optimizer: Optimizer) -> dict[Weight, Exponent]:
    """c such that every weight's effective update is Theta(1) with fully aligned, Theta(1) inputs.

    The gradient that arrives at a wide output has the readout's effective initial entries, -(a + b) of the readout;
    the optimizer's own ``update`` gives the rest, so the rule covers every optimizer. Weight decay is no part of it.

    Ref: the maximal-update criterion of Yang & Hu 2021 (arXiv 2011.14522), Section 5.
    """
    readouts = [abc.initial for w, abc in shapes.items() if w.role is Role.READOUT]
    arriving = max((e for e in readouts if not e.infinite), default=ZERO)
    into = Scale.source(ZERO, rule="constant", what="x")

    def seen(w: Weight, abc: ABC) -> Parameter:
        out = Scale.source((arriving if w.out.wide else ZERO) - abc.a, rule="constant", what="dh")
        return Parameter(w, (Gradient.of([(out, into)]),), lambda: -abc.b)

    trained = {w: abc for w, abc in shapes.items() if w.trained}
    steps = optimizer.update([seen(w, abc) for w, abc in trained.items()])
    return {w: _unit(steps[w], w) - abc.a for w, abc in trained.items()}


def _unit(parts: Iterable[Part], weight: Weight) -> Exponent:
    """The exponent of a step's product with an aligned, Theta(1) input."""
    moved = largest(part.size for part in parts if isinstance(part, Outer))
    return ZERO if moved.infinite else moved + weight.into.size  # a step that is exactly zero has any rate


def _roles(input: ExponentLike, hidden: ExponentLike, readout: ExponentLike) -> Mapping[Role, Exponent]:
    return MappingProxyType(
        {Role.INPUT: exponent(input), Role.HIDDEN: exponent(hidden), Role.READOUT: exponent(readout)}
    )


_FAN_IN = _roles(0, "1/2", "1/2")

SP = Parametrization(
    "sp", b=_FAN_IN, fan_in=True, c=_roles(0, 0, 0), ref="standard (He et al. 2015 init), one learning rate"
)
SP_STABLE = Parametrization(
    "sp-stable", b=_FAN_IN, fan_in=True, c=_roles(1, 1, 1), ref="Haas et al. 2025 (arXiv 2505.22491)"
)
NTP = Parametrization(
    "ntp", b=_FAN_IN, fan_in=True, c=_roles(0, 1, 1), ref="Jacot et al. 2018, as bc in Haas et al. 2025"
)
MFP = Parametrization(
    "mfp",
    a=_roles(0, 1, 1),
    b=_roles(0, 0, 0),
    c=unit_updates,
    fan_in=True,
    ref="mean field, multilayer: Araujo et al. 2019 (1906.00193); one hidden layer: Yang & Hu 2021, Table 1",
)
MUP = Parametrization(
    "mup", b=_roles(0, "1/2", 1), fan_in=True, c=unit_updates, ref="Yang & Hu 2021 (arXiv 2011.14522)"
)
SP_FULL_ALIGN = Parametrization(
    "sp-full-align",
    b=_FAN_IN,
    fan_in=True,
    c=unit_updates,
    ref="Everett et al. 2024 (arXiv 2407.05872); Haas et al. 2025 (arXiv 2505.22491)",
)

PARAMETRIZATIONS: dict[str, Parametrization] = {
    entry.name: entry for entry in (SP, SP_STABLE, NTP, MFP, MUP, SP_FULL_ALIGN)
}


def parametrization(name: str | Parametrization) -> Parametrization:
    """Look up a parametrization by name.

    Raises:
        UnknownName: listing the registered names.
    """
    if isinstance(name, Parametrization):
        return name
    if name not in PARAMETRIZATIONS:
        raise UnknownName("parametrization", name, PARAMETRIZATIONS)
    return PARAMETRIZATIONS[name]
