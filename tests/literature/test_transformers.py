"""Published rows on transformers: attention logits, norm gains, embeddings, tied readouts, and faults in real code.

Yang et al. 2022 (arXiv 2203.03466), Sections 4 and 8 and Appendix B; Everett et al. 2024 (arXiv 2407.05872), Section 4.
"""

from __future__ import annotations

from fractions import Fraction

import pytest

import tensorprog as tp
from tensorprog.optimizers import Muon

LOGITS = "block.1.attention.logits"


def one(**options: object) -> tp.Program:
    return tp.transformer(blocks=1, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("head_dim", "scale", "initial", "change"),
    [
        (1, "1/sqrt(d)", "0", "1/2"),
        (1, "1/d", "-1/2", "0"),
        (0, "1/sqrt(d)", "0", "0"),
        (0, "1/d", "0", "0"),
        ("1/2", "1/sqrt(d)", "0", "1/4"),
        ("1/2", "1/d", "-1/4", "0"),
    ],
)
@pytest.mark.parametrize("scaling", ["sp-full-align", "mup"])
def test_attention_logits(scaling: str, head_dim: str, scale: str, initial: str, change: str) -> None:
    d = tp.derive(one(head_dim_exponent=head_dim, attention_scale=scale), scaling, optimizer="adam", steps=1)
    assert str(d.steps[0].sites[LOGITS].activation) == initial
    assert str(d.steps[1].sites[LOGITS].feature) == change
    assert d.steps[1].sites[LOGITS].role == "attention"


def test_every_matrix_of_mup_moves_by_one_and_nothing_diverges() -> None:
    for options in ({}, {"norm": "rmsnorm", "gated_mlp": True, "positions": "rotary", "grouped": True}):
        for placement in ("pre", "post"):
            d = tp.derive(one(placement=placement, **options), "mup", optimizer="adam")
            assert (d.regime.value, d.learning.value) == ("stable", "maximal")
            assert {str(s.effective) for s in d.steps[1].sites.values() if s.effective is not None} == {"0"}


def test_standard_parametrization_with_adam_is_controlled_at_one_over_n() -> None:
    d = tp.derive(one(), "sp", optimizer="adam", lr_exponent=-1)
    assert d.regime is tp.Regime.CONTROLLED_DIVERGENCE
    updates = {name: str(s.effective) for name, s in d.steps[1].sites.items() if s.effective is not None}
    hidden = [n for n in updates if "attention" in n or "mlp" in n]
    assert {updates[n] for n in hidden} == {"0"}
    assert {updates[n] for n in updates if "gain" in n or n in ("embedding", "positions")} == {"-1"}
    assert str(d.steps[1].logits) == "1/2"


def test_gains_and_biases_are_like_inputs() -> None:
    d = tp.derive(one(bias=True), "mup", optimizer="adam")
    abc = {w.name: e for w, e in d.setting.exponents().items()}
    for name in ("block.1.norm.1.gain", "block.1.mlp.in.bias", "block.1.attention.query.bias"):
        assert abc[name].c == abc["embedding"].c
        assert str(d.steps[1].sites[name].effective) == "0"


def test_gains_of_heads_that_share_them_are_not() -> None:
    """One gain for n heads: its gradient is a sum over heads, aligned once attention moves."""
    sizes = {}
    for kind in ("shared", "separate"):
        path = tp.derive(one(qk_norm=kind), "mup", optimizer="sgd", steps=2).path
        (gain,) = (w for w in path.steps[0].gradients if w.name == "block.1.attention.query.norm.gain")
        sizes[kind] = [path.steps[t].gradients[gain] for t in (0, 1)]
    differences = [a - b for a, b in zip(sizes["shared"], sizes["separate"], strict=True)]
    assert [str(e) for e in differences] == ["1/2", "1"]


def test_the_embeddings_init_decides_its_relative_update() -> None:
    """Std n^-1/2 in front of a norm: an Adam update of Theta(1) is n^(1/2) larger than the embedding."""
    small = tp.Parametrization.from_roles(
        b={"input": "1/2", "hidden": "1/2", "readout": 1}, c={"input": 0, "hidden": 1, "readout": 1}
    )
    at = tp.derive(one(), small, optimizer="adam", steps=1).steps
    assert str(at[0].sites["embedding"].activation) == "-1/2"
    assert str(at[1].sites["embedding"].effective) == "0"
    assert str(at[0].sites["block.1.attention.query"].activation) == "0"  # the norm hides it


def test_tied_embeddings() -> None:
    """Init Theta(1), Adam's rate Theta(1), logits times 1/n: everything Theta(1); without the multiplier, n."""
    d = tp.derive(one(tied=True, output_exponent=-1), "mup", optimizer="adam")
    abc = {w.name: e for w, e in d.setting.exponents().items()}["embedding"]
    assert (str(abc.b), str(abc.c)) == ("0", "0")
    assert (d.regime.value, str(d.steps[1].logits), str(d.steps[0].logits)) == ("stable", "0", "0")
    plain = tp.derive(one(tied=True), "mup", optimizer="adam")
    assert str(plain.steps[1].logits) == "1"


def test_queries_that_start_at_zero() -> None:
    d = tp.derive(one(zero_query=True, head_dim_exponent=1, attention_scale="1/d"), "mup", optimizer="adam")
    assert [str(at.sites[LOGITS].activation) for at in d.steps[:2]] == ["-oo", "0"]
    assert d.regime is tp.Regime.STABLE
    key = [str(at.sites["block.1.attention.key"].effective) for at in d.steps[1:3]]
    assert key == ["-oo", "0"]  # no gradient reaches the keys before the queries have moved


# -- faults, by the difference in exponents that shows them


def test_hidden_init_divided_by_the_multiplier_instead_of_its_root() -> None:
    d = tp.derive(tp.mlp(3), tp.parametrizations.MUP.where("hidden", b=1), optimizer="adam")
    assert [str(d.steps[0].sites[f"hidden.{i}"].activation) for i in (1, 2)] == ["-1/2", "-1"]


def test_adams_width_factor_on_muon() -> None:
    right = tp.derive(tp.mlp(2), "mup", optimizer="muon").setting.exponents()
    c = next(e.c for w, e in right.items() if w.name == "hidden.1")
    wrong = tp.derive(tp.mlp(2), tp.parametrizations.MUP.where("hidden", c=c + 1), optimizer="muon")
    assert str(wrong.steps[1].sites["hidden.1"].effective) == "-1"


def test_a_shape_factor_that_was_taken_to_be_constant() -> None:
    """sqrt(max(fan_in, fan_out)) grows as n^1/2 on square layers."""
    spectral = tp.derive(tp.mlp(2), "mup", optimizer="muon")
    c = next(e.c for w, e in spectral.setting.exponents().items() if w.name == "hidden.1")
    moved = tp.derive(tp.mlp(2), tp.parametrizations.MUP.where("hidden", c=c), optimizer=Muon(shape_factor="max"))
    before, after = (d.steps[1].sites["hidden.1"].effective for d in (spectral, moved))
    assert before is not None
    assert after == before + Fraction(1, 2)


def test_a_shared_embedding_rescaled_as_a_readout() -> None:
    wrong = tp.parametrizations.MUP.where("embedding", b="-1/2")
    d = tp.derive(one(tied=True, output_exponent=-1), wrong, optimizer="adam")
    assert str(d.steps[0].sites["embedding"].activation) == "1/2"


def test_an_attention_scale_that_was_never_wired() -> None:
    changes = []
    for scale in ("1/d", "1/sqrt(d)"):
        d = tp.derive(one(head_dim_exponent=1, attention_scale=scale), "mup", optimizer="adam")
        changes.append(d.steps[1].sites[LOGITS].feature)
    right, wrong = changes
    assert right is not None
    assert wrong == right + Fraction(1, 2)
