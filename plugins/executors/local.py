"""``local``: worker processes on this machine, replaced when they die."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from time import monotonic
from typing import IO, ClassVar

from backtest.errors import DataError
from backtest.experiments.executors import Executor, Job, Outcome, Setup, overdue
from backtest.experiments.workers import READY, thread_limits

_PROGRAM = """
from backtest.experiments.workers import main
from backtest.plugins.manager import load_plugins

main(load_plugins)
"""


@dataclass
class Local(Executor):
    """Worker processes on this machine; one that dies is replaced and its job retried.

    Each is a fresh interpreter, never a fork, and ends when the sweep does, however that ends. One
    whose job takes longer than it may is killed, with the processes that it has started.

    Args:
        workers: processes at once; by default one for each CPU, or a single one where runs want a
            GPU.
        threads: threads of each process's torch, polars and BLAS.
        retries: how many more workers a job that killed one is given.
    """

    limits_time: ClassVar[bool] = True
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
            for key, _ in self._busy.select(self._time_left()):
                outcomes += self._hear(key.data)
            outcomes += self._end_overdue()
        return outcomes

    def _hear(self, process: _Process) -> list[Outcome]:
        """What a worker has to say: nothing yet, an outcome, or that it has died."""
        lines = process.lines()
        if lines is None:
            self._busy.unregister(process.answers)
            return self._try_again(process)
        outcomes = []
        for line in lines:
            if line == READY:
                process.began = monotonic()
            else:
                self._busy.unregister(process.answers)
                self._idle.append(process)
                outcomes.append(Outcome.from_json(line))
        return outcomes

    def _try_again(self, process: _Process) -> list[Outcome]:
        """Give the job of a worker that died, perhaps not because of it, to another one."""
        job, death = process.job, process.bury()
        self._deaths[job.number] += 1
        count = self._deaths[job.number]
        if count <= self.retries:
            self.submit(job)
            return []
        text = f"set aside: it killed {count} worker{'s' * (count > 1)}; {death}"
        return [Outcome(job.number, None, text)]

    def _time_left(self) -> float | None:
        """Seconds until the first job has taken as long as it may; ``None``: there is no limit."""
        limit = self._setup.timeout_ns
        if limit is None:
            return None
        began = [key.data.began for key in self._busy.get_map().values()]
        known = [time for time in began if time is not None]
        return max(0.0, min(known) + limit / 1e9 - monotonic()) if known else None

    def _end_overdue(self) -> list[Outcome]:
        """Kill the workers whose job has taken longer than it may; it is not tried again."""
        limit = self._setup.timeout_ns
        if limit is None:
            return []
        outcomes = []
        for key in list(self._busy.get_map().values()):
            process: _Process = key.data
            if process.began is not None and monotonic() - process.began >= limit / 1e9:
                self._busy.unregister(process.answers)
                process.bury()
                outcomes.append(Outcome(process.job.number, None, overdue(limit)))
        return outcomes

    def close(self) -> None:
        busy: list[_Process] = [key.data for key in list(self._busy.get_map().values())]
        for process in busy + self._idle:
            process.bury()
        self._busy.close()
        self._idle = []


class _Process:
    """One worker and its current job.

    Attributes:
        answers: its stdout.
        job: what it does.
        began: when it began with that; ``None``: it is still being started.
    """

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
        self.began: float | None = None
        self._rest = b""
        self._jobs, self.answers = self._popen.stdin, self._popen.stdout
        self._send(setup.to_json())

    def start(self, job: Job) -> None:
        """Send a job; a worker that has died already is noticed in ``lines``."""
        self.job = job
        if self.began is not None:
            self.began = monotonic()
        self._send(job.to_json())

    def lines(self) -> list[str] | None:
        """The lines that the worker has completed by now, ``None`` if it died; there is news."""
        said = os.read(self.answers.fileno(), 1 << 16)
        if not said:
            return None
        *lines, self._rest = (self._rest + said).split(b"\n")
        return [line.decode() for line in lines]

    def bury(self) -> str:
        """End the process, and those that it has started, and describe how it ended."""
        with contextlib.suppress(BrokenPipeError):
            self._jobs.close()
        # It leads a group of its own, whose number is its own until it is waited for.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
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
