"""Examples in README and docs are executed."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import tensorprog
from tests.docs.blocks import PAGES, Block, blocks


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_examples(page: Path) -> None:
    result = doctest.testfile(str(page), module_relative=False)
    assert not result.failed


COMMANDS = [block for page in PAGES for block in blocks(page)]


@pytest.mark.parametrize("block", COMMANDS, ids=lambda b: f"{b.page.name}: {b.command}")
def test_commands(block: Block) -> None:
    assert block.run() == block.output, "rewrite the outputs with: python -m tests.docs.blocks"


def test_there_is_something_to_execute() -> None:
    assert len(COMMANDS) >= 4
    assert sum(page.read_text().count(">>> ") for page in PAGES) >= 20


MODULES = [m.name for m in pkgutil.walk_packages(tensorprog.__path__, "tensorprog.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    if name.endswith("__main__"):
        return
    result = doctest.testmod(importlib.import_module(name))
    assert not result.failed


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_documented(name: str) -> None:
    if name.endswith("__main__"):
        return
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    for public in getattr(module, "__all__", ()):
        item = getattr(module, public)
        if callable(item) and getattr(item, "__module__", "").startswith("tensorprog"):
            assert item.__doc__, f"{name}.{public} has no docstring"
