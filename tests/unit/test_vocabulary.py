"""Vocabularies that grow: finitely many rows of a batch's tokens, and the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy

import tensorprog as tp
from tensorprog.errors import Concentrated, UnknownName, Unsupported
from tensorprog.exponent import exponent
from tensorprog.formula import targets_of
from tensorprog.nonlinearities import apply
from tensorprog.parametrizations import parametrization
from tensorprog.vocabulary import EXPM1, LOG1P
from tests.property.strategies import scale

torch = pytest.importorskip("torch")


def one(power: Any = 1, **options: Any) -> tp.Program:
    return tp.transformer(blocks=1, vocabulary_exponent=power, **options)


def site(d: tp.Derivation, name: str, step: int = 3) -> tuple[str, ...]:
    s = d.steps[step].sites[name]
    return str(s.activation), str(s.effective), str(s.propagating)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lion", {"hidden": "muon", "else": "adam"}])
@pytest.mark.parametrize("scaling", ["mup", "sp-full-align"])
@pytest.mark.parametrize("tied", [False, True])
def test_all_else_is_as_with_a_finite_vocabulary(optimizer: Any, scaling: str, tied: bool) -> None:
    """Tokens of the batch, every layer below, the logits and the regime; whatever the power."""
    options: dict[str, Any] = {"tied": True, "output_exponent": -1} if tied else {}
    plain = tp.derive(tp.transformer(blocks=1, **options), scaling, optimizer=optimizer)
    for power in ("1/2", 2):
        d = tp.derive(one(power, **options), scaling, optimizer=optimizer)
        assert (d.regime, d.learning) == (plain.regime, plain.learning)
        for mine, other in zip(d.steps, plain.steps, strict=True):
            assert (mine.logits, mine.logit_update) == (other.logits, other.logit_update)
            assert {k: s for k, s in mine.sites.items() if not k.endswith(".rest")} == other.sites


@pytest.mark.parametrize("power", ["1/2", "1", "2"])
def test_rows_of_other_tokens(power: str) -> None:
    """softmax is n^-p for each: SGD moves their logits by n^-p, sign updates by as much as a label's."""
    assert site(tp.derive(one(power), "mup", optimizer="sgd"), "readout.rest") == ("-1/2", f"-{power}", "-1/2")
    assert site(tp.derive(one(power), "mup", optimizer="adam"), "readout.rest") == ("0", "0", "-1/2")
    d = tp.derive(one(power), "sp", optimizer="adam", lr_exponent=-1)
    assert site(d, "readout.rest") == ("0", "0", "0")
    assert site(d, "readout") == ("1/2", "0", "1/2")  # aligned with their own rows only


def test_rows_share_their_exponents() -> None:
    s = tp.derive(one(2), parametrization("mup").where("readout", b="3/4", c="5/4"), optimizer="adam").setting
    found = {w.name: e for w, e in s.exponents().items()}
    assert found["readout.rest"] == found["readout"]
    assert str(found["readout"].b) == "3/4"
    d = tp.derive(one(), "mup", zero_readout=True, optimizer="adam")
    assert [str(d.steps[0].sites[n].activation) for n in ("readout", "readout.rest")] == ["-oo", "-oo"]
    with pytest.raises(UnknownName, match=r"got 'readout\.rest'"):
        tp.derive(one(), parametrization("mup").where("readout.rest", c=0))
    layers = tp.Parametrization.from_layers([0] * 9, [0, 0, *["1/2"] * 6, 1], [0] * 9)
    assert len(layers.assign(one(plain_norm=True), s.optimizer)) == 10


def test_frozen_readouts_freeze_all_rows() -> None:
    d = tp.derive(tp.freeze(one(), "hidden"), "sp", optimizer="sgd", lr_exponent=-1)
    assert site(d, "readout.rest")[1] == site(d, "readout")[1] == "-oo"


def test_the_power_may_be_a_symbol() -> None:
    f = tp.formula(one(sympy.Symbol("p")), "mup", "readout.rest.effective", step=2, optimizer="sgd")
    assert str(f) == "-p"


def test_the_assumptions_are_told() -> None:
    told = tp.derive(one(), "mup").to_dict()["assumptions"]
    assert told[1] == "depth, batch size and number of steps are Theta(1)"
    assert any("tokens of a batch" in text for text in told)


def test_bad_combinations_are_named() -> None:
    with pytest.raises(
        Unsupported, match=r"loss mse over a growing vocabulary is not.*Take ce or focal, or vocabulary_e"
    ):
        tp.derive(one(), loss="mse")
    for optimizer in ("muon", "lamb", "adafactor"):
        with pytest.raises(Unsupported, match=f"{optimizer} over a growing vocabulary.*one row of readout depends"):
            tp.derive(one(), optimizer=optimizer)
    with pytest.raises(Unsupported, match="hidden=adam,else=muon over a growing vocabulary"):
        tp.derive(one(), optimizer={"hidden": "adam", "else": "muon"})
    with pytest.raises(Unsupported, match="lora on readout over a growing vocabulary"):
        tp.lora(one(), "readout")
    tp.derive(one(), "mup", optimizer=tp.optimizers.Clipped("adam"))
    tp.derive(tp.freeze(one(), "hidden"), "mup", optimizer="muon")


def test_a_normaliser_that_concentrates_has_no_rule() -> None:
    with pytest.raises(Concentrated, match=r"number of tokens with logits n\^\(1\).*vocabulary_exponent=0"):
        tp.derive(one(), parametrization("sp").where("readout", c=0), optimizer="adam", lr_exponent=0)
    rates = tp.max_stable_lr(one(), "mup", optimizer="adam")
    assert str(rates.bounded_logits_exponent) == "0"
    assert rates.stable.limit == "a softmax over a growing number of tokens concentrates there"


def test_training_is_refused() -> None:
    from validation.realize import Network, Realization

    s = tp.derive(one(), "mup").setting
    with pytest.raises(Unsupported, match="training over a growing vocabulary"):
        Network(s.program, s.exponents(), Realization(64))


# -- the functions


def test_small_logits_pass_as_they_are() -> None:
    small, large = scale(("-1/2", 1)), scale((0, 1))
    assert apply(EXPM1.facts, small, "").top == exponent("-1/2")
    assert any(t.pattern.has_mean and t.exponent == -1 for t in apply(EXPM1.facts, small, ""))  # the square's mean
    assert apply(EXPM1.facts, large, "").top == exponent(0)
    assert apply(EXPM1.derivative_facts(1), small, "").top == exponent(0)
    assert apply(LOG1P.facts, small, "").top == exponent("-1/2")


@pytest.mark.parametrize("function", [EXPM1, LOG1P])
def test_the_functions_are_what_they_say(function: Any) -> None:
    h = np.linspace(-0.9, 2, 50)
    expected = {"expm1": np.exp(h) - 1, "log1p": np.log(1 + h)}[function.name]
    np.testing.assert_allclose(function.numpy(h), expected)
    np.testing.assert_allclose(function.torch(torch.from_numpy(h)).numpy(), expected)
    slopes = (function.numpy(1e-6 * h) / 1e-6, h)
    np.testing.assert_allclose(*slopes, atol=1e-5)


def test_the_split_is_the_softmax() -> None:
    """Cross-entropy over all tokens is that of the batch's, with log(N exp(s)) as one more logit."""
    rng = np.random.default_rng(0)
    seen, others = rng.standard_normal(3), rng.standard_normal(1000)
    whole = np.log(np.exp(np.concatenate([seen, others])).sum())
    s = LOG1P.numpy(EXPM1.numpy(others).mean())
    np.testing.assert_allclose(np.log(np.exp(seen).sum() + 1000 * np.exp(s)), whole)


def test_the_inverse_problem_is_that_of_a_finite_vocabulary() -> None:
    for power in (0, 1):
        net = one(power, norm="none")
        found = tp.solve(net, "mup", free=("r", "b_readout"), optimizer="adam")
        assert found.told() == ["r = 0, b_readout >= 1"]


def test_every_target_has_a_scale() -> None:
    d = tp.derive(one(), "mup", optimizer="adam")
    assert "readout.feature" not in targets_of(d.setting, 1)
    for target in targets_of(d.setting, 1):
        d.scale(target)
    told = d.explain("logits")
    assert "readout.effective" in told
