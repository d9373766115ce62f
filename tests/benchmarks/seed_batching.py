"""Seeds as one batch against one by one, trained and measured: the ratio of times at each width.

    python -m tests.benchmarks.seed_batching [--device cuda]

Every step is measured. A ratio above one means that the batch is faster. ``validation.ensemble.WIDEST`` is read off
this table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch

from tensorprog.architectures import mlp
from tensorprog.setting import setting
from validation.realize import Realization
from validation.train import Run, as_one_batch

SEEDS, STEPS = 3, tuple(range(1, 11))


def ratio(width: int, optimizer: str, *, hidden_layers: int = 2, device: str = "cpu", repeats: int = 3) -> float:
    """Time of the plain loops over the time of the batch, each the least of some repeats."""
    s = setting(mlp(hidden_layers), "mup", optimizer_=optimizer)
    runs = [
        Run(s, Realization(width, base_width=4, base_lr=0.05, seed=i, device=device), steps=STEPS) for i in range(SEEDS)
    ]
    loops, batch = [], []
    for _ in range(repeats):
        started = time.process_time()
        for run in runs:
            run.execute()
        loops.append(_elapsed(started, device))
        started = time.process_time()
        as_one_batch(runs)
        batch.append(_elapsed(started, device))
    return min(loops) / min(batch)


def _elapsed(started: float, device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    return time.process_time() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128, 256, 512])
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for width in given.widths:
        found = [f"{o} {ratio(width, o, device=given.device):.2f}" for o in ("sgd", "adam")]
        print(f"width {width:5d}: {SEEDS} seeds one by one / as one batch = {', '.join(found)}")


if __name__ == "__main__":
    main()
