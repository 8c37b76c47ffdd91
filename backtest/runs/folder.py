"""Run folders: what determines a run, what it left, and reading it back.

A run's id is the hash of what determines its result. Its folder is written aside and renamed, so it
exists whole or not at all.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.core.arrays import chunks
from backtest.core.atomic import new_folder, writing
from backtest.core.columnar import Column, Frame
from backtest.core.compiled import COMPILED_FROM
from backtest.core.environment import device_model, versions
from backtest.core.hashing import sha256_of
from backtest.core.notebook import notebook_html
from backtest.core.room import Room
from backtest.errors import DataError
from backtest.runs.tables import TableWriter
from backtest.timing.metrics import Tally
from backtest.timing.outcomes import Status

if TYPE_CHECKING:
    import polars as pl

    from backtest.core.arrays import BoolArray
    from backtest.core.parts import Kind, Parts
    from backtest.inference.answers import Answers
    from backtest.market.events import EventBatch
    from backtest.runs.engine import Scenario
    from backtest.timing.outcomes import Timing
    from backtest.trading.accountant import Account

MANIFEST = "manifest.json"
"""The file that makes a folder the folder of a run."""

_FORMAT = 2
"""Of run folders: since 2 their digest is over pages, before it was over raw values."""


def identify(scenario: Scenario, plugins: Parts) -> tuple[str, dict[str, Any]]:
    """A run's id and the values it is the hash of."""
    parts: dict[str, tuple[Kind, dict[str, Any]]] = {
        "strategy": ("strategy", scenario.resolved["strategy"]),
        "policy": ("batching policy", scenario.resolved["policy"]),
        "accountant": ("accountant", scenario.resolved["accountant"]),
        "sizing": ("sizing rule", scenario.resolved["sizing"]),
        **{
            place: ("latency model", scenario.resolved["latency"][place])
            for place in ("service", "feed", "entry", "response")
        },
    }
    inputs = {
        "format": _FORMAT,
        "config": {k: v for k, v in scenario.resolved.items() if k != "dataset"},
        "data": scenario.dataset.data_hash(),
        "fingerprint": scenario.inference.strategy.fingerprint(),
        "origins": {
            place: plugins.origin(kind, table["name"]).identity()
            for place, (kind, table) in parts.items()
        },
        "device": device_model(scenario.config.device),
        "versions": versions(),
    }
    return f"{scenario.inference.table['name']}-{sha256_of(inputs)[:12]}", inputs


@dataclass(frozen=True, slots=True)
class RunWriter:
    """Writes one run's folder."""

    folder: Path
    run_id: str
    scenario: Scenario
    inputs: Mapping[str, Any]

    @contextmanager
    def writing(self, room: Room) -> Iterator[OpenRun]:
        """A folder to write to, which becomes the run's when the block ends; else it vanishes."""
        with new_folder(self.folder, marker=MANIFEST, overwrite=True) as aside, writing(aside):
            tables = TableWriter(aside, room.release, compiled=room.rows >= COMPILED_FROM)
            try:
                yield OpenRun(self, aside, tables, room)
            except BaseException:
                tables.abandon()
                raise
            tables.close()


@dataclass(slots=True)
class OpenRun:
    """A run's folder while it is written.

    Attributes:
        tally: of the timing that has been written; ``None`` where it is short.
    """

    writer: RunWriter
    folder: Path
    tables: TableWriter
    room: Room
    tally: Tally | None = None

    def write_timing(self, events: EventBatch, timing: Timing, rows: slice) -> None:
        """Write some rows of what pass 1 found, and count them, when their turn comes."""
        symbols = self.writer.scenario.dataset.symbols
        if self.tally is None and len(events) >= COMPILED_FROM:
            self.tally = Tally(timing, events.ts_event, self.room)
        tally = self.tally

        def make() -> Frame:
            if tally is not None:
                tally.add(rows)
            return _timing_frame(symbols, events.select(rows), timing, rows)

        self.tables.write_later("timing", make)
        if rows.stop == len(events):
            self.tables.end("timing")

    def write_answers(self, answers: Answers) -> None:
        """Write what pass 2 found."""
        for first, last in chunks(len(answers.answered)):
            answered = partial(_prediction_frame, answers, first, last)
            self.tables.write_later("predictions", answered)
        self.tables.end("predictions")

    def finish(
        self, *, account: Account, metrics: Mapping[str, Any], predictions: Mapping[str, Any],
        loop: Mapping[str, str], span: tuple[int, int], seconds: float,
    ) -> Run:  # fmt: skip
        """Write the rest: the accountant's tables, the figures and the manifest.

        ``span`` is the first and last ts_event; ``seconds`` is what the run took until now, which
        like all of the manifest is no part of the digest.
        """
        for name, table in account.tables.items():
            self.tables.write(name, table)
        self.tables.close()
        scenario = self.writer.scenario
        strategy = scenario.inference.strategy
        manifest = {
            "run": self.writer.run_id,
            "digest": sha256_of({"tables": self.tables.digest(), "metrics": metrics}),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "partial": scenario.config.limit is not None,
            "in_sample": _in_sample(strategy.training_window(), span),
            "loop": loop,
            "conformance": strategy.conformance,
            "reference": strategy.reference,
            "dataset": scenario.dataset.name,
            "labels": scenario.labels,
            "config": scenario.resolved,
            "determined_by": self.writer.inputs,
            "predictions": predictions,
            "seconds": seconds,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "git": _git(),
        }
        (self.folder / "metrics.json").write_text(_pretty(metrics), encoding="utf-8")
        (self.folder / MANIFEST).write_text(_pretty(manifest), encoding="utf-8")
        return Run(self.writer.folder)


class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        reused: whether it stood there before it was asked for.
    """

    def __init__(self, folder: Path, *, reused: bool = False) -> None:
        self.folder = folder
        self.reused = reused

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def id(self) -> str:
        """Its id, also the name of its folder."""
        return str(self.manifest["run"])

    @property
    def digest(self) -> str:
        """Hash of everything it computed; the same inputs give the same digest."""
        return str(self.manifest["digest"])

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What was run."""
        return self._json(MANIFEST)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What came out, in figures."""
        return self._json("metrics.json")

    def table(self, name: str) -> pl.DataFrame:
        """A table of the run, such as ``timing``, ``predictions``, ``fills`` or ``equity``.

        Raises:
            DataError: the run has no such table, or it cannot be read.
        """
        import polars as pl
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / f"{name}.parquet"
        try:
            frame = pl.from_arrow(pq.read_table(path, page_checksum_verification=True))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"cannot be read: {error}", place=str(path)) from None
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _repr_html_(self) -> str | None:
        return notebook_html(self)

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot be read: {error}",
                place=str(path),
                remedy="Name the folder of a finished run.",
            ) from None
        if not isinstance(value, dict):
            raise DataError("holds no table of values", place=str(path))
        return value


def open_run(path: Path) -> Run:
    """A run from its folder.

    Raises:
        DataError: the folder is no finished run.
    """
    run = Run(path)
    for key, part in (("run", run.manifest), ("timing", run.metrics)):
        if key not in part:
            raise DataError("is not the folder of a run", place=str(path))
    return run


def _timing_frame(symbols: Any, events: EventBatch, timing: Timing, rows: slice) -> Frame:
    """One row an event; instants of unanswered events are absent."""
    silent: BoolArray = timing.status[rows] != Status.ANSWERED
    unanswered = silent if silent.any() else None
    return {
        "ts_event": Column("time", events.ts_event),
        "symbol": Column("category", events.symbol, names=tuple(symbols)),
        "ts_received": Column("time", timing.received[rows]),
        "ts_begun": Column("time", timing.begun[rows], unanswered),
        "ts_ended": Column("time", timing.ended[rows], unanswered),
        "status": Column("uint8", timing.status[rows]),
        "batch": Column("int64", timing.batch[rows], unanswered),
    }


def _prediction_frame(answers: Answers, first: int, last: int) -> Frame:
    """Answered events only: their numbers, outputs and forecast."""
    answered = answers.answered[first:last]
    chosen: Any = slice(first, last) if answered.all() else first + np.flatnonzero(answered)
    numbers = np.arange(first, last) if isinstance(chosen, slice) else chosen
    outputs = answers.predictions[chosen].T
    columns = {f"output_{k}": Column("float32", column) for k, column in enumerate(outputs)}
    return {
        "event": Column("int64", numbers),
        **columns,
        "forecast": Column("float32", answers.forecast[chosen]),
    }


def _in_sample(window: tuple[int, int] | None, span: tuple[int, int]) -> bool | None:
    """Whether events from ``span[0]`` to ``span[1]`` overlap the window of the weights' training.

    ``None``: it is not known.
    """
    return None if window is None else span[0] < window[1] and span[1] >= window[0]


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


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
