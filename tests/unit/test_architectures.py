"""What holds for every architecture: it derives, can be frozen and adapted, and its data suit it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import sympy

import tensorprog as tp
from tensorprog.architectures import ARCHITECTURES
from tensorprog.errors import SettingError
from tensorprog.program import ONE, Add

PAGE = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_on_the_page(name: str) -> None:
    assert f"| `{name}`" in PAGE


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_mup_is_stable_and_maximal(name: str, optimizer: str) -> None:
    d = tp.derive(ARCHITECTURES[name](), "mup", optimizer=optimizer, steps=4)
    assert (d.regime.value, d.learning.value) == ("stable", "maximal")
    assert d.setting.program.description["model"] == name


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_last_layer_training(name: str) -> None:
    d = tp.derive(tp.freeze(ARCHITECTURES[name]()), "mup", optimizer="adam")
    assert d.learning is tp.Learning.KERNEL
    moved = [site for site, s in d.steps[-1].sites.items() if s.effective is not None and not s.effective.infinite]
    assert moved == ["readout"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_adapters_beside_every_matrix(name: str) -> None:
    program = ARCHITECTURES[name]()
    matrices = [w.name for w in program.weights if w.into is not ONE]
    d = tp.derive(tp.lora(program, ",".join(matrices)), "sp", optimizer="adam", lr_exponent=-2)
    trained = [w.name for w in d.setting.program.weights if w.trained]
    assert trained == [f"{m}.lora.{f}" for m in matrices for f in "AB"]
    second = d.steps[2].sites  # the zero factor has moved, so that both do
    assert not any(second[t].effective.infinite for t in trained)


def test_a_tied_readout_learns_features() -> None:
    """Its logits are written by the transposed embedding, whose input decides what is learned."""
    d = tp.derive(tp.transformer(blocks=1, tied=True, output_exponent=-1), "sp", optimizer="adam", lr_exponent=-1)
    assert d.learning is not tp.Learning.MAXIMAL
    assert str(max(s.feature for s in d.steps[-1].sites.values() if s.feature is not None)) == "0"
    assert d.learning is tp.Learning.FEATURE


def test_a_table_of_a_network_that_any_rate_leaves_stable() -> None:
    from tensorprog.table import table

    found = table(tp.freeze(tp.mlp()), "sp", optimizer="sgd", loss="ce", lr_exponent=[0, "max"])
    (row,) = found.rows
    assert (str(row.rates.exponent), row.error) == ("oo", "")  # type: ignore[union-attr]


@pytest.mark.parametrize("depth", ["n^(1/2)", "n", "1/2", Fraction(1, 2), sympy.Symbol("p"), sympy.sqrt(2)])
def test_a_depth_that_grows_is_refused(depth: Any) -> None:
    """By every network, in the name of the option, with what is known."""
    for name, make in ARCHITECTURES.items():
        option = "hidden_layers" if name in ("mlp", "cnn") else "blocks"
        with pytest.raises(SettingError, match=r"grows with n.*depth_exponent=p with branch_exponent=-p/2") as error:
            make(**{option: depth})
        assert str(error.value).startswith(f"{option}: got {str(depth)!r}; needs an integer")
        assert "\n" not in str(error.value)


def test_norms_of_queries_that_are_zero() -> None:
    """A direction of exact zeros does not exist: such queries would be derived never to move."""
    with pytest.raises(SettingError, match="zero_query: got True; norms of queries have no direction"):
        tp.transformer(zero_query=True, qk_norm="shared")
    assert tp.transformer(zero_query=True).weights


@pytest.mark.parametrize("depth", [0, 1.5, "x", True, None])
def test_what_is_no_depth_at_all(depth: Any) -> None:
    with pytest.raises(SettingError, match=r"needs an integer of at least 1$"):
        tp.transformer(blocks=depth)


@pytest.mark.parametrize("power", ["-1/2", "-1"])
def test_the_multiplier_of_branches_is_an_exponent(power: str) -> None:
    """n^p times what a branch adds to the stream, at initialisation and by training; the logits do not change."""
    plain, scaled = (
        tp.derive(
            tp.resnet_mlp(2, norm="rmsnorm", plain_norm=True, branch_exponent=p), "mup", optimizer="adam", steps=2
        )
        for p in (0, power)
    )
    for before, after in zip(plain.steps, scaled.steps, strict=True):
        for quantity in ("activation", "effective", "propagating", "feature"):
            mine, plainly = (getattr(step.sites["block.1.out"], quantity) for step in (after, before))
            assert mine == (None if plainly is None else plainly + Fraction(power))
        assert after.logits == before.logits
    for d, expected in ((plain, "0"), (scaled, power)):
        branch = next(ins.args[1] for ins in d.setting.program.instructions if isinstance(ins, Add))
        assert [str(d.path.at(t).now[branch].top) for t in (0, 2)] == [expected] * 2
