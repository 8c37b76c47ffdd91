"""Writing a run's folder: aside first, then renamed, so that it exists whole or not at all."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backtest.core.arrow import batch_of, symbol_array, time_array
from backtest.core.atomic import new_folder, sweep_all, writing
from backtest.core.hashing import sha256_of
from backtest.core.table_writer import TableWriter
from backtest.core.times import format_utc
from backtest.runs.folder import MANIFEST, Run
from backtest.timing.metrics import DelayTally, read_delays

if TYPE_CHECKING:
    from backtest.inference.bound_strategy import Fit
    from backtest.runs.scenario import Scenario
    from backtest.trading.accountant import Account, SettledEvents


@dataclass(frozen=True, slots=True)
class RunWriter:
    """Writes one run's folder."""

    folder: Path
    run_id: str
    scenario: Scenario
    inputs: Mapping[str, Any]

    @contextmanager
    def writing(self) -> Iterator[OpenRun]:
        """A folder to write to, which becomes the run's when the block ends; else it vanishes."""
        sweep_all(self.folder.parent)
        with new_folder(self.folder, marker=MANIFEST, overwrite=True) as aside, writing(aside):
            tables = TableWriter(aside)
            try:
                yield OpenRun(self, aside, tables)
            except BaseException:
                tables.abandon()
                raise
            tables.close()


class OpenRun:
    """A run's folder while it is written.

    Attributes:
        tables: takes the run's tables piece by piece.
    """

    def __init__(self, writer: RunWriter, folder: Path, tables: TableWriter) -> None:
        self.tables = tables
        self._writer = writer
        self._folder = folder
        self._symbols = writer.scenario.dataset.symbols
        self._delays = DelayTally()

    def write_events(self, settled: SettledEvents) -> None:
        """Write what became of some events and what was answered, and count their delays."""
        if not len(settled):
            return
        self._delays.add(settled.events.ts_event, settled.timing)
        self.tables.write("timing", _timing_rows(self._symbols, settled))
        self.tables.write("predictions", _prediction_rows(settled))

    def begin_anew(self) -> None:
        """Forget all that was written."""
        for name in self.tables.names:
            self.tables.discard(name)
        self._delays = DelayTally()

    def timing_metrics(self) -> dict[str, Any]:
        """Figures of the delays, after the last event."""
        path = self._folder / "timing.parquet"

        def again() -> Any:
            self.tables.end("timing")
            self.tables.wait()
            return read_delays(path)

        return self._delays.metrics(again)

    def finish(
        self,
        *,
        account: Account,
        metrics: Mapping[str, Any],
        predictions: Mapping[str, Any],
        loop: Mapping[str, str],
        span: tuple[int, int],
        window: tuple[int, int],
        seconds: float,
    ) -> Run:
        """Write the rest: the accountant's tables, the figures and the manifest.

        Args:
            account: the accountant's result.
            metrics: content of ``metrics.json``.
            predictions: what pass 2 notes of its predictions.
            loop: how the passes were made.
            span: ts_event of the first event after the warm-up, and of the last one, ns.
            window: ts_event of the first event, and when the window ends, ns.
            seconds: what the run took until now; like all of the manifest it is no part of the
                digest.
        """
        for name, table in account.tables.items():
            self.tables.write(name, table)
        self.tables.close()
        scenario = self._writer.scenario
        strategy = scenario.bound.strategy
        manifest = {
            "run": self._writer.run_id,
            "digest": sha256_of({"tables": self.tables.digest(), "metrics": metrics}),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "partial": scenario.config.limit is not None,
            "in_sample": _in_sample(scenario.bound.training_windows(), span),
            **({} if scenario.bound.fit is None else {"training": _training(scenario.bound.fit)}),
            "loop": loop,
            "conformance": strategy.conformance,
            "reference": strategy.reference,
            "dataset": scenario.dataset.name,
            "calendar": scenario.dataset.hours.record(*window),
            "labels": scenario.labels,
            "config": scenario.resolved,
            "determined_by": self._writer.inputs,
            "predictions": predictions,
            "seconds": seconds,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "git": _git(),
        }
        (self._folder / "metrics.json").write_text(pretty_json(metrics), encoding="utf-8")
        (self._folder / MANIFEST).write_text(pretty_json(manifest), encoding="utf-8")
        return Run(self._writer.folder)


def _timing_rows(symbols: tuple[str, ...], settled: SettledEvents) -> pa.RecordBatch:
    """One row an event; instants of unanswered events are absent."""
    timing = settled.timing
    unanswered = None if settled.answered.all() else ~settled.answered
    return batch_of(
        {
            "ts_event": time_array(settled.events.ts_event),
            "symbol": symbol_array(settled.events.symbol, symbols),
            "ts_received": time_array(timing.received),
            "ts_begun": time_array(timing.begun, unanswered),
            "ts_ended": time_array(timing.ended, unanswered),
            "status": timing.status,
            "batch": pa.array(timing.batch, mask=unanswered),
        },
        nullable=("ts_begun", "ts_ended", "batch"),
    )


def _prediction_rows(settled: SettledEvents) -> pa.RecordBatch:
    """Answered events only: their numbers, outputs and forecast."""
    predictions, forecast = settled.answers
    chosen = np.flatnonzero(settled.answered)
    some: Any = slice(None) if len(chosen) == len(settled) else chosen
    outputs = {f"output_{k}": column[some] for k, column in enumerate(predictions.T)}
    return batch_of({"event": settled.first + chosen, **outputs, "forecast": forecast[some]})


def _in_sample(windows: Sequence[tuple[int, int]], span: tuple[int, int]) -> bool | None:
    """Whether events from ``span[0]`` to ``span[1]`` overlap a window of the weights' training.

    ``None``: none is known.
    """
    if not windows:
        return None
    return any(span[0] < end and span[1] >= start for start, end in windows)


def _training(fit: Fit) -> dict[str, Any]:
    """What the strategy was trained on, and the weights that came of it."""
    return {
        "start": format_utc(fit.start),
        "end": format_utc(fit.end),
        "start_ns": fit.start,
        "end_ns": fit.end,
        "purge_ns": fit.purge,
        "key": fit.key,
        "weights": fit.sha256,
        "seconds": fit.seconds,
    }


def pretty_json(value: Mapping[str, Any]) -> str:
    """JSON with a line for each key: indented all through, it takes ten times as long to make."""
    lines = (
        f"  {json.dumps(key)}: {json.dumps(item, allow_nan=False, ensure_ascii=False)}"
        for key, item in value.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _git() -> dict[str, Any] | None:
    """Commit of the working folder and whether it was changed since; ``None`` outside git."""
    git = shutil.which("git")
    if git is None:
        return None
    asked = [git, "status", "--porcelain=v2", "--branch"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    commit = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), "")
    if not commit or commit == "(initial)":
        return None
    return {"commit": commit, "changed": any(not line.startswith("#") for line in lines)}
