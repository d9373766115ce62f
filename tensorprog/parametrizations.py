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
from tensorprog.program import ONE, Axis, Program, Role, Weight
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


Init = Callable[[Weight], Exponent]
"""How an entry gives b from the axes of a weight."""
Rates = Callable[[Program, Mapping[Weight, ABC], Optimizer], Mapping[Weight, Exponent]]
"""How an entry gives the c of every trained weight of a program once a and b are known."""


@dataclass(frozen=True)
class Parametrization:
    """Exponents by role, with overrides for single weights.

    Args:
        name: the registry key, or ``custom``.
        a, b: multiplier and init exponents by role. A vector-like weight (bias) falls back on the input role,
            whose axes it shares (finite -> wide); a finite one has 0. For b also a rule on axes (:func:`spectral`).
        c: learning-rate exponents by role, or a rule that derives them (see :func:`unit_updates`).
        overrides: (weight or role name, key) -> exponent; a weight wins over its role.
        layers: free exponents in program order (input, hidden..., readout), see :meth:`from_layers`.
        ref: source.
        fan_in: which of a, b and c are by role powers of the fan-in, the size of the input axis; the others are of n.
    """

    name: str
    a: Mapping[Role, Exponent] = field(default_factory=dict)
    b: Mapping[Role, Exponent] | Init = field(default_factory=dict)
    c: Mapping[Role, Exponent] | Rates = field(default_factory=dict)
    overrides: Mapping[tuple[str, str], Exponent] = field(default_factory=lambda: MappingProxyType({}))
    layers: tuple[ABC, ...] | None = None
    ref: str = ""
    fan_in: str = ""

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
        result = {w: self._shape(w, program) for w in program.independent}
        rates = self.c
        if callable(rates):
            c = rates(program, result, optimizer)
            result = {w: replace(abc, c=c.get(w, ZERO)) for w, abc in result.items()}
        named = {w.name: abc for w, abc in self._override(result, program).items()}
        return {w: named[(w.like or w).name] for w in program.weights}

    def _shape(self, weight: Weight, program: Program) -> ABC:
        if self.layers is not None:
            matrices = [w for w in program.independent if w.into is not ONE]
            if len(self.layers) != len(matrices):
                raise SettingError(
                    f"parametrization {self.name}",
                    f"{len(self.layers)} layers",
                    f"the program {program.label} has {len(matrices)}: {', '.join(w.name for w in matrices)}",
                )
            if weight.into is ONE:  # a bias shares the input layer's axes, or is finite and has no exponents
                return self.layers[0] if weight.out.wide else ABC()
            return self.layers[matrices.index(weight)]
        b = self.b(weight) if callable(self.b) else self._by_role("b", self.b, weight)
        c = ZERO if callable(self.c) else self._by_role("c", self.c, weight)
        return ABC(self._by_role("a", self.a, weight), b, c)

    def _by_role(self, key: str, table: Mapping[Role, Exponent], weight: Weight) -> Exponent:
        value = _of_role(table, weight.role)
        return weight.into.fan * value.const if key in self.fan_in and weight.into.wide else value

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


def _of_role(table: Mapping[Role, Exponent], role: Role) -> Exponent:
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


# -- rules -----------------------------------------------------------------------------------------------------------


def spectral(weight: Weight) -> Exponent:
    """b of initial entries n^{-in/2} min(1, n^{(out - in)/2}), for axes of n^out and n^in coordinates.

    The initial matrix then has a spectral norm of sqrt(fan_out / fan_in): it keeps the coordinate size of what is
    aligned with it. What is not, a layer with out < in makes smaller by n^{(out - in)/2}, at initialisation, as a
    readout does. Between finite axes and axes that grow alike these are the inits of Yang & Hu 2021: 0, 1/2, 1.

    Ref: Yang, Simon & Bernstein 2023 (arXiv 2310.17813), Condition 1 and Section 4.
    """
    out, into = weight.out.fan, weight.into.fan
    return into / 2 + max(ZERO, (into - out) / 2)


def unit_updates(program: Program, shapes: Mapping[Weight, ABC], optimizer: Optimizer) -> dict[Weight, Exponent]:
    """c such that every weight's effective update is Theta(1) with fully aligned, Theta(1) inputs.

    What arrives at a weight's output is :func:`_arriving`; the optimizer's own ``update`` gives the rest, so the rule
    covers every optimizer. Weight decay is no part of it.

    Ref: the maximal-update criterion of Yang & Hu 2021 (arXiv 2011.14522), Section 5; axes that grow with different
    powers of n: Yang, Simon & Bernstein 2023 (arXiv 2310.17813), Section 4, fan_out/fan_in for SGD.
    """
    arriving = _arriving(program, shapes)
    into = Scale.source(ZERO, rule="constant", what="x")

    def seen(w: Weight, abc: ABC) -> Parameter:
        out = Scale.source(arriving(w.out) - abc.a, rule="constant", what="dh")
        return Parameter(w, (Gradient.of([(out, into)]),), lambda: -abc.b)

    trained = {w: abc for w, abc in shapes.items() if w.trained}
    steps = optimizer.update([seen(w, abc) for w, abc in trained.items()])
    return {w: _unit(steps[w], w) - abc.a for w, abc in trained.items()}


def _arriving(program: Program, shapes: Mapping[Weight, ABC]) -> Callable[[Axis], Exponent]:
    """The exponent of the loss gradient that arrives at a vector on an axis, once layers are aligned with it.

    At the readout's input it has the readout's effective initial entries. Backwards, a layer whose spectral norm is
    sqrt(fan_out / fan_in) keeps the product of coordinate size and number of coordinates: a change of Theta(1) of a
    vector changes the logits as much wherever it is. Initial weights above that norm (the fan-in init of a layer that
    leads to fewer coordinates) carry more, as central-limit sums.
    """
    readouts = {w.into: abc.initial for w, abc in shapes.items() if w.role is Role.READOUT and not abc.initial.infinite}
    tied = {w.out: shapes[w].initial + power for w, power in program.tied_readouts.items()}
    end = max((axis.fan + e for axis, e in (readouts or tied).items()), default=ZERO)
    random = dict(readouts)
    hidden = [(w, abc.initial) for w, abc in shapes.items() if w.role is Role.HIDDEN]
    for _ in hidden:
        before = dict(random)
        for w, entries in hidden:
            if w.out in random and not entries.infinite:
                carried = random[w.out] + entries + w.out.fan / 2
                random[w.into] = max(random.get(w.into, carried), carried)
        if random == before:
            break

    def arriving(axis: Axis) -> Exponent:
        aligned = end - axis.fan
        return max(aligned, random.get(axis, aligned)) if axis.wide else ZERO

    return arriving


def _unit(parts: Iterable[Part], weight: Weight) -> Exponent:
    """The exponent of a step's product with an aligned, Theta(1) input."""
    moved = largest(part.size for part in parts if isinstance(part, Outer))
    return ZERO if moved.infinite else moved + weight.into.fan  # a step that is exactly zero has any rate


def _roles(input: ExponentLike, hidden: ExponentLike, readout: ExponentLike) -> Mapping[Role, Exponent]:
    return MappingProxyType(
        {Role.INPUT: exponent(input), Role.HIDDEN: exponent(hidden), Role.READOUT: exponent(readout)}
    )


_FAN_IN = _roles(0, "1/2", "1/2")

SP = Parametrization(
    "sp", b=_FAN_IN, fan_in="b", c=_roles(0, 0, 0), ref="standard (He et al. 2015 init), one learning rate"
)
SP_STABLE = Parametrization(
    "sp-stable", b=_FAN_IN, fan_in="b", c=_roles(1, 1, 1), ref="Haas et al. 2025 (arXiv 2505.22491)"
)
NTP = Parametrization(
    "ntp", b=_FAN_IN, fan_in="bc", c=_roles(0, 1, 1), ref="Jacot et al. 2018, as bc in Haas et al. 2025"
)
MFP = Parametrization(
    "mfp",
    a=_roles(0, 1, 1),
    b=_roles(0, 0, 0),
    c=unit_updates,
    fan_in="a",
    ref="mean field, multilayer: Araujo et al. 2019 (1906.00193); one hidden layer: Yang & Hu 2021, Table 1",
)
MUP = Parametrization(
    "mup",
    b=spectral,
    c=unit_updates,
    ref="Yang & Hu 2021 (arXiv 2011.14522); axes that grow differently: Yang et al. 2023 (arXiv 2310.17813)",
)
SP_FULL_ALIGN = Parametrization(
    "sp-full-align",
    b=_FAN_IN,
    fan_in="b",
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
