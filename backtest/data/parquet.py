"""Parquet files as untrusted input: footers, pruning, verified pages, one place for its errors."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from backtest.errors import DataError

if TYPE_CHECKING:
    from backtest.data.card import Columns

_AT_ONCE = 1 << 17
"""Rows of a row group up to which it is decoded whole, which is quicker."""

MOST_COLUMNS = 100_000
MOST_RATIO = 2000
"""How many times its size a column may unpack to, where that is more than ``_ALWAYS`` bytes."""

_ALWAYS = 1 << 28

DAMAGED = "The file is damaged or is not Parquet: fetch or ingest it again."


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One row group, as its file's footer describes it.

    Attributes:
        index: its place in the file.
        first_row: the file's row at which it starts.
        rows: how many rows it has.
        times: smallest and largest ts_event, int64 ns; ``None`` if not stated.
        symbols: smallest and largest symbol in text order; ``None`` if not stated.
    """

    index: int
    first_row: int
    rows: int
    times: tuple[int, int] | None = None
    symbols: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Footer:
    """A file's metadata.

    Attributes:
        path: the file within its filesystem.
        place: the file as a person would write it.
        schema: its Arrow schema.
        row_groups: those that hold rows, in order.
    """

    path: str
    place: str
    schema: pa.Schema
    row_groups: tuple[RowGroup, ...]


@contextmanager
def mapped_errors(place: str) -> Iterator[None]:
    """Turn what pyarrow and the operating system raise into ``DataError`` naming the file."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise DataError("no such file", place=place) from None
    except PermissionError:
        raise DataError("permission to read it is denied", place=place) from None
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        cause = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"the file cannot be read as Parquet: {cause[0]}",
            place=place,
            remedy=DAMAGED,
        ) from None


def read_footer(
    filesystem: pafs.FileSystem,
    path: str,
    place: str,
    columns: Columns,
    *,
    digest: str | None = None,
) -> Footer:
    """A file's footer, with the bounds of each row group.

    Args:
        digest: the footer's SHA-256, if known. Parquet protects pages by checksums but not
            the footer, and a damaged one can even abort pyarrow, so it is compared first.

    Raises:
        DataError: not Parquet, or damaged.
    """
    with mapped_errors(place):
        info = filesystem.get_file_info(path)
        if info.type == pafs.FileType.File and info.size == 0:
            raise DataError("the file is empty", place=place, remedy=DAMAGED)
        with filesystem.open_input_file(path) as file:
            if digest is not None and footer_digest(file) != digest:
                raise DataError(
                    "its footer is not the one whose SHA-256 the card states",
                    place=place,
                    remedy=DAMAGED,
                )
            parquet = pq.ParquetFile(file, pre_buffer=False)
            check_sizes(parquet.metadata, place)
            groups = _row_groups(parquet.metadata, columns)
            return Footer(path, place, parquet.schema_arrow, groups)


def check_sizes(metadata: Any, place: str) -> None:
    """Refuse a footer by which little would become far too much.

    Raises:
        DataError: more columns than ``MOST_COLUMNS``, or a column of a row group that unpacks to
            more than ``MOST_RATIO`` times its bytes.
    """
    if metadata.num_columns > MOST_COLUMNS:
        raise DataError(
            f"the file has {metadata.num_columns} columns, more than {MOST_COLUMNS}", place=place
        )
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if group.total_byte_size <= _ALWAYS:
            continue
        for k in range(group.num_columns):
            column = group.column(k)
            most = max(_ALWAYS, MOST_RATIO * column.total_compressed_size)
            if column.total_uncompressed_size > most:
                raise DataError(
                    f"{column.path_in_schema!r} of row group {number} unpacks to"
                    f" {column.total_uncompressed_size} bytes from {column.total_compressed_size}",
                    place=place,
                    remedy="Rewrite the file in smaller row groups if it is to be trusted.",
                )


def check_decoded(metadata: Any, place: str, columns: int) -> None:
    """Refuse a table that is to be read whole, if few bytes claim to hold far too many rows.

    A run of equal values takes a few bytes however long it is, so that ``check_sizes`` does not
    see it.

    Args:
        columns: how many are read.

    Raises:
        DataError: they would take more than ``MOST_RATIO`` times what all columns are packed to.
    """
    groups = (metadata.row_group(k) for k in range(metadata.num_row_groups))
    packed = sum(g.column(k).total_compressed_size for g in groups for k in range(g.num_columns))
    decoded = 8 * columns * metadata.num_rows
    if decoded > max(_ALWAYS, MOST_RATIO * packed):
        raise DataError(
            f"{packed} bytes claim to hold {metadata.num_rows} rows", place=place, remedy=DAMAGED
        )


def has_checksums(file: Any) -> bool:
    """The pages of a Parquet file carry checksums, by the header of its first one.

    Args:
        file: the open file; its footer can be read.
    """
    metadata = pq.ParquetFile(file, pre_buffer=False).metadata
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    column = next((group.column(0) for group in groups if group.num_rows), None)
    if column is None:
        return True  # it has no pages
    starts = [column.data_page_offset, column.dictionary_page_offset]
    file.seek(min(start for start in starts if start))
    return _states_checksum(file.read(64))


def _states_checksum(header: bytes) -> bool:
    """Whether a page header of Thrift's compact protocol has its optional field 4, ``crc``.

    Fields 1 to 3 are 32-bit integers that are always there. A field is a byte, the distance from
    the field before in its high half and 5 for an integer in its low one, then the number in
    groups of seven bits, all but the last marked by their high bit.
    """
    at = 0
    for _ in range(3):
        if header[at : at + 1] != b"\x15":
            return False
        at += 1
        while at < len(header) and header[at] & 0x80:
            at += 1
        at += 1
    return header[at : at + 1] == b"\x15"


def footer_digest(file: Any) -> str:
    """SHA-256 of a Parquet file's metadata and the eight bytes after it, in hexadecimal.

    Raises:
        ValueError: the file does not end as Parquet does.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 8, 0))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little") + 8
    if tail[4:] != b"PAR1" or length > size:
        raise ValueError("it does not end like a Parquet file")
    file.seek(size - length)
    return hashlib.sha256(file.read(length)).hexdigest()


def scan(
    filesystem: pafs.FileSystem,
    footer: Footer,
    groups: Sequence[RowGroup],
    columns: Sequence[str],
    *,
    symbol: str,
    batch_rows: int,
    together: bool = False,
    lanes: int = 1,
    prepare: Callable[[pa.RecordBatch], pa.RecordBatch] = lambda batch: batch,
) -> Generator[tuple[RowGroup, int, pa.RecordBatch], None, None]:
    """The row groups' batches in order, each with its group and the file's row where it starts.

    Page checksums are verified wherever the file has them. What is decoded and not yet given is
    bounded; pyarrow's own scanner reads ahead without bound if its consumer is slow.

    Args:
        batch_rows: rows of a batch, at most.
        together: other files are decoded at the same time: this one is, little by little, by the
            calling thread alone.
        lanes: how many pieces of the file are decoded at the same time, ahead of the consumer; 1:
            none before it is needed. Row groups that are too large to be decoded at once take one.
        prepare: applied to decoded batches by the decoding threads, in any order; keeps all rows.

    Raises:
        DataError: a damaged page, or rows other than the footer states.
    """
    # Few large requests pay over a network; on a disk they only take memory.
    far = not isinstance(filesystem, pafs.LocalFileSystem)
    stretches = list(_stretches(groups, batch_rows))
    whole = not together and all(_at_once(some, batch_rows) for some in stretches)
    with ExitStack() as stack:
        parquets: list[pq.ParquetFile] = []
        for _ in range(max(min(lanes if whole else 1, len(stretches)), 1)):
            with mapped_errors(footer.place):
                file = stack.enter_context(filesystem.open_input_file(footer.path))
                parquet = pq.ParquetFile(
                    file,
                    metadata=parquets[0].metadata if parquets else None,
                    read_dictionary=[symbol],
                    pre_buffer=far,
                    page_checksum_verification=True,
                )
            parquets.append(parquet)

        # Reading moves a file's position, so pieces decoded at the same time use different handles.
        def tables_of(number: int) -> Iterator[Any]:
            parquet = parquets[number % len(parquets)]
            for table in _tables(parquet, stretches[number], list(columns), batch_rows, together):
                yield pa.Table.from_batches([prepare(batch) for batch in table.to_batches()])

        def all_tables_of(number: int) -> list[Any]:
            with mapped_errors(footer.place):
                return [*tables_of(number)]

        decoded: Iterator[Iterator[Any]] = map(tables_of, range(len(stretches)))
        if len(parquets) > 1:
            ahead = _side_by_side(all_tables_of, len(stretches), len(parquets))
            stack.callback(ahead.close)
            decoded = map(iter, ahead)
        for some, tables in zip(stretches, decoded, strict=True):
            # Groups decoded together come as one table, which is cut at the groups' borders again.
            waiting: deque[pa.RecordBatch] = deque()
            for group in some:
                read = 0
                while read < group.rows:
                    with mapped_errors(footer.place):
                        while not waiting and (table := next(tables, None)) is not None:
                            waiting += table.to_batches(max_chunksize=batch_rows)
                    if not waiting:
                        _miscounted(group, footer.place)
                    batch = waiting.popleft()
                    if batch.num_rows > group.rows - read and group is some[-1]:
                        _miscounted(group, footer.place)
                    if batch.num_rows > group.rows - read:
                        waiting.appendleft(batch.slice(group.rows - read))
                        batch = batch.slice(0, group.rows - read)
                    yield group, group.first_row + read, batch
                    read += batch.num_rows


def _side_by_side(
    tables_of: Callable[[int], list[Any]], count: int, lanes: int
) -> Generator[list[Any], None, None]:
    """What each of some stretches holds, ``lanes`` of them decoded at the same time.

    Stretches whose numbers differ by ``lanes`` never are, so they can share what reads them.
    """
    with ThreadPoolExecutor(lanes, "event-bus") as pool:
        begun = deque(pool.submit(tables_of, number) for number in range(lanes))
        for number in range(lanes, count + lanes):
            tables = begun.popleft().result()
            if number < count:
                begun.append(pool.submit(tables_of, number))
            yield tables


def _stretches(groups: Sequence[RowGroup], rows: int) -> Iterator[list[RowGroup]]:
    """Successive groups that are decoded together, with at most a given number of rows."""
    some: list[RowGroup] = []
    for group in groups:
        if some and sum(g.rows for g in some) + group.rows > rows:
            yield some
            some = []
        some.append(group)
    if some:
        yield some


def _at_once(groups: Sequence[RowGroup], batch_rows: int) -> bool:
    return sum(group.rows for group in groups) <= max(_AT_ONCE, batch_rows)


def _tables(
    parquet: pq.ParquetFile,
    groups: Sequence[RowGroup],
    columns: list[str],
    batch_rows: int,
    together: bool,
) -> Iterator[Any]:
    """What some row groups hold, in one piece unless that is too large to be decoded at once."""
    numbers = [group.index for group in groups]
    if not together and _at_once(groups, batch_rows):
        yield parquet.read_row_groups(numbers, columns=columns)
        return
    for batch in parquet.iter_batches(batch_rows, numbers, columns, use_threads=not together):
        yield pa.Table.from_batches([batch])


def _miscounted(group: RowGroup, place: str) -> NoReturn:
    raise DataError(
        f"row group {group.index} does not hold the {group.rows} rows that the footer states",
        place=place,
        remedy=DAMAGED,
    )


def no_rows(footer: Footer, symbol: str) -> pa.RecordBatch:
    """A batch of length 0 as ``scan`` would give it."""
    text = pa.dictionary(pa.int32(), pa.string())
    types = [text if field.name == symbol else field.type for field in footer.schema]
    arrays = [pa.array([], type=kind) for kind in types]
    return pa.RecordBatch.from_arrays(arrays, names=footer.schema.names)


def _row_groups(metadata: Any, columns: Columns) -> tuple[RowGroup, ...]:
    index = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    time, symbol = index.get(columns.ts_event), index.get(columns.symbol)
    groups = []
    first_row = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        times = None if time is None else _bounds(group.column(time).statistics)
        symbols = None if symbol is None else _bounds(group.column(symbol).statistics)
        if group.num_rows:
            groups.append(
                RowGroup(
                    number,
                    first_row,
                    group.num_rows,
                    times if times and isinstance(times[0], int) else None,
                    symbols,
                )
            )
        first_row += group.num_rows
    if first_row != metadata.num_rows:
        raise ValueError(f"{metadata.num_rows} rows stated, but {first_row} in its row groups")
    return tuple(groups)


def _bounds(statistics: Any) -> tuple[Any, Any] | None:
    if statistics is None or not statistics.has_min_max:
        return None
    low, high = statistics.min_raw, statistics.max_raw
    if isinstance(low, bytes):
        return low.decode(), high.decode()
    return low, high
