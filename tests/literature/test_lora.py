"""Low-rank adapters: which learning rates are stable and efficient, by init and rank.

Hayou et al. 2024, "LoRA+" (arXiv 2402.12354); Hayou et al. 2024, "The impact of initialization on LoRA finetuning
dynamics" (arXiv 2406.08447); Kalajdzievski 2023, "rsLoRA" (arXiv 2312.03732). Adam, finite rank, base frozen, the
random factor with variance one over its fan-in.
"""

from __future__ import annotations

from itertools import product

import pytest

import tensorprog as tp
from tensorprog.parametrizations import parametrization
from tensorprog.program import Builder, Program

A, B = "hidden.1.lora.A", "hidden.1.lora.B"


@pytest.mark.parametrize("program", [tp.mlp(2), tp.mlp(3, "gelu"), tp.resnet_mlp(1, norm="rmsnorm", plain_norm=True)])
def test_largest_rates_by_init(program: Program) -> None:
    """2406.08447, Theorems 1 and 2: with B = 0 rates up to n^(-1/2) are stable, with A = 0 up to n^(-1)."""
    for zero, largest in (("B", "-1/2"), ("A", "-1")):
        rates = tp.max_stable_lr(tp.lora(program, "hidden", lora_zero=zero), "sp", optimizer="adam")
        assert str(rates.exponent) == largest


def settled(zero: str, **rates: object) -> dict[str, str]:
    """Sizes of the adapter's parts once they have settled: z = A x, its change, the change of B z."""
    scalings = parametrization("sp")
    for name, c in rates.items():
        scalings = scalings.where(f"hidden.1.lora.{name}", c=c)
    d = tp.derive(tp.lora(tp.mlp(2), lora_zero=zero), scalings, optimizer="adam", steps=4)
    a, b = (d.steps[4].sites[name] for name in (A, B))
    return {"z": str(a.activation), "dA x": str(a.effective), "dB z": str(b.effective), "B0 dz": str(b.propagating)}


def test_internal_features_grow_at_the_largest_rate() -> None:
    """2406.08447: at n^(-1/2) with B = 0 features learn efficiently, and A x grows as n^(1/2)."""
    assert settled("B", A="1/2", B="1/2") == {"z": "1/2", "dA x": "1/2", "dB z": "0", "B0 dz": "-oo"}


def test_with_a_zero_the_second_factor_is_undertrained() -> None:
    """2406.08447: at n^(-1) with A = 0 nothing grows, and B hardly moves."""
    assert settled("A", A=1, B=1) == {"z": "0", "dA x": "0", "dB z": "-1", "B0 dz": "0"}


@pytest.mark.parametrize("zero", ["A", "B"])
def test_efficient_rates(zero: str) -> None:
    """2402.12354, Theorem 1: both factors learn efficiently, in a bounded way, iff eta_A ~ 1/n and eta_B ~ 1."""
    efficient = []
    for c_a, c_b in product(("0", "1/2", "1", "3/2", "2"), ("-1/2", "0", "1/2", "1")):
        sizes = settled(zero, A=c_a, B=c_b)
        if all(sizes[key] == "0" for key in ("z", "dA x", "dB z")):
            efficient.append((c_a, c_b))
    assert efficient == [("1", "0")]


@pytest.mark.parametrize(("scale", "change"), [("1/r", "-1"), ("1/sqrt(r)", "0"), ("1", "1")])
def test_scale_of_a_growing_rank(scale: str, change: str) -> None:
    """2312.03732, Theorem 3.2: of a layer of fixed width with rank r, B = 0 and rates that do not depend on r, the
    output moves by Theta(1) iff the adapter's factor is r^(-1/2); n is the rank here."""
    b = Builder(width=0)
    x = b.data("x")
    assert x.axis is not None
    layer = b.build(b.matmul(b.weight("layer", b.finite("classes"), x.axis), x))
    program = tp.lora(layer, "layer", rank_exponent=1, lora_scale=scale)
    scalings = parametrization("sp").where("layer.lora.A", b=0, c=0).where("layer.lora.B", c=0)
    d = tp.derive(program, scalings, optimizer="sgd", loss="ce", steps=1)
    assert str(d.steps[1].logit_update) == change
