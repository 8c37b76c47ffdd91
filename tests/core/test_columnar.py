"""Parquet files from numpy columns: any reader finds the values, however they were handed over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.core import columnar_file, encoding
from backtest.core.columnar import Column, Frame, arrow_schema, arrow_table, frame_of
from backtest.core.columnar_file import ColumnarFile
from backtest.runs.tables import TableWriter

LEAST, MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
SIZES = (0, 1, 2, 31, 32, 33, 127, 128, 129, 130, 257, 999, 1000, 1001, 2500)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of 1000 rows."""
    monkeypatch.setattr(columnar_file, "BLOCK", 1000)


def whole_numbers() -> Iterator[Any]:
    """Columns that are hard to pack."""
    random = np.random.default_rng(0)
    for count in SIZES:
        yield np.zeros(count, dtype=np.int64)
        yield np.arange(count) * -7
        yield 10**18 + np.cumsum(random.integers(0, 3000, count))
        yield random.integers(LEAST, MOST, count, endpoint=True)
        yield np.where(np.arange(count) % 2, LEAST, MOST)
        yield np.where(np.arange(count) % 3, 2**31, -(2**62))
        yield random.integers(-1, 1, count) << random.integers(0, 63, count)


def frame(count: int, seed: int = 0) -> Frame:
    """A column of every kind, with and without values that are absent."""
    random = np.random.default_rng(seed)
    some = random.random(count) < 0.3
    letters = random.integers(0, 3, count).astype(np.int32)
    return {
        "time": Column("time", 10**18 + np.cumsum(random.integers(0, 5000, count))),
        "whole": Column("int64", random.integers(LEAST, MOST, count)),
        "missing": Column("int64", random.integers(-5, 5, count), some),
        "never": Column("int64", np.zeros(count, dtype=np.int64), np.ones(count, dtype=np.bool_)),
        "code": Column("uint8", random.integers(0, 256, count).astype(np.uint8)),
        "single": Column("float32", random.normal(size=count).astype(np.float32)),
        "double": Column("float64", random.normal(size=count), some),
        "text": Column("text", letters, some, ("a", "bé", "")),
        "plain": Column("text", letters, None, ("c", "b", "unused", "a")[:3]),
        "category": Column("category", letters % 2, None, ("A", "B")),
    }


def listed(column: Column) -> list[Any]:
    """Its values as Python has them."""
    values = column.values
    known = np.array(column.names, dtype=object)[values] if column.names else values
    found: list[Any] = known.tolist()
    if column.absent is None:
        return found
    return [None if gone else value for value, gone in zip(found, column.absent, strict=True)]


def written(path: Path, whole: Frame, cuts: Sequence[int], *, compiled: bool) -> tuple[str, bytes]:
    """The digest and the bytes of a file to which a frame was handed in pieces."""
    file = ColumnarFile(path, whole, compiled=compiled)
    count = len(whole["time"])
    for first, last in pairwise([0, *(cut for cut in cuts if cut < count), count]):
        file.write({name: column.rows(slice(first, last)) for name, column in whole.items()})
    file.close()
    file.close()
    return file.digest(), path.read_bytes()


@pytest.mark.parametrize("count", SIZES)
def test_every_reader_finds_the_values(count: int, tmp_path: Path) -> None:
    whole, path = frame(count), tmp_path / "t.parquet"
    written(path, whole, [], compiled=True)
    table = pq.read_table(path, page_checksum_verification=True)
    assert table.schema.equals(arrow_schema(whole))
    other = pl.read_parquet(path)
    assert other.schema["category"] == pl.Categorical
    for name, column in whole.items():
        wanted, found, polars = listed(column), table[name], other[name]
        if column.kind == "time":
            found, polars = found.cast(pa.int64()), polars.cast(pl.Int64)
        assert found.to_pylist() == wanted, name
        assert polars.to_list() == wanted, name
    groups = pq.ParquetFile(path).metadata
    assert groups.num_row_groups == -(-count // 1000)
    if count:
        first = groups.row_group(0).column(1).statistics
        few = whole["whole"].values[:1000]
        assert (first.min, first.max, first.null_count) == (few.min(), few.max(), 0)


@pytest.mark.parametrize("count", SIZES)
def test_neither_pieces_nor_the_loops_change_a_byte(count: int, tmp_path: Path) -> None:
    whole = frame(count)
    files = {
        written(tmp_path / "t.parquet", whole, cuts, compiled=compiled)
        for compiled in (False, True)
        for cuts in ([], [1], [500, 1000, 1003], [999], [3, 4, 5, 1999, 2001])
    }
    assert len(files) == 1


def test_whole_numbers_are_packed_as_the_plain_twin_has_it() -> None:
    for values in whole_numbers():
        scratch = np.full(encoding.most_bytes(len(values)), 7, dtype=np.uint8)
        found, limits = encoding.integers(values, scratch)
        plain, expected = encoding.integers(values)
        assert found.tobytes() == plain
        assert limits == expected == ([values.min(), values.max()] if len(values) else [])


@pytest.mark.parametrize("width", [1, 2, 6, 8, 13, 31])
def test_codes_are_packed_as_the_plain_twin_has_it(width: int) -> None:
    random = np.random.default_rng(width)
    for count in SIZES:
        values = random.integers(0, 1 << width, count).astype(np.int32)
        scratch = np.full(encoding.most_bytes(count), 7, dtype=np.uint8)
        assert encoding.codes(values, width, scratch) == encoding.codes(values, width)


def test_the_digest_is_of_names_types_and_values(tmp_path: Path) -> None:
    def digest(whole: Frame) -> str:
        return written(tmp_path / "t.parquet", whole, [], compiled=False)[0]

    whole = frame(50)
    digests = {digest(whole)}
    for name, column in whole.items():
        values = column.values.copy()
        at = 0 if column.absent is None else int(np.argmax(~column.absent))
        values[at] = values[at] ^ 1 if values.dtype.kind in "iu" else -values[at]
        if column.absent is None or not column.absent.all():
            changed = Column(column.kind, values, column.absent, column.names)
            digests.add(digest({**whole, name: changed}))
    gone = np.zeros(50, dtype=np.bool_)
    gone[49] = True
    digests.add(digest({**whole, "whole": Column("int64", whole["whole"].values, gone)}))
    digests.add(digest({("w" if n == "whole" else n): c for n, c in whole.items()}))
    named = Column("category", whole["category"].values, None, ("A", "C"))
    digests.add(digest({**whole, "category": named}))
    assert len(digests) == len(whole) + 3  # all but the column without a value
    # What lies where a value is absent, and names that nobody has, are no values.
    missing = whole["missing"]
    assert missing.absent is not None
    other = Column("int64", np.where(missing.absent, 99, missing.values), missing.absent)
    renamed = Column("text", whole["plain"].values + 1, None, ("never", "c", "b", "unused"))
    assert digest({**whole, "missing": other, "plain": renamed}) in digests


@pytest.mark.parametrize("apart", [0, 1500, 5000])
def test_columns_that_are_the_same_array_are_packed_once(apart: int, tmp_path: Path) -> None:
    """For how ever long they are the same, file and digest are those of columns apart."""
    random = np.random.default_rng(0)
    values, floats = np.cumsum(random.integers(0, 9, 3000)), random.random(3000, dtype=np.float32)
    gone = random.random(3000) < 0.5
    whole = {
        "time": Column("time", values), "code": Column("text", values % 2, None, ("a", "b")),
        "again": Column("time", values), "other": Column("int64", values),
        "gone": Column("int64", values, gone), "float": Column("float32", floats),
        "forecast": Column("float32", floats), "absent": Column("int64", values, gone),
    }  # fmt: skip
    files = []
    for copied in (False, True):
        file = ColumnarFile(tmp_path / "t.parquet", whole, compiled=True)
        for first in range(0, 3000, 500):
            part = {name: column.rows(slice(first, first + 500)) for name, column in whole.items()}
            if copied or first >= apart:
                part = {n: replace(c, values=c.values.copy()) for n, c in part.items()}
            file.write(part)
        file.close()
        files.append((file.digest(), (tmp_path / "t.parquet").read_bytes()))
    assert files[0] == files[1]
    table = pq.read_table(tmp_path / "t.parquet")
    assert table["again"].equals(table["time"])
    assert table["forecast"].to_numpy().tolist() == floats.tolist()


def test_tables_and_frames_are_the_same_thing(tmp_path: Path) -> None:
    whole = {name: c for name, c in frame(1234).items() if c.kind != "category"}
    table = arrow_table(whole)
    assert table.schema.equals(arrow_schema(whole))
    digests = []
    for pieces in ([whole], [table], [table.slice(0, 7), table.slice(7, 0), table.slice(7)]):
        writer = TableWriter(tmp_path)
        for piece in pieces:
            writer.write("t", piece)
        writer.close()
        digests.append(writer.digest()["t"])
        assert pq.read_table(tmp_path / "t.parquet").equals(table)
    assert len(set(digests)) == 1
    back = frame_of(table)
    assert back is not None
    assert all(listed(back[name]) == listed(column) for name, column in whole.items())


def test_other_types_are_left_to_pyarrow(tmp_path: Path) -> None:
    table = pa.table({"flag": [True, None, False], "list": [[1], [], None]})
    table = table.append_column("ts", pa.array([1, 2, None], pa.timestamp("us")))
    assert frame_of(table) is None
    digests = set()
    for pieces in ([table], [table.slice(0, 1), table.slice(1)], [table.slice(0, 2)]):
        writer = TableWriter(tmp_path)
        for piece in pieces:
            writer.write("t", piece)
        writer.close()
        digests.add(writer.digest()["t"])
        assert pq.read_table(tmp_path / "t.parquet").equals(pa.concat_tables(pieces))
    assert len(digests) == 2


def test_a_damaged_page_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    whole = {"single": frame(500)["single"]}
    file = ColumnarFile(path, whole, compiled=False)
    file.write(whole)
    file.close()
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)
