"""From the partitions of the Jane Street data to a dataset: checked, dated, in order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backtest.core.arrays import Int64Array
from backtest.core.times import parse_utc
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Card, Features, Targets
from backtest.data.parquet import check_decoded, check_sizes, mapped_errors
from backtest.data.reading.matrices import wide_matrix
from backtest.data.schema import describe_difference
from backtest.data.sources import IngestReport
from backtest.errors import DataError
from backtest.market.events import EventBatch
from backtest.plugins.sources.shared.inputs import card_name, input_files
from backtest.plugins.sources.shared.rows import refuse_nonfinite

_IDS = ("date_id", "time_id", "symbol_id")
_BATCH_ROWS = 65_536
_NS_PER_DAY = 86_400_000_000_000
_MAX_ID = 100_000
_MAX_NS = 2**63 - 1
_PARTITION = re.compile(r"partition_id=([0-9]{1,9})")
_BESIDE = "beside train.parquet"
_REMEDY = "Give the folder train.parquet of the competition's data, or its parent."

FEATURES = tuple(f"feature_{i:02d}" for i in range(79))
TARGETS = tuple(f"responder_{i}" for i in range(9))


class KaggleOptions(Protocol):
    """Parameters of ``JaneStreetKaggle``, which imports this module only when it ingests."""

    @property
    def start(self) -> str: ...

    @property
    def step(self) -> int: ...

    @property
    def nonfinite(self) -> Literal["refuse", "zero"]: ...

    @property
    def ignore(self) -> tuple[str, ...]: ...


def ingest(source: KaggleOptions, input: Path, output: Path) -> IngestReport:
    """See ``JaneStreetKaggle``.

    Raises:
        DataError: another layout or other columns, ids out of order, NaN under ``refuse``.
    """
    partitions, ignored = _partitions(input, source.ignore)
    ids = sorted(set().union(*(_symbol_ids(path) for path in partitions)))
    if not ids:
        raise DataError("there are no rows", place=str(input))
    card = Card(
        name=card_name("jane-street", input),
        description="Jane Street's market data of Kaggle: features and responders, no prices.",
        symbols=tuple(f"S{number:02d}" for number in ids),
        features=Features(columns=FEATURES),
        targets=Targets(columns=TARGETS),
        notes={"times": "start + date_id * 1 day + time_id * step; the ids are no times"},
    )
    start, table = parse_utc(source.start), np.array(ids)
    last: Int64Array = np.full((3, 1), -1, dtype=np.int64)
    with CanonicalWriter(output, card, nonfinite=source.nonfinite) as writer:
        for path in partitions:
            for first_row, batch in _batches(path):
                keys = np.stack([batch.column(name).to_numpy() for name in _IDS]).astype(np.int64)
                _check(path, first_row, keys, last)
                last = keys[:, -1:]
                _check_times(path, keys, start, source.step)
                features = wide_matrix(batch, FEATURES)
                targets = wide_matrix(batch, TARGETS)
                if source.nonfinite == "refuse":
                    refuse_nonfinite(
                        features, FEATURES, first_row, place=str(path), noun="features"
                    )
                refuse_nonfinite(targets, TARGETS, first_row, place=str(path), noun="targets")
                events = EventBatch(
                    np.searchsorted(table, keys[2]).astype(np.int32),
                    start + keys[0] * _NS_PER_DAY + keys[1] * source.step,
                    features=features,
                )
                writer.write(events, targets)
    zeroed = {"features that were null, NaN or infinite, set to 0": writer.replaced}
    repaired = zeroed if writer.replaced else {}
    return IngestReport(writer.rows, writer.rows, repaired=repaired, ignored=ignored)


def _partitions(input: Path, ignore: Sequence[str]) -> tuple[list[Path], dict[str, int]]:
    """The partitions' files, by number, and how many others are ignored, by reason."""
    root = input / "train.parquet" if (input / "train.parquet").is_dir() else input
    if not root.is_dir():
        raise DataError("the input is no folder", place=str(input), remedy=_REMEDY)
    ignored: Counter[str] = Counter()
    if root != input:
        ignored[_BESIDE] = sum(path != root for path in input.iterdir())
    found = []
    files = input_files(root, (".parquet",), ignore, noun="partition_id=N/part-0.parquet")
    for path in files.paths:
        match = _PARTITION.fullmatch(path.parent.name)
        if match is None or path.parent.parent != root:
            raise DataError(
                "the file is in no folder partition_id=N",
                place=str(path),
                remedy=f"{_REMEDY} Leave files out with --ignore PATTERN.",
            )
        found.append((int(match[1]), path.name, path))
    ignored.update(files.ignored)
    return [path for _, _, path in sorted(found)], {k: v for k, v in ignored.items() if v}


def _symbol_ids(path: Path) -> set[int]:
    """The symbols of a partition, after a look at its columns."""
    with mapped_errors(str(path)):
        file = pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)
        check_sizes(file.metadata, str(path))
        _check_columns(path, file.schema_arrow)
        check_decoded(file.metadata, str(path), 1)
        column = file.read(["symbol_id"]).column(0)
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise DataError(f"row {row} has no symbol_id", place=str(path))
    return set(pc.unique(column).to_pylist())


def _check_columns(path: Path, schema: pa.Schema) -> None:
    wanted = dict.fromkeys(_IDS, "integer") | {"weight": "number"}
    wanted |= dict.fromkeys((*FEATURES, *TARGETS), "number")
    found = {}
    for column in schema:
        integer, floating = pa.types.is_integer(column.type), pa.types.is_floating(column.type)
        expected = wanted.get(column.name, "")
        fits = integer or (floating and expected == "number")
        found[column.name] = expected if expected and fits else str(column.type)
    found.pop("partition_id", None)
    difference = describe_difference(wanted, found)
    if difference:
        raise DataError(f"not the columns of the competition: {difference}", place=str(path))


def _batches(path: Path) -> Iterator[tuple[int, pa.RecordBatch]]:
    """A partition's batches, each with its first row."""
    columns = [*_IDS, *FEATURES, *TARGETS]
    row = 0
    with mapped_errors(str(path)):
        file = pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)
        batches = file.iter_batches(_BATCH_ROWS, columns=columns)
    while True:
        with mapped_errors(str(path)):
            batch: Any = next(batches, None)
        if batch is None:
            return
        for name in _IDS:
            missing = batch.column(name).is_null()
            if batch.column(name).null_count:
                bad = row + pc.index(missing, True).as_py()
                raise DataError(f"row {bad} has no {name}", place=str(path))
        yield row, batch
        row += batch.num_rows


def _check(path: Path, first_row: int, keys: Int64Array, last: Int64Array) -> None:
    """Ids must be in range, ordered by date and time, and name a symbol once at each time."""
    wrong = ((keys < 0) | (keys > _MAX_ID)).any(axis=0)
    if wrong.any():
        _refuse(path, first_row, keys, int(np.argmax(wrong)), "ids out of range")
    before = np.concatenate([last, keys[:, :-1]], axis=1)
    same_day = keys[0] == before[0]
    back = (keys[0] < before[0]) | (same_day & (keys[1] < before[1]))
    if back.any():
        _refuse(path, first_row, keys, int(np.argmax(back)), "ids before those of the last row")
    again = same_day & (keys[1] == before[1]) & (keys[2] == before[2])
    if again.any():
        _refuse(path, first_row, keys, int(np.argmax(again)), "the ids of the last row again:")


def _check_times(path: Path, keys: Int64Array, start: int, step: int) -> None:
    """Times of day must lie within it, and all of them within what int64 ns can hold."""
    latest = int(keys[1].max())
    if latest * step >= _NS_PER_DAY:
        raise DataError(
            f"time_id {latest} lies past the end of the day",
            place=str(path),
            remedy="Choose a smaller step.",
        )
    if start + (int(keys[0].max()) + 1) * _NS_PER_DAY > _MAX_NS:
        raise DataError(
            f"date_id {int(keys[0].max())} lies beyond the year 2262",
            place=str(path),
            remedy="Choose an earlier start.",
        )


def _refuse(path: Path, first_row: int, keys: Int64Array, row: int, problem: str) -> NoReturn:
    date_id, time_id, symbol_id = keys[:, row]
    raise DataError(
        f"row {first_row + row} has {problem} date_id {date_id}, time_id {time_id},"
        f" symbol_id {symbol_id}",
        place=str(path),
        remedy="Rows must be in the order of date_id and time_id, each symbol once at each time.",
    )
