"""The abc symmetry is computed: kappa of c -> c + kappa t under a -> a + t, b -> b - t."""

from __future__ import annotations

import pytest

import tensorprog as tp
from tensorprog.equivalence import equivalence, symmetry

TWO = tp.mlp(hidden_layers=2)


@pytest.mark.parametrize(
    ("optimizer", "kappa"),
    [("sgd", "-2"), ("adam", "-1"), ("lion", "-1"), ("muon", "-1"), ("adafactor", "0")],
)
def test_kappa(optimizer: str, kappa: str) -> None:
    """Yang & Hu 2021, Section 3.1, and its versions for scale-invariant and parameter-scaled optimizers."""
    assert {str(k) for k in symmetry(TWO, "mup", optimizer=optimizer).values()} == {kappa}


def test_the_forms_of_mup_are_one() -> None:
    """Everett et al. 2024's muP (a = -1/2, 0, 1/2) and the one without multipliers."""
    everett = tp.Parametrization.from_layers(a=["-1/2", 0, "1/2"], b=["1/2"] * 3, c=[0, 0, 0])
    assert equivalence(TWO, "mup", everett, optimizer="sgd")
    for_adam = tp.Parametrization.from_layers(a=["-1/2", 0, "1/2"], b=["1/2"] * 3, c=["1/2", 1, "1/2"])
    assert equivalence(TWO, "mup", for_adam, optimizer="adam")
    different = equivalence(TWO, "mup", everett, optimizer="adam")
    assert not different
    assert different.to_dict()["equivalent"] is False


def test_ntp_as_multipliers_and_without() -> None:
    """Jacot et al. 2018: 1/sqrt(n) multipliers with rate 1 are fan-in inits with rates (1, 1/n, 1/n)."""
    jacot = tp.Parametrization.from_layers(a=[0, "1/2", "1/2"], b=[0, 0, 0], c=[0, 0, 0])
    assert equivalence(TWO, "ntp", jacot, optimizer="sgd")
    assert not equivalence(TWO, "ntp", "mup", optimizer="sgd")
