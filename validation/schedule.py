"""Scheduling: runs spread over processes, each record written as soon as it is there.

Every run computes with one thread, so its numbers are the same bit for bit whatever the number of workers.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from validation.records import Record, Records
from validation.train import Run

__all__ = ["available_cpus", "execute"]


def available_cpus() -> int:
    """CPUs that this process may use, at most 8: wider runs are bound by memory, not by cores."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(mine, 8)


def execute(runs: Sequence[Run], records: Records, *, workers: int = 1, progress: bool = True) -> None:
    """Execute runs, the most expensive ones first, and append their records.

    Args:
        workers: processes. Workers are forked, because settings hold functions, which cannot be sent to another process
            but are inherited by a forked one. Where forking is not safe (macOS, Windows) or pointless (a GPU), runs
            follow one another.
        progress: show a bar with the time left on stderr, where that is a terminal.
    """
    if not runs:
        return
    ordered = sorted(runs, key=lambda r: -r.cost)
    on_cpu = all(torch.device(r.realization.device).type == "cpu" for r in ordered)
    parallel = workers > 1 and len(ordered) > 1 and on_cpu and sys.platform == "linux"
    results = _forked(ordered, workers) if parallel else _sequential(ordered)
    console = Console(stderr=True)
    bar = Progress(
        TextColumn(f"training {len(ordered)} networks"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%  time left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (progress and console.is_terminal),
    )
    with bar:
        task = bar.add_task("", total=sum(r.cost for r in ordered))
        for run, record in results:
            records.append(record)
            bar.advance(task, run.cost)


_INHERITED: Sequence[Run] = ()
"""The runs that forked workers look up by index."""


def _execute(index: int) -> Record:
    return _INHERITED[index].execute()


def _start_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt at the terminal reaches all; the parent answers it
    torch.set_num_threads(1)
    _keep_memory()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """Exit when the parent is gone: a killed parent cannot tell its workers, and they would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _keep_memory() -> None:
    """Let the allocator keep freed memory of large tensors instead of returning it after every operation.

    Fetching it again costs a page fault for every 4 KiB: at width 4096 that is half of the run time in two processes
    on a virtual machine (15 s of system time for the quick cases, 7 s with this). Only glibc has the switch.
    """
    import ctypes

    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


def _forked(runs: Sequence[Run], workers: int) -> Iterator[tuple[Run, Record]]:
    global _INHERITED
    _INHERITED = runs
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(
        min(workers, len(runs)), mp_context=context, initializer=_start_worker, initargs=(os.getpid(),)
    ) as pool:
        pending: dict[Future[Record], Run] = {pool.submit(_execute, i): r for i, r in enumerate(runs)}
        try:
            for future in as_completed(pending):
                yield pending[future], future.result()
        finally:
            # On an interrupt, runs that have not started are dropped; their records are simply not there yet.
            pool.shutdown(wait=True, cancel_futures=True)


def _sequential(runs: Sequence[Run]) -> Iterator[tuple[Run, Record]]:
    before = torch.get_num_threads()
    if torch.device(runs[0].realization.device).type == "cpu":
        torch.set_num_threads(1)
    try:
        for run in runs:
            yield run, run.execute()
    finally:
        torch.set_num_threads(before)
