"""Files that the user has: where they may lie, and what to say when they do not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from tensorprog.errors import SettingError

__all__ = ["fingerprint", "located"]


def located(
    name: str, folder: str | Path, files: Sequence[str], subfolders: Sequence[str], *, endings: Sequence[str] = ("",)
) -> tuple[Path, ...]:
    """The paths of all files, in the folder or in one of the subfolders that other libraries make.

    Args:
        name: of the data, for errors.
        endings: what may follow a file's name; the first that is there is taken.

    Raises:
        SettingError: listing the files that are expected, and where.
    """
    wanted = ", ".join(files) + (f" (or with {endings[-1]})" if endings[-1] else "")
    if not str(folder):
        raise SettingError(f"data {name}, folder", "nothing", f"needs the folder with {wanted}; nothing is downloaded")
    best: list[str] = list(files)
    for place in (Path(folder), *(Path(folder) / sub for sub in subfolders)):
        found = {
            file: path for file in files for end in reversed(endings) if (path := place / f"{file}{end}").is_file()
        }
        if len(found) == len(files):
            return tuple(found[file] for file in files)
        best = min(best, [file for file in files if file not in found], key=len)
    missing = "" if len(best) == len(files) else f"; missing are {', '.join(best)}"
    need = f"needs {wanted}, there or in {' or '.join(subfolders)}; nothing is downloaded{missing}"
    raise SettingError(f"data {name}, folder", str(folder), need)


@lru_cache(maxsize=8)
def fingerprint(files: tuple[Path, ...]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the files' content."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
