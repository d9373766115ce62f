"""Gaussian multi-index teachers: inputs without structure, targets that depend on a few directions of them.

    x ~ N(0, I/d)                            so that E|x|^2 = 1
    z = sqrt(d) U^T x,  U^T U = I_k          k standard normal indices
    s = V^T tanh(W z)                        W_ij, V_ij ~ N(0, 1), V scaled to E s_c^2 = 1; the same for all seeds

    classification    y = argmax_c s_c, a fraction ``noise`` of the labels drawn uniformly
    regression        y = sqrt(1 - noise) s + sqrt(noise) xi,  xi ~ N(0, I): ``noise`` is the share of the variance

A kernel method learns such a target slowly, because it depends on k of d directions; a network that moves its features
towards these directions learns it fast.

Ref: Damian et al. 2022 (arXiv 2206.15144), multi-index models.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from tensorprog.errors import SettingError
from validation.data.batch import (
    NOISE,
    PROBE_STREAM,
    TEACHER_STREAM,
    TRAINING_STREAM,
    Batch,
    check_options,
    with_label_noise,
)

__all__ = ["Teacher", "TeacherRegression"]

HIDDEN = 32
"""Width of the teacher's own hidden layer."""


@dataclass(frozen=True)
class Teacher:
    """Classes by the largest of several functions of a few directions of Gaussian inputs.

    Args:
        noise: the fraction of labels that is drawn uniformly from all classes.
        batch: examples per step.
        probe: examples in the probe batch.
        inputs: d.
        directions: k, at most d.
        classes: of the labels.
    """

    noise: float = NOISE
    batch: int = 64
    probe: int = 128
    inputs: int = 32
    directions: int = 4
    classes: int = 10

    name = "teacher"

    def __post_init__(self) -> None:
        _check(self.name, self, outputs=self.classes)

    @property
    def config(self) -> dict[str, Any]:
        """What a record needs to know of the data."""
        return {**_config(self), "classes": self.classes}

    @property
    def sizes(self) -> dict[str, int]:
        """Coordinates of the finite axes, by axis name."""
        return {"x": self.inputs, "classes": self.classes}

    def batch_at(self, seed: int, step: int) -> Batch:
        """x [batch, inputs], y [batch]."""
        return self._batch(self.batch, np.random.default_rng([seed, step, TRAINING_STREAM]))

    def probe_batch(self) -> Batch:
        """x [probe, inputs], y [probe]."""
        return self._batch(self.probe, np.random.default_rng([0, 0, PROBE_STREAM]))

    def _batch(self, count: int, generator: np.random.Generator) -> Batch:
        x = _gaussian(count, self.inputs, generator)
        s = _scores(x, self.directions, self.classes)
        y = with_label_noise(s.argmax(axis=1), self.noise, self.classes, generator)
        return Batch(torch.from_numpy(x), torch.from_numpy(y))


@dataclass(frozen=True)
class TeacherRegression:
    """Real targets of variance one: functions of a few directions of Gaussian inputs, and noise.

    Args:
        noise: the share of the targets' variance that no input predicts.
        batch: examples per step.
        probe: examples in the probe batch.
        inputs: d.
        directions: k, at most d.
        outputs: of the network.
    """

    noise: float = NOISE
    batch: int = 64
    probe: int = 128
    inputs: int = 32
    directions: int = 4
    outputs: int = 4

    name = "teacher-regression"

    def __post_init__(self) -> None:
        _check(self.name, self, outputs=self.outputs)

    @property
    def config(self) -> dict[str, Any]:
        """What a record needs to know of the data."""
        return {**_config(self), "outputs": self.outputs}

    @property
    def sizes(self) -> dict[str, int]:
        """Coordinates of the finite axes, by axis name."""
        return {"x": self.inputs, "classes": self.outputs}

    def batch_at(self, seed: int, step: int) -> Batch:
        """x [batch, inputs], y [batch, outputs] of floats."""
        return self._batch(self.batch, np.random.default_rng([seed, step, TRAINING_STREAM]))

    def probe_batch(self) -> Batch:
        """x [probe, inputs], y [probe, outputs] of floats."""
        return self._batch(self.probe, np.random.default_rng([0, 0, PROBE_STREAM]))

    def _batch(self, count: int, generator: np.random.Generator) -> Batch:
        x = _gaussian(count, self.inputs, generator)
        s = _scores(x, self.directions, self.outputs)
        y = np.sqrt(1 - self.noise) * s + np.sqrt(self.noise) * generator.standard_normal(s.shape)
        return Batch(torch.from_numpy(x), torch.from_numpy(y))


def _check(name: str, entry: Teacher | TeacherRegression, outputs: int) -> None:
    counts = {"batch": entry.batch, "probe": entry.probe, "inputs": entry.inputs, "directions": entry.directions}
    check_options(name, noise=entry.noise, **counts, outputs=outputs)
    if entry.directions > entry.inputs:
        raise SettingError(f"data {name}, directions", entry.directions, f"needs at most the {entry.inputs} inputs")


def _config(entry: Teacher | TeacherRegression) -> dict[str, Any]:
    return {
        "name": entry.name,
        "noise": entry.noise,
        "batch": entry.batch,
        "probe": entry.probe,
        "inputs": entry.inputs,
        "directions": entry.directions,
    }


def _gaussian(count: int, inputs: int, generator: np.random.Generator) -> np.ndarray:
    x: np.ndarray = generator.standard_normal((count, inputs)) / np.sqrt(inputs)
    return x


def _scores(x: np.ndarray, directions: int, outputs: int) -> np.ndarray:
    """s of the head of this module, [batch, outputs]."""
    u, w, v = _teacher(x.shape[1], directions, outputs)
    s: np.ndarray = np.tanh(np.sqrt(x.shape[1]) * x @ u @ w.T) @ v
    return s


@lru_cache(maxsize=8)
def _teacher(inputs: int, directions: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(U [inputs, directions], W [hidden, directions], V [hidden, outputs]); the same for every seed."""
    generator = np.random.default_rng([inputs, directions, outputs, TEACHER_STREAM])
    u, _ = np.linalg.qr(generator.standard_normal((inputs, directions)))
    w = generator.standard_normal((HIDDEN, directions))
    v = generator.standard_normal((HIDDEN, outputs))
    sample = np.tanh(generator.standard_normal((10_000, directions)) @ w.T) @ v
    return u, w, v / np.sqrt(np.mean(sample**2, axis=0))
