"""Crews: trials carried out in parallel, where the next ones depend on the outcomes of the last.

Every trial computes with one thread, so its numbers are the same bit for bit whatever the number of workers.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from types import TracebackType
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch

from validation.ledger import Ledger
from validation.schedule import start_worker
from validation.sweep.trial import Outcome, Trial

__all__ = ["Plan", "Point", "carry_out"]

R = TypeVar("R")


class Point(NamedTuple):
    """Where the trials of one sweep differ."""

    width: int
    seed: int
    lr: float


Plan = Generator[list[Point], Mapping[Point, Outcome], R]
"""Yields the points that it needs next, is sent their outcomes, returns what it found."""

Watch = Callable[[Trial, bool], None]
"""Told of every trial, and whether it was carried out now."""


def carry_out(
    plans: Sequence[Plan[R]], template: Trial, ledger: Ledger[Outcome], *, workers: int, watch: Watch
) -> list[R]:
    """Carry out plans side by side, and write every outcome as soon as it is there.

    Trials whose outcomes are in the ledger are not carried out again, so plans that were interrupted go on where they
    were: a plan that is sent the same outcomes asks for the same points.

    Args:
        template: all trials are this one, at some point.
        workers: processes. They are forked and inherit the template, which holds functions that cannot be sent. Where
            forking is not safe (macOS, Windows) or pointless (a GPU), trials follow one another.
    """
    on_cpu = torch.device(template.realization.device).type == "cpu"
    parallel = workers > 1 and on_cpu and sys.platform == "linux"
    with _Forked(template, workers) if parallel else _Alone(template) as crew:
        work = _Work(plans, template, ledger, crew, watch)
        while work.waiting:
            work.go_on()
    return [work.results[i] for i in range(len(plans))]


class _Work(Generic[R]):
    """Plans in progress: the points that each waits for, and what the finished ones returned."""

    def __init__(
        self, plans: Sequence[Plan[R]], template: Trial, ledger: Ledger[Outcome], crew: _Crew, watch: Watch
    ) -> None:
        self.plans, self.template, self.ledger, self.crew, self.watch = plans, template, ledger, crew, watch
        self.results: dict[int, R] = {}
        self.asked: dict[int, list[Point]] = {}
        self.waiting: dict[Point, int] = {}
        for i, plan in enumerate(plans):
            if self._ask(i, next(plan)):
                self._answer(i)

    def go_on(self) -> None:
        """Wait for an outcome, write it down, and go on with its plan where that waits for nothing else."""
        point, outcome = self.crew.next()
        self.ledger.append(outcome)
        self.watch(self.template.at(*point), True)
        i = self.waiting.pop(point)
        if i not in self.waiting.values():
            self._answer(i)

    def _ask(self, i: int, points: list[Point]) -> bool:
        """Submit what the ledger lacks; True where that is nothing."""
        self.asked[i] = points
        missing = [p for p in points if self._key(p) not in self.ledger]
        for point in points:
            if point in missing:
                self.waiting[point] = i
                self.crew.submit(point)
            else:
                self.watch(self.template.at(*point), False)
        return not missing

    def _answer(self, i: int) -> None:
        """Send a plan the outcomes that it asked for, as long as those it asks for next are there."""
        complete = True
        while complete:
            try:
                points = self.plans[i].send({p: self.ledger[self._key(p)] for p in self.asked[i]})
            except StopIteration as end:
                self.results[i] = end.value
                return
            complete = self._ask(i, points)

    def _key(self, point: Point) -> str:
        return self.template.at(*point).key


class _Crew(Protocol):
    """Whoever carries out trials."""

    def submit(self, point: Point) -> None: ...

    def next(self) -> tuple[Point, Outcome]:
        """The next outcome, in whatever order they come."""

    def __enter__(self) -> _Crew: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _Alone:
    """Trials in this process, in the order in which they were submitted, with one thread on a CPU."""

    def __init__(self, template: Trial) -> None:
        self.template = template
        self.queue: deque[Point] = deque()
        self.threads = torch.get_num_threads()

    def submit(self, point: Point) -> None:
        self.queue.append(point)

    def next(self) -> tuple[Point, Outcome]:
        point = self.queue.popleft()
        return point, self.template.at(*point).execute()

    def __enter__(self) -> _Alone:
        torch.set_num_threads(1)  # the same sums in the same order as in workers
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.set_num_threads(self.threads)


class _Forked:
    """Trials in forked processes."""

    def __init__(self, template: Trial, workers: int) -> None:
        global _TEMPLATE
        _TEMPLATE = template
        context = multiprocessing.get_context("fork")
        self.pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker, initargs=(os.getpid(),))
        self.running: dict[Future[Outcome], Point] = {}

    def submit(self, point: Point) -> None:
        self.running[self.pool.submit(_execute, point)] = point

    def next(self) -> tuple[Point, Outcome]:
        done, _ = wait(self.running, return_when=FIRST_COMPLETED)
        future = done.pop()
        return self.running.pop(future), future.result()

    def __enter__(self) -> _Forked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # On an interrupt, trials that have not started are dropped; their outcomes are simply not there yet.
        self.pool.shutdown(wait=True, cancel_futures=True)


_TEMPLATE: Trial | None = None
"""What forked workers inherit."""


def _execute(point: Point) -> Outcome:
    assert _TEMPLATE is not None
    return _TEMPLATE.at(*point).execute()
