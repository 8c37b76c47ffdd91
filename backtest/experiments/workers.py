"""What a worker of a sweep does, wherever it runs. Importing this loads nothing heavy.

As a process it calls ``main``: it reads its setup and then jobs from stdin, a JSON line each, and
answers each with a line on stdout, after one that says that it is ready.
"""

from __future__ import annotations

import os
import queue
import sys
import tempfile
import threading
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.errors import BacktestError, RunError
from backtest.experiments.executors import Job, Outcome, Setup

if TYPE_CHECKING:
    from backtest.core.parts import PartLoader, Parts

PROBE_EVENTS = 2048
"""Events that a probe answers, at most."""

_WARMUP_EVENTS = 32

READY = "ready"
"""What a worker process says when it has started."""

HARMLESS = "The given NumPy array is not writable"
"""How torch's warning begins when it is given a batch's column, which is to be read and no more."""

_POOLS = ("OMP", "MKL", "OPENBLAS", "NUMBA")


def thread_limits(threads: int) -> dict[str, str]:
    """Environment variables that keep every thread pool of a process to a size.

    They count only where they are set before the libraries are loaded.
    """
    names = [*(f"{pool}_NUM_THREADS" for pool in _POOLS), "POLARS_MAX_THREADS"]
    return dict.fromkeys(names, str(threads))


class Worker:
    """Carries out jobs in this process.

    Args:
        setup: what the jobs have in common.
        load: where the parts of their runs come from; called once, by the first job.
    """

    def __init__(self, setup: Setup, load: PartLoader) -> None:
        self._setup = setup
        self._load = load

    def perform(self, job: Job) -> Outcome:
        """Execute a job; whatever it raises becomes its error."""
        try:
            return Outcome(job.number, getattr(self, f"_{job.task}")(job.config))
        except KeyboardInterrupt:
            raise
        except BacktestError as error:
            return Outcome(job.number, None, str(error))
        # Panics and exits, which are not Exceptions, end a run like any other error.
        except BaseException as error:
            from backtest.core.tracebacks import describe

            return Outcome(job.number, None, describe(error))

    @cached_property
    def _parts(self) -> Parts:
        from backtest.core.hashing import package_sha256

        if package_sha256() != self._setup.build:
            raise RunError(
                "the worker runs another build of backtest than the one that planned the sweep",
                place=str(Path(__file__).parents[1]),
                remedy="Install the same version on all workers.",
            )
        return self._load(self._setup.plugins, disabled=self._setup.disabled)

    def _plan(self, config: dict[str, Any]) -> dict[str, Any]:
        from backtest.runs.engine import Engine
        from backtest.runs.run_config import parse_config

        plan = Engine(self._parts, Path(self._setup.runs)).plan(parse_config(config, place="sweep"))
        return {
            "id": plan.run_id,
            "finished": plan.finished,
            "events": plan.events,
            "predictions": plan.predictions,
        }

    def _run(self, config: dict[str, Any]) -> dict[str, Any]:
        from backtest.runs.engine import Engine
        from backtest.runs.run_config import parse_config

        run = Engine(self._parts, Path(self._setup.runs)).run(parse_config(config, place="sweep"))
        return {"id": run.id}

    def _probe(self, config: dict[str, Any]) -> dict[str, Any]:
        """The manifest of a short run, and its figures; a shorter one before it warms up.

        The strategy is not trained for it.
        """
        from backtest.runs.engine import Engine
        from backtest.runs.run_config import parse_config

        most = min(config["limit"] or PROBE_EVENTS, PROBE_EVENTS)
        with tempfile.TemporaryDirectory() as folder:
            engine = Engine(self._parts, Path(folder))
            for limit in (min(_WARMUP_EVENTS, most), most):
                short = config | {"limit": limit, "training": {}}
                try:
                    run = engine.run(parse_config(short, place="sweep"))
                except Exception:
                    if config["training"]["end"] is None:
                        raise
                    raise RunError("it cannot answer before it is trained") from None
            return {"manifest": run.manifest, "metrics": run.metrics}


def main(load: PartLoader) -> None:
    """Serve jobs until stdin ends; then stop at once, even during a job, as nobody waits for it.

    The first line on stdout is ``READY``: from here on, the time that is taken is the job's.

    Args:
        load: as for ``Worker``.
    """
    warnings.filterwarnings("ignore", HARMLESS)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a strategy prints must not be taken for an answer
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    setup = Setup.from_json(sys.stdin.readline())
    answers.write(READY + "\n")
    answers.flush()
    threading.Thread(target=read, daemon=True).start()
    worker = Worker(setup, load)
    while True:
        outcome = worker.perform(Job.from_json(lines.get()))
        answers.write(outcome.to_json() + "\n")
        answers.flush()
