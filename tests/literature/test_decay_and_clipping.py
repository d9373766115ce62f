"""Weight decay and gradient clipping in width: what they change, exactly.

Decay: with rate n^-c and coefficient n^lambda a step takes n^(lambda - c) of a weight away, so a shrink that does not
depend on the width needs lambda = c (Wang & Aitchison 2024, arXiv 2405.13698; Everett et al. 2024, arXiv 2407.05872).
Clipping: Pascanu et al. 2013 (arXiv 1211.5063), with the L2 norm over all weights.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

import tensorprog as tp
from tensorprog.errors import Unsupported
from tensorprog.optimizers import Adam, Clipped, Decayed, Optimizer, optimizer

P = tp.Parametrization.from_layers


def effective(d: tp.Derivation, step: int) -> list[str]:
    return [str(s.effective) for s in d.steps[step].sites.values()]


# -- decay


@pytest.mark.parametrize("c", [Fraction(-1, 2), Fraction(0), Fraction(1, 2), Fraction(1)])
def test_a_width_independent_shrink_needs_lambda_as_large_as_c(c: Fraction) -> None:
    """At lambda = c the effective update contains a Theta(1) part of W_0 x; below it vanishes, above it grows."""
    p = P([0] * 3, [0, "1/2", "1/2"], [c, c + 9, c + 9])  # only the input layer decays visibly

    def input_update(excess: Any) -> tuple[str, tp.Regime]:
        d = tp.derive(tp.mlp(2), p, optimizer=Decayed("sgd", decay_exponent=c + Fraction(excess)))
        return str(d.steps[4].sites["input"].effective), d.regime

    gradient = -c - Fraction(1, 2)  # the input's own update in the standard parametrization
    assert input_update(0)[0] == str(max(gradient, Fraction(0)))
    assert input_update("-1/4")[0] == str(max(gradient, Fraction(-1, 4)))
    exponent, regime = input_update("1/4")
    assert regime is tp.Regime.CATASTROPHIC
    assert exponent == str(max(gradient + Fraction(3, 4), Fraction(1)))  # four steps of growth by n^(1/4)


def test_decay_in_closed_form() -> None:
    """muP for Adam, c = (0, 1, 1): the input layer, whose rate is n^0, is the first to feel a large coefficient."""
    family = tp.derive(tp.mlp(2), "mup", optimizer=Decayed("adam", "k"), assume=["k <= 2"])
    assert [(str(r), str(v)) for r, v in family.regimes()] == [("k <= 0", "stable"), ("0 < k <= 2", "catastrophic")]
    forms = {t: str(family.closed_form(f"{t}.effective", step=1)) for t in ("input", "hidden.1")}
    assert forms == {"input": "Max(0, k)", "hidden.1": "Max(0, k, 2*k - 1)"}


def test_decay_is_what_moves_a_layer_that_does_not_learn() -> None:
    """SP, SGD at n^(-1/2), lambda = n^(1/2): the input layer's effective update rises from n^-1 to n^0."""
    plain, decayed = (
        tp.derive(tp.mlp(2), "sp", optimizer=how, lr_exponent="-1/2") for how in ("sgd", Decayed("sgd", "1/2"))
    )
    assert effective(plain, 2) == ["-1", "0", "1/2"]
    assert effective(decayed, 2) == ["0", "0", "1/2"]
    assert (plain.regime, decayed.regime) == (tp.Regime.CONTROLLED_DIVERGENCE,) * 2


def test_decay_of_the_initial_weight_is_not_a_rank_one_update() -> None:
    """The decayed part of W_0 acts as W_0: its product with x is a fresh field, its transpose reaches the layers below.

    With a readout that does not learn, the hidden layer's decay is not aligned with it: n^0, where a gradient step of
    the same size gives n^(1/2).
    """
    p = P([0] * 3, [0, "1/2", "1/2"], [9, 0, 9])
    d = tp.derive(tp.mlp(2, "tanh"), p, optimizer=Decayed("muon", decay_exponent=0), steps=1)
    assert str(d.steps[1].sites["hidden.1"].effective) == "0"
    undecayed = tp.derive(tp.mlp(2, "tanh"), p, optimizer="muon", steps=1)
    slow = P([0] * 3, [0, "1/2", "1/2"], [9, 9, 9])
    only_decay = tp.derive(tp.mlp(2, "tanh"), slow, optimizer=Decayed("muon", decay_exponent=9), steps=1)
    propagating = [str(x.steps[1].sites["readout"].propagating) for x in (undecayed, only_decay)]
    assert propagating == ["1/2", "0"]


def test_a_zero_initialised_weight_has_nothing_to_decay() -> None:
    plain, decayed = (
        tp.derive(tp.mlp(2), "mup", optimizer=how, zero_readout=True) for how in ("adam", Decayed("adam", 0))
    )
    assert str(decayed.steps[1].sites["readout"].effective) == str(plain.steps[1].sites["readout"].effective) == "0"
    assert str(decayed.steps[1].sites["input"].effective) == "0"  # its decay; no gradient has arrived yet
    assert str(plain.steps[1].sites["input"].effective) == "-oo"


@pytest.mark.parametrize("r", ["-1", "-1/2", "0"])
def test_coupled_and_decoupled_decay_agree_for_gradient_descent(r: str) -> None:
    for k in ("-1", "0", "1/2"):
        apart, coupled = (
            tp.derive(tp.mlp(2), "sp", optimizer=Decayed("sgd", k, coupled=c), lr_exponent=r) for c in (False, True)
        )
        assert apart.to_dict()["steps"] == coupled.to_dict()["steps"]


def test_coupled_decay_under_adam_competes_with_the_gradient() -> None:
    """SP at n^-1: hidden gradients and weights have entries n^(-1/2), readout n^0 and n^(-1/2).

    lambda = n^k: for k > 0 the hidden layer's steps are those of sign(w), and the gradient's part shrinks to n^-k; a
    decoupled decay leaves the gradient's part alone.
    """

    def hidden(k: Any, coupled: bool) -> str:
        how = Decayed("adam", decay_exponent=k, coupled=coupled)
        d = tp.derive(tp.mlp(2), "sp", optimizer=how, lr_exponent=-1)
        return str(d.steps[1].sites["hidden.1"].effective)

    assert [hidden(k, True) for k in ("-1", "0", "1/4", "1/2", "1")] == ["0", "0", "-1/4", "-1/2", "-1/2"]
    assert [hidden(k, False) for k in ("-1", "0", "1/4", "1/2", "1")] == ["0"] * 5


def test_adamw_is_adam_with_decoupled_decay() -> None:
    for k in ("-1", "0", "1"):
        one, two = (
            tp.derive(tp.mlp(2), "mup", optimizer=how).to_dict()["steps"]
            for how in (optimizer("adamw", decay_exponent=k), Decayed("adam", k))
        )
        assert one == two


@pytest.mark.parametrize("name", ["muon", "shampoo", "soap", "kfac"])
def test_coupled_decay_with_matrix_optimizers_is_refused(name: str) -> None:
    with pytest.raises(
        Unsupported, match=f"coupled weight decay with the optimizer {name} is not supported: .* decoupled"
    ):
        tp.derive(tp.mlp(2), "sp", optimizer=Decayed(name, coupled=True))
    tp.derive(tp.mlp(2), "sp", optimizer=Decayed(name))


# -- clipping


def test_clipped_gradient_descent_in_closed_form() -> None:
    """SP: the readout's gradient has L2 norm n^(1/2), so every rate is n^(1/2) smaller, and stable n^(1/2) further."""
    family = tp.derive(tp.mlp(2), "sp", optimizer="clipped", lr_exponent="r", assume=["r <= 0"])
    targets = ["input.effective", "hidden.1.effective", "readout.effective", "readout.propagating"]
    plain = tp.derive(tp.mlp(2), "sp", optimizer="sgd", lr_exponent="r", assume=["r <= -1/2"])
    for target in targets:
        clipped = family.closed_form(target, step=1)
        for r in (Fraction(-2), Fraction(-1), Fraction(-3, 4), Fraction(-1, 2)):
            assert clipped.at(r=r + Fraction(1, 2)) == plain.closed_form(target, step=1).at(r=r)


@pytest.mark.parametrize(("loss", "plain"), [("ce", "-1/2"), ("mse", "-1"), ("z-loss", "-1")])
def test_clipping_makes_growing_losses_controlled(loss: str, plain: str) -> None:
    """Divided by its own norm, a loss derivative that grows with the logits feeds nothing back."""
    assert str(tp.max_stable_lr(tp.mlp(2), "sp", optimizer="sgd", loss=loss).exponent) == plain
    rates = tp.max_stable_lr(tp.mlp(2), "sp", optimizer="clipped", loss=loss)
    assert (str(rates.exponent), str(rates.bounded_logits_exponent)) == ("0", "-1/2")
    d = tp.derive(tp.mlp(2), "sp", optimizer="clipped", loss=loss, lr_exponent="-1/4")
    assert (d.regime, d.learning) == (tp.Regime.CONTROLLED_DIVERGENCE, tp.Learning.KERNEL)


def test_a_high_threshold_does_nothing_and_a_low_one_normalises() -> None:
    """Clipping at n^k: none for k above the norm's 1/2, and below it the global normalised step times n^k."""
    for loss in ("ce", "mse"):
        steps: dict[str, Any] = {}
        for name, how, r in [
            ("plain", "sgd", "-1"),
            ("high", Clipped(threshold_exponent=3), "-1"),
            ("low", Clipped(threshold_exponent=-2), "1"),
            ("global", "global-normalised-gd", "-1"),
        ]:
            steps[name] = tp.derive(tp.mlp(2), "sp", optimizer=how, loss=loss, lr_exponent=r).to_dict()["steps"]
        assert steps["plain"] == steps["high"]
        assert steps["low"] == steps["global"]


@pytest.mark.parametrize("base", ["signsgd", "adam", "lion", "muon", "normalised-gd", "lars", "adafactor"])
def test_an_optimizer_that_ignores_the_gradients_scale_ignores_clipping(base: str) -> None:
    for r in ("-1", "0"):
        plain, clipped = (
            tp.derive(tp.mlp(2), "sp", optimizer=how, loss="ce", lr_exponent=r).to_dict()["steps"]
            for how in (optimizer(base), Clipped(base))
        )
        assert plain == clipped


def test_clipping_lifts_adams_epsilon() -> None:
    """Clipped gradients are n^(1/2) smaller, so epsilon counts n^(1/2) earlier: hidden entries -1/2 - 1/2."""

    def hidden(how: Optimizer) -> str:
        return effective(tp.derive(tp.mlp(2), "sp", optimizer=how, lr_exponent=-1), 1)[1]

    assert [hidden(Adam(e)) for e in ("-1", "-1/2", "-1/4")] == ["0", "0", "-1/4"]
    assert [hidden(Clipped(Adam(e))) for e in ("-1", "-1/2", "-1/4")] == ["0", "-1/2", "-3/4"]


def test_each_past_step_was_clipped_by_its_own_norm() -> None:
    """One hidden layer, SP at n^0: the readout takes over the backward signal, and Adam remembers clipped gradients."""
    d = tp.derive(tp.mlp(1), "sp", optimizer=Clipped(Adam("-2")), lr_exponent=0)
    plain = tp.derive(tp.mlp(1), "sp", optimizer=Adam("-2"), lr_exponent=0)
    assert d.to_dict()["steps"] == plain.to_dict()["steps"]
