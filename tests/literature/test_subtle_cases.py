"""The subtle cases that concern MLPs: each is a place where a plausible shortcut gives another exponent."""

from __future__ import annotations

from typing import Any

import pytest

import tensorprog as tp
from tensorprog.calculus import sizes
from tensorprog.scale import Scale

P = tp.Parametrization.from_layers


def site(d: Any, name: str, step: int) -> dict[str, str | None]:
    found = d.steps[step].sites[name]
    return {q: None if (e := getattr(found, q)) is None else str(e) for q in ("effective", "propagating", "feature")}


def test_the_readout_takes_over_the_backward_signal() -> None:
    """SP, SGD, one hidden layer, n^0: step 1 sees the initial readout n^(-1/2), later steps the trained one n^0.

    Subtle: the readout's propagating update stays 0 although the input's feature change grows by n^(1/2): the part that
    came from the trained readout is not aligned with W_0.
    """
    d = tp.derive(tp.mlp(1), "sp", optimizer="sgd", loss="ce", lr_exponent=0)
    assert [site(d, "input", t)["effective"] for t in (1, 2, 3, 4)] == ["-1/2", "0", "0", "0"]
    assert [site(d, "readout", t)["propagating"] for t in (1, 2, 3, 4)] == ["0"] * 4
    assert [str(d.steps[t].logits) for t in (1, 2, 3, 4)] == ["1"] * 4
    assert d.regime is tp.Regime.CONTROLLED_DIVERGENCE


@pytest.mark.parametrize(
    ("c_readout", "feature", "propagating"),
    [
        ("2", "-2", "-2"),  # W_0 alone drives: everything is aligned
        ("3/4", "-7/4", "-2"),  # the trained readout drives, but its part only reaches -9/4: the W_0-driven one decides
        ("1/2", "-3/2", "-2"),  # both parts reach -2
        ("0", "-1", "-3/2"),  # the trained part decides, by the central limit
    ],
)
def test_only_the_initial_readouts_part_is_aligned(c_readout: str, feature: str, propagating: str) -> None:
    """One hidden layer, b_readout = 1, c_input = 1: W_0 <-> 1 - 2 b - c, Delta W <-> 1/2 - b - c_readout - c.

    Subtle: with c_readout < b_readout the feature change is driven by the trained readout, which is a function of the
    features and not of W_0; alignment with W_0 would give 1 - b + feature, which is -2, -7/4, -3/2, -1.
    """
    d = tp.derive(tp.mlp(1), P([0, 0], [0, 1], [1, c_readout]), optimizer="sgd", loss="ce")
    assert site(d, "input", 2)["feature"] == feature
    assert site(d, "readout", 2)["propagating"] == propagating


def test_sign_updates_move_the_logits_through_the_initial_readout() -> None:
    """SP, Adam, n^-1: all hidden effective updates Theta(1), readout effective 0, and yet logits n^(1/2).

    Subtle: the readout's own update is bounded; it is W_0, of size n^(-1/2), against the aligned feature change.
    """
    for how in ("adam", "signsgd"):
        d = tp.derive(tp.mlp(3), "sp", optimizer=how, loss="ce", lr_exponent=-1)
        for t in (1, 2, 4):
            assert [site(d, f"hidden.{k}", t)["effective"] for k in (1, 2)] == ["0", "0"]
            assert site(d, "readout", t)["effective"] == "0"
            assert site(d, "readout", t)["propagating"] == "1/2"
            assert str(d.steps[t].logits) == "1/2"
        bounded = tp.derive(tp.mlp(3), "sp", optimizer=how, loss="ce", lr_exponent="-3/2")
        assert str(bounded.steps[4].logits) == "0"
        above = tp.derive(tp.mlp(3), "sp", optimizer=how, loss="ce", lr_exponent="-23/16")
        assert str(above.steps[4].logits) == "1/16"


@pytest.mark.parametrize("how", ["sgd", "adam", "signsgd", "muon"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_zero_readout_starts_upstream_at_step_two(how: str, depth: int) -> None:
    """Subtle: at step 1 everything above the readout is exactly zero (-oo), not small: no gradient passed at all."""
    d = tp.derive(tp.mlp(depth), "mup", optimizer=how, loss="ce", zero_readout=True)
    assert str(d.steps[0].logits) == "-oo"
    upstream = [name for name in d.steps[1].sites if name != "readout"]
    assert {site(d, name, 1)[q] for name in upstream for q in ("effective", "feature")} == {"-oo"}
    assert site(d, "readout", 1)["effective"] == "0"
    for t in (2, 3, 4):
        assert {site(d, name, t)["effective"] for name in upstream} == {"0"}
        assert site(d, "readout", t)["propagating"] == "-oo"  # W_0 = 0
    assert d.learning is tp.Learning.MAXIMAL


def test_small_aligned_term_under_a_large_one() -> None:
    """Three hidden layers, SGD, b_readout 3/4, c = (-1/4, 1/2, 1, 1/2), step 2: readout propagating 0, not -1/4.

    Subtle: hidden.1 changes by Theta(1), as much as it was; the change's smaller part, driven by W_0, must be carried
    through the nonlinearity as well, because it alone is aligned with the readout.
    """
    d = tp.derive(tp.mlp(3), P([0] * 4, [0, "1/2", "1/2", "3/4"], ["-1/4", "1/2", "1", "1/2"]), optimizer="sgd")
    assert site(d, "hidden.1", 2)["feature"] == "0"
    assert [site(d, "readout", t)["propagating"] for t in (1, 2, 3, 4)] == ["0"] * 4


def test_propagating_update_has_a_back_reaction_and_a_remainder() -> None:
    """Only the input layer learns: its change reaches the readout through W_0 in two parts of one size.

    Subtle: the back-reaction W_0 W_0^T dh is aligned with the readout, the fresh field is not. Sizes do not tell; the
    readout's propagating update does: 1 - 1/2 - 1/2, not 1/2 - 1/2 - 1/2.
    """
    d = tp.derive(tp.mlp(2), P([0] * 3, [0, "1/2", "1/2"], [0, 9, 9]), optimizer="sgd", loss="ce")
    assert site(d, "input", 1)["feature"] == "-1/2"
    through = d.scale("hidden.1.propagating", step=1)
    assert [str(t.exponent) for t in through] == ["-1/2"] * len(through)
    rules = {t.reason.rule for t in _unnamed(through)}
    assert {"fresh", "back-reaction"} <= rules
    assert site(d, "readout", 1)["propagating"] == "0"


def _unnamed(scale: Scale) -> list:
    """Terms below the names that values carry."""
    found = []
    for t in scale:
        while t.reason.rule == "value":
            (t,) = t.reason.sources
        found.append(t)
    return found


# -- moments whose mean vanishes for one reason only


def sources(b: tp.Builder, *names: str) -> list[Any]:
    one = b.data("one")
    return [b.matmul(b.weight(name, b.width, one.axis), one) for name in names]


def top(b: tp.Builder, value: Any) -> str:
    return str(sizes(b)[value.index].top)


def test_a_joint_flip_kills_the_mean() -> None:
    """<b, relu(a b)>: flipping b alone changes relu(a b); flipping a with it leaves relu(a b) and changes b's sign.

    Subtle: neither tensor alone has the symmetry that kills the mean.
    """
    builder = tp.Builder()
    a, b = sources(builder, "a", "b")
    gate = builder.apply("relu", builder.multiply(a, b))
    assert top(builder, builder.moment(b, gate)) == "1/2"
    assert top(builder, builder.moment(builder.multiply(a, b), gate)) == "1"
    assert top(builder, builder.moment(gate, gate)) == "1"


def test_a_local_flip_kills_the_mean() -> None:
    """<u, relu(W relu(u))>: u's overall sign is seen through W, its sign at one coordinate is not."""
    builder = tp.Builder()
    (u,) = sources(builder, "u")
    w = builder.weight("W", builder.width, builder.width)
    mixed = builder.apply("relu", builder.matmul(w, builder.apply("relu", u)))
    assert top(builder, builder.moment(u, mixed)) == "1/2"
    assert top(builder, builder.moment(u, builder.apply("relu", u))) == "1"


def test_three_matrices_deep() -> None:
    """<W u, W relu(V relu(u))>: u and y share signs across coordinates only, W compares coordinate by coordinate."""
    builder = tp.Builder()
    (u,) = sources(builder, "u")
    w, v = (builder.weight(name, builder.width, builder.width) for name in "WV")
    y = builder.apply("relu", builder.matmul(v, builder.apply("relu", u)))
    assert top(builder, builder.moment(builder.matmul(w, u), builder.matmul(w, y))) == "1/2"
    assert top(builder, builder.moment(builder.matmul(w, y), builder.matmul(w, y))) == "1"


# -- time


def test_every_step_is_reported_and_the_settled_one_repeats() -> None:
    d = tp.derive(tp.mlp(1), "sp", optimizer="sgd", lr_exponent=0, steps=6)
    assert d.settled
    assert [s.step for s in d.steps] == list(range(7))
    assert d.step(1000).sites == d.steps[6].sites == d.steps[2].sites != d.steps[1].sites


def test_momentum_changes_no_exponent() -> None:
    from tensorprog.optimizers import SGD

    for r in ("-1", "-1/2", "0"):
        plain, heavy = (tp.derive(tp.mlp(2), "sp", optimizer=SGD(m), lr_exponent=r).to_dict() for m in (0.0, 0.9))
        assert plain["steps"] == heavy["steps"]
        assert plain["regime"] == heavy["regime"]


def test_rates_of_single_layers_do_not_interact_below_the_edge() -> None:
    """Raising the input's rate to n^(1/2) in SP at n^(-1/2) moves the input alone, until it is as large as itself."""
    base = tp.derive(tp.mlp(2), "sp", lr_exponent="-1/2")
    faster = tp.derive(tp.mlp(2), tp.parametrizations.SP.where("input", c="-1"), lr_exponent="-1/2")
    assert site(faster, "input", 1)["effective"] == "0"
    assert site(faster, "hidden.1", 1)["effective"] == site(base, "hidden.1", 1)["effective"] == "0"
    assert site(faster, "hidden.1", 1)["propagating"] == "0"
    assert faster.learning is tp.Learning.FEATURE
