"""Haas, Xu, Cevher & Vankadara 2024 (arXiv 2411.00075): SAM's perturbations in width, and muP^2.

Perturbation rho n^-d n^-d_l g_l / |n^-d_l g_l| with the norm over all layers. With g = min(b, c) of the readout, the
exponent of the gradient that arrives, every layer is maximally perturbed for d = -1/2, d_l = (1/2 - g, 3/2 - g, 3/2).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest

import tensorprog as tp
from tensorprog.errors import Unsupported
from tensorprog.optimizers import SAM, Clipped, Optimizer

HALF = Fraction(1, 2)
P = tp.Parametrization.from_layers


def sam(d: Any, layers: Sequence[Any] = (0, 0, 0), base: str = "sgd", **options: Any) -> SAM:
    """In the paper's signs: radius n^-d, layer factors n^-d_l."""
    roles = dict(zip(("input", "hidden", "readout"), (-tp.Exponent(Fraction(x)) for x in layers), strict=True))
    return SAM(base, radius_exponent=-Fraction(d), layer_exponents=roles, **options)


def mup2(g: Fraction) -> SAM:
    return sam(-HALF, (HALF - g, 3 * HALF - g, 3 * HALF))


def perturbations(d: tp.Derivation, step: int) -> list[str]:
    return [str(s.perturbation) for s in d.steps[step].sites.values()]


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_mup2_perturbs_every_layer_at_every_step(depth: int, loss: str) -> None:
    d = tp.derive(tp.mlp(depth), "mup", optimizer=mup2(Fraction(1)), loss=loss)
    assert (d.regime, d.learning) == (tp.Regime.STABLE, tp.Learning.MAXIMAL)
    for step in range(5):
        assert set(perturbations(d, step)) == {"0"}


@pytest.mark.parametrize(("b", "c"), [("1/2", 1), ("3/4", 1), (1, 1), (1, "3/2"), ("3/2", 1)])
@pytest.mark.parametrize("depth", [2, 3])
def test_the_arriving_gradient_decides_the_layers_exponents(b: Any, c: Any, depth: int) -> None:
    """g = min(b, c) once the readout has moved; before, the initial readout alone: g = b."""
    hidden = depth - 1
    p = P([0] * (depth + 1), [0, *["1/2"] * hidden, b], [0, *[1] * hidden, c])
    for g, steps in ((min(Fraction(b), Fraction(c)), (1, 2, 4)), (Fraction(b), (0,))):
        d = tp.derive(tp.mlp(depth), p, optimizer=mup2(g), loss="ce")
        for step in steps:
            assert set(perturbations(d, step)) == {"0"}, (g, step)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("parametrization", ["mup", "sp-stable"])
def test_global_scaling_perturbs_the_last_layer_alone(depth: int, parametrization: str) -> None:
    """d = 1/2 and d_l = 0: the readout's gradient dominates the norm, n^1/2, and every other layer is left behind."""
    d = tp.derive(tp.mlp(depth), parametrization, optimizer=sam(HALF))
    assert d.regime is tp.Regime.STABLE
    for step in range(5):
        *before, last = d.steps[step].sites.values()
        assert str(last.perturbation) == "0"
        assert all(s.perturbation < 0 for s in before)
    # A larger radius does not reach the other layers first: the perturbed logits diverge.
    larger = tp.derive(tp.mlp(depth), parametrization, optimizer=sam("1/4"))
    assert str(list(larger.steps[0].sites.values())[-1].perturbation) == "1/4"


def test_naive_scaling_in_numbers() -> None:
    """muP, two hidden layers: d = 1/2 gives (-2, -1, 0) at every step."""
    d = tp.derive(tp.mlp(2), "mup", optimizer=sam(HALF))
    assert [perturbations(d, t) for t in range(5)] == [["-2", "-1", "0"]] * 5


def test_the_balance_of_the_layers_is_unique() -> None:
    """Moving any d_l, or d, off its value leaves some layer unperturbed or blows one up."""
    right = (-HALF, -HALF, HALF, 3 * HALF)

    def perturbed(d: Fraction, *layers: Fraction) -> set[str]:
        return set(perturbations(tp.derive(tp.mlp(2), "mup", optimizer=sam(d, layers), steps=1), 0))

    assert perturbed(*right) == {"0"}
    for place in range(4):
        for by in (Fraction(1, 4), Fraction(-1, 4)):
            assert perturbed(*(x + by if i == place else x for i, x in enumerate(right))) != {"0"}


def test_a_common_shift_of_the_layers_is_no_change() -> None:
    """Only ratios of the n^-d_l enter a normalised perturbation."""
    for shift in (Fraction(1), Fraction(-2, 3)):
        plain, moved = (
            tp.derive(tp.mlp(2), "mup", optimizer=sam(-HALF, tuple(x + s for x in (-HALF, HALF, 3 * HALF))))
            for s in (Fraction(0), shift)
        )
        assert plain.to_dict()["steps"] == moved.to_dict()["steps"]


def test_layerwise_normalisation() -> None:
    """Each layer by its own norm, radius n^0: a perturbation of Frobenius norm one, as Muon's step."""
    d = tp.derive(tp.mlp(2), "mup", optimizer=SAM("sgd", layerwise=True), steps=1)
    assert perturbations(d, 0) == ["-1/2", "0", "1/2"]
    even = SAM("sgd", layer_exponents="input=7,hidden=-3", radius_exponent="-1/2", layerwise=True)
    again = tp.derive(tp.mlp(2), "mup", optimizer=even, steps=1)
    assert perturbations(again, 0) == ["-1", "-1/2", "0"]  # its own norm removes any factor on a layer


def test_a_blown_up_perturbation_reaches_training_through_the_gradient() -> None:
    """muP with d = 0: perturbed logits n^(1/2), and the perturbed readout drives the layers below too far."""
    d = tp.derive(tp.mlp(2), "mup", optimizer=sam(0))
    assert d.regime is tp.Regime.CATASTROPHIC
    scale_free = tp.derive(tp.mlp(2), "mup", optimizer=sam(0, base="adam"))
    assert scale_free.regime is tp.Regime.CONTROLLED_DIVERGENCE
    assert any("perturbed value of logits" in str(r) for r in scale_free.reasons)


@pytest.mark.parametrize("base", ["sgd", "adam", "muon"])
def test_a_vanishing_perturbation_changes_no_update(base: str) -> None:
    plain = tp.derive(tp.mlp(2), "mup", optimizer=base)
    perturbed = tp.derive(tp.mlp(2), "mup", optimizer=sam(3, base=base))
    for a, b in zip(plain.steps, perturbed.steps, strict=True):
        for name, site in a.sites.items():
            assert (site.effective, site.propagating) == (b.sites[name].effective, b.sites[name].propagating)


def test_perturbations_are_explained() -> None:
    d = tp.derive(tp.mlp(2), "mup", optimizer=mup2(Fraction(1)))
    text = d.explain("hidden.1.perturbation", step=0)
    assert "hidden.1.perturbation after step 0" in text or "hidden.1.perturbation at initialisation" in text
    assert "law of large numbers" in text
    assert "perturbation" not in tp.derive(tp.mlp(2), "mup").to_dict()["steps"][1]["sites"]["input"]


def test_clipping_outside_and_inside_agree() -> None:
    outside, inside = (
        tp.derive(tp.mlp(2), "sp", optimizer=o, lr_exponent="-1/2").to_dict()["steps"]
        for o in (Clipped(sam(HALF)), SAM(Clipped("sgd"), radius_exponent="-1/2"))
    )
    assert outside == inside


def test_sam_around_sam_is_refused() -> None:
    twice: Optimizer = SAM(SAM("sgd"))
    with pytest.raises(Unsupported, match="sam around sam is not supported: a perturbation of a perturbation"):
        tp.derive(tp.mlp(2), "mup", optimizer=twice)


def test_perturbations_as_closed_forms() -> None:
    """Naive SAM, one norm over all layers: the radius over it, times the gradient's entries, times the layer's fan-in.

    In muP the gradients have norms n^(1/2 - b), n^(1 - b) and n^(1/2) from the first layer to the last.
    """
    norm = "Max(1 - b_readout, 1/2)"
    expected = {
        "input": f"radius_exponent - b_readout - {norm}",
        "hidden.1": f"radius_exponent - b_readout + 1 - {norm}",
        "readout": f"radius_exponent + 1 - {norm}",
    }
    names = ("radius_exponent", "b_readout")
    for site, form in expected.items():
        f = tp.formula(
            tp.mlp(2),
            "mup",
            f"{site}.perturbation",
            free=names,
            step=0,
            optimizer=SAM("sgd"),
            assume=["radius_exponent <= 0"],  # larger ones perturb what later layers read
        )
        assert f.equals(form), (site, str(f))
