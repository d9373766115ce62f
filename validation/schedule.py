"""Scheduling: work spread over processes, each record written as soon as it is there.

Every run computes with one thread, so its numbers are the same bit for bit whatever the number of workers.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tensorprog.exponent import Exponent
from validation.cases import Case
from validation.constants import Constants
from validation.records import Records
from validation.train import Run, batched, execute_together, teams

__all__ = ["available_cpus", "execute", "prepare", "start_worker"]


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
    jobs = sorted(_jobs(runs), key=lambda job: -job[0].cost)
    on_cpu = all(torch.device(r.realization.device).type == "cpu" for r in runs)
    finished = _each(execute_together, jobs, workers if on_cpu else 1)
    with _bar(f"training {len(runs)} networks", progress and bool(runs)) as bar:
        task = bar.add_task("", total=sum(r.cost for r in runs))
        for i, found in finished:
            for record in found:
                records.append(record)
            bar.advance(task, sum(r.cost for r in jobs[i]))


def _jobs(runs: Sequence[Run]) -> list[list[Run]]:
    """Networks that are trained as one batch are one job; all others are jobs of their own, to spread them evenly."""
    return [job for team in teams(runs) for job in ([team] if batched(team) else [[run] for run in team])]


def prepare(cases: Sequence[Case], *, workers: int = 1, progress: bool = True) -> None:
    """Derive the settings and calibrate the constants of cases, in parallel, so that they are there when asked for."""
    finished = _each(_prepared, cases, workers)
    with _bar(f"calibrating {len(cases)} cases", progress) as bar:
        task = bar.add_task("", total=len(cases))
        for i, (rate, constants) in finished:
            cases[i].settle(rate, constants)
            bar.advance(task)


def _prepared(case: Case) -> tuple[Exponent, Constants]:
    return case.lr_exponent, case.constants


def _bar(words: str, shown: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn(words),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%  time left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )


T = TypeVar("T")
U = TypeVar("U")

_INHERITED: tuple[Callable[[Any], Any], Sequence[Any]] = (lambda item: item, ())
"""The function and the items that forked workers look up by index."""


def _apply(index: int) -> Any:
    function, items = _INHERITED
    return function(items[index])


def _each(function: Callable[[T], U], items: Sequence[T], workers: int) -> Iterator[tuple[int, U]]:
    """(index, result) of every item, as they finish; results are pickled, functions and items are not."""
    if workers > 1 and len(items) > 1 and sys.platform == "linux":
        return _forked(function, items, workers)
    return _sequential(function, items)


def start_worker(parent: int) -> None:
    """What a forked worker does first: one thread, no interrupts of its own, and an end when the parent is gone."""
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


def _forked(function: Callable[[T], U], items: Sequence[T], workers: int) -> Iterator[tuple[int, U]]:
    global _INHERITED
    _INHERITED = (function, items)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(
        min(workers, len(items)), mp_context=context, initializer=start_worker, initargs=(os.getpid(),)
    ) as pool:
        pending: dict[Future[U], int] = {pool.submit(_apply, i): i for i in range(len(items))}
        try:
            for future in as_completed(pending):
                yield pending[future], future.result()
        finally:
            # On an interrupt, items that have not started are dropped; their records are simply not there yet.
            pool.shutdown(wait=True, cancel_futures=True)


def _sequential(function: Callable[[T], U], items: Sequence[T]) -> Iterator[tuple[int, U]]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums in the same order as in workers
    try:
        for i, item in enumerate(items):
            yield i, function(item)
    finally:
        torch.set_num_threads(before)
