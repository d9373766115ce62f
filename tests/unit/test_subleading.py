"""Sub-leading powers: which ones a derivation lists, in what order, and that no contract is broken by it."""

from __future__ import annotations

import sympy

import tensorprog as tp
from tensorprog.subleading import Origin


def told(d: tp.Derivation, target: str, step: int = 1) -> list[str]:
    return [str(s) for s in d.subleading(target, step=step)]


def test_parts_and_remainders_largest_first() -> None:
    d = tp.derive(tp.mlp(hidden_layers=2), "mfp", optimizer="sgd", loss="ce")
    assert told(d, "logits") == [
        "n^(-1/2) part readout.effective",
        "n^(-1/2) central-limit remainder of <readout_0, x_1(hidden.1)>",
        "n^(-1) part logits at initialisation",
    ]
    assert told(d, "hidden.1.activation")[0] == "n^(-1/2) part hidden.1.activation at initialisation"
    assert told(d, "hidden.1.activation", 0) == []


def test_smaller_terms_of_the_own_scale_are_listed_with_their_rule() -> None:
    """A readout of n^(-3/4) lets the update of the hidden layer be n^(-1/4) beside initial features of n^0."""
    narrow = tp.Parametrization.from_layers(a=[0, 0, 0], b=[0, "1/2", "3/4"], c=["1/2", "1/2", "1/2"])
    d = tp.derive(tp.mlp(hidden_layers=2), narrow, optimizer="sgd", loss="ce")
    first = d.subleading("hidden.1.activation")[0]
    assert (str(first.exponent), first.origin) == ("-1/4", Origin.TERM)
    assert first.what.startswith("update n^(-1/2) * <x_0(input), x_1(input)>")


def test_exact_zeros_and_single_terms_have_none() -> None:
    zero = tp.derive(tp.mlp(hidden_layers=2), "mup", zero_readout=True)
    assert zero.subleading("hidden.1.effective") == ()
    assert told(tp.derive(tp.mlp(hidden_layers=1), "mup"), "logits", 0) == []


def test_all_are_below_the_exponent_and_ordered() -> None:
    for name in ("sp", "mup", "mfp", "sp-full-align"):
        d = tp.derive(tp.transformer(blocks=1), name, optimizer="adam", lr_exponent="-1/2")
        for step in (0, 1, 3):
            for target, scale in d.scales(step).items():
                found = [s.exponent for s in d.subleading(target, step=step)]
                assert all(e < scale.top for e in found)
                assert found == sorted(found, reverse=True)


def test_json_gains_one_key_and_says_the_same() -> None:
    d = tp.derive(tp.mlp(hidden_layers=2), "sp", optimizer="adam", lr_exponent=-1)
    data = d.to_dict()
    assert set(data["steps"][1]["sites"]["readout"]) == {"role", "activation", "effective", "propagating", "feature"}
    rows = {(row["step"], row["target"]): row for row in data["subleading"]}
    assert rows[1, "readout.propagating"] == {
        "step": 1,
        "target": "readout.propagating",
        "exponent": "1/2",
        "terms": [
            {
                "exponent": "0",
                "origin": "remainder",
                "what": "central-limit remainder of <readout_0, Delta x_1(hidden.1)>",
            }
        ],
    }
    for (step, target), row in rows.items():
        assert [s.to_dict() for s in d.subleading(target, step=step)] == row["terms"]


def test_with_free_symbols_they_are_left_out() -> None:
    family = tp.derive(tp.mlp(hidden_layers=1), "sp", lr_exponent=sympy.Symbol("r"))
    open_cells = [cell for cell in family.to_dict()["cells"] if "r" in cell["setting"]["lr_exponent"]]
    assert open_cells
    assert all("subleading" not in cell for cell in open_cells)
    assert "Sub-leading powers" not in family.cells[0].result.explain("logits", step=0)


def test_explanations_list_them() -> None:
    d = tp.derive(tp.mlp(hidden_layers=2), "sp", optimizer="sgd", lr_exponent="-1/2")
    text = d.explain("logits")
    assert "Sub-leading powers\n  - n^(0) part logits at initialisation\n" in text
    assert [s["exponent"] for s in d.explanation("logits").to_dict()["subleading"]] == ["0", "0"]


def test_a_deep_network_is_walked_without_recursion() -> None:
    d = tp.derive(tp.mlp(hidden_layers=200), "mup", optimizer="adam")
    assert told(d, "hidden.199.feature", 3)[0].startswith("n^(-1/2) ")
