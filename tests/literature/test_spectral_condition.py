"""Yang, Simon & Bernstein 2023 (arXiv 2310.17813): ||W|| and ||Delta W|| of size sqrt(fan_out / fan_in).

The condition says more than muP where axes grow with different powers of n. It is derived here that ``mup``, whose
inits and rates are those of the condition, then moves every layer by Theta(1), and with which optimizers it does not.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorprog as tp
from tensorprog.optimizers import Muon, ShapeFactor
from tensorprog.program import Role
from tests.literature.scalings import assert_maximal, chain, layers, rule

P = tp.Parametrization.from_layers


SIZES = {Role.INPUT: (1, 0), Role.HIDDEN: (1, 1), Role.READOUT: (0, 1)}


def test_spectral_condition_is_mup_for_sgd() -> None:
    """Learning rate fan_out/fan_in: c = -(out - in)."""
    for w, abc in tp.derive(tp.mlp(3), "mup", optimizer="sgd").setting.exponents().items():
        out, into = SIZES[w.role]
        assert abc.c == into - out


def test_spectral_init() -> None:
    """sigma = min(1, sqrt(out/in)) / sqrt(in), whose matrix has spectral norm sqrt(out/in)."""
    for w, abc in tp.derive(tp.mlp(3), "mup").setting.exponents().items():
        out, into = SIZES[w.role]
        assert -abc.b == Fraction(min(0, out - into), 2) - Fraction(into, 2)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_spectral_update(depth: int) -> None:
    """||Delta W||_2 = sqrt(out/in) per unit learning rate is Muon with the spectral factor: c = 0 in every layer."""
    how = Muon(ShapeFactor.SPECTRAL)
    assert set(rule("mup", how, depth).values()) == {"0"}
    p = P([0] * (depth + 1), layers((0, "1/2", 1), depth), [0] * (depth + 1))
    assert_maximal(tp.derive(tp.mlp(depth), p, optimizer=how))


# -- axes that grow with different powers of n

powers = st.integers(1, 12).map(lambda k: Fraction(k, 6))
chains = st.lists(powers, min_size=1, max_size=4)
BY_SIZE = ("adam", "signsgd", "lion", "muon", "shampoo", "soap", "lamb", "adafactor", "normalised-gd")
"""Optimizers whose steps do not depend on the size of a weight's own gradient."""


def narrows_and_widens(sizes: list[Fraction]) -> bool:
    """Does a layer with fewer coordinates than an earlier one lead to one with more?"""
    narrowed = False
    for before, after in pairwise(sizes):
        if after > before and narrowed:
            return True
        narrowed |= after < before
    return False


def moved(d: tp.Derivation) -> set[str]:
    """The effective updates of all matrices in the settled state."""
    return {str(s.effective) for s in d.steps[-1].sites.values() if s.effective is not None}


@given(chains)
def test_init_and_rates_of_the_condition(sizes: list[Fraction]) -> None:
    """sigma = min(1, sqrt(out/in)) / sqrt(in); rates out/in (SGD), 1/in (Adam), 1 (Muon with the spectral factor)."""
    rates: dict[Any, Any] = {
        "sgd": lambda out, into: into - out,
        "adam": lambda out, into: into,
        Muon(ShapeFactor.SPECTRAL): lambda out, into: Fraction(0),
        Muon(): lambda out, into: (into - out) / 2,
    }
    for optimizer, rate in rates.items():
        for w, abc in tp.parametrizations.MUP.assign(chain(sizes), tp.optimizers.optimizer(optimizer)).items():
            out, into = w.out.size.const, w.into.size.const
            assert abc.b == into / 2 - min(Fraction(0), (out - into) / 2)
            assert abc.c == rate(out, into)


@given(chains, st.sampled_from(BY_SIZE), st.sampled_from(ShapeFactor))
def test_every_layer_moves_by_one_whatever_the_axes(sizes: list[Fraction], name: str, factor: ShapeFactor) -> None:
    d = tp.derive(chain(sizes), "mup", optimizer=Muon(factor) if name == "muon" else name, steps=5)
    assert (d.regime.value, d.learning.value) == ("stable", "maximal")
    assert moved(d) == {"0"}
    for step in d.steps[1:]:
        for s in step.sites.values():
            assert not any(e is not None and e > 0 for e in (s.effective, s.propagating, s.feature, s.activation))


@settings(max_examples=20)
@given(powers, st.sampled_from(BY_SIZE[:6]), st.booleans())
def test_feed_forward_axes_of_transformers(power: Fraction, name: str, gated: bool) -> None:
    program = tp.transformer(blocks=1, ff_exponent=power, gated_mlp=gated)
    d = tp.derive(program, "mup", optimizer=name, steps=4)
    assert (d.regime.value, d.learning.value) == ("stable", "maximal")
    assert moved(d) == {"0"}


@given(chains)
def test_sgd_moves_every_layer_unless_one_narrows_before_another_widens(sizes: list[Fraction]) -> None:
    """Where a layer narrows, signals start small, and where one widens, gradients do: both at once is a saddle.

    Rates that are right once layers are aligned are too small to leave it in Theta(1) steps, and no larger ones stay
    stable afterwards.
    """
    d = tp.derive(chain(sizes), "mup", optimizer="sgd", steps=5)
    assert d.regime.value == "stable"
    assert (d.learning.value == "maximal") is not narrows_and_widens(sizes)
    assert (moved(d) == {"0"}) is not narrows_and_widens(sizes)


@pytest.mark.parametrize(("power", "learning", "inside"), [("1/2", "feature", "-1/4"), ("3/2", "maximal", "0")])
def test_sgd_and_the_feed_forward_axis(power: str, learning: str, inside: str) -> None:
    """A branch through n^p neurons with p < 1 narrows and widens: under SGD it stays at its initial n^((p - 1)/2)."""
    for program in (tp.transformer(blocks=1, ff_exponent=power), tp.resnet_mlp(1, ff_exponent=power, norm="rmsnorm")):
        d = tp.derive(program, "mup", optimizer="sgd", steps=4)
        site = next(s for name, s in d.steps[-1].sites.items() if name.endswith(".in"))
        assert (d.regime.value, d.learning.value) == ("stable", learning)
        assert (str(site.effective), str(site.activation)) == (inside, inside)


@pytest.mark.parametrize("power", ["1/2", "3/2"])
def test_fan_in_inits_are_too_large_where_layers_narrow(power: str) -> None:
    """Their spectral norm is 1, above sqrt(out/in): what was learned below is passed on n^(|p - 1|/2) too large."""
    fan_in = tp.parametrizations.MUP.where("hidden", b="1/2").where("block.1.mlp.out", b=Fraction(power) / 2)
    d = tp.derive(tp.transformer(blocks=1, ff_exponent=power), fan_in, optimizer="adam", steps=3)
    site = "block.1.mlp.in" if power == "1/2" else "block.1.mlp.out"
    assert str(d.steps[-1].sites[site].propagating) == "1/4"


def test_gains_that_heads_share_have_few_coordinates() -> None:
    """One gain of n^(1/2) coordinates for n^(1/2) heads: under SGD its rate is n^(1/2), not n."""
    program = tp.transformer(1, head_dim_exponent="1/2", attention_scale="1/d", qk_norm="shared")
    d = tp.derive(program, "mup", optimizer="sgd", steps=5)
    assert (d.regime.value, d.learning.value) == ("stable", "maximal")
    gains = [abc.c for w, abc in d.setting.exponents().items() if w.name.endswith("query.norm.gain")]
    assert [str(c) for c in gains] == ["-1/2"]


def test_tied_embeddings_under_sgd() -> None:
    """What arrives is the multiplied embedding, n^-1: rates are those of a network without ties."""
    d = tp.derive(tp.transformer(1, tied=True, output_exponent=-1), "mup", optimizer="sgd", steps=3)
    rates = {w.name: str(abc.c) for w, abc in d.setting.exponents().items()}
    assert (rates["embedding"], rates["block.1.mlp.in"]) == ("-1", "0")
    assert d.regime.value == "stable"
    assert str(d.steps[-1].logits) == "0"
    assert moved(d) == {"0"}


def test_the_standard_parametrization_keeps_one_rate() -> None:
    """``sp-stable`` is one learning rate n^-1 for all weights, whatever they read."""
    d = tp.derive(tp.transformer(1, ff_exponent=2), "sp-stable", steps=1)
    assert {str(abc.c) for w, abc in d.setting.exponents().items()} == {"1"}
