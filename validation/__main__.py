"""``python -m validation``: the verb ``tensorprog validate``, for a checkout without the installed command."""

from __future__ import annotations

import sys

from tensorprog.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["validate", *sys.argv[1:]]))
