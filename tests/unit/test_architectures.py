"""What holds for every architecture: it derives, can be frozen and adapted, and its data suit it."""

from __future__ import annotations

from pathlib import Path

import pytest

import tensorprog as tp
from tensorprog.architectures import ARCHITECTURES
from tensorprog.program import ONE

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
