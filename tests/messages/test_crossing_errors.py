"""Bad input of crossing, line by line: exit code 2, nothing on stdout, one line that names the option."""

# ruff: noqa: E501

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.cli.runner import Run

pytest.importorskip("torch")

FOLDER = "needs the folder of a validate run; to train networks, say which with options"
AGAIN = "run validate once more with --out, which trains nothing again"

LINES = [
    ("crossing nowhere", f"DIR: got 'nowhere', which has no validation.json; {FOLDER}"),
    ("crossing ''", f"DIR: got '.', which has no validation.json; {FOLDER}"),
    ("crossing file", f"DIR: got 'file', which has no validation.json; {FOLDER}"),
    ("crossing file/x", f"DIR: got 'file/x', which has no validation.json; {FOLDER}"),
    ("crossing garbled", f"DIR: got 'garbled', whose validation.json names no command; {AGAIN}"),
    ("crossing older", f"DIR: got 'older', whose validation.json names no command; {AGAIN}"),
    ("crossing list", f"DIR: got 'list', whose validation.json names no command; {AGAIN}"),
    (
        "crossing nameless",
        "DIR: got 'nameless', a run that no command line describes; repeat its options, with --out, which trains nothing again",
    ),
    (
        "crossing edited",
        "DIR: got 'edited', whose validation.json names a command that does not work: --cases: got 'no-such-case'; accepted are",
    ),
    (
        "crossing emptied",
        "DIR: got 'emptied', with 3 of 3 networks missing; needs all of them in 'emptied/records.jsonl'",
    ),
    ("crossing nowhere --seeds 3", "--seeds: contradicts DIR, whose networks are trained; give a folder or --seeds"),
    ("crossing nowhere --out x", "--out: contradicts DIR, whose networks are trained; give a folder or --out"),
    ("crossing a b", "got an unexpected argument 'b'; options are --all, --suite,"),
    ("crossing --widths 64,128", "--widths: got '64,128'; needs at least 3 widths, or no slope can be judged"),
    ("crossing --widths 64,128,1", "--widths: got '1'; needs integers of at least 2"),
    ("crossing --cases sp", "--cases: got 'sp'; accepted are "),
    ("crossing --cases sp-adam-ce-2 --loss mse", "--cases: contradicts --loss; give a suite, cases, or one setting"),
    ("crossing --against x", "--against: got 'x'; accepted are "),
    ("crossing --device tpu", "--device: got 'tpu'; accepted are auto, cpu, cuda"),
    ("crossing --out file/x", "--out: cannot make the folder 'file/x': Not a directory"),
    ("crossing --all=yes", "--all: got 'yes'; it is a switch and takes no value"),
]

TRAINED = "--widths 16,32,64 --seeds 1 --steps 1 --device cpu --out x"
COMMANDS = {
    "nameless": "",
    "edited": f"tensorprog validate --cases no-such-case {TRAINED}",
    "emptied": f"tensorprog validate --cases sp-adam-ce-2 {TRAINED}",
}


@pytest.mark.parametrize(("line", "message"), LINES, ids=[line for line, _ in LINES])
def test_bad_input_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    reports = {name: json.dumps({"command": command}) for name, command in COMMANDS.items()}
    reports |= {"garbled": "{", "older": '{"summary": {}}', "list": "[1]"}
    for name, text in reports.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "validation.json").write_text(text)
    said = run(*shlex.split(line))
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"tensorprog crossing: {message}")
    assert said.err.count("\n") == 1
    assert message.endswith((" ", ",", "are")) or said.err == f"tensorprog crossing: {message}\n"
