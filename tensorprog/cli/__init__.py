"""The command ``tensorprog``: predict, table, max-lr, explain, validate, crossing, sweep.

Bad input: exit code 2 and one line on stderr that names the option, what was got and what is accepted.
"""

from __future__ import annotations

from tensorprog.cli.main import entry, main

__all__ = ["entry", "main"]
