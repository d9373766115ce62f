"""One global learning rate in the standard parametrization, in closed form."""

from __future__ import annotations

import pytest

import tensorprog as tp


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
