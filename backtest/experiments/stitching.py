"""The runs of successive folds put together: one run that was always trained on the past alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.comparison.comparison import compare
from backtest.core.arrays import Int64Array
from backtest.core.atomic import new_folder, writing
from backtest.core.hashing import sha256_of
from backtest.core.parts import Parts
from backtest.core.table_writer import TableWriter
from backtest.core.times import format_utc
from backtest.experiments.folds import Fold, Folds
from backtest.runs.folder import MANIFEST, Run
from backtest.runs.run_config import RunConfig
from backtest.runs.writer import pretty_json
from backtest.timing.metrics import DelayTally, read_delays
from backtest.timing.outcomes import Timing
from backtest.trading.account_tables import drawdown
from backtest.trading.accountant import Accountant

if TYPE_CHECKING:
    import pyarrow as pa

FIGURES = ("net", "net_points", "sharpe", "drawdown", "response_rate", "p99_ms", "agreement")
"""What is kept of each fold, by the names that ``backtest.comparison.comparison`` has for it."""

_MIDS = ("mid", "mid_half_ticks")
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class FoldRun:
    """A fold and its finished run."""

    fold: Fold
    run: Run


def stitch(
    folds: Sequence[FoldRun], config: RunConfig, asked: Folds, runs: Path, plugins: Parts
) -> Run:
    """The run of all test stretches, one after another; the finished one where there is one.

    Equity goes on from what the folds before earned. What filled the state before a test stretch
    is left out. Accuracies are of the single folds, whose models differ, so it has none.

    Args:
        folds: in the order of time, at least one.
        config: of the combination.
        asked: the folds that were asked for.
        runs: folder of run folders.
        plugins: where the accountant comes from.

    Raises:
        DataError: a table cannot be read or written.
    """
    first = folds[0].run.manifest
    strategy = first["config"]["strategy"]["name"]
    inputs = {"format": _FORMAT, "folds": [[f.run.id, *f.fold.train, *f.fold.test] for f in folds]}
    run_id = f"{strategy}-{sha256_of(inputs)[:12]}"
    folder = runs / run_id
    if (folder / MANIFEST).exists():
        return Run(folder, reused=True)
    with new_folder(folder, marker=MANIFEST, overwrite=True) as aside, writing(aside):
        tables = TableWriter(aside)
        try:
            timing = _Timing(aside, tables)
            equity = _stitched_equity(folds, plugins)
            _write_rows(folds, tables, timing)
            if equity is not None:
                tables.write("equity", equity)
            for rows in _pieces(folds[0].run, "instruments"):
                tables.write("instruments", rows)
            metrics = {
                "timing": timing.metrics(),
                "accuracy": {"reference": None, "targets": None},
                "account": _account(folds, config, plugins, equity),
            }
        except BaseException:
            tables.abandon()
            raise
        tables.close()
        manifest = _manifest(folds, asked, run_id, inputs) | {
            "digest": sha256_of({"tables": tables.digest(), "metrics": metrics})
        }
        (aside / "metrics.json").write_text(pretty_json(metrics), encoding="utf-8")
        (aside / MANIFEST).write_text(pretty_json(manifest), encoding="utf-8")
    return Run(folder)


def _manifest(
    folds: Sequence[FoldRun], asked: Folds, run_id: str, inputs: Mapping[str, Any]
) -> dict[str, Any]:
    manifests = [each.run.manifest for each in folds]
    first = manifests[0]
    marks = [manifest["in_sample"] for manifest in manifests]
    dropped = ("seconds", "training")
    config = {k: v for k, v in first["config"].items() if k not in dropped} | {
        "window": {"start": folds[0].fold.test[0], "end": folds[-1].fold.test[1]},
        "warmup": 0,
        "folds": asked.model_dump(),
    }
    return {k: v for k, v in first.items() if k not in dropped} | {
        "run": run_id,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "partial": any(manifest["partial"] for manifest in manifests),
        "in_sample": None if None in marks and True not in marks else any(marks),
        "config": config,
        "determined_by": {**first["determined_by"], "config": config, "fingerprint": dict(inputs)},
        "calendar": _calendar(folds),
        "predictions": {"answers": {"key": None, "reused": True}},
        "folds": [_listed(each) for each in folds],
    }


def _calendar(folds: Sequence[FoldRun]) -> dict[str, Any]:
    """When the market was open in the stretches that are tested on; its zone and year as before."""
    records = [each.run.hours.record(*each.fold.test) for each in folds]
    sessions = [session for record in records for session in record["sessions"] or ()]
    known = next((record for record in records if record["sessions"]), records[0])
    return known | {"sessions": sessions or None}


def _listed(each: FoldRun) -> dict[str, Any]:
    """A fold as the manifest lists it."""
    (row,) = compare([each.run]).rows
    training = each.run.manifest.get("training")
    return {
        "fold": each.fold.number,
        "run": each.run.id,
        "train": None if training is None else [training["start"], training["end"]],
        "test": [format_utc(instant) for instant in each.fold.test],
        "test_ns": list(each.fold.test),
        "in_sample": each.run.manifest["in_sample"],
        "figures": {name: row[name] for name in FIGURES},
    }


def _account(
    folds: Sequence[FoldRun], config: RunConfig, plugins: Parts, equity: pa.Table | None
) -> dict[str, Any]:
    accountant = plugins.create("accountant", config.accountant, place="accountant")
    spans = [_open_ns(each, each.fold.warm) for each in folds]
    total = sum(_open_ns(each, each.fold.test[0]) for each in folds) or 1
    accounts = [each.run.metrics["account"] for each in folds]
    joined = dict(accountant.join(accounts, [span / total for span in spans]))
    return joined if equity is None else joined | {"max_drawdown": drawdown(equity)}


def _open_ns(each: FoldRun, begin: int) -> int:
    """Open time from an instant to the end of a fold, ns."""
    return int(each.run.hours.spans(begin, np.array(each.fold.test[1:], dtype=np.int64))[0])


class _Timing:
    """Counts delays while the table of them is written."""

    def __init__(self, folder: Path, tables: TableWriter) -> None:
        self._path = folder / "timing.parquet"
        self._tables = tables
        self._tally = DelayTally()

    def add(self, rows: pa.Table) -> None:
        """Count some rows."""
        names = ("ts_event", "ts_received", "ts_begun", "ts_ended")
        event, received, begun, ended = (_whole(rows[name], 0) for name in names)
        batch = _whole(rows["batch"], -1)
        self._tally.add(
            event, Timing(received, begun, ended, rows["status"].to_numpy().copy(), batch)
        )

    def metrics(self) -> dict[str, Any]:
        """The figures of all rows."""

        def again() -> Any:
            self._tables.end("timing")
            self._tables.wait()
            return read_delays(self._path)

        return self._tally.metrics(again)


def _write_rows(folds: Sequence[FoldRun], tables: TableWriter, timing: _Timing) -> None:
    """Write the tables of events, answers and fills; events and batches are numbered anew."""
    events = batches = 0
    for each in folds:
        begin = each.fold.test[0]
        warm, rest, first_batch, last_batch = _extent(each.run, begin)
        for rows in _pieces(each.run, "timing"):
            kept = _from(rows, "ts_event", begin)
            moved = _moved(kept, "batch", batches - first_batch)
            timing.add(moved)
            tables.write("timing", moved)
        for name in ("predictions", "fills"):
            for rows in _pieces(each.run, name):
                number = _whole(rows["event"], -1)
                kept = rows.filter((number >= warm) | (number < 0))
                tables.write(name, _moved(kept, "event", events - warm))
        for rows in _pieces(each.run, "points"):
            tables.write("points", _from(rows, "ts", begin))
        events += rest
        batches += last_batch + 1 - first_batch


def _extent(run: Run, begin: int) -> tuple[int, int, int, int]:
    """Events before and from an instant on, and the latter's first and last batch."""
    before = rest = 0
    first, last = 2**62, -1
    for rows in _pieces(run, "timing", ("ts_event", "batch")):
        late = _whole(rows["ts_event"], 0) >= begin
        before += int((~late).sum())
        rest += int(late.sum())
        batch = _whole(rows["batch"], -1)[late]
        answered = batch[batch >= 0]
        if len(answered):
            first, last = min(first, int(answered.min())), max(last, int(answered.max()))
    return before, rest, min(first, last + 1), last


def _pieces(run: Run, name: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """A table of a run, piece by piece; none if it has no such table."""
    import pyarrow as pa

    if run.has_table(name):
        for piece in run.pieces(name, columns or run.columns(name)):
            yield pa.table(piece)


def _whole(column: Any, absent: int) -> Int64Array:
    """A column as int64 [n]."""
    found: Int64Array = column.cast("int64").fill_null(absent).to_numpy().copy()
    return found


def _from(rows: pa.Table, name: str, begin: int) -> pa.Table:
    return rows.filter(_whole(rows[name], 0) >= begin)


def _moved(rows: pa.Table, name: str, by: int) -> pa.Table:
    """Numbers moved by a constant, but for absent ones and those of nothing (-1)."""
    import pyarrow as pa

    column = rows[name]
    number = _whole(column, -1)
    values = pa.array(np.where(number >= 0, number + by, number), mask=_absent(column))
    at = rows.schema.get_field_index(name)
    return rows.set_column(at, rows.schema.field(at), values)


def _absent(column: Any) -> Any:
    return column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None


def _stitched_equity(folds: Sequence[FoldRun], plugins: Parts) -> pa.Table | None:
    """The equity tables one after another: each symbol goes on from what it had earned before.

    A symbol that has traded in any fold has a row at the end of every bucket. ``None`` without
    equity tables.
    """
    import pyarrow as pa

    from backtest.core.arrow import symbol_array, time_array

    if not all(each.run.has_table("equity") for each in folds):
        return None
    tables = [
        _from(pa.concat_tables(_pieces(each.run, "equity")), "ts", each.fold.test[0] + 1)
        for each in folds
    ]
    names = [table["symbol"].cast("string").to_pylist() for table in tables]
    symbols = sorted({name for of_fold in names for name in of_fold})
    place = {symbol: k for k, symbol in enumerate(symbols)}
    columns = [name for name in tables[0].column_names if name not in ("ts", "symbol")]
    kinds = {name: np.float64 if name == "mid" else np.int64 for name in columns}
    earned = np.zeros(len(symbols), dtype=np.int64)
    parts: dict[str, list[Any]] = {name: [] for name in ("ts", "symbol", "known", *columns)}
    for table, of_row, each in zip(tables, names, folds, strict=True):
        instants = _whole(table["ts"], 0)
        ends = np.unique(instants) if len(instants) else _silent_ends(each, plugins)
        row = np.searchsorted(ends, instants)
        symbol = np.array([place[name] for name in of_row], dtype=np.int64)
        parts["ts"].append(np.tile(ends, len(symbols)))
        parts["symbol"].append(np.repeat(np.arange(len(symbols)), len(ends)))
        known = np.zeros((len(symbols), len(ends)), dtype=np.bool_)
        if "mid" in columns:
            known[symbol, row] = table["mid"].is_valid().to_numpy()
        parts["known"].append(known.ravel())
        for name in columns:
            values = np.zeros((len(symbols), len(ends)), dtype=kinds[name])
            values[symbol, row] = (
                table[name].fill_null(0).cast(pa.from_numpy_dtype(kinds[name])).to_numpy()
            )
            if name == "net":
                values += earned[:, None]
                earned = values[:, -1].astype(np.int64)
            parts[name].append(values.ravel())
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    absent = ~joined["known"]  # a symbol has no mid in a fold in which it did not trade
    return pa.table(
        {
            "ts": time_array(joined["ts"]),
            "symbol": symbol_array(joined["symbol"], symbols),
            **{
                name: pa.array(joined[name], mask=absent if name in _MIDS else None)
                for name in columns
            },
        }
    )


def _silent_ends(each: FoldRun, plugins: Parts) -> Int64Array:
    """Ends of the time buckets of a fold in which nothing was traded."""
    asked = each.run.manifest["config"]["accountant"]
    accountant: Accountant = plugins.create("accountant", asked, place="accountant")
    return accountant.bucket_ends(*each.fold.test, each.run.hours)
