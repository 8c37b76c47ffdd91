"""Row groups decoded side by side: the same batches in the same order, and the same errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from backtest.data.card import Columns
from backtest.data.parquet import check_decoded, check_sizes, read_footer, scan
from backtest.data.reading.decode import Selection
from backtest.data.reading.plan import Scan
from backtest.errors import DataError
from backtest.plugins.latency_models import read_profile
from tests.parquet_files import SYMBOLS, write_parquet


def file_of(path: Path, rows: int, row_group: int) -> Path:
    """A file whose bids count its rows."""
    names = [SYMBOLS[k % 3] for k in range(rows)]
    write_parquet(path, {"ts_event": range(rows), "symbol": names, "bid": range(rows)}, row_group)
    return path


def scanned(path: Path, lanes: int, batch_rows: int = 100, **given: Any) -> Iterator[Any]:
    """The file's groups, first rows and batches."""
    local = pafs.LocalFileSystem()
    footer = read_footer(local, str(path), path.name, Columns())
    columns = ["ts_event", "symbol", "bid"]
    return scan(
        local, footer, footer.row_groups, columns,
        symbol="symbol", batch_rows=batch_rows, lanes=lanes, **given,
    )  # fmt: skip


@pytest.mark.parametrize("lanes", [2, 3, 50])
@pytest.mark.parametrize(("rows", "row_group"), [(1, 100), (950, 100), (1000, 333), (1000, 7)])
def test_lanes_change_nothing(tmp_path: Path, rows: int, row_group: int, lanes: int) -> None:
    path = file_of(tmp_path / "a.parquet", rows, row_group)
    plain, side_by_side = list(scanned(path, 1)), list(scanned(path, lanes))
    assert sum(batch.num_rows for *_, batch in plain) == rows
    assert [piece[:2] for piece in side_by_side] == [piece[:2] for piece in plain]
    for (*_, one), (*_, other) in zip(plain, side_by_side, strict=True):
        assert one.equals(other)


def test_as_many_pieces_are_decoded_at_a_time_as_there_are_lanes(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.parquet", 600, 100)
    both = threading.Barrier(2)

    def prepare(batch: pa.RecordBatch) -> pa.RecordBatch:
        both.wait(timeout=20)  # passes only if two lanes are here at the same time
        return batch

    bids = np.concatenate(
        [b.column("bid").to_numpy() for *_, b in scanned(path, 2, prepare=prepare)]
    )
    np.testing.assert_array_equal(bids, np.arange(600))


def test_no_more_is_decoded_ahead_than_there_are_lanes(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.parquet", 1000, 100)
    prepared: list[int] = []

    def prepare(batch: pa.RecordBatch) -> pa.RecordBatch:
        prepared.append(batch.num_rows)
        return batch

    pieces = scanned(path, 3, prepare=prepare)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert 1 <= len(prepared) <= 4
    assert not [t for t in threading.enumerate() if t.name.startswith("event-bus")]


def test_damage_is_reported_when_the_consumer_reaches_it(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.parquet", 1000, 100)
    bids = pq.ParquetFile(path).metadata.row_group(3).column(2)
    at = bids.dictionary_page_offset + bids.total_compressed_size - 5
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(bytes(content))
    pieces = scanned(path, 4)
    assert [next(pieces)[1] for _ in range(3)] == [0, 100, 200]
    with pytest.raises(DataError, match=r"a\.parquet"):
        next(pieces)
    assert not [t for t in threading.enumerate() if t.name.startswith("event-bus")]


def test_row_groups_too_large_to_be_decoded_at_once_take_no_lanes(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.parquet", 300_000, 150_000)
    seen: set[str] = set()

    def prepare(batch: pa.RecordBatch) -> pa.RecordBatch:
        seen.add(threading.current_thread().name)
        assert batch.num_rows <= 1000
        return batch

    assert sum(b.num_rows for *_, b in scanned(path, 4, 1000, prepare=prepare)) == 300_000
    assert seen == {threading.current_thread().name}


@pytest.mark.parametrize(
    ("features", "row_bytes", "cores", "lanes"),
    [(("f",), 40, 4, 4), (("f",), 400, 8, 2), (("f",), 4000, 8, 1), ((), 40, 4, 1)],
)
def test_lanes_are_as_many_as_memory_allows(
    monkeypatch: pytest.MonkeyPatch,
    features: tuple[str, ...],
    row_bytes: int,
    cores: int,
    lanes: int,
) -> None:
    from backtest.data.parquet import RowGroup

    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr(Scan, "_width", property(lambda self: row_bytes))
    selection = Selection(None, None, SYMBOLS, None, (), features, (), "refuse")
    scan_of = Scan(None, selection, ())  # type: ignore[arg-type]
    assert scan_of._lanes([RowGroup(0, 0, 131_072), RowGroup(1, 131_072, 5)]) == lanes


def test_few_bytes_that_claim_far_too_many_rows_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest.data.parquet.MOST_RATIO", 500)
    path = tmp_path / "a.parquet"
    schema = pa.schema({"batch_size": pa.int64(), "sample_ns": pa.int64()})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        same = pa.array(np.ones(1 << 20, dtype=np.int64))
        for _ in range(24):
            writer.write_table(pa.table([same, same], schema=schema), row_group_size=1 << 20)
    metadata = pq.ParquetFile(path).metadata
    check_sizes(metadata, "a")
    check_decoded(metadata, "a", 1)  # 200 MB may always be
    with pytest.raises(DataError, match=r"a: \d+ bytes claim to hold 25165824 rows"):
        check_decoded(metadata, "a", 2)
    with pytest.raises(DataError, match=r"a\.parquet: \d+ bytes claim to hold"):
        read_profile(path)
