"""Tables in Parquet: any reader finds the values, and how they came does not show in the digest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.core import row_groups, table_files
from backtest.core.arrow import CATEGORY, TIME, batch_of, symbol_array, time_array
from backtest.core.table_files import TableFile
from backtest.core.table_writer import TableWriter

SIZES = (0, 1, 2, 7, 8, 9, 999, 1000, 1001, 2500)
CUTS: tuple[list[int], ...] = ([], [1], [500, 1000, 1003], [999], [3, 4, 5, 1999, 2001])


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of 1000 rows."""
    for name in ("LEAST_ROWS", "MOST_ROWS"):
        monkeypatch.setattr(row_groups, name, 1000)


def table(count: int, seed: int = 0) -> pa.Table:
    """A column of every kind, with and without values that are absent."""
    random = np.random.default_rng(seed)
    some = random.random(count) < 0.3
    letters = random.integers(0, 3, count)
    numbers = random.integers(-(2**63), 2**63 - 1, count)
    columns = {
        "time": time_array(10**18 + np.cumsum(random.integers(0, 5000, count))),
        "gap": time_array(numbers, some),
        "whole": numbers,
        "missing": pa.array(random.integers(-5, 5, count), mask=some),
        "never": pa.nulls(count, pa.int64()),
        "code": random.integers(0, 256, count).astype(np.uint8),
        "short": pa.array(random.integers(-9, 9, count).astype(np.int16), mask=some),
        "single": random.normal(size=count).astype(np.float32),
        "double": pa.array(random.normal(size=count), mask=some),
        "text": pa.array(np.array(["a", "bé", ""], dtype=object)[letters], pa.string(), mask=some),
        "symbol": symbol_array(letters, ("AAA", "BBB", "CCC")),
        "flag": pa.array(random.random(count) < 0.5, mask=some),
        "list": pa.array([[k] * (k % 3) for k in range(count)], pa.list_(pa.int64())),
    }
    nullable = ("gap", "missing", "never", "short", "double", "text", "flag", "list")
    return pa.Table.from_batches([batch_of(columns, nullable)])


def pieces(whole: pa.Table, cuts: Sequence[int]) -> Iterator[pa.Table]:
    """A table in pieces, one of them without rows."""
    count = len(whole)
    for first, last in pairwise([0, 0, *(cut for cut in cuts if cut < count), count]):
        yield whole.slice(first, last - first)


def written(path: Path, whole: pa.Table, cuts: Sequence[int] = ()) -> str:
    """The digest of a file to which a table was added in pieces."""
    file = TableFile(path, whole.schema)
    for piece in pieces(whole, cuts):
        file.append(piece)
    file.close()
    file.close()
    return file.digest()


@pytest.mark.parametrize("count", SIZES)
def test_every_reader_finds_the_values(count: int, tmp_path: Path) -> None:
    whole, path = table(count), tmp_path / "t.parquet"
    written(path, whole, [3, 1100])
    found = pq.read_table(path, page_checksum_verification=True)
    assert found.schema.equals(whole.schema)
    assert found.to_pydict() == whole.to_pydict()
    other = pl.read_parquet(path)
    assert other.schema["symbol"] == pl.Categorical
    for name in whole.schema.names:
        wanted, polars = whole[name], other[name]
        if whole.schema.field(name).type == TIME:
            wanted, polars = wanted.cast(pa.int64()), polars.cast(pl.Int64)
        assert polars.to_list() == wanted.to_pylist(), name


@pytest.mark.parametrize("count", SIZES)
def test_pieces_and_row_groups_do_not_show_in_the_digest(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, path = table(count), tmp_path / "t.parquet"
    digests = set()
    for cuts in CUTS:
        digests.add(written(path, whole, cuts))
        assert pq.read_metadata(path).num_row_groups == -(-count // 1000)
    monkeypatch.setattr(row_groups, "MOST_ROWS", 64)
    digests.add(written(path, whole, [100]))
    assert pq.read_metadata(path).num_row_groups == -(-count // 64)
    # Neither does how they are stored.
    monkeypatch.setattr(table_files, "encodings", lambda schema: {"compression": "zstd"})
    digests.add(written(path, whole))
    assert len(digests) == 1


def changed(whole: pa.Table, name: str, row: int, value: Any) -> pa.Table:
    """A table with another value in one place."""
    values, at = whole[name].to_pylist(), whole.schema.get_field_index(name)
    values[row] = value
    field = whole.schema.field(name)
    return whole.set_column(at, field, pa.array(values, field.type))


def test_the_digest_is_of_names_types_and_values_in_order(tmp_path: Path) -> None:
    def digest(whole: pa.Table) -> str:
        return written(tmp_path / "t.parquet", whole)

    whole = table(1500)
    seen = [digest(whole)]
    other = {"symbol": "DDD", "text": "b", "flag": None, "list": [7], "gap": None, "double": 5e-324}
    for name in whole.schema.names:
        for row in (0, 1499):
            value = 3 if name == "never" else other.get(name, 1)
            if name == "flag":
                value = not whole[name][row].as_py()
            if name == "time":
                value = whole[name].cast(pa.int64())[row].as_py() + 1
            if whole[name][row].as_py() != value:
                seen.append(digest(changed(whole, name, row, value)))
    seen.append(digest(whole.rename_columns(["t", *whole.schema.names[1:]])))
    seen.append(digest(whole.select(whole.schema.names[::-1])))
    seen.append(digest(whole.slice(0, 1499)))
    seen.append(digest(whole.set_column(5, "code", whole["code"].cast(pa.int64()))))
    order = np.arange(1500)
    order[[10, 11]] = 11, 10
    seen.append(digest(whole.take(order)))
    assert len(set(seen)) == len(seen) >= 27


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([0, 1, None], [0, 1, 0]),
        ([0, None, 1], [0, 1, None]),
        ([None, 0], [0, None]),
        ([None, None], [None]),
        ([1, 2], [2, 1]),
        ([5, 5, 6], [5, 6, 6]),
    ],
)
def test_values_and_their_absence_have_their_places(
    one: list[Any], other: list[Any], tmp_path: Path
) -> None:
    digests = {
        written(tmp_path / "t.parquet", pa.table({"n": pa.array(values, kind)}))
        for values in (one, other)
        for kind in (pa.int64(), pa.float32(), pa.uint8())
    }
    assert len(digests) == 6


def test_columns_that_are_swapped_are_others(tmp_path: Path) -> None:
    a, b = np.arange(50), np.arange(50)[::-1].copy()
    path = tmp_path / "t.parquet"
    assert written(path, pa.table({"a": a, "b": b})) != written(path, pa.table({"a": b, "b": a}))


def test_what_lies_where_a_value_is_absent_is_no_value(tmp_path: Path) -> None:
    absent = np.array([False, True, False, True])
    digests = {
        written(tmp_path / "t.parquet", pa.table({"n": pa.array(np.array(values), mask=absent)}))
        for values in ([1, 2, 3, 4], [1, 7, 3, -4])
    }
    assert len(digests) == 1


def test_the_order_of_the_symbol_table_does_not_show(tmp_path: Path) -> None:
    codes = np.random.default_rng(1).integers(0, 4, 3000)
    names = np.array(["A", "B", "C", "D"])
    digests, path = set(), tmp_path / "t.parquet"
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        place = np.argsort(order)
        symbols = symbol_array(place[codes], names[order].tolist())
        digests.add(written(path, pa.table({"symbol": symbols}), [700]))
    digests.add(written(path, pa.table({"symbol": names[codes]}), [700]))  # as plain strings
    assert len(digests) == 1
    # Nor that some rows come with another table, of more symbols or fewer.
    file = TableFile(path, pa.schema([("symbol", CATEGORY)]))
    for first, table_of in ((0, names), (1000, names[::-1]), (2000, np.array(["E", *names]))):
        index = {name: k for k, name in enumerate(table_of.tolist())}
        own = [index[name] for name in names[codes[first : first + 1000]].tolist()]
        file.append(pa.table({"symbol": symbol_array(own, table_of.tolist())}))
    file.close()
    assert {file.digest()} == digests
    assert pq.read_table(path)["symbol"].to_pylist() == names[codes].tolist()
    some = pa.array(["A", None, "B"], CATEGORY)
    digests = {
        written(path, pa.table({"symbol": some.cast(kind)})) for kind in (CATEGORY, pa.string())
    }
    assert len(digests) == 1


def test_numbers_are_copied_when_they_are_added(tmp_path: Path) -> None:
    buffer, rows = np.zeros(700, dtype=np.int64), np.arange(4200).reshape(6, 700)
    writer = TableWriter(tmp_path)
    for piece in rows:
        buffer[:] = piece
        writer.write("t", batch_of({"time": time_array(buffer), "n": buffer}))
    buffer[:] = 0
    writer.close()
    found = pq.read_table(tmp_path / "t.parquet")
    assert found["n"].to_numpy().tolist() == rows.ravel().tolist()
    assert found["time"].cast(pa.int64()).to_numpy().tolist() == rows.ravel().tolist()


def test_a_table_has_the_same_columns_throughout(tmp_path: Path) -> None:
    first = batch_of({"a": np.arange(3)})
    for other in (
        batch_of({"b": np.arange(3)}),
        batch_of({"a": np.arange(3.0)}),
        pa.table({"a": pa.array([1, None])}),
    ):
        writer = TableWriter(tmp_path)
        writer.write("t", first)
        with pytest.raises(ValueError, match=r"columns changed|lacks values"):
            writer.write("t", other)
        writer.abandon()


def test_row_groups_note_the_limits_of_their_first_instants(tmp_path: Path) -> None:
    whole, path = table(2500), tmp_path / "t.parquet"
    written(path, whole)
    groups = pq.read_metadata(path)
    names = whole.schema.names
    for k in range(3):
        noted = groups.row_group(k).column(names.index("time")).statistics
        rows = whole["time"].slice(1000 * k, 1000).cast(pa.int64()).to_pylist()
        assert pa.scalar(noted.min, TIME).cast(pa.int64()).as_py() == min(rows)
        assert pa.scalar(noted.max, TIME).cast(pa.int64()).as_py() == max(rows)
        assert not groups.row_group(k).column(names.index("whole")).is_stats_set


def test_tables_grow_beside_each_other_and_may_start_anew(tmp_path: Path) -> None:
    whole = table(2500)
    writer = TableWriter(tmp_path)
    for piece in pieces(whole, [800, 1700]):
        writer.write("one", piece)
        writer.write("gone", piece)
        writer.write("two", piece)
    writer.end("one")
    writer.discard("gone")
    writer.discard("unknown")
    writer.write("gone", whole.slice(0, 7))
    writer.end("unknown")
    writer.close()
    writer.close()
    digests = writer.digest()
    assert list(digests) == ["gone", "one", "two"]
    assert digests["one"] == digests["two"] == written(tmp_path / "t.parquet", whole)
    for name, rows in (("one", whole), ("two", whole), ("gone", whole.slice(0, 7))):
        found = pq.read_table(tmp_path / f"{name}.parquet")
        assert found.to_pydict() == rows.to_pydict()


def test_errors_of_the_thread_are_raised_where_rows_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: TableFile, group: row_groups.Group) -> None:
        self.give_back(group)
        raise OSError("no space left")

    monkeypatch.setattr(TableFile, "write", full)
    rows = batch_of({"n": np.arange(500)})
    writer = TableWriter(tmp_path)
    many = pa.Table.from_batches([rows] * 100)
    with pytest.raises(OSError, match="no space left"):
        writer.write("t", many)
    with pytest.raises(OSError, match="no space left"):
        writer.close()
    writer = TableWriter(tmp_path)
    writer.write("t", rows)
    with pytest.raises(OSError, match="no space left"):
        writer.close()
    writer = TableWriter(tmp_path)
    writer.write("t", rows)
    writer.abandon()
    assert not writer._thread.is_alive()


def test_a_damaged_page_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    whole = table(1000)
    for name in whole.schema.names:
        written(path, whole.select([name]))
        data = bytearray(path.read_bytes())
        column = pq.read_metadata(path).row_group(0).column(0)
        data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
        path.write_bytes(data)
        if column.total_compressed_size > 200:
            with pytest.raises(OSError, match="CRC"):
                pq.read_table(path, page_checksum_verification=True)
