"""``inline``: one run after another, in this process."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from backtest.experiments.executors import Executor, Job, Outcome, Setup
from backtest.experiments.workers import Worker
from backtest.plugins.manager import load_plugins


@dataclass
class Inline(Executor):
    """One job after another in this process, with all its threads; easy to debug.

    It cannot limit the time of a run, as it has no other process that could end one.
    """

    def open(self, setup: Setup) -> None:
        self._worker = Worker(setup, load_plugins)
        self._jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def wait(self) -> list[Outcome]:
        return [self._worker.perform(self._jobs.popleft())]

    def close(self) -> None:
        self._jobs.clear()
