"""How each format writes exponents, formulas and special characters."""

from __future__ import annotations

import pytest

import tensorprog as tp
from tensorprog.errors import UnknownName, Unsupported
from tensorprog.exponent import INFINITE, ZERO_SIZE, exponent
from tensorprog.report import html, latex, markdown
from tensorprog.report.derivation import bound
from tensorprog.report.document import Cell, Column, Document, Grid, Paragraph, Section
from tensorprog.report.render import FORMATS, SUFFIXES, render
from tensorprog.report.text import layout, text
from tensorprog.stability import Supremum
from tensorprog.table import Table

GRID = Grid(
    (
        Column("name"),
        Column("in", "effective", numeric=True),
        Column("out", "effective", numeric=True, short=("o", "eff")),
    ),
    (
        Section("first", ((Cell("a_b & <c>"), Cell(exponent("-1/2")), Cell(ZERO_SIZE)),)),
        Section("second", ((Cell("long name", short="l."), Cell(), Cell(exponent("1"), below=True, mark="*")),)),
    ),
    "Sizes n^e.",
    ("* a note",),
)
DOCUMENT = Document.of("A title", [GRID])


def test_text() -> None:
    assert text(DOCUMENT) == (
        "A title\n"
        "\n"
        "Sizes n^e.\n"
        "           effective\n"
        "name         in  out\n"
        "--------------------\n"
        "first\n"
        "a_b & <c>  -1/2  -oo\n"
        "\n"
        "second\n"
        "long name     .  <1*\n"
        "\n"
        "* a note"
    )


def test_narrow_terminals_get_short_words() -> None:
    lines = ["".join(part for part, _ in line) for line in layout(DOCUMENT, 15)]
    assert next(line for line in lines if line.startswith("l.")).split() == ["l.", ".", "<1*"]
    assert any(line.split() == ["name", "in", "o"] for line in lines)


def test_markdown() -> None:
    first, second = (block for block in markdown.markdown(DOCUMENT).split("\n\n") if block.startswith("|"))
    assert first.splitlines() == [
        r"| name        | effective in | effective out |",
        r"| ----------- | -----------: | ------------: |",
        r"| a_b & \<c\> |         -1/2 |           -oo |",
    ]
    assert second.splitlines()[2] == r"| long name |              |         \<1\* |"


@pytest.mark.parametrize(
    ("plain", "set_in_latex"),
    [
        ("50% of a_b & c # {x} ~ \\", r"50\% of a\_b \& c \# \{x\} $\sim$ \textbackslash{}"),
        ("n^(-1/2) and Theta(1)", r"$n^{-1/2}$ and $\Theta(1)$"),
        ("r <= -1/2", r"$r$ $\le$ $-1/2$"),
        ("-oo is exactly zero", r"$-\infty$ is exactly zero"),
        ("(W_t - W_0) x_t and W_0 (x_1 - x_0)", r"$(W_t - W_0) x_t$ and $W_0 (x_1 - x_0)$"),
        ("hidden_layers=2", r"hidden\_layers=2"),
        ("sp-full-align", "sp-full-align"),
        ("dh_0(hidden.1)", r"dh\_0(hidden.1)"),
    ],
)
def test_latex_text(plain: str, set_in_latex: str) -> None:
    assert latex.inline(plain) == set_in_latex


@pytest.mark.parametrize(
    ("plain", "set_in_html"),
    [
        ("n^(-1/2) and Theta(1)", "<i>n</i><sup>&minus;1/2</sup> and &Theta;(1)"),
        ("r <= -1/2", "<i>r</i> &le; &minus;1/2"),
        ("<readout_0, x> & -oo", "&lt;readout_0, x&gt; &amp; &minus;&infin;"),
        ("(W_t - W_0) x_t", "(<i>W</i><sub>t</sub> - <i>W</i><sub>0</sub>) <i>x</i><sub>t</sub>"),
        ("sp-full-align", "sp-full-align"),
        ("½", "&#189;"),
    ],
)
def test_html_text(plain: str, set_in_html: str) -> None:
    assert html.inline(plain) == set_in_html


@pytest.mark.parametrize(
    ("supremum", "said"),
    [
        (Supremum(exponent("-1/2"), True), "r <= -1/2"),
        (Supremum(exponent("-1/2"), False), "r < -1/2"),
        (Supremum(INFINITE, False), "every r"),
        (Supremum(ZERO_SIZE, False), "no r"),
    ],
)
def test_suprema(supremum: Supremum, said: str) -> None:
    assert bound(supremum) == said


def test_exponents_with_symbols_are_mathematics() -> None:
    assert latex.number(exponent("r - 1/2")) == r"r - \frac{1}{2}"


def test_an_empty_table_says_so() -> None:
    assert "empty" in str(Table(()))


def test_formats_are_a_registry() -> None:
    assert set(SUFFIXES.values()) == set(FORMATS)
    with pytest.raises(UnknownName, match=r"got 'pdf'; accepted are text, md, latex, csv, json, html"):
        render(tp.max_stable_lr(tp.mlp()), "pdf")
    with pytest.raises(Unsupported, match="csv"):
        render(tp.max_stable_lr(tp.mlp()), "csv")


@pytest.mark.parametrize("form", FORMATS)
def test_derivations_in_every_format(form: str) -> None:
    d = tp.derive(tp.mlp(hidden_layers=1, bias=True), "sp", optimizer="adam", loss="mse")
    written = render(d, form, rates=d.max_stable_lr())
    assert written
    assert not written.endswith("\n")


def test_paragraphs_wrap() -> None:
    lines = text(Document.of("", [Paragraph("word " * 60)])).splitlines()
    assert max(map(len, lines)) <= 100
