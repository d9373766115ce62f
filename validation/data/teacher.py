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

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from tensorprog.errors import SettingError
from validation.data.batch import (
    PROBE_STREAM,
    TEACHER_STREAM,
    TRAINING_STREAM,
    Batch,
    Entry,
    with_label_noise,
)

__all__ = ["Teacher", "TeacherRegression"]

HIDDEN = 32
"""Width of the teacher's own hidden layer."""


@dataclass(frozen=True, kw_only=True)
class _MultiIndex(Entry, ABC):
    """What both tasks share: the inputs, and the scores of the head of this module.

    Args:
        batch: examples per step.
        probe: examples in the probe batch.
        inputs: d.
        directions: k, at most d.
    """

    inputs: int = 32
    directions: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.directions > self.inputs:
            need = f"needs at most the {self.inputs} inputs"
            raise SettingError(f"data {self.name}, directions", self.directions, need)

    @property
    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Coordinates of the finite axes, by axis name."""

    @abstractmethod
    def _targets(self, scores: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """y, from the scores [batch, outputs]."""

    def batch_at(self, seed: int, step: int) -> Batch:
        """x [batch, inputs], y [batch] of classes or [batch, outputs] of floats."""
        return self._batch(self.batch, np.random.default_rng([seed, step, TRAINING_STREAM]))

    def probe_batch(self) -> Batch:
        """x [probe, inputs], y [probe] of classes or [probe, outputs] of floats."""
        return self._batch(self.probe, np.random.default_rng([0, 0, PROBE_STREAM]))

    def _batch(self, count: int, generator: np.random.Generator) -> Batch:
        x = _gaussian(count, self.inputs, generator)
        y = self._targets(_scores(x, self.directions, self.sizes["classes"]), generator)
        return Batch(torch.from_numpy(x), torch.from_numpy(y))


@dataclass(frozen=True, kw_only=True)
class Teacher(_MultiIndex):
    """Classes by the largest of several functions of a few directions of Gaussian inputs.

    Args:
        noise: the fraction of labels that is drawn uniformly from all classes.
        classes: of the labels.
    """

    classes: int = 10

    name = "teacher"

    @property
    def sizes(self) -> dict[str, int]:
        """Coordinates of the finite axes, by axis name."""
        return {"x": self.inputs, "classes": self.classes}

    def _targets(self, scores: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return with_label_noise(scores.argmax(axis=1), self.noise, self.classes, generator)


@dataclass(frozen=True, kw_only=True)
class TeacherRegression(_MultiIndex):
    """Real targets of variance one: functions of a few directions of Gaussian inputs, and noise.

    Args:
        noise: the share of the targets' variance that no input predicts.
        outputs: of the network.
    """

    outputs: int = 4

    name = "teacher-regression"

    @property
    def sizes(self) -> dict[str, int]:
        """Coordinates of the finite axes, by axis name."""
        return {"x": self.inputs, "classes": self.outputs}

    def _targets(self, scores: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        xi = generator.standard_normal(scores.shape)
        y: np.ndarray = np.sqrt(1 - self.noise) * scores + np.sqrt(self.noise) * xi
        return y


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
