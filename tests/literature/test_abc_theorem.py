"""Yang & Hu 2021 (arXiv 2011.14522): the theorem on abc-parametrizations and their symmetry, at random and in symbols.

With one global c and r = min(a + b, 2 a + c) + c - 1 + min_l (2 a_l + [l = 1]), a and b of the readout in the first
minimum (Definition 3.2): a parametrization that is Theta(1) at initialisation with bounded logits is stable iff r >= 0,
a + b + r >= 1 and 2 a + c >= 1; nontrivial iff one of the last two is an equality; the last hidden layer's features
then change by n^-r, and it learns features iff r = 0, else it is a kernel.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest

import tensorprog as tp
from tensorprog.optimizers import (
    KFAC,
    LAMB,
    LARS,
    SGD,
    Adafactor,
    Adam,
    Muon,
    Optimizer,
    Shampoo,
    ShapeFactor,
    SignSGD,
    optimizer,
)
from tests.cases import Case, quarters, random_case

HALF = Fraction(1, 2)
P = tp.Parametrization.from_layers


@dataclass(frozen=True)
class Global:
    """An abc-parametrization with a global learning-rate exponent, Theta(1) at initialisation."""

    a: list[Fraction]
    b: list[Fraction]
    c: Fraction

    def r(self, *, trained_readout: bool = True) -> Fraction:
        last = self.a[-1] + self.b[-1]
        signal = min(last, 2 * self.a[-1] + self.c) if trained_readout else last
        return signal + self.c - 1 + min(2 * x + (not i) for i, x in enumerate(self.a[:-1]))

    @property
    def stable(self) -> bool:
        last = self.a[-1] + self.b[-1]
        return self.r() >= 0 and last + self.r() >= 1 and 2 * self.a[-1] + self.c >= 1

    @property
    def nontrivial(self) -> bool:
        return self.a[-1] + self.b[-1] + self.r() == 1 or 2 * self.a[-1] + self.c == 1


def near_the_edge(rng: random.Random, depth: int) -> Global:
    """Random shapes with a c at which one of the theorem's inequalities is tight or just fails."""
    a = [quarters(rng, -1, 1) for _ in range(depth + 1)]
    b = [-a[0], *(HALF - x for x in a[1:-1]), quarters(rng, 0.5, 1.5) - a[-1]]
    every = [Global(a, b, Fraction(k, 4)) for k in range(-16, 17)]
    tight = [g for g in every if g.r() == 0 or a[-1] + b[-1] + g.r() == 1 or 2 * a[-1] + g.c == 1]
    c = rng.choice(tight or every).c + rng.choice([Fraction(0), Fraction(0), Fraction(1, 4), Fraction(-1, 4)])
    return Global(a, b, c)


@pytest.mark.parametrize("block", range(10))
def test_stability_features_and_dichotomy(block: int) -> None:
    """250 parametrizations, one to four hidden layers, tanh and relu, bounded and growing losses."""
    rng = random.Random(block)
    seen: set[tuple[bool, bool]] = set()
    for _ in range(25):
        depth, activation, loss = rng.randint(1, 4), rng.choice(["tanh", "relu"]), rng.choice(["ce", "mse", "huber"])
        g = near_the_edge(rng, depth)
        d = tp.derive(tp.mlp(depth, activation), P(g.a, g.b, [g.c] * (depth + 1)), optimizer="sgd", loss=loss)
        text = f"{depth} x {activation}, {loss}: {g}"
        assert (d.regime is tp.Regime.STABLE) == g.stable, text
        seen.add((g.stable, g.stable and g.nontrivial))
        if not g.stable:
            continue
        last = list(d.step(100).sites.values())[-2]
        assert last.feature == -g.r(), text
        assert list(d.steps[1].sites.values())[-2].feature == -g.r(trained_readout=False), text
        assert (d.learning is not tp.Learning.TRIVIAL) == g.nontrivial, text
        if g.nontrivial:
            learns = d.learning in (tp.Learning.FEATURE, tp.Learning.MAXIMAL)
            assert learns == (g.r() == 0), text
    assert seen == {(False, False), (True, False), (True, True)}


# -- the symmetry


def invariance(how: Optimizer) -> Fraction:
    """k of the symmetry (a + t, b - t, c - k t).

    A step is linear in the gradient (2), free of its scale (1), proportional to the weight besides (0), or in between:
    a preconditioner takes powers of the gradient's scale back.
    """
    if isinstance(how, KFAC):
        return 2 - 2 * Fraction(how.out_power.const)
    if isinstance(how, Shampoo):
        return 2 - 2 * Fraction(how.out_power.const + how.in_power.const)
    return Fraction(2 if isinstance(how, SGD) else 0 if isinstance(how, Adafactor | LARS | LAMB) else 1)


def shifted(case: Case, t: list[Fraction]) -> Case:
    """(a + t, b - t, c - k t)."""
    k = invariance(case.optimizer)
    return case.with_(
        a=tuple(x + s for x, s in zip(case.a, t, strict=True)),
        b=tuple(x - s for x, s in zip(case.b, t, strict=True)),
        c=tuple(x - k * s for x, s in zip(case.c, t, strict=True)),
    )


def functional(d: Any) -> dict[str, Any]:
    """Everything that the symmetry leaves unchanged."""
    return {k: v for k, v in d.to_dict().items() if k in ("steps", "regime", "learning", "settled")}


SCALE_FREE: list[Optimizer] = [
    SGD(),
    SignSGD(),
    Adam(),
    *(Muon(f) for f in ShapeFactor),
    *(optimizer(name) for name in ("lion", "rmsprop", "adagrad", "adafactor", "normalised-gd", "lars", "soap")),
    LAMB(decay_exponent="-oo"),
    Shampoo(),
    Shampoo("1/8", "1/2"),
    KFAC(),
    KFAC("1/4", "1/2"),
]


@pytest.mark.parametrize("block", range(8))
def test_symmetry_for_random_shifts(block: int) -> None:
    """120 settings in every regime, a random shift per layer: all steps agree exactly, and so do the suprema."""
    rng = random.Random(block)
    for k in range(15):
        case = random_case(rng, optimizers=SCALE_FREE)
        t = [Fraction(rng.randint(-24, 24), rng.choice([1, 2, 3, 5, 8])) for _ in case.a]
        assert functional(case.derive(steps=3)) == functional(shifted(case, t).derive(steps=3)), (str(case), t)
        if not k:
            shallow = random_case(rng, optimizers=SCALE_FREE, hidden_layers=[1, 2], activations=["relu"])
            t = [Fraction(rng.randint(-24, 24), 5) for _ in shallow.a]
            assert shallow.rates().to_dict() == shifted(shallow, t).rates().to_dict(), (str(shallow), t)


@pytest.mark.parametrize(("optimizer", "k"), [("sgd", 2), ("signsgd", 1), ("adam", 1), ("muon", 1)])
@pytest.mark.parametrize("name", ["mup", "ntp", "sp"])
def test_symmetry_in_symbols(name: str, optimizer: str, k: int) -> None:
    """With symbols t0, t1, t2 for the shifts every exponent is a plain number: one cell, no symbol left."""
    plain = tp.derive(tp.mlp(2), name, optimizer=optimizer, lr_exponent="-1")
    exponents = list(plain.setting.exponents().values())
    t = [tp.Exponent(0, ((f"t{i}", Fraction(1)),)) for i in range(3)]
    moved = P(
        [abc.a + x for abc, x in zip(exponents, t, strict=True)],
        [abc.b - x for abc, x in zip(exponents, t, strict=True)],
        [abc.c - x * k for abc, x in zip(exponents, t, strict=True)],
    )
    family = tp.derive(tp.mlp(2), moved, optimizer=optimizer)
    assert len(family) == 1
    (cell,) = family
    assert functional(cell.result) == functional(plain)


def test_the_wrong_shift_is_noticed() -> None:
    """c - t instead of c - 2t changes SGD: the comparison above can fail."""
    case = Case(2, "relu", SGD(), "ce", (Fraction(0),) * 3, (Fraction(0), HALF, HALF), (HALF,) * 3)
    wrong = shifted(case.with_(optimizer=Adam()), [Fraction(0), HALF, Fraction(0)]).with_(optimizer=SGD())
    assert functional(case.derive()) != functional(wrong.derive())


# -- rows in closed form


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(
    ("a", "b", "c", "r"),
    [
        pytest.param(("0", "1/2", "1/2"), ("0", "0", "0"), "0", HALF, id="ntp"),
        pytest.param(("-1/2", "0", "1/2"), ("1/2", "1/2", "1/2"), "0", Fraction(0), id="mup"),
        pytest.param(("0", "0", "0"), ("0", "1/2", "1/2"), "1", HALF, id="sp at 1/n"),
        pytest.param(("0", "0", "0"), ("0", "1/2", "1/2"), "0", Fraction(-1), id="sp"),
    ],
)
def test_table_one(depth: int, a: tuple[str, ...], b: tuple[str, ...], c: str, r: Fraction) -> None:
    """Feature exponent -r. In SP with one hidden layer the input's n^(-1 - c) is the only feature change: r + 1."""

    def layers(x: tuple[str, ...]) -> list[str]:
        return [x[0], *[x[1]] * (depth - 1), x[2]]

    d = tp.derive(tp.mlp(depth, "tanh"), P(layers(a), layers(b), [c] * (depth + 1)), optimizer="sgd", loss="mse")
    if r < 0:
        assert d.regime is not tp.Regime.STABLE
        return
    if a == ("0", "0", "0") and depth == 1:
        r = r + 1
    assert d.regime is tp.Regime.STABLE
    assert list(d.step(50).sites.values())[-2].feature == -r
    assert d.learning is (tp.Learning.MAXIMAL if r == 0 else tp.Learning.KERNEL)


def test_mean_field_is_mup_with_one_hidden_layer() -> None:
    """Table 1: a = (0, 1), b = (0, 0), c = -1; the shift of the readout by 1 turns muP into it."""
    d = tp.derive(tp.mlp(1), "mfp", optimizer="sgd")
    assert [str(abc.c) for abc in d.setting.exponents().values()] == ["-1", "-1"]
    assert functional(d) == functional(tp.derive(tp.mlp(1), "mup", optimizer="sgd"))


@pytest.mark.parametrize(("depth", "trivial"), [(1, False), (2, False), (3, True), (4, True)])
@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_mean_field_stops_learning_in_depth(depth: int, trivial: bool, loss: str) -> None:
    """From four layers on (three hidden ones) a zero-mean start is stationary: c = -1, -2, ..., -2, -1 learns nothing.

    Ref: Hajjar, Chizat & Giraud 2021 (arXiv 2110.15596), on integrable parametrizations.
    """
    d = tp.derive(tp.mlp(depth), "mfp", optimizer="sgd", loss=loss)
    assert [str(abc.c) for abc in d.setting.exponents().values()] == ["-1", *["-2"] * (depth - 1), "-1"]
    assert (d.learning is tp.Learning.TRIVIAL) == trivial
    assert d.settled


@pytest.mark.parametrize("depth", [1, 2])
def test_r_as_a_closed_form(depth: int) -> None:
    """Definition 3.2 in symbols: the last hidden layer's features change by n^-r, where all its layers stay bounded."""
    zero = tp.parametrizations.SP.where("input", c=0).where("readout", c=0)
    signal = "Max(-a_readout - b_readout, -2*a_readout - c)"
    if depth == 1:
        free, conditions, last = ("a_input", "b_input"), ["b_input = -a_input"], "input"
        r = f"{signal} - c - 2*a_input"
    else:
        free, last = ("a_input", "b_input", "a_hidden", "b_hidden"), "hidden.1"
        layers = ("2*a_input", "2*a_hidden - 1")
        conditions = ["b_input = -a_input", "b_hidden = 1/2 - a_hidden"]
        conditions += [f"{x} + {g} + c >= 0" for x in layers for g in ("a_readout + b_readout", "2*a_readout + c")]
        r = f"{signal} - c + Max(-2*a_input, 1 - 2*a_hidden)"
    names = (*free, "a_readout", "b_readout", "c")
    f = tp.formula(tp.mlp(depth), zero, f"{last}.feature", free=names, step=2, optimizer="sgd", assume=conditions)
    assert f.equals(r), str(f)
    assert not f.equals(r + " + 1/8")
