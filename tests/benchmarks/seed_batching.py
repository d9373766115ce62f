"""Seeds as one batch against one by one: the ratio of times at each width, in one run.

    python -m tests.benchmarks.seed_batching [--device cuda]

A ratio above one means that the batch is faster. ``validation.ensemble.WIDEST`` is read off this table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch

from tensorprog.architectures import mlp
from tensorprog.setting import setting
from validation.ensemble import train_together
from validation.realize import Realization
from validation.train import Run, train

SEEDS, STEPS = 4, 10


def ratio(width: int, *, hidden_layers: int = 2, device: str = "cpu", repeats: int = 3) -> float:
    """Time of the plain loops over the time of the batch, each the least of some repeats."""
    s = setting(mlp(hidden_layers), "mup", optimizer_="adam")
    runs = [
        Run(s, Realization(width, base_width=4, base_lr=0.05, seed=i, device=device), steps=(STEPS,))
        for i in range(SEEDS)
    ]
    loops, batch = [], []
    for _ in range(repeats):
        networks = [run._built()[0] for run in runs]
        data = [list(run._batches()) for run in runs]
        started = time.perf_counter()
        for run, network, batches in zip(runs, networks, data, strict=True):
            train(network, run._optimizer(network.groups()), s.loss, batches)
        loops.append(_elapsed(started, device))
        networks = [run._built()[0] for run in runs]
        started = time.perf_counter()
        train_together(networks, runs[0]._optimizer, s.loss, zip(*data, strict=True))
        batch.append(_elapsed(started, device))
    return min(loops) / min(batch)


def _elapsed(started: float, device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128, 256, 512, 1024])
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for width in given.widths:
        print(f"width {width:5d}: {SEEDS} seeds one by one / as one batch = {ratio(width, device=given.device):.2f}")


if __name__ == "__main__":
    main()
