"""Reports: every number in every format; for no case, a few and many."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tensorprog.architectures import mlp
from tensorprog.setting import setting
from tests.validation.findings import (
    HOSTILE,
    SEEDS,
    WIDTHS,
    Parsed,
    comment,
    known,
    page,
    renamed,
    synthetic,
    validation,
)
from tests.validation.findings import many as synthetic_many
from tests.validation.findings import mixed as synthetic_mixed
from validation.cases import CASES, QUICK, Case
from validation.constants import SMALL_LOGITS
from validation.figure import figure
from validation.fit import Correction
from validation.measure import Quantity
from validation.report import frame, measured, renderable, text, words, write
from validation.report.html import html
from validation.report.markdown import FITS
from validation.report.provenance import command, provenance
from validation.report.rows import COLUMNS
from validation.run import Finding, Validation
from validation.verdict import Verdict


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    return synthetic_mixed(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def many(mixed: Validation) -> Validation:
    return synthetic_many(mixed)


# -- words -----------------------------------------------------------------------------------------------------------


def test_headlines(mixed: Validation, tmp_path: Path) -> None:
    agreeing = [f for f in mixed.findings if f.verdict is Verdict.AGREES]
    open_ = [f for f in mixed.findings if f.verdict is Verdict.INCONCLUSIVE]
    wrong = [f for f in mixed.findings if f.verdict is Verdict.DISAGREES]

    def said(findings: list[Finding]) -> str:
        return words.headline(validation(findings, tmp_path))

    assert said([]) == "Nothing was judged"
    assert said(agreeing[:3]) == "All 3 predicted numbers agree with what was measured"
    assert said(agreeing[:3] + open_) == "No predicted number disagrees: 3 of 4 agree, 1 is inconclusive"
    assert said(open_ + open_) == "Nothing was decided: all 2 predictions are inconclusive"
    assert said(agreeing[:1] + wrong) == "1 of 2 predicted numbers disagrees with what was measured"
    assert said(wrong + wrong) == "2 of 2 predicted numbers disagree with what was measured"


def test_measured_and_fitted_words(mixed: Validation) -> None:
    f = mixed.findings[0]
    assert measured(replace(f, fit=replace(f.fit, slope=-0.001, low=-0.011, high=0.009))) == "0.00±0.01"
    assert measured(replace(f, fit=replace(f.fit, slope=math.nan, excluded=(64,)))) == "not finite"
    assert words.fixed(-0.004, signed=True) == "0.00"
    assert words.fixed(0.126, signed=True) == "+0.13"
    assert words.fitted(f).startswith("line, ")
    two = replace(f, fit=replace(f.fit, correction=Correction(0.5, 1234.0)))
    assert words.fitted(two) == "two terms, a correction leads below width 1,200"
    assert words.deviation(replace(f, fit=replace(f.fit, slope=0.25))) == pytest.approx(0.25)


# -- Markdown --------------------------------------------------------------------------------------------------------


def tables(source: str) -> Iterator[list[list[str]]]:
    """The tables of a Markdown text, cell by cell."""
    for block in re.split(r"\n\s*\n", source):
        lines = block.strip().split("\n")
        if lines[0].startswith("|"):
            yield [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown_tables_are_well_formed_and_complete(mixed: Validation) -> None:
    source = comment(mixed)
    found = list(tables(source))
    assert len(found) == 3 + 4
    for table in found:
        assert len({len(row) for row in table}) == 1
        assert all(re.fullmatch("---:?", c) for c in table[1])
    assert source.count("<details>") == source.count("</details>") == 4
    # Every number has its mark: once in its case's table, and once more where it does not agree.
    cells = [c for table in found[3:] for row in table[2:] for c in row[2:] if c]
    assert len(cells) == len(mixed.findings)
    assert sum(c.endswith("✗") for c in cells) == 1
    (wrong,) = [f for f in mixed.findings if f.verdict is Verdict.DISAGREES]
    assert f"{words.predicted(wrong)}: {measured(wrong)} ✗" in cells


def test_markdown_says_first_what_does_not_agree(mixed: Validation) -> None:
    source = comment(mixed)
    assert source.startswith("## 1 of ")
    assert source.index("✗ disagrees") < source.index("? inconclusive") < source.index("### What was claimed")


def test_markdown_escapes_names(mixed: Validation) -> None:
    source = comment(mixed)
    assert "<script" not in source.replace("\\<script", "")
    assert "&lt;script&gt;" in source  # in the summary, which is HTML
    assert all("\\| " in row[1] for row in next(t for t in tables(source) if t[0][0] == "verdict")[2:])


def test_markdown_fits_a_comment(many: Validation) -> None:
    source = comment(many)
    assert len(source) < 65_536
    assert "<b>bad</b>" in source
    left_out = re.search(r"the tables of (\d+) cases;", source)
    assert left_out
    assert int(left_out.group(1)) == 90 - source.count("<details>")
    assert len(source) > FITS - 10_000


# -- terminal --------------------------------------------------------------------------------------------------------


def test_terminal_fits_80_columns(mixed: Validation, many: Validation) -> None:
    for result in (mixed, many, replace(many, against="mup")):
        assert max(map(len, text(result).splitlines())) <= 80
    renderable(mixed)


def test_terminal_has_tables_of_a_few_cases(mixed: Validation) -> None:
    shown = text(mixed)
    assert shown.count("propagating") >= 2 * 3
    assert f"{len(mixed.findings) - 2} agrees, 1 disagrees, 1 inconclusive; 12 networks trained" in shown
    assert "exactly 0" in shown
    assert re.search(r"\n  disagrees  readout effective, step 3: predicted 1/2, measured 1\.0", shown)


def test_terminal_has_a_line_for_each_of_many_cases(many: Validation) -> None:
    shown = text(many)
    assert len(shown.splitlines()) < 90 + 20
    (good,) = [line for line in shown.splitlines() if line.startswith("good-7 ")]
    agreeing = sum(f.case.name == "good-7" for f in many.findings)
    assert re.match(rf"good-7 +{agreeing} +· +· [+-]0\.\d\d ", good)
    (bad,) = [line for line in shown.splitlines() if line.startswith("bad ")]
    assert re.match(r"bad +\d+ +1 +1 \+0\.\d\d readout effective @3", bad)
    # What does not agree is spelled out, and only that.
    assert re.search(r"\nbad\n  disagrees  readout effective, step 3", shown)
    assert "propagating" not in shown.split("furthest off: ")[1]


def test_terminal_counts_what_it_does_not_list(many: Validation) -> None:
    wrong = [replace(f, judgement=replace(f.judgement, verdict=Verdict.DISAGREES)) for f in many.findings]
    shown = text(replace(many, findings=tuple(wrong)))
    assert f"{len(wrong)} in all" in shown
    assert len(shown.splitlines()) < 250


# -- frame -----------------------------------------------------------------------------------------------------------


def test_frame_is_long_and_loses_no_verdict(mixed: Validation) -> None:
    lost = replace(mixed.findings[0], sizes={}, judgement=replace(mixed.findings[0].judgement, reason="nothing"))
    table = frame(replace(mixed, findings=(*mixed.findings, lost)))
    assert tuple(table.columns) == COLUMNS
    assert list(table.columns[:3]) == ["case", "site", "quantity"]
    assert len(table) == len(mixed.findings) * len(WIDTHS) * SEEDS + 1
    assert table["width"].isna().sum() == 1
    assert set(table["verdict"]) == {v.value for v in Verdict}
    keys = ["case", "site", "quantity", "step", "width", "seed"]
    assert not table.duplicated(keys).any()
    one = table[(table["case"] == HOSTILE) & (table["quantity"] == "effective") & (table["site"] == "readout")]
    assert set(one[one["step"] == 3]["verdict"]) == {"disagrees"}
    assert table["reason"].str.len().min() > 0
    assert set(table["device"]) == {"cpu, x86_64"}


def test_frame_of_nothing_has_its_columns(tmp_path: Path) -> None:
    assert tuple(frame(validation([], tmp_path)).columns) == COLUMNS


@pytest.mark.parametrize("installed", [True, False])
def test_parquet_is_written_where_pyarrow_is_installed(
    mixed: Validation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    import pandas as pd

    def to_parquet(self: Any, path: Path, **options: Any) -> None:
        path.write_bytes(b"PAR1")

    real = importlib.util.find_spec
    monkeypatch.setattr(pd.DataFrame, "to_parquet", to_parquet)
    monkeypatch.setattr(
        "validation.report.rows.find_spec", lambda name: (installed or None) if name == "pyarrow" else real(name)
    )
    small = validation(list(mixed.findings[:2]), tmp_path)
    assert ("parquet" in write(small, tmp_path)) is installed
    assert (tmp_path / "validation.parquet").exists() is installed


# -- figure ----------------------------------------------------------------------------------------------------------


def test_figure_of_a_few_cases_has_panels_of_slopes(mixed: Validation) -> None:
    drawn = figure(mixed)
    assert drawn is not None
    titles = [ax.get_title() for ax in drawn.axes]
    assert any(t.startswith("readout\n") for t in titles)
    assert any("fastest growing value" in t for t in titles)
    written = {t.get_text() for ax in drawn.axes for t in ax.texts}
    assert "predicted catastrophic" in written
    assert "✗" in written


def points(ax: Any) -> list[float]:
    """Horizontal places of the marks."""
    return [float(x) for line in ax.lines if line.get_linestyle() == "None" for x in line.get_xdata()]


def test_figure_of_many_cases_is_an_overview_of_every_number(many: Validation) -> None:
    drawn = figure(many)
    assert drawn is not None
    assert sum(len(points(ax)) for ax in drawn.axes) == len(many.findings)
    names = [t.get_text() for ax in drawn.axes for t in ax.get_yticklabels()]
    assert names == [*(f"good-{i}" for i in range(89)), "bad"]
    width, height = drawn.get_size_inches()
    assert width <= 13
    assert height <= 11
    assert f"{many.count(Verdict.AGREES)} agree, 1 disagree, 1 inconclusive" in drawn.get_suptitle()
    assert any(x == pytest.approx(0.5, abs=0.05) for x in points(drawn.axes[-1]))  # the planted error


def test_figure_keeps_what_does_not_agree_of_hundreds_of_cases(many: Validation) -> None:
    one = [f for f in many.findings if f.case.name == "good-0"][:1]
    bad = [f for f in many.findings if f.case.name == "bad"]
    drawn = figure(replace(many, findings=(*(f for i in range(120) for f in renamed(one, f"c{i}")), *bad)))
    assert drawn is not None
    names = [t.get_text() for ax in drawn.axes for t in ax.get_yticklabels()]
    assert len(names) == 90
    assert names[-1] == "bad"
    assert "not drawn: 31 cases in which every number agrees" in drawn.get_suptitle()
    open_ = [f for f in bad if f.verdict is not Verdict.AGREES]
    drawn = figure(replace(many, findings=tuple(f for i in range(91) for f in renamed(open_, f"b{i}"))))
    assert drawn is not None
    assert drawn.get_suptitle().endswith("\nnot drawn: 1 case")


def test_no_figure_of_nothing(mixed: Validation, tmp_path: Path) -> None:
    assert figure(validation([], tmp_path)) is None
    only = [f for f in mixed.findings if f.prediction.quantity is Quantity.ACTIVATION]
    assert figure(validation(only, tmp_path)) is None


def test_figure_of_a_regime_alone(mixed: Validation, tmp_path: Path) -> None:
    drawn = figure(validation([f for f in mixed.findings if f.prediction.regime is not None], tmp_path))
    assert drawn is not None
    assert len(drawn.axes) == 1


# -- provenance ------------------------------------------------------------------------------------------------------


def options(line: str) -> dict[str, str]:
    parts = shlex.split(line)
    assert parts[:2] == ["tensorprog", "validate"]
    pairs: dict[str, str] = {}
    for part, following in zip(parts[2:], [*parts[3:], "--"], strict=True):
        if part.startswith("--"):
            name, _, value = part.partition("=")
            pairs[name] = value or ("" if following.startswith("--") else following)
    return pairs


def test_command_repeats_registered_cases(mixed: Validation) -> None:
    one = mixed.findings[0]
    cases = [replace(one, case=CASES[name]) for name in ("sp-sgd-ce-2", "mup-adam-ce-2")]
    given = options(command(replace(mixed, findings=tuple(cases)), Path("my out")))
    assert given == {
        "--cases": "sp-sgd-ce-2,mup-adam-ce-2",
        "--widths": "64,128,256,512",
        "--seeds": "3",
        "--steps": "1,3",
        "--device": "cpu",
        "--out": "my out",
    }
    suite = [replace(one, case=CASES[name]) for name in QUICK.cases]
    given = options(command(replace(mixed, findings=tuple(suite), device="NVIDIA Something"), Path("out")))
    assert given["--suite"] == "quick"
    assert given["--device"] == "cuda"
    assert "--cases" not in given


def test_command_of_one_setting_and_none_for_what_has_no_name(mixed: Validation) -> None:
    plain = setting(mlp(hidden_layers=2, activation="relu"), "sp", loss_="mse", lr_exponent="-1", zero_readout=True)
    own = replace(mixed.findings[0], case=Case("mine", plain))
    given = options(command(replace(mixed, findings=(own,)), Path("out")))
    assert given["--lr-exponent"] == "-1"
    assert given["--loss"] == "mse"
    assert "--zero-readout" in given
    assert command(mixed, Path("out")) == ""  # a case under a name of its own beside others
    assert "have no names on the command line" in Parsed(page(mixed)).text
    assert command(replace(mixed, findings=(own,), against="my own"), Path("out")) == ""


def test_records_tell_time_and_versions(tmp_path: Path) -> None:
    case = known("sp-sgd-ce-2")
    result = validation(synthetic(case), tmp_path)
    described = case.setting.to_dict()
    del described["steps"]
    constants = {"base_width": 4, "base_lr": 1.0, "output_scale": SMALL_LOGITS}
    config = {"setting": described, **constants, "data": case.data.config, "steps": [1, 3]}

    def line(key: str, **changes: Any) -> str:
        own = {**config, "width": 64, "seed": 0, **changes}
        return json.dumps({"key": key, "config": own, "seconds": 2.5, "torch": "2.4.0", "device": "cpu, x86_64"})

    lines = [line("a"), line("b", seed=1), line("b", seed=1)]
    lines += [line("c", width=4096), line("d", seed=9), line("e", base_lr=2.0), line("f")[:80]]  # none of ours
    result.records.write_text("\n".join(lines))
    made = provenance(result, tmp_path / "report")
    assert (made.networks, made.seconds, made.trained_with) == (2, 5.0, ("2.4.0",))
    assert made.records == "../records.jsonl"
    assert "trained with torch 2.4.0" in Parsed(html(result, made)).text
    assert provenance(replace(result, records=tmp_path / "none"), tmp_path).networks == 0


# -- files -----------------------------------------------------------------------------------------------------------


def test_write_leaves_every_format(mixed: Validation, tmp_path: Path) -> None:
    few = replace(mixed, findings=tuple(f for f in mixed.findings if f.case.name not in ("zeros", "mup-adam-ce-2")))
    found = write(few, tmp_path / "deep" / "out")
    assert {"html", "md", "json", "csv", "png", "pdf"} <= set(found)
    assert all(path.stat().st_size > 500 for path in found.values())
    told = json.loads(found["json"].read_text())
    assert told["files"] == {kind: str(path) for kind, path in found.items()}
    assert told["summary"] == few.summary
    assert found["html"].read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_write_of_nothing(tmp_path: Path) -> None:
    nothing = validation([], tmp_path)
    found = write(nothing, tmp_path)
    assert {"html", "md", "json", "csv"} <= set(found)
    assert "png" not in found
    assert "Nothing was judged" in found["html"].read_text(encoding="utf-8")
    assert "Nothing was judged" in found["md"].read_text(encoding="utf-8")
    Parsed(found["html"].read_text(encoding="utf-8"))
    assert "0 agrees" in text(nothing)


def test_the_template_is_a_part_of_the_package() -> None:
    assert files("validation.report").joinpath("templates/page.html.j2").is_file()
