"""Records: results of runs, one JSON line each in a ledger, found by the hash of their configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tensorprog.setting import Setting
from validation.data import Data
from validation.ledger import Ledger, encoded
from validation.measure import Measurement, Quantity
from validation.realize import Realization

__all__ = ["OUT_OF_MEMORY", "Record", "Records", "configuration", "is_out_of_memory", "key_of"]

OUT_OF_MEMORY = "out of memory"
"""The failure of a run that did not fit the device: recorded like a result, and not tried again."""


def key_of(config: Mapping[str, Any]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the configuration in canonical JSON."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def configuration(setting: Setting, real: Realization, data: Data) -> dict[str, Any]:
    """Everything but the steps that decides the training of a network, as JSON values."""
    told = setting.to_dict()
    del told["steps"]  # how many steps the theory reports does not change a network
    return {
        "setting": told,
        "width": real.width,
        "seed": real.seed,
        "base_width": real.base_width,
        "base_lr": real.base_lr,
        "output_scale": real.output_scale,
        "dtype": str(real.dtype).removeprefix("torch."),
        "device": torch.device(real.device).type,
        "data": data.config,
    }


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a training ended because it did not fit the device."""
    # torch raises its own error on a GPU only; on the CPU the allocator's RuntimeError is told by its text.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


@dataclass(frozen=True)
class Record:
    """What one run measured.

    Args:
        key: the hash of ``config``.
        config: see :attr:`validation.train.Run.config`.
        measurements: sizes by site, quantity and step.
        losses: training loss before each step.
        seconds: wall time of the run; not part of the key.
        device: what it ran on, in words; not part of the key.
        failure: why there are no measurements, such as ``OUT_OF_MEMORY``; None for a run that ended.
    """

    key: str
    config: Mapping[str, Any]
    measurements: tuple[Measurement, ...]
    losses: tuple[float, ...]
    seconds: float
    device: str = ""
    failure: str | None = None

    def to_line(self) -> str:
        """One line of JSON, without the line break."""
        rows = [[m.site, m.quantity.value, m.step, encoded(m.size)] for m in self.measurements]
        return json.dumps(
            {
                "key": self.key,
                "config": self.config,
                "measurements": rows,
                "losses": [encoded(v) for v in self.losses],
                "seconds": round(self.seconds, 3),
                "device": self.device,
                "torch": torch.__version__,
                **({"failure": self.failure} if self.failure else {}),
            },
            allow_nan=False,
        )

    @classmethod
    def from_line(cls, line: str) -> Record:
        """Read back one line.

        Raises:
            ValueError: where the line is not a whole record; the reader skips it.
        """
        try:
            data = json.loads(line)
            rows = tuple(Measurement(s, Quantity(q), int(t), float(v)) for s, q, t, v in data["measurements"])
            losses = tuple(float(v) for v in data["losses"])
            told = (str(data.get("device", "")), data.get("failure"))
            return cls(data["key"], data["config"], rows, losses, float(data["seconds"]), *told)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a record: {error}") from error


class Records(Ledger[Record]):
    """The records of one file, by key; see :class:`~validation.ledger.Ledger`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Record.from_line)
