"""Executable blocks of the documentation.

``pycon`` blocks are doctests. ``console`` blocks hold one command after ``$ `` and its exact output; blocks marked
``console skip`` (installation, training) are shown only. ``python -m tests.docs.blocks`` rewrites the outputs.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(r"^```console\n\$ (?P<command>[^\n]*)\n(?P<output>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: Path
    command: str
    output: str

    def run(self) -> str:
        """Standard output, then standard error, of the command."""
        program, *args = shlex.split(self.command)
        assert program == "tensorprog", f"{self.page.name}: only tensorprog is executed, got {self.command!r}"
        done = subprocess.run(
            [sys.executable, "-m", "tensorprog", *args], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return "".join(line.rstrip() + "\n" for line in (done.stdout + done.stderr).splitlines())


def blocks(page: Path) -> list[Block]:
    return [Block(page, m["command"], m["output"]) for m in _BLOCK.finditer(page.read_text())]


def update(page: Path) -> None:
    def rewrite(match: re.Match[str]) -> str:
        block = Block(page, match["command"], match["output"])
        return f"```console\n$ {block.command}\n{block.run()}```"

    page.write_text(_BLOCK.sub(rewrite, page.read_text()))


if __name__ == "__main__":
    for each in PAGES:
        update(each)
