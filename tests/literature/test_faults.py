"""Faults seen in real code, by their signature in exponents: what a check of a user's own model has to tell apart."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

import tensorprog as tp
from tensorprog.optimizers import Muon

MUON = {"hidden": "muon", "else": "adam"}


def hidden(p: str | tp.Parametrization = "mup", how: Any = "adam") -> dict[str, Any]:
    d = tp.derive(tp.mlp(2), p, optimizer=how)
    return {"activation": d.steps[0].sites["hidden.1"].activation, "effective": d.steps[1].sites["hidden.1"].effective}


def rates(how: Any) -> tp.Parametrization:
    """muP with the rates of one optimizer, for another one."""
    exponents = tp.derive(tp.mlp(2), "mup", optimizer=how).setting.exponents().values()
    return tp.Parametrization.from_layers(*([getattr(abc, key) for abc in exponents] for key in "abc"))


@pytest.mark.parametrize("how", ["sgd", "adam", "muon", MUON], ids=str)
def test_without_a_fault(how: Any) -> None:
    assert hidden(how=how) == {"activation": 0, "effective": 0}


def test_init_divided_by_the_multiplier_instead_of_its_root() -> None:
    p = tp.Parametrization.from_layers([0, 0, 0], [0, 1, 1], [0, 1, 1])
    assert hidden(p)["activation"] == Fraction(-1, 2)


def test_adams_width_factor_on_muon_matrices() -> None:
    assert hidden(rates("adam"), MUON)["effective"] == hidden(rates(MUON), MUON)["effective"] - 1


def test_a_shape_factor_that_grows_taken_for_invariant() -> None:
    """sqrt(max(fan_in, fan_out)) for square matrices."""
    assert hidden(rates("muon"), {"hidden": Muon("max"), "else": "muon"})["effective"] == Fraction(1, 2)
