"""Crossing widths of measured sizes: which terms are compared, what is reported, in text, files and figure."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tensorprog.derive import derive_setting
from tests.validation.findings import WIDTHS, Parsed, comment, mixed, page, validation
from validation.cases import CASES
from validation.claims import Key, exponents
from validation.crossing import Crossing, crossings
from validation.crossing_figure import PANELS, figure
from validation.fit import Sizes
from validation.measure import OUTPUT, Quantity
from validation.report import crossings as told
from validation.run import validate
from validation.two_powers import Sight

Q = Quantity
CASE = "sp-adam-ce-2"
LOGITS: Key = (OUTPUT, Q.LOGITS, 1)
PROPAGATING: Key = ("readout", Q.PROPAGATING, 1)
EFFECTIVE: Key = ("readout", Q.EFFECTIVE, 1)


def power(prefactor: float, e: float, draw: np.random.Generator, noise: float = 0.03) -> Sizes:
    return {n: {s: float(prefactor * n**e * np.exp(noise * draw.standard_normal())) for s in range(3)} for n in WIDTHS}


def measured(name: str = CASE) -> dict[Key, Sizes]:
    """Every size follows its exponent, but: the logits start at 20, where the readout's propagating update is n^(1/2),
    so they cross at 400; and the effective update has a central-limit remainder that equals it at 150.
    """
    draw = np.random.default_rng(0)
    table: dict[Key, Sizes] = {
        p.key: power(1e-3, float(p.exponent.const), draw)
        for p in exponents(derive_setting(CASES[name].setting), (1, 3))
        if not p.exponent.infinite
    }
    if name == CASE:
        table[OUTPUT, Q.LOGITS, 0] = power(20, 0, draw)
        table[PROPAGATING] = power(1, 0.5, draw)
        for n, row in table[EFFECTIVE].items():
            table[EFFECTIVE] = {**table[EFFECTIVE], n: {s: v * math.sqrt(1 + 150 / n) for s, v in row.items()}}
        table[LOGITS] = {
            n: {s: math.hypot(v, table[OUTPUT, Q.LOGITS, 0][n][s]) for s, v in row.items()}
            for n, row in table[PROPAGATING].items()
        }
    return table


def found(name: str = CASE) -> list[Crossing]:
    return crossings(name, CASES[name].setting, measured(name), (1, 3))


def of(key: Key, what: str = "") -> Crossing:
    (one,) = [c for c in found() if (c.site, c.quantity, c.step) == key and what in c.subleading.what]
    return one


# -- which terms


def test_sums_are_compared_part_by_part() -> None:
    """However effective and propagating updates are correlated, each part is measured on its own."""
    initial, effective = of(LOGITS, "initialisation"), of(LOGITS, "effective")
    assert (initial.leading.what, str(initial.leading.exponent)) == ("readout.propagating", "1/2")
    assert (initial.subleading.what, str(initial.subleading.exponent)) == ("logits at initialisation", "0")
    assert initial.parts is not None
    assert initial.width is not None
    assert 400 in initial.width
    assert initial.width.value == pytest.approx(400, rel=0.1)
    assert (initial.diverges, initial.extrapolated, initial.relevant) == (True, False, True)
    assert effective.width is not None
    assert effective.width.value < 1e-3
    assert (effective.extrapolated, effective.relevant) == (True, False)


def test_other_sizes_are_fitted_with_their_largest_sub_leading_power() -> None:
    one = of(EFFECTIVE)
    assert one.parts is None
    assert one.subleading.what == "central-limit remainder of <sign(x_0(hidden.1)), x_1(hidden.1)>"
    assert one.sight is Sight.BOTH
    assert one.width is not None
    assert 150 in one.width
    assert one.width.value == pytest.approx(150, rel=0.3)
    assert not one.diverges
    assert not one.extrapolated


def test_a_second_term_that_is_not_there_gives_an_upper_bound() -> None:
    one = of(PROPAGATING)
    assert one.sight is Sight.LEADING
    assert not one.relevant
    assert one.width is not None
    assert told.told(one) == f"below {told.rounded(one.width.high)}"


def test_every_term_is_below_the_exponent_and_exact_zeros_have_none() -> None:
    for name in ("mup-adam-mse-3-zero", "sp-sgd-mse-2-beyond", "transformer-mup-adam"):
        for c in found(name):
            assert c.subleading.exponent < c.leading.exponent
            assert not c.subleading.exponent.infinite
    zeros = {(c.site, c.quantity, c.step) for c in found("mup-adam-mse-3-zero")}
    assert ("hidden.1", Q.EFFECTIVE, 1) not in zeros


def test_beyond_the_edge_the_growing_term_has_its_width() -> None:
    """The regime is the one verdict there, but activations cross: x_0 is n^0 under a change that grows."""
    growing = [c for c in found("sp-sgd-ce-2-beyond") if c.quantity is Q.ACTIVATION and c.diverges]
    assert growing
    assert all(c.subleading.what.endswith("activation at initialisation") for c in growing)


def test_chi_of_a_growing_loss_is_compared_with_the_targets() -> None:
    table = measured("sp-adam-mse-2") | {(OUTPUT, Q.TARGETS, 0): power(1, 0, np.random.default_rng(1))}
    (one,) = [c for c in crossings("x", CASES["sp-adam-mse-2"].setting, table, (1,)) if c.quantity is Q.LOSS_GRADIENT]
    assert (one.leading.what, one.subleading.what) == ("logits", "targets")
    assert one.width is not None
    assert one.width.value == pytest.approx(1e6, rel=0.2)
    assert one.extrapolated
    assert told.told(one).endswith(" *")


def test_sizes_of_another_law_say_so() -> None:
    table = measured() | {PROPAGATING: power(1, 1.0, np.random.default_rng(2))}
    (one,) = [c for c in crossings("x", CASES[CASE].setting, table, (1,)) if (c.site, c.quantity) == PROPAGATING[:2]]
    assert one.sight is Sight.OTHER
    assert one.width is None
    assert told.told(one) == "neither law"
    broken = {n: dict.fromkeys(row, math.nan) for n, row in table[PROPAGATING].items()}
    for c in crossings("x", CASES[CASE].setting, table | {PROPAGATING: broken}, (1,)):
        if (c.site, c.quantity) == PROPAGATING[:2]:
            assert (c.sight, c.law, told.told(c)) == (Sight.NOTHING, None, "not measured")
            assert c.to_dict()["width"] is None


# -- what is reported


def test_json_shape() -> None:
    d = of(EFFECTIVE).to_dict()
    assert set(d) == {
        *("case", "site", "quantity", "step", "leading", "subleading", "from", "shown", "diverges"),
        *("extrapolated", "width"),
    }
    assert [d["leading"]["exponent"], d["subleading"]["exponent"], d["from"], d["shown"]] == [
        "0",
        "-1/2",
        "fit",
        "both",
    ]
    assert set(d["width"]) == set(d["leading"]["prefactor"]) == {"value", "low", "high"}
    bound = of(PROPAGATING).to_dict()
    assert bound["shown"] == "leading only"
    assert bound["width"]["low"] == 0
    assert json.loads(json.dumps(d, allow_nan=False)) == d


@pytest.mark.parametrize(
    ("width", "text"), [(0.0, "0"), (41.26, "41.3"), (1234.5, "1,230"), (9.99e8, "1.0e9"), (3.2e11, "3.2e11")]
)
def test_widths_are_rounded(width: float, text: str) -> None:
    assert told.rounded(width) == text


def test_text_lists_what_crosses_and_counts_the_rest(tmp_path: Path) -> None:
    whole = replace(validation([], tmp_path), crossings=tuple(found()))
    short, long = told.text(whole), told.text(whole, every=True)
    assert max(map(len, short.splitlines())) <= told.COLUMNS
    assert "logits at initialisation; above," in short
    assert "central-limit remainder of <sign(" in short
    listed = sum(c.relevant for c in whole.crossings)
    assert sum(int(line.split()[0]) for line in short.splitlines() if " sizes: " in line or " size: " in line) == (
        len(whole.crossings) - listed
    )
    assert " sizes: " not in long
    assert told.LAW.split(";")[0] in short.replace("\n", " ")
    empty = told.text(validation([], tmp_path))
    assert "No measured size has a sub-leading power" in empty


def test_files(tmp_path: Path) -> None:
    whole = replace(validation([], tmp_path), crossings=tuple(found()))
    files = told.write(whole, tmp_path / "new")
    assert set(files) == {"json", "csv", "png", "pdf"}
    data = json.loads(files["json"].read_text())
    assert len(data["crossings"]) == len(whole.crossings)
    assert data["files"]["png"] == str(files["png"])
    with files["csv"].open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == len(whole.crossings)
    (row,) = [r for r in rows if (r["site"], r["quantity"], r["step"]) == ("readout", "effective", "1")]
    assert float(row["low"]) <= 150 <= float(row["high"])
    assert (row["p"], row["q"]) == ("0", "-1/2")
    assert math.isclose(float(row["B"]) / float(row["A"]), float(row["width"]) ** 0.5, rel_tol=1e-2)


def test_figure_draws_what_crosses_near_the_measured_widths() -> None:
    several = found()
    near = [c for c in several if c.sight is Sight.BOTH and c.width and 64 <= c.width.value <= 512]
    drawn = figure(several)
    assert drawn is not None
    panels = [ax for ax in drawn.axes if ax.get_title()]
    assert len(panels) == len(near)
    titles = [ax.get_title() for ax in panels]
    assert f"{CASE}\nreadout effective, step 1" in titles
    said = " ".join(text.get_text() for ax in panels for text in ax.texts)
    assert "central-limit remainder" in said
    many = figure([replace(c, case=f"case-{i}") for i in range(PANELS) for c in near])
    assert many is not None
    assert len([ax for ax in many.axes if ax.get_title()]) == PANELS
    outside = figure([c for c in several if c not in near])
    assert outside is None or all(not ax.get_title() or "logits" in ax.get_title() for ax in outside.axes)
    assert figure([]) is None
    assert figure([c for c in several if c.sight is Sight.LEADING]) is None


def test_reports_of_a_validation_have_a_section(tmp_path: Path) -> None:
    without = mixed(tmp_path)
    assert "Crossing widths" not in page(without)
    assert "Crossing widths" not in comment(without)
    whole = replace(without, crossings=tuple(found()))
    read = Parsed(page(whole))
    assert "Crossing widths" in read.text
    assert "logits at initialisation; above, readout.propagating" in read.text
    assert "<b>Crossing widths</b>: " in comment(whole)
    assert "readout effective, step 1" in comment(whole)
    assert whole.to_dict()["crossings"] == [c.to_dict() for c in whole.crossings]


# -- trained networks


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("crossing")
    validate(out, cases=[CASE], widths=(128, 256, 512, 1024), seeds=3, steps=(1,), workers=1, progress=False)
    return out


@pytest.mark.slow
def test_the_fitted_remainder_is_the_one_that_independent_weights_would_give(trained: Path) -> None:
    """The central-limit part of W_0 (x_1 - x_0) is what a fresh W_0 would make of the same change: f_0 is such a sum
    over x_0, so its prefactor is that of f_0 times |x_1 - x_0| / |x_0|. No fit of the update itself is in this number.
    """
    grid = {"widths": (128, 256, 512, 1024), "seeds": 3, "steps": (1,), "workers": 1, "progress": False}
    result = validate(trained, cases=[CASE], report=False, train=False, **grid)  # type: ignore[arg-type]
    sizes = {f.prediction.key: f.sizes for f in result.findings}
    f_0, x_0, change = sizes[OUTPUT, Q.LOGITS, 0], sizes["hidden.1", Q.ACTIVATION, 0], sizes["hidden.1", Q.FEATURE, 1]
    expected = np.exp(np.mean([np.log(f_0[n][s] * change[n][s] / x_0[n][s]) for n in f_0 for s in f_0[n]]))
    (one,) = [c for c in result.crossings if (c.site, c.quantity, c.step) == PROPAGATING]
    assert one.law is not None
    assert expected in one.law.subleading
    assert one.law.subleading.value == pytest.approx(expected, rel=0.5)


@pytest.mark.slow
def test_what_is_missing_is_not_trained_when_reading(trained: Path) -> None:
    from tensorprog.errors import SettingError

    grid = {"widths": (128, 256, 512, 1024), "steps": (1,), "workers": 1, "progress": False}
    before = (trained / "records.jsonl").read_text()
    with pytest.raises(SettingError, match="4 of 16 networks missing"):
        validate(trained, cases=[CASE], seeds=4, report=False, train=False, **grid)  # type: ignore[arg-type]
    assert (trained / "records.jsonl").read_text() == before
