"""Norm layers and residual networks: the rules by hand, and derived settings."""

from __future__ import annotations

import pytest

import tensorprog as tp
from tensorprog.architectures import resnet_mlp
from tensorprog.errors import SettingError, UnknownName
from tensorprog.exponent import ZERO_SIZE, exponent
from tensorprog.norms import normalized, normalized_change, normalized_gradient
from tensorprog.pattern import Pattern
from tensorprog.scale import NOTHING, Scale, moment


def mean(x: Scale, y: Scale, what: str) -> Scale:
    """Over an axis of size n."""
    return moment(x, y, exponent(1), what).shift(exponent(-1), "norm", "/ n")


def scale(*terms: tuple[str, int]) -> Scale:
    """A sum of terms n^e with one character each."""
    result = NOTHING
    for e, character in terms:
        result = result + Scale.source(exponent(e), Pattern(character), rule="data", what="x")
    return result


def exponents(x: Scale) -> set[tuple[str, int]]:
    return {(str(t.exponent), t.pattern.offset) for t in x}


def test_a_norm_keeps_patterns_and_ratios() -> None:
    assert exponents(normalized(scale(("3/2", 1), ("1", 2)))) == {("0", 1), ("-1/2", 2)}
    assert normalized(NOTHING).is_zero


def test_a_small_change_moves_the_direction_and_the_norm() -> None:
    x = scale(("1", 1))
    # d / r, and y times <x, d> / <x, x>: aligned, n^(1 + 0 + 1 - 1 - 2) = n^-1; not aligned n^(-1 - 1/2).
    assert exponents(normalized_change(x, scale(("0", 1)), mean)) == {("-1", 1)}
    assert exponents(normalized_change(x, scale(("0", 2)), mean)) == {("-1", 2), ("-3/2", 1)}


def test_a_large_change_replaces_the_vector() -> None:
    changed = normalized_change(scale(("0", 1)), scale(("2", 2)), mean)
    assert changed.top == exponent(0)
    assert exponents(changed) >= {("0", 1), ("0", 2)}  # the new direction minus the old one
    assert exponents(normalized_change(NOTHING, scale(("2", 2)), mean)) == {("0", 2)}
    assert normalized_change(scale(("0", 1)), NOTHING, mean).is_zero


def test_the_gradient_is_projected_and_divided() -> None:
    found = normalized_gradient(scale(("1", 1)), scale(("0", 2)), mean)
    assert exponents(found) == {("-1", 2), ("-3/2", 1)}
    aligned = normalized_gradient(scale(("1", 1)), scale(("0", 1)), mean)
    assert exponents(aligned) == {("-1", 1)}
    assert normalized_gradient(NOTHING, scale(("0", 1)), mean).is_zero


def test_gains_start_at_one_and_move_like_input_weights() -> None:
    d = tp.derive(resnet_mlp(1, norm="rmsnorm"), "mup", optimizer="adam", loss="ce")
    gain = d.steps[1].sites["block.1.norm.gain"]
    assert d.steps[0].sites["block.1.norm.gain"].activation == ZERO_SIZE  # the deviation from one
    assert (gain.role, str(gain.effective)) == ("vector", "0")
    assert d.regime is tp.Regime.STABLE
    assert d.learning is tp.Learning.MAXIMAL


@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize("placement", ["pre", "post"])
def test_norms_change_no_exponent_where_nothing_diverges(norm: str, placement: str) -> None:
    for name, optimizer in (("mup", "adam"), ("sp-full-align", "adam"), ("mup", "signsgd")):
        plain = tp.derive(resnet_mlp(2), name, optimizer=optimizer)
        normed = tp.derive(resnet_mlp(2, norm=norm, placement=placement, plain_norm=True), name, optimizer=optimizer)
        for a, b in zip(plain.steps, normed.steps, strict=True):
            assert a.to_dict() == b.to_dict()


def test_a_norm_stops_growth_from_block_to_block() -> None:
    """SP, Adam, n^0: without a norm each matrix adds one power; with one every block starts afresh."""
    plain = tp.derive(resnet_mlp(2), "sp", optimizer="adam").steps[2].sites
    normed = tp.derive(resnet_mlp(2, norm="rmsnorm"), "sp", optimizer="adam").steps[2].sites
    sites = ("block.1.in", "block.1.out", "block.2.in", "block.2.out", "readout")
    assert [str(plain[s].effective) for s in sites] == ["1", "2", "3", "4", "5"]
    assert [str(normed[s].effective) for s in sites] == ["1", "2", "1", "2", "1"]


def test_bad_options_are_named() -> None:
    with pytest.raises(SettingError, match="blocks: got 0; needs an integer"):
        resnet_mlp(0)
    with pytest.raises(UnknownName, match="norm: got 'batch'; accepted are none, layernorm, rmsnorm"):
        resnet_mlp(1, norm="batch")
    with pytest.raises(UnknownName, match="placement: got 'mid'; accepted are pre, post"):
        resnet_mlp(1, norm="rmsnorm", placement="mid")


@pytest.mark.slow
def test_residual_networks_with_norms_train_as_derived(tmp_path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("torch")
    from tensorprog.setting import setting
    from validation.cases import Case
    from validation.run import validate
    from validation.verdict import Verdict

    cases = [
        Case("rms", setting(resnet_mlp(2, norm="rmsnorm"), "sp", optimizer_="adam", lr_exponent="-1")),
        Case("layer", setting(resnet_mlp(2, norm="layernorm", placement="post"), "mup", optimizer_="sgd")),
    ]
    grid = {"widths": (64, 128, 256, 512, 1024), "seeds": 2, "steps": (1, 2), "workers": 1, "progress": False}
    result = validate(tmp_path, cases=cases, **grid)  # type: ignore[arg-type]
    assert result.ok, str(result)
    assert result.count(Verdict.AGREES) >= 0.95 * len(result.findings), str(result)
