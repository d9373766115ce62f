"""Claims, the registry of cases, and the constants that they are trained with."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product

import pytest

import tensorprog as tp
from tensorprog.derive import derive_setting
from tensorprog.errors import UnknownName
from tensorprog.exponent import exponent
from tensorprog.regimes import Regime
from tensorprog.setting import setting
from tensorprog.stability import stable_rates
from validation.cases import AXES, CASES, FULL, QUICK, SUITES, Case, case, covering
from validation.claims import Prediction, parts, predictions
from validation.constants import (
    BASE_WIDTH,
    CALIBRATION_WIDTH,
    FEATURE_CHANGE,
    _feature_change,
    calibrated,
)
from validation.measure import OUTPUT, Quantity
from validation.run import judged
from validation.verdict import Verdict

Q = Quantity

# -- claims


def test_every_derived_number_is_a_claim() -> None:
    for name in ("sp-sgd-ce-2", "mup-adam-ce-2", "mfp-muon-ce-2"):
        s = CASES[name].setting
        found = predictions(s, (1, 3))
        assert len({p.key for p in found}) == len(found) == 27
        assert {p.site for p in found} == {"input", "hidden.1", "readout", OUTPUT}
        derived = derive_setting(s)
        by_key = {p.key: p.exponent for p in found}
        for t in (1, 3):
            for name_, e in derived.step(t).sites.items():
                assert by_key[name_, Q.EFFECTIVE, t] == e.effective
            assert by_key[OUTPUT, Q.LOGIT_UPDATE, t] == derived.step(t).logit_update


def test_a_catastrophic_setting_claims_its_regime_alone() -> None:
    (only,) = predictions(CASES["sp-sgd-ce-2-beyond"].setting, (1, 3))
    assert only.key == (OUTPUT, Q.REGIME, 3)
    assert only.stated == "catastrophic"
    assert only.exponent > exponent(0)


def test_parts_of_sums() -> None:
    s = CASES["sp-adam-mse-2"].setting

    def named(site: str, quantity: Q, step: int = 1) -> set[tuple[str, Q, int]]:
        return set(parts(s, Prediction(site, quantity, step, exponent(0))))

    assert named("hidden.1", Q.ACTIVATION) == {("hidden.1", Q.ACTIVATION, 0), ("hidden.1", Q.FEATURE, 1)}
    assert named("hidden.1", Q.FEATURE) == {("hidden.1", Q.EFFECTIVE, 1), ("hidden.1", Q.PROPAGATING, 1)}
    assert named("input", Q.FEATURE) == {("input", Q.EFFECTIVE, 1)}  # its input is data
    assert named(OUTPUT, Q.LOGIT_UPDATE) == {("readout", Q.EFFECTIVE, 1), ("readout", Q.PROPAGATING, 1)}
    assert named(OUTPUT, Q.LOGITS) == named(OUTPUT, Q.LOGIT_UPDATE) | {(OUTPUT, Q.LOGITS, 0)}
    assert named(OUTPUT, Q.LOSS_GRADIENT) == {(OUTPUT, Q.TARGETS, 0), (OUTPUT, Q.LOGITS, 1)}
    assert named("hidden.1", Q.EFFECTIVE) == set()
    assert named(OUTPUT, Q.LOGITS, 0) == set()
    bounded = CASES["sp-adam-ce-2"].setting
    assert list(parts(bounded, Prediction(OUTPUT, Q.LOSS_GRADIENT, 1, exponent(0)))) == []


def sums(wrong: float = 0.0) -> dict[tuple[str, Quantity], Verdict]:
    """Verdicts on logits and chi where targets dwarf logits, and initial logits bend theirs."""
    widths = (128, 256, 512, 1024)
    initial, growing = dict.fromkeys(widths, 1.5e-5), {n: 5e-7 * n ** (0.5 + wrong) for n in widths}
    still = dict.fromkeys(widths, 2e-6)
    logits = {n: math.hypot(initial[n], growing[n], still[n]) for n in widths}
    sizes = {
        (OUTPUT, Q.LOGITS, 0): initial,
        (OUTPUT, Q.TARGETS, 0): dict.fromkeys(widths, 0.3),
        (OUTPUT, Q.LOGITS, 1): logits,
        (OUTPUT, Q.LOSS_GRADIENT, 1): {n: math.hypot(0.3, f) for n, f in logits.items()},
        ("readout", Q.EFFECTIVE, 1): still,
        ("readout", Q.PROPAGATING, 1): growing,
    }
    found = judged(
        CASES["ntp-muon-mse-3"], {k: {n: {0: x, 1: x} for n, x in v.items()} for k, v in sizes.items()}, (1,)
    )
    return {(f.prediction.site, f.prediction.quantity): f.verdict for f in found if f.prediction.step}


def test_a_sum_of_sums_is_judged_from_its_parts() -> None:
    """Chi = logits - targets, and the logits are a sum themselves: both are bent, and their parts agree."""
    verdicts = sums()
    assert verdicts["readout", Q.PROPAGATING] is Verdict.AGREES
    assert verdicts[OUTPUT, Q.LOGITS] is verdicts[OUTPUT, Q.LOSS_GRADIENT] is Verdict.INCONCLUSIVE
    verdicts = sums(wrong=-0.5)
    assert verdicts["readout", Q.PROPAGATING] is verdicts[OUTPUT, Q.LOSS_GRADIENT] is Verdict.DISAGREES


def test_bounded_chi_of_diverging_logits_has_a_transient() -> None:
    by_key = {p.key: p for p in predictions(CASES["sp-adam-ce-2"].setting, (1,))}
    assert str(by_key[OUTPUT, Q.LOSS_GRADIENT, 1].transient) == "1/2"
    by_key = {p.key: p for p in predictions(CASES["mup-adam-ce-2"].setting, (1,))}
    assert by_key[OUTPUT, Q.LOSS_GRADIENT, 1].transient is None


# -- corrections


def test_corrections_are_remainders_parts_and_smaller_terms() -> None:
    d = tp.derive(tp.mlp(hidden_layers=2), "mfp", optimizer="sgd", loss="ce")

    def known(target: str, step: int = 1) -> list[str]:
        return list(dict.fromkeys(str(s.exponent) for s in d.subleading(target, step=step)))

    assert known("hidden.1.activation") == ["-1/2"]  # x_0 is n^-1/2 under an update of n^0
    assert known("readout.propagating") == ["-1/2"]  # the central-limit remainder of an aligned sum
    assert known("logits") == ["-1/2", "-1"]  # the effective update, and f_0
    assert known("hidden.1.activation", 0) == []
    zero = tp.derive(tp.mlp(hidden_layers=2), "mup", zero_readout=True)
    assert zero.subleading("hidden.1.effective") == ()
    for name in QUICK.cases:
        s = CASES[name].setting
        for p in predictions(s, (1, 3)):
            assert all(q < p.exponent for q in p.corrections)
            assert list(p.corrections) == sorted(p.corrections, reverse=True)


# -- cases


def test_the_registry_is_the_product_of_its_axes() -> None:
    names = ["-".join(values[:4]) + "-zero" * (values[4] == "zero") for values in product(*AXES.values())]
    assert len(names) == 5 * 4 * 3 * 4 * 2
    assert {*names, *(f"{n}-beyond" for n in names)} <= set(CASES)
    assert {case(n) for n in names} == {CASES[n] for n in names}
    with pytest.raises(UnknownName, match="accepted are sp-sgd-ce-2"):
        case("sp-sgd-ce-7")


@pytest.mark.parametrize("name", ["sp-sgd-ce-2", "mup-muon-mse-1-zero", "ntp-adam-huber-3"])
def test_cases_are_at_the_edge_or_half_a_power_beyond(name: str) -> None:
    at_edge, wild = CASES[name], CASES[f"{name}-beyond"]
    rates = stable_rates(at_edge.base)
    assert at_edge.setting.lr_exponent == rates.exponent
    assert wild.setting.lr_exponent - at_edge.setting.lr_exponent == exponent("1/2")
    assert derive_setting(at_edge.setting).regime is not Regime.CATASTROPHIC
    assert derive_setting(wild.setting).regime is Regime.CATASTROPHIC


def test_suites_name_cases_and_cover_every_pair_of_levels() -> None:
    for suite in SUITES.values():
        assert set(suite.cases) <= set(CASES)
        assert len(set(suite.cases)) == len(suite.cases)
    assert set(QUICK.cases) <= set(FULL.cases) | {n for n in QUICK.cases if n.endswith("-beyond")}
    assert max(QUICK.widths) == 2048
    assert max(FULL.widths) == 16384
    assert FULL.seeds >= 5
    rows = covering(AXES, 2)
    for a, b in combinations(AXES, 2):
        assert {(r[a], r[b]) for r in rows} == set(product(AXES[a], AXES[b]))
    assert len(rows) < 30


def test_what_is_not_on_the_grid_is_derived_as_claimed() -> None:
    """Every other case is stable or diverges in a controlled way, but for the one whose claim is that it does not."""
    others = [c for c in CASES.values() if c.name.split("-")[0] not in AXES["parametrization"]]
    assert {c.base.program.label.split("(")[0] for c in others} >= {"transformer", "resnet-mlp", "cnn", "resnet"}
    for c in others:
        assert derive_setting(c.setting).regime is not Regime.CATASTROPHIC, c.name
    edges = {name: str(CASES[f"sp-{name}-2"].lr_exponent) for name in ("z-loss", "clipped", "epsilon", "decay")}
    assert edges == {"z-loss": "-1", "clipped": "0", "epsilon": "-1/2", "decay": "-1/2"}
    assert derive_setting(CASES["sp-z-loss-2-beyond"].setting).regime is Regime.CATASTROPHIC


# -- constants


def test_calibration_reaches_the_wanted_feature_change() -> None:
    for name in ("sp-sgd-ce-2", "sp-sgd-mse-2"):
        c = CASES[name]
        constants = calibrated(c.setting, c.data)
        assert constants == c.constants  # deterministic
        e = derive_setting(c.setting).step(1).sites["hidden.1"].feature
        assert e is not None
        wanted = FEATURE_CHANGE * (CALIBRATION_WIDTH / BASE_WIDTH) ** float(e.const)
        assert _feature_change(c.setting, c.data, constants, 1) == pytest.approx(wanted, rel=0.1)


def test_constants_do_not_depend_on_how_a_case_is_given() -> None:
    one = Case("own", setting(tp.mlp(hidden_layers=2), "sp", lr_exponent="-1/2"))
    assert one.constants == CASES["sp-sgd-ce-2"].constants
    wild = replace(CASES["sp-sgd-ce-2"], name="wild", edge=Fraction(1, 2))
    assert wild.constants == CASES["sp-sgd-ce-2-beyond"].constants == CASES["sp-sgd-ce-2"].constants
