"""Whatever is typed as an exponent: a result or one line, never a traceback."""

from __future__ import annotations

import contextlib
import io
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tensorprog.cli import main
from tensorprog.errors import SettingError

PIECES = st.sampled_from(
    [
        "1",
        "2",
        "/",
        "-",
        "+",
        "0",
        ".",
        "oo",
        "r",
        " ",
        "(",
        ")",
        "*",
        "e",
        "_",
        "=",
        ",",
        "b",
        "readout",
        "x",
        "'",
        "\\",
        "\0",
        "\n",
        "½",
        "if ",
        "{",
        "#",
        "%",
    ]
)
TEXT = st.one_of(
    st.text(max_size=40), st.lists(PIECES, max_size=12).map("".join), st.integers().map(str), st.fractions().map(str)
)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def check(*argv: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(argv)
    assert code in (0, 2)
    if code == 2:
        assert out.getvalue() == ""
        assert err.getvalue().count("\n") == 1
        assert err.getvalue().startswith(f"tensorprog {argv[0]}: ")
    else:
        assert err.getvalue() == ""


@FUZZ
@given(TEXT)
def test_lr_exponent(text: str) -> None:
    check("predict", "--hidden-layers=1", "--steps=1", f"--lr-exponent={text}")


@FUZZ
@given(TEXT)
def test_set_value(text: str) -> None:
    check("max-lr", "--hidden-layers=1", f"--set=readout.b={text}")


@FUZZ
@given(TEXT)
def test_set(text: str) -> None:
    check("explain", "logits", "--hidden-layers=1", f"--set={text}")


@FUZZ
@given(TEXT, TEXT)
def test_lists(b: str, c: str) -> None:
    check("predict", "--hidden-layers=1", "--steps=1", f"--b={b}", f"--c={c}")


@FUZZ
@given(TEXT)
def test_declared_symbols(text: str) -> None:
    check("predict", "--hidden-layers=1", "--steps=1", "--free=r", f"--lr-exponent={text}")


@FUZZ
@given(TEXT)
def test_assumptions(text: str) -> None:
    check(
        "predict",
        "--hidden-layers=1",
        "--steps=1",
        "--free=r",
        "--lr-exponent=r",
        "--assume=r < -1",
        f"--assume={text}",
    )


@FUZZ
@given(TEXT)
def test_numbers(text: str) -> None:
    check("predict", "--hidden-layers=1", f"--steps={text if text != '1000' else '1'}"[:12])


@FUZZ
@given(TEXT, TEXT)
def test_folders_and_widths(folder: str, widths: str) -> None:
    pytest.importorskip("torch")
    refused = SettingError("validate, widths", widths, "needs nothing: no network is trained here")
    with mock.patch("validation.run.validate", side_effect=refused), mock.patch("pathlib.Path.mkdir"):
        check("crossing", folder)
        check("crossing", f"--widths={widths}")
        check("crossing", f"--cases={widths}", f"--out={folder}")


@FUZZ
@given(st.lists(TEXT, max_size=4))
def test_anything(argv: list[str]) -> None:
    check("table", "--parametrization=mup", "--loss=ce", "--optimizer=sgd", "--hidden-layers=1", *argv)
