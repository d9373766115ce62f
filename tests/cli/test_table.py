"""table: rows, columns, formats, files, rows that fail."""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

import tensorprog as tp
from tensorprog.errors import TensorprogError
from tensorprog.optimizers import OPTIMIZERS
from tensorprog.parametrizations import PARAMETRIZATIONS
from tensorprog.table import LARGEST, table
from tests.cli.runner import Run

SMALL = ("table", "--parametrization", "sp,mup", "--optimizer", "sgd,adam", "--loss", "ce")


def test_default_is_the_papers_table(run: Run) -> None:
    rows = run("table", "--json").json["rows"]
    combinations = {(r["parametrization"], r["optimizer"], r["loss"]) for r in rows}
    assert combinations == {(p, o, f) for p in PARAMETRIZATIONS for o in ("sgd", "adam") for f in ("ce", "mse")}
    at = {(r["parametrization"], r["optimizer"], r["loss"], r["lr_exponent"]): r for r in rows}
    assert len(at) == len(rows), "one row per setting"
    for (p, o, f), r in {c: at[(*c, "0")] for c in combinations}.items():
        assert (p, o, f, r["max_stable_lr_exponent"]) in at, "the largest stable rate has its row too"
    sp = at["sp", "sgd", "ce", "-1/2"]
    assert (sp["regime"], sp["learning"], sp["logits"]) == ("controlled_divergence", "feature", "1/2")
    assert [sp[f"effective_{r}"] for r in ("input", "hidden", "readout")] == ["-1", "0", "1/2"]
    assert [sp[f"propagating_{r}"] for r in ("input", "hidden", "readout")] == [None, "-1", "1/2"]
    assert sp["bounded_logits_lr_exponent"] == "-1"
    assert at["sp", "sgd", "ce", "0"]["regime"] == "catastrophic"
    assert at["sp", "sgd", "mse", "-1"]["learning"] == "kernel"
    assert at["sp", "adam", "ce", "-1"]["bounded_logits_lr_exponent"] == "-3/2"


def test_a_setting_that_is_its_own_largest_is_listed_once(run: Run) -> None:
    rows = run("table", "--parametrization", "mup", "--optimizer", "sgd", "--loss", "ce", "--json").json["rows"]
    assert [r["lr_exponent"] for r in rows] == ["0"]


def test_equal_exponents_of_different_settings_are_kept(run: Run) -> None:
    rows = run("table", "--parametrization", "mup", "--optimizer", "adam", "--loss", "ce,huber", "--json").json["rows"]
    assert [r["loss"] for r in rows] == ["ce", "huber"]


def test_lists_span_the_table(run: Run) -> None:
    rows = run(*SMALL, "--lr-exponent", "0,-1/2", "--hidden-layers", "1,2", "--activation", "relu,tanh", "--json").json[
        "rows"
    ]
    assert len(rows) == 2 * 2 * 2 * 2 * 2
    assert {r["hidden_layers"] for r in rows} == {1, 2}


def test_all_stands_for_the_registry(run: Run) -> None:
    rows = run(
        "table", "--parametrization", "mup", "--optimizer", "all", "--loss", "ce", "--lr-exponent", "0", "--json"
    )
    assert {r["optimizer"] for r in rows.json["rows"]} == set(OPTIMIZERS)


def test_never_settling_rows_show_step_one(run: Run) -> None:
    (row,) = run(
        "table", "--parametrization", "sp", "--optimizer", "sgd", "--loss", "ce", "--lr-exponent", "0", "--json"
    ).json["rows"]
    assert (row["settled"], row["step"], row["effective_readout"]) == (False, 1, "3/2")


def test_step_chooses_the_tabulated_step(run: Run) -> None:
    one = (
        "table",
        "--hidden-layers",
        "1",
        "--parametrization",
        "sp",
        "--optimizer",
        "sgd",
        "--loss",
        "ce",
        "--lr-exponent",
        "0",
    )
    (first,) = run(*one, "--step", "1", "--json").json["rows"]
    (later,) = run(*one, "--step", "3", "--json").json["rows"]
    assert (first["effective_input"], later["effective_input"]) == ("-1/2", "0")
    assert "after step 1." in run(*one, "--step", "1").out


def test_options_go_to_the_optimizers_that_have_them(run: Run) -> None:
    rows = run(
        "table", "--parametrization", "mup", "--optimizer", "adam,muon", "--shape-factor", "spectral", "--json"
    ).json["rows"]
    assert {(r["optimizer"], r["optimizer_options"]) for r in rows} == {
        ("adam", None),
        ("muon", "shape_factor=spectral"),
    }


def test_free_exponents_are_one_parametrization(run: Run) -> None:
    rows = run("table", "--b", "0,1/2,1/2", "--c", "0,0,0", "--optimizer", "sgd", "--loss", "ce", "--json").json["rows"]
    assert [(r["parametrization"], r["lr_exponent"]) for r in rows] == [("custom", "0"), ("custom", "-1/2")]


# -- rows that fail ------------------------------------------------------------------------------------------------


def test_a_failing_row_does_not_lose_the_others(run: Run) -> None:
    said = run(
        "table", "--hidden-layers", "1,2", "--set", "hidden.b=1", "--parametrization", "sp", "--lr-exponent", "0"
    )
    assert said.code == 1
    assert said.err == ""
    assert said.out.count("error [1]") == 4, "one for each optimizer and loss"
    assert said.out.count("'hidden'; accepted are input, readout") == 1, "told once"
    assert "stable   kernel" in said.out or "catastrophic" in said.out, "the network with a hidden matrix is there"


def test_a_table_of_failures_is_bad_input(run: Run) -> None:
    said = run("table", "--hidden-layers", "1,2", "--b", "0,1", "--c", "0,0", "--set", "hidden.1.a=1")
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1


def test_failures_in_json_and_csv(run: Run) -> None:
    failing = (
        "table",
        "--hidden-layers",
        "1,2",
        "--set",
        "hidden.b=1",
        "--parametrization",
        "sp",
        "--lr-exponent",
        "0",
    )
    rows = json.loads(run(*failing, "--json").out)["rows"]
    assert [bool(r["error"]) for r in rows] == [True] * 4 + [False] * 4
    assert all(set(r) == set(rows[0]) for r in rows)
    records = list(csv.DictReader(io.StringIO(run(*failing, "--format", "csv").out)))
    assert [r["regime"] for r in records[:4]] == [""] * 4


# -- formats -------------------------------------------------------------------------------------------------------


def test_csv_is_one_row_a_setting_with_raw_exponents(run: Run) -> None:
    records = list(csv.DictReader(io.StringIO(run(*SMALL, "--format", "csv").out)))
    data = run(*SMALL, "--json").json
    assert len(records) == len(data["rows"])
    assert list(records[0]) == data["columns"]
    assert records[1]["effective_input"] == "-1"


def test_markdown_tables_are_well_formed(run: Run) -> None:
    out = run(*SMALL, "--format", "md").out
    tables = [block.splitlines() for block in out.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2, "one per optimizer"
    for lines in tables:
        assert len({line.count("|") for line in lines}) == 1
        assert set(lines[1]) <= set("|-: ")


def test_html_is_one_well_formed_page(run: Run) -> None:
    out = run(*SMALL, "--format", "html").out
    assert out.isascii()
    assert "http" not in out, "nothing to load"

    class Checker(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.cells: list[int] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "tr":
                self.cells.append(0)
            if tag in ("td", "th"):
                self.cells[-1] += int(dict(attrs).get("colspan") or 1)
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    checker = Checker()
    checker.feed(out)
    assert checker.open == []
    assert len(set(checker.cells)) == 1, "every row spans the table"


def test_latex_has_no_unescaped_specials(run: Run) -> None:
    out = run(
        "table", "--parametrization", "sp", "--optimizer", "muon", "--shape-factor", "match-rms", "--format", "latex"
    ).out
    assert out.isascii()
    assert out.count("$") % 2 == 0
    body = out.split(r"\begin{tabular}")[1]
    rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len({line.count("&") for line in rows}) == 1
    assert r"shape\_factor=match-rms" in out


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles(run: Run, tmp_path: Path) -> None:
    head = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
    for i, argv in enumerate(
        [SMALL, ("predict",), ("explain", "logits"), ("predict", "--free", "r", "--lr-exponent", "r")]
    ):
        source = tmp_path / f"t{i}.tex"
        source.write_text(head + run(*argv, "--format", "latex").out + "\\end{document}\n", encoding="utf-8")
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", source.name],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("t.md", "## "),
        ("t.tex", "% needs"),
        ("t.csv", "model,"),
        ("t.json", "{"),
        ("t.html", "<!DOCTYPE"),
        ("t.txt", "mlp"),
    ],
)
def test_output_takes_the_format_from_the_ending(run: Run, tmp_path: Path, name: str, starts: str) -> None:
    said = run(*SMALL, "--output", str(tmp_path / name))
    assert (said.code, said.out, said.err) == (0, "", "")
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(starts)


def test_format_wins_over_the_ending(run: Run, tmp_path: Path) -> None:
    run(*SMALL, "--format", "json", "--output", str(tmp_path / "t.md"))
    assert json.loads((tmp_path / "t.md").read_text(encoding="utf-8"))["rows"]


# -- Python --------------------------------------------------------------------------------------------------------


def test_table_as_a_value() -> None:
    t = table(tp.mlp(hidden_layers=1), ["sp", "mup"], optimizer="sgd", loss="ce", lr_exponent=[0, LARGEST])
    assert [row.asked["parametrization"] for row in t] == ["sp", "mup"], "sp with one hidden layer is stable at 0"
    assert len(t) == 2
    assert t.roles == ("input", "readout")
    assert str(t).startswith("mlp, 1 hidden layer, relu")


def test_frames() -> None:
    pytest.importorskip("pandas")
    frame = table(parametrization="sp", optimizer="sgd", loss="ce").to_frame()
    assert list(frame["regime"]) == ["catastrophic", "controlled_divergence"]
    long = tp.derive(tp.mlp(), "sp", lr_exponent="-1/2").to_frame()
    at = long[(long.site == "readout") & (long.quantity == "effective")]
    assert list(at["exponent"]) == ["1/2"] * 4


def test_progress_counts_settings() -> None:
    seen: list[tuple[int, int]] = []
    table(parametrization=["sp", "mup"], optimizer="sgd", loss="ce", progress=lambda *at: seen.append(at))
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"parametrization": "foo"},
        {"optimizer": "foo"},
        {"loss": "foo"},
        {"steps": 0},
        {"step": 0},
        {"lr_exponent": 0.5},
    ],
)
def test_what_no_row_can_have_is_raised(wrong: dict[str, object]) -> None:
    with pytest.raises(TensorprogError):
        table(**{"parametrization": "sp", "optimizer": "sgd", "loss": "ce", **wrong})  # type: ignore[arg-type]


def test_symbols_fail_their_row() -> None:
    (row,) = table(parametrization="sp", optimizer="sgd", loss="ce", lr_exponent="r")
    assert "free symbols" in row.error
    assert row.rates is not None, "what could be derived is kept"


def test_alignments_stand_side_by_side(run: Run) -> None:
    args = "table --parametrization sp --optimizer adam --loss ce --lr-exponent=-1 --alignment derived,full,none"
    rows = run(*args.split(), "--json").json["rows"]
    assert [(r["alignment"], r["propagating_readout"], r["effective_hidden"]) for r in rows] == [
        ("derived", "1/2", "0"),
        ("full", "0", "0"),
        ("none", "-1/2", "-1/2"),
    ]
    assert [r["bounded_logits_lr_exponent"] for r in rows] == ["-3/2", "-1", "-1/2"]
    printed = run(*args.split()).out
    assert "parametrization   r  alignment" in printed
    assert "full: updates are aligned" in " ".join(printed.split())
    assert "alignment" not in run("table", "--parametrization", "sp", "--optimizer", "adam", "--loss", "ce").out


def test_an_unknown_alignment_names_the_known_ones(run: Run) -> None:
    said = run("predict", "--alignment", "half")
    assert said.code == 2
    assert said.err == "tensorprog predict: --alignment: got 'half'; accepted are derived, full, none\n"


def test_titles_name_exponents_and_leave_out_what_is_usual(run: Run) -> None:
    argv = "table --model transformer --blocks 1 --ff-exponent 1/2,1 --parametrization mup --optimizer adam --loss ce"
    lines = run(*shlex.split(argv), "--lr-exponent", "0").out.splitlines()
    assert lines[0] == "transformer, 1 block, gelu, layernorm, pre, 1/sqrt(d), learned"
    assert [line for line in lines if line.startswith("ff exponent")] == [
        "ff exponent 1/2, adam, ce",
        "ff exponent 1, adam, ce",
    ]
