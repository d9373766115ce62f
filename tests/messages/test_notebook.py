"""Results show themselves in notebooks."""

from __future__ import annotations

import tensorprog as tp
from tensorprog.table import table

NET = tp.mlp(hidden_layers=1)


def test_results_have_html_and_latex() -> None:
    free = tp.derive(NET, "sp", lr_exponent="r", assume=["r <= 0"])
    results = [tp.derive(NET), free, tp.solve(NET, free=["r"], maximal=False), tp.max_stable_lr(NET)]
    results += [table([NET], [tp.parametrizations.SP], optimizer=["sgd"], loss=["ce"], lr_exponent=[0])]
    for result in results:
        page = result._repr_html_()
        assert page.startswith('<div class="tensorprog">')
        assert "\nbody" not in page
        assert page.count("{") == page.count("}")
        assert result._repr_latex_()


def test_formulas_are_mathematics_and_phase_diagrams_pictures() -> None:
    assert tp.formula(NET, "sp", "logits", free=["r"])._repr_latex_().startswith("$")
    picture = tp.phase(NET, "sp", window=((-2, 0), (0, 1)))._repr_svg_()
    assert "<svg" in picture
    assert "catastrophic" not in picture  # text is drawn as shapes: fonts differ
