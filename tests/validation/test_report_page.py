"""The HTML report: every number, nothing to load, what does not agree first; for a few cases and for many."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.validation.findings import (
    HOSTILE,
    SEEDS,
    WIDTHS,
    Parsed,
    comment,
    page,
    renamed,
    synthetic,
    validation,
)
from tests.validation.findings import many as synthetic_many
from tests.validation.findings import mixed as synthetic_mixed
from validation.cases import CASES
from validation.fit import Correction
from validation.report import measured, text, words
from validation.report.html import LISTED, PLOTTED
from validation.report.plots import panel, strip
from validation.report.provenance import command
from validation.run import Failure, Validation
from validation.verdict import Verdict


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    return synthetic_mixed(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def many(mixed: Validation) -> Validation:
    return synthetic_many(mixed)


# -- HTML ------------------------------------------------------------------------------------------------------------


def test_page_is_self_contained_and_well_formed(mixed: Validation) -> None:
    source = page(mixed)
    parsed = Parsed(source)
    assert not {"script", "link", "img", "iframe", "object", "base", "use"} & {tag for tag, _ in parsed.tags}
    for _, attributes in parsed.tags:
        assert not {"src", "srcset", "xlink:href", "onclick", "onload", "style"} & set(attributes)
        target = attributes.get("href")
        assert target is None or (target.startswith("#") and target[1:] in parsed.ids)
    for outside in ("http:", "https:", "url(", "@import", "file:"):
        assert outside not in source
    assert len(parsed.ids) == len(set(parsed.ids)) == 4


def test_page_has_every_case_and_number(mixed: Validation) -> None:
    parsed = Parsed(page(mixed))
    for f in mixed.findings:
        assert f.case.name in parsed.text
        slope = measured(f).partition("±")[0].replace("-", "−")
        assert slope in parsed.text, f.prediction
        if f.verdict is not Verdict.AGREES:
            assert f.judgement.reason.split(":")[0].split("-")[0] in parsed.text
    # One row a number: a cell with its verdict in words.
    for v in Verdict:
        cells = len(re.findall(rf"[✓✗?] {v.value}", parsed.text))
        assert cells == mixed.count(v) + (mixed.count(v) if v is not Verdict.AGREES else 0)


def test_page_escapes_names(mixed: Validation) -> None:
    source = page(replace(mixed, failures=(Failure(HOSTILE, 64, 0, HOSTILE),), against=HOSTILE))
    assert "<script" not in source
    assert 'alert("' not in re.sub(r"<style>.*?</style>", "", source, flags=re.S).replace("&#34;", "")
    assert HOSTILE in Parsed(source).text


def test_page_says_first_what_does_not_agree(mixed: Validation) -> None:
    shown = Parsed(page(mixed)).text
    heads = ["1 of", "What does not agree", "✗ disagrees", "? inconclusive", "What was claimed", "Every number"]
    places = [shown.index(h) for h in heads]
    assert places == sorted(places)
    assert f"1 of {len(mixed.findings)} predicted numbers disagrees" in shown


def counted(source: str) -> dict[str, tuple[str, str]]:
    """The headline's counts: name -> (style, number)."""
    return {name: (style, n) for style, n, name in re.findall(r'<div><b class="(\w*)">(\d+)</b> (\w+)</div>', source)}


def test_one_count_is_coloured(mixed: Validation, tmp_path: Path) -> None:
    assert counted(page(mixed))["disagree"] == ("bad", "1")
    assert [style for style, _ in counted(page(mixed)).values() if style] == ["bad"]
    good = validation([f for f in mixed.findings if f.verdict is Verdict.AGREES], tmp_path)
    assert counted(page(good))["agree"] == ("good", str(len(good.findings)))
    assert counted(page(good))["disagree"] == ("", "0")


def test_page_tells_what_it_was_made_of(mixed: Validation) -> None:
    shown = Parsed(page(mixed)).text
    for needle in (
        "genericity",
        "cpu, x86_64",
        "64, 128, 256, 512",
        "torch ",
        "numpy ",
        "records.jsonl",
        "base learning rate",
    ):
        assert needle in shown
    assert "2 hidden layers (relu), SP, SGD, cross-entropy, random readout" in shown
    assert "zero readout" in shown
    assert "beyond the predicted edge" in shown


def test_regime_reads_well(mixed: Validation) -> None:
    (f,) = [f for f in mixed.findings if f.prediction.regime is not None]
    assert f.verdict is Verdict.AGREES
    row = next(line for line in page(mixed).split("<tr") if ">regime<" in line)
    assert "catastrophic" in row
    assert re.search(r"<i>n</i><sup>[01]\.\d\d</sup>", row)
    grown = "fastest: hidden.1 activation, n^("
    assert f"predicted catastrophic by step 3; {grown}" in text(mixed)
    assert re.search(rf"\| output \| regime \| catastrophic; {re.escape(grown)}[\d.]+±[\d.]+\) ✓ \|", comment(mixed))


def test_judged_against_another_parametrization_is_prominent(mixed: Validation) -> None:
    other = replace(mixed, against="mup")
    parsed = Parsed(page(other)).text
    assert parsed.index("Judged against: mup") < parsed.index("What does not agree")
    assert comment(other).index("Judged against: mup") < comment(other).index("What does not agree")
    assert text(other).startswith("Judged against: mup")
    assert "--against mup" in command(replace(other, findings=tuple(synthetic(CASES["sp-sgd-ce-2"]))), Path("out"))
    # The claim is about the case's own parametrization, which is not what was judged.
    assert "claimed:" in Parsed(page(mixed)).text
    for shown in (parsed, comment(other), text(other)):
        assert "claimed:" not in shown


def test_failures_are_listed(mixed: Validation) -> None:
    lost = tuple(Failure("mup-adam-ce-2", 16384, s, "out of memory") for s in (1, 0))
    result = replace(mixed, failures=(*lost, Failure("zeros", 8192, 2, "out of memory")))
    for shown in (Parsed(page(result)).text, comment(result), text(result)):
        assert "mup-adam-ce-2, width 16384, seeds 0, 1: out of memory" in shown
        assert "zeros, width 8192, seed 2: out of memory" in shown


def test_many_cases_stay_small(many: Validation) -> None:
    source = page(many)
    parsed = Parsed(source)
    assert len(source) < 5_000_000
    assert all(f"good-{i}" in parsed.text for i in range(89))
    assert len(parsed.ids) == len(set(parsed.ids)) == 90
    unfolded = [a for a in parsed.named("details") if "open" in a]
    assert len(unfolded) == 1  # the only case that does not agree
    assert parsed.text.index("bad") < parsed.text.index("good-0")


def test_page_folds_more_disagreements_than_anyone_reads(many: Validation) -> None:
    wrong = [replace(f, judgement=replace(f.judgement, verdict=Verdict.DISAGREES)) for f in many.findings[: LISTED + 7]]
    shown = Parsed(page(replace(many, findings=tuple(wrong)))).text
    assert "7 more" in shown
    assert shown.count("✗ disagrees") == 2 * len(wrong)


def test_plots_are_left_out_of_hundreds_of_cases_but_not_where_something_disagrees(many: Validation) -> None:
    first = [f for f in many.findings if f.case.name == "good-0"][:2]
    bad = [f for f in many.findings if f.case.name == "bad"]
    findings = [f for i in range(PLOTTED + 5) for f in renamed(first, f"more-{i}")] + bad
    source = page(replace(many, findings=tuple(findings)))
    parts = source.split("<details")
    assert 'class="panel"' in next(p for p in parts if "<b>bad</b>" in p)
    assert sum('class="panel"' in p for p in parts) == PLOTTED
    assert "of 6 cases in which every number agrees; validation.csv" in source
    only_bad = [
        f for i in range(PLOTTED + 1) for f in renamed([g for g in bad if g.verdict is not Verdict.AGREES], f"b{i}")
    ]
    assert "of 1 case; validation.csv" in page(replace(many, findings=tuple(only_bad)))


def test_names_that_make_the_same_anchor_get_two(mixed: Validation) -> None:
    some = list(mixed.findings[:3])
    parsed = Parsed(page(replace(mixed, findings=(*renamed(some, "a b"), *renamed(some, "a+b"), *renamed(some, "/")))))
    assert len(set(parsed.ids)) == 3
    assert {a["href"] for a in parsed.named("a")} == {f"#{i}" for i in parsed.ids}


# -- plots -----------------------------------------------------------------------------------------------------------


def test_panel_draws_every_seed_the_fit_and_the_prediction(mixed: Validation) -> None:
    f = mixed.findings[0]
    svg = panel([f], 2.0, {f.prediction.step: 1}, 'a "title" <b>')
    (dots,) = re.findall(r'<path class="o s1" d="([^"]*)"', svg)
    assert dots.count("M") == len(WIDTHS) * SEEDS
    (predicted,) = re.findall(r'<path class="p" d="M([\d.]+),([\d.]+)L([\d.]+),([\d.]+)"', svg)
    assert predicted[1] == predicted[3]  # n^0 is flat
    assert float(predicted[0]) < float(predicted[2])
    assert 'aria-label="a &quot;title&quot; &lt;b&gt;"' in svg


def test_panel_draws_a_two_term_fit_as_a_curve(mixed: Validation) -> None:
    f = mixed.findings[0]
    bent = replace(f, fit=replace(f.fit, correction=Correction(0.5, 200.0)))
    lines = [re.findall(r'class="l s1" d="([^"]*)"', panel([g], 2.0, {0: 1}, ""))[0].count("L") for g in (f, bent)]
    assert lines[0] == 1
    assert lines[1] > 5


def test_panel_of_nothing_is_empty(mixed: Validation) -> None:
    zero = next(f for f in mixed.findings if f.fit.all_zero)
    assert panel([zero], 1.0, {zero.prediction.step: 1}, "") == ""


def test_strip_shows_every_number_once(mixed: Validation) -> None:
    for _, found in words.by_case(mixed):
        svg = strip(found)
        marks = [len(re.findall("M", d)) for d in re.findall(r'class="m \w+" d="([^"]*)"', svg)]
        crosses = sum(f.verdict is Verdict.DISAGREES for f in found)
        assert sum(marks) == len(found)
        assert ("m bad" in svg) == bool(crosses)
    far = replace(mixed.findings[0], fit=replace(mixed.findings[0].fit, slope=3.0, low=2.9, high=3.1))
    (arrow,) = re.findall(r'class="m \w+" d="M([\d.]+),[\d.]+l3', strip([far]))
    assert float(arrow) < 300  # inside the strip
