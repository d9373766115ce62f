"""Language by characters: the source text of Python's own standard library, there wherever Python is.

The text is that of the top-level modules, in the order of their names; every tenth module is held out for the probe.
Vocabulary: line break and the printable ASCII characters, 96 in all. Tabs become four spaces, other characters are left
out. The text differs between versions of Python: its hash is part of the configuration, so records do not mix.

Two forms of the same task: one window of characters with its next character, for networks that read a vector
(:class:`Characters`), and token ids with the next token at every position (:class:`CharacterSequences`).
"""

from __future__ import annotations

import hashlib
import sysconfig
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tensorprog.errors import SettingError
from validation.data.batch import (
    PROBE_STREAM,
    TRAINING_STREAM,
    Batch,
    Entry,
    with_label_noise,
)

__all__ = ["VOCABULARY", "CharacterSequences", "Characters", "encode"]

VOCABULARY = "\n" + "".join(map(chr, range(32, 127)))
HELD_OUT = 10
"""One module of so many is held out."""


@dataclass(frozen=True, kw_only=True)
class _Windows(Entry, ABC):
    """What both forms share: windows at random places of the text.

    Args:
        noise: the fraction of next characters that is drawn uniformly from the vocabulary. The inputs keep the text's.
        batch: windows per step, of the training text.
        probe: windows in the probe batch, from modules that are held out.
        context: characters per window.
    """

    context: int = 8

    @property
    def config(self) -> dict[str, Any]:
        """What a record needs to know of the data."""
        return {**super().config, "text": _texts().hash}

    @abstractmethod
    def _batch(self, tokens: np.ndarray, following: np.ndarray) -> Batch:
        """From characters and the next ones, both [count, context]."""

    def batch_at(self, seed: int, step: int) -> Batch:
        """``batch`` windows of the training text."""
        return self._batch(*self._drawn(_texts().training, self.batch, [seed, step, TRAINING_STREAM]))

    def probe_batch(self) -> Batch:
        """``probe`` windows of the text that is held out."""
        return self._batch(*self._drawn(_texts().probe, self.probe, [0, 0, PROBE_STREAM]))

    def _drawn(self, text: np.ndarray, count: int, seed: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """(tokens, next tokens with noise), both [count, context]."""
        if self.context >= len(text):
            raise SettingError(
                f"data {self.name}, context", self.context, f"needs less than the {len(text)} characters"
            )
        generator = np.random.default_rng(seed)
        starts = generator.integers(0, len(text) - self.context, count)
        found = text[starts[:, None] + np.arange(self.context + 1)].astype(np.int64)
        following = with_label_noise(found[:, 1:], self.noise, len(VOCABULARY), generator)
        return found[:, :-1].copy(), following


@dataclass(frozen=True, kw_only=True)
class Characters(_Windows):
    """The next character after a window of ``context`` characters, for networks that read a vector.

    x [batch, context * vocabulary], one-hot characters over sqrt(context), so |x| = 1; y [batch].
    """

    name = "characters"

    @property
    def sizes(self) -> dict[str, int]:
        """Coordinates of the finite axes, by axis name."""
        return {"x": self.context * len(VOCABULARY), "classes": len(VOCABULARY)}

    def _batch(self, tokens: np.ndarray, following: np.ndarray) -> Batch:
        one_hot = functional.one_hot(torch.from_numpy(tokens), len(VOCABULARY)).to(torch.float64)
        return Batch(one_hot.flatten(1) / self.context**0.5, torch.from_numpy(following[:, -1].copy()))


@dataclass(frozen=True, kw_only=True)
class CharacterSequences(_Windows):
    """The next character at every position of a window, for sequence models.

    x [batch, context] of token ids; y [batch * context] is x one position later, up to the noise.
    """

    batch: int = 16
    probe: int = 32
    context: int = 32

    name = "character-sequences"

    @property
    def sizes(self) -> dict[str, int]:
        """Coordinates of the finite axes, by axis name."""
        return {"x": len(VOCABULARY), "classes": len(VOCABULARY), "positions": self.context}

    def _batch(self, tokens: np.ndarray, following: np.ndarray) -> Batch:
        return Batch(torch.from_numpy(tokens), torch.from_numpy(following).flatten())


# -- the text ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Texts:
    """Token ids of the training and of the held-out text, and the first digits of the SHA-256 of both."""

    training: np.ndarray
    probe: np.ndarray
    hash: str


def encode(text: str) -> np.ndarray:
    """The token ids of a text, [characters]; what is not in the vocabulary is left out."""
    ids = np.full(128, -1, dtype=np.int16)
    ids[[ord(c) for c in VOCABULARY]] = np.arange(len(VOCABULARY))
    codes = np.frombuffer(text.replace("\t", "    ").encode("ascii", errors="ignore"), dtype=np.uint8)
    found: np.ndarray = ids[codes]
    return found[found >= 0]


@lru_cache(maxsize=1)
def _texts() -> _Texts:
    folder = Path(sysconfig.get_path("stdlib"))
    modules = sorted(folder.glob("*.py"))
    if len(modules) < HELD_OUT:
        raise SettingError(
            "data characters, the standard library's sources",
            f"{len(modules)} .py files in {folder}",
            "needs a Python that was installed with its sources",
        )
    tokens = [encode(path.read_text(encoding="utf-8", errors="ignore")) for path in modules]
    training = np.concatenate([t for i, t in enumerate(tokens) if i % HELD_OUT])
    probe = np.concatenate(tokens[::HELD_OUT])
    digest = hashlib.sha256(training.tobytes() + b"|" + probe.tobytes()).hexdigest()[:16]
    return _Texts(training, probe, digest)
