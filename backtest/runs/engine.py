"""One backtest in three passes: when answers are ready, what they are, what they earn.

When an answer is ready depends on arrivals, batching and service times, never on what is predicted;
what is predicted depends on which events were answered, never on when. So the simulated server runs
first without the model, then the model runs as fast as the device can, then orders are filled and
accounted for. Each pass reads the events anew, piece by piece, and keeps only what is in flight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from backtest.core.parts import Parts
from backtest.inference.fitted import WEIGHTS
from backtest.runs.folder import MANIFEST, Run
from backtest.runs.job import Job
from backtest.runs.run_config import RunConfig
from backtest.runs.scenario import identify, resolve
from backtest.runs.writer import RunWriter

RunProgress = Callable[[str, int, int], None]
"""Called with the stage that a run is in, and how much of how much of it is done."""


def silent(stage: str, done: int, total: int) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes:
        run_id: the run's id.
        finished: whether it is finished already; nothing more is known of it then.
        events: events of its window.
        predictions: what pass 2 needs, by role, as the manifest has it; ``reused`` is whether
            the store has it.
    """

    run_id: str
    finished: bool
    events: int
    predictions: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Engine:
    """Runs scenarios.

    Attributes:
        plugins: where parts come from.
        runs: folder of run folders; predictions are stored beside them.
        reuse: take finished runs and stored predictions where they exist.
        progress: called as a run goes on.
    """

    plugins: Parts
    runs: Path
    reuse: bool = True
    progress: RunProgress = silent

    def run(self, config: RunConfig) -> Run:
        """Run one scenario, or return its finished run.

        Raises:
            BacktestError: it cannot be run; at most a checkpoint of its answers is left behind.
        """
        began = perf_counter()
        scenario = resolve(config, self.plugins)
        run_id, inputs = identify(scenario, self.plugins)
        folder = self.runs / run_id
        if self.reuse and (folder / MANIFEST).exists():
            return Run(folder, reused=True)
        scenario = scenario.trained(
            self.runs / WEIGHTS, reuse=self.reuse, progress=partial(self.progress, "train")
        )
        job = self._job(scenario, run_id)
        hook = self.plugins.hook
        hook.backtest_run_started(run_id=run_id, config=scenario.resolved)
        extent = job.stream.extent
        with RunWriter(folder, run_id, scenario, inputs).writing() as opened:
            account, metrics = job.carry_out(opened)
            run = opened.finish(
                account=account,
                metrics=metrics,
                predictions=job.answering.notes,
                loop={"kind": "closed", "why": job.why} if job.why else {"kind": "three passes"},
                span=(job.stream.instant(config.warmup), extent.last),
                window=(extent.first, job.end),
                seconds=perf_counter() - began,
            )
        self.progress("charge", extent.count, extent.count)
        hook.backtest_run_finished(run_id=run_id, folder=run.folder, metrics=metrics)
        return run

    def plan(self, config: RunConfig) -> Plan:
        """What running one scenario would do; of the three passes at most the first is made.

        Raises:
            BacktestError: it cannot be run.
        """
        scenario = resolve(config, self.plugins)
        run_id, _ = identify(scenario, self.plugins)
        if self.reuse and (self.runs / run_id / MANIFEST).exists():
            return Plan(run_id, True, 0, {})
        job = self._job(scenario, run_id)
        job.plan()
        return Plan(run_id, False, job.stream.count, job.answering.notes)

    def _job(self, scenario: Any, run_id: str) -> Job:
        def progress(stage: str, done: int, total: int) -> None:
            self.progress(stage, done, total)
            if stage == "answers":
                self.plugins.hook.backtest_batch_done(run_id=run_id, answered=done, total=total)

        return Job(
            scenario,
            plugins=self.plugins,
            predictions=self.runs / "predictions",
            reuse=self.reuse,
            progress=progress,
        )
