"""``local``: worker processes on this machine, replaced when they die."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from typing import IO

from backtest.errors import DataError
from backtest.experiments.executors import Executor, Job, Outcome, Setup
from backtest.experiments.workers import thread_limits

_PROGRAM = """
from backtest.experiments.workers import main
from backtest.plugins.manager import load_plugins

main(load_plugins)
"""


@dataclass
class Local(Executor):
    """Worker processes on this machine; one that dies is replaced and its job retried.

    Each is a fresh interpreter, never a fork, and ends when the sweep does, however that ends.

    Args:
        workers: processes at once; by default one for each CPU, or a single one where runs want a
            GPU.
        threads: threads of each process's torch, polars and BLAS.
        retries: how many more workers a job that killed one is given.
    """

    workers: int | None = None
    threads: int = 1
    retries: int = 2

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("threads", 1), ("retries", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}, but must be at least {least}")

    def open(self, setup: Setup) -> None:
        self._setup = setup
        self.slots = self.workers or (1 if setup.accelerated else _cpus())
        self._idle: list[_Process] = []
        self._busy = selectors.DefaultSelector()
        self._deaths: Counter[int] = Counter()

    def submit(self, job: Job) -> None:
        process = self._idle.pop() if self._idle else _Process(self._setup, self.threads)
        self._busy.register(process.answers, selectors.EVENT_READ, process)
        process.start(job)

    def wait(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while not outcomes:
            for key, _ in self._busy.select():
                process: _Process = key.data
                self._busy.unregister(process.answers)
                outcome = process.answer()
                if outcome is not None:
                    self._idle.append(process)
                    outcomes.append(outcome)
                    continue
                # The worker died, perhaps not because of its job, which is retried in another one.
                job, death = process.job, process.bury()
                self._deaths[job.number] += 1
                if self._deaths[job.number] <= self.retries:
                    self.submit(job)
                else:
                    count = self._deaths[job.number]
                    text = f"set aside: it killed {count} worker{'s' * (count > 1)}; {death}"
                    outcomes.append(Outcome(job.number, None, text))
        return outcomes

    def close(self) -> None:
        busy: list[_Process] = [key.data for key in list(self._busy.get_map().values())]
        for process in busy + self._idle:
            process.bury()
        self._busy.close()
        self._idle = []


class _Process:
    """One worker and its current job."""

    def __init__(self, setup: Setup, threads: int) -> None:
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        try:
            self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - bury closes it
            self._popen = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                cwd=setup.folder,
                env=os.environ | thread_limits(threads) | {"PYTHONPATH": path},
                # Ctrl-C is for the sweep alone, which then ends its workers.
                start_new_session=True,
            )
        except OSError as error:
            raise DataError(f"no worker can be started: {error.strerror}") from None
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._jobs, self.answers = self._popen.stdin, self._popen.stdout
        self._send(setup.to_json())

    def start(self, job: Job) -> None:
        """Send a job; a worker that has died already is noticed in ``answer``."""
        self.job = job
        self._send(job.to_json())

    def answer(self) -> Outcome | None:
        """The job's outcome, or ``None`` if the worker died during it; blocks."""
        line = self.answers.readline()
        return Outcome.from_json(line.decode()) if line.endswith(b"\n") else None

    def bury(self) -> str:
        """End the process and describe how it ended."""
        with contextlib.suppress(BrokenPipeError):
            self._jobs.close()
        self._popen.kill()
        code = self._popen.wait()
        self.answers.close()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").split("\n")
        self._errors.close()
        fatal = [line for line in said if line.startswith("Fatal Python error")]
        last = next(filter(str.strip, fatal + said[::-1]), "")
        how = f"the last ended with signal {-code}" if code < 0 else f"the last exited with {code}"
        return f"{how}: {last.strip()[:300]}" if last else how

    def _send(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._jobs.write(line.encode() + b"\n")
            self._jobs.flush()


def _cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
