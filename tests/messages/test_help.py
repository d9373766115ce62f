"""Help: every verb has an example, which works, and the overview lists the verbs."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tensorprog.cli.main import VERBS
from tests.cli.runner import Run


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(run: Run, verb: str) -> None:
    said = run(verb, "--help")
    assert (said.code, said.err) == (0, "")
    assert f"\nexample:\n  tensorprog {verb} " in said.out


# The others train for minutes, or need a file: tests/cli/test_check.py.
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("validate", "sweep", "check")])
def test_examples_of_the_help_work(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*shlex.split(VERBS[verb].example)[1:]).code == 0


def test_the_overview_lists_the_verbs(run: Run) -> None:
    said = run("--help")
    assert said.code == 0
    for verb in VERBS:
        assert f"\n  {verb} " in said.out
