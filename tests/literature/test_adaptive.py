"""Adaptive and matrix optimizers: published learning-rate rules are maximal, stable, and derived."""

from __future__ import annotations

from fractions import Fraction

import pytest

import tensorprog as tp
from tensorprog.optimizers import Muon, Optimizer, ShapeFactor, optimizer
from tensorprog.program import Role

P = tp.Parametrization.from_layers


def layers(roles: tuple[object, ...], depth: int) -> list[object]:
    """(input, hidden, readout) spread over a depth."""
    return [roles[0], *[roles[1]] * (depth - 1), roles[2]]


def rule(name: str, how: str | Optimizer, depth: int = 3, bias: bool = False) -> dict[str, str]:
    """The learning-rate exponents c by weight that a parametrization derives for an optimizer."""
    s = tp.derive(tp.mlp(depth, bias=bias), name, optimizer=how).setting
    return {w.name: str(abc.c) for w, abc in s.exponents().items()}


def assert_maximal(d: tp.Derivation) -> None:
    """Every effective update of a matrix Theta(1) at every step, nothing diverges, logits bounded."""
    assert d.regime is tp.Regime.STABLE
    assert d.learning is tp.Learning.MAXIMAL
    for t in range(1, 5):
        matrices = [s for s in d.steps[t].sites.values() if s.role != Role.VECTOR.value]
        assert {str(s.effective) for s in matrices} == {"0"}
        assert str(d.steps[t].logits) == "0"


# -- Tensor Programs IVb (arXiv 2308.01814), Yang & Littwin 2023


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("how", ["adam", "signsgd"])
@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_mup_for_adam(depth: int, how: str, loss: str) -> None:
    p = P(layers((0, 0, 1), depth), layers((0, "1/2", 0), depth), layers((0, 1, 0), depth))
    assert_maximal(tp.derive(tp.mlp(depth), p, optimizer=how, loss=loss))


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_ntp_for_adam(depth: int, loss: str) -> None:
    """The operator NTK limit: a (0, 1/2, 1/2), b 0, c (1/2, 1, 1/2) is a kernel; the logits move by Theta(1)."""
    p = P(layers((0, "1/2", "1/2"), depth), layers((0, 0, 0), depth), layers(("1/2", 1, "1/2"), depth))
    d = tp.derive(tp.mlp(depth), p, optimizer="adam", loss=loss)
    assert (d.regime, d.learning) == (tp.Regime.STABLE, tp.Learning.KERNEL)
    for t in (1, 2, 4):
        sites = d.steps[t].sites
        assert str(d.steps[t].logit_update) == "0"
        assert {str(s.feature) for s in sites.values() if s.feature is not None} == {"-1/2"}
        assert str(sites["readout"].propagating) == "0"


def test_features_need_faster_hidden_layers() -> None:
    """NTP's shape with rates n^(1/2) larger is no kernel any more."""
    faster = P([0, "1/2", "1/2"], [0, 0, 0], [0, "1/2", 0])
    assert tp.derive(tp.mlp(2), faster, optimizer="adam").learning is tp.Learning.FEATURE


# -- Tensor Programs V (arXiv 2203.03466), Table 3


@pytest.mark.parametrize(
    ("how", "rates"),
    [
        ("sgd", {"input": "-1", "hidden.1": "0", "hidden.2": "0", "readout": "1"}),
        ("adam", {"input": "0", "hidden.1": "1", "hidden.2": "1", "readout": "1"}),
    ],
)
def test_mup_rates(how: str, rates: dict[str, str]) -> None:
    """Input fan_out and 1, hidden 1 and 1/fan_in, output 1/fan_in and 1/fan_in; biases as input weights."""
    assert rule("mup", how) == rates
    biased = rule("mup", how, bias=True)
    assert {k: v for k, v in biased.items() if not k.endswith("bias")} == rates
    hidden = [v for k, v in biased.items() if k.endswith("bias") and k != "readout.bias"]
    assert set(hidden) == {rates["input"]}
    assert biased["readout.bias"] == "0"  # fan_out of the last layer is the number of classes


@pytest.mark.parametrize("how", ["sgd", "adam"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_mup_is_maximal(how: str, depth: int, bias: bool) -> None:
    d = tp.derive(tp.mlp(depth, bias=bias), "mup", optimizer=how)
    assert_maximal(d)
    if bias:
        assert {str(s.effective) for s in d.steps[1].sites.values() if s.role == "vector"} == {"0"}
    else:
        assert str(d.steps[0].logits) == "-1/2"


def test_mup_init() -> None:
    """Variances 1/fan_in, 1/fan_in, 1/fan_in^2 with a finite input."""
    exponents = tp.derive(tp.mlp(2), "mup").setting.exponents().values()
    assert [str(abc.b) for abc in exponents] == ["0", "1/2", "1"]


# -- the spectral condition (arXiv 2310.17813)


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


# -- Zheng et al. 2026 (arXiv 2603.00541), width part; Muon without multipliers


ZHENG = [
    ("sgd", (-1, 0, -1)),
    *((how, (0, 1, 0)) for how in ("adam", "adamw", "lion", "signsgd", "rmsprop", "adagrad")),
    *((how, ("-1/2", 0, "-1/2")) for how in ("muon", "shampoo", "soap")),
]


@pytest.mark.parametrize(("how", "c"), ZHENG)
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_rates_with_an_output_multiplier(how: str, c: tuple[object, ...], depth: int, loss: str) -> None:
    """Output multiplier 1/n, output init Theta(1): SGD (n, 1, n), Adam and Lion (1, 1/n, 1), Muon (n^1/2, 1, n^1/2)."""
    p = P(layers((0, 0, 1), depth), layers((0, "1/2", 0), depth), layers(c, depth))
    assert_maximal(tp.derive(tp.mlp(depth), p, optimizer=how, loss=loss))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_muon_without_the_multiplier(depth: int) -> None:
    c = layers(("-1/2", 0, "1/2"), depth)
    assert list(rule("mup", "muon", depth).values()) == [str(x) for x in c]
    assert_maximal(tp.derive(tp.mlp(depth), P([0] * (depth + 1), layers((0, "1/2", 1), depth), c), optimizer="muon"))


@pytest.mark.parametrize(
    ("factor", "c"),
    [
        ("none", ["-1/2", "0", "1/2"]),
        ("original", ["0", "0", "1/2"]),
        ("spectral", ["0", "0", "0"]),
        ("match-rms", ["0", "1/2", "1"]),
        ("kimi", ["0", "1/2", "1"]),
        ("max", ["0", "1/2", "1"]),
    ],
)
def test_shape_factors_move_into_the_rate(factor: str, c: list[str]) -> None:
    how = optimizer("muon", shape_factor=factor)
    assert list(rule("mup", how, 2).values()) == c
    assert_maximal(tp.derive(tp.mlp(2), "mup", optimizer=how))


# -- u-muP (arXiv 2407.17465)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_unit_scaled_mup(depth: int) -> None:
    """Multipliers fan_in^(-1/2) hidden and 1/fan_in output, unit init: Adam's hidden rate is fan_in^(-1/2), output 1.

    muP for Adam, shifted by 1/2 in the hidden layers.
    """
    p = P(layers((0, "1/2", 1), depth), layers((0, 0, 0), depth), layers((0, "1/2", 0), depth))
    assert_maximal(tp.derive(tp.mlp(depth), p, optimizer="adam"))


def test_unit_scaled_biases() -> None:
    p = tp.Parametrization.from_roles(
        a={"input": 0, "hidden": "1/2", "readout": 1},
        b={"input": 0, "hidden": 0, "readout": 0},
        c={"input": 0, "hidden": "1/2", "readout": 0, "vector": 0},
    )
    assert_maximal(tp.derive(tp.mlp(2, bias=True), p, optimizer="adam"))


# -- one global rate in SP


@pytest.mark.parametrize("depth", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("how", "ends", "forms"),
    [
        ("sgd", "-1/2", ["r - 1/2", "r + 1/2", "r + 1", "r + 1"]),
        ("adam", "-1", ["r", "r + 1", "r + 1", "r + 3/2"]),
        ("signsgd", "-1", ["r", "r + 1", "r + 1", "r + 3/2"]),
        ("muon", "0", ["r - 1/2", "r", "r + 1/2", "r + 1/2"]),
        ("lion", "-1", ["r", "r + 1", "r + 1", "r + 3/2"]),
        ("shampoo", "0", ["r - 1/2", "r", "r + 1/2", "r + 1/2"]),
        ("soap", "0", ["r - 1/2", "r", "r + 1/2", "r + 1/2"]),
        ("lars", "-1/2", ["r", "r + 1/2", "r + 1/2", "r + 1"]),
        ("lamb", "-1/2", ["r", "r + 1/2", "r + 1/2", "r + 1"]),
        ("normalised-gd", "0", ["r - 1/2", "r", "r + 1/2", "r + 1/2"]),
    ],
)
def test_closed_forms_of_a_global_rate(depth: int, how: str, ends: str, forms: list[str]) -> None:
    """Effective input, hidden, readout and propagating readout for learning rate n^r, at step 1 and later."""
    family = tp.derive(tp.mlp(depth), "sp", optimizer=how, lr_exponent="r", assume=[f"r <= {ends}"])
    targets = ["input.effective", "hidden.1.effective", "readout.effective", "readout.propagating"]
    for step in (1, 2, 4):
        assert [str(family.closed_form(t, step=step)) for t in targets] == forms
    rates = tp.max_stable_lr(tp.mlp(depth), "sp", optimizer=how)
    assert (str(rates.exponent), rates.stable.attained) == (ends, True)


@pytest.mark.parametrize(("how", "bounded"), [("sgd", "-1"), ("adam", "-3/2"), ("signsgd", "-3/2"), ("muon", "-1/2")])
def test_bounded_logits_of_a_global_rate(how: str, bounded: str) -> None:
    rates = tp.max_stable_lr(tp.mlp(2), "sp", optimizer=how)
    assert (str(rates.bounded_logits_exponent), rates.logits.attained) == (bounded, True)
