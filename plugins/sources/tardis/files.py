"""Tardis' CSV files: which data type each holds, and its rows by symbol, a block at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.core.arrays import BoolArray, Int64Array
from backtest.errors import DataError
from backtest.plugins.sources.mapped.files import CsvFile
from backtest.plugins.sources.shared.decimals import parse_decimals, without_exponents
from backtest.plugins.sources.shared.inputs import PACKINGS, input_files
from backtest.plugins.sources.shared.packed import Packed, unpacked
from backtest.plugins.sources.shared.rows import first_failure
from backtest.plugins.sources.tardis.headers import COMMON, columns_of, data_type, levels_of

_SUFFIX = ".csv"
_US = 1_000_000
_EARLIEST, _LATEST = 631_152_000 * _US, 4_102_444_800 * _US  # 1990 and 2100
_FAULTS = (ValueError, pa.ArrowException)


@dataclass(frozen=True)
class TardisFile:
    """One CSV file.

    Attributes:
        csv: the file.
        label: its path below the input.
        kind: its data type, of a snapshot without the number of levels.
        levels: how many levels of a snapshot are read; 0 for other kinds.
    """

    csv: CsvFile
    label: str
    kind: str
    levels: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that are read besides ``COMMON``."""
        return columns_of(self.kind, self.levels)

    def refuse(self, row: int, problem: str) -> NoReturn:
        """Raise for a row, which counts from 0 after the header."""
        raise DataError(
            f"row {row} {problem}",
            place=self.csv.place,
            remedy="Fetch the file again, or mend the row: it is not as Tardis writes"
            f" {self.kind} files.",
        )


@dataclass(frozen=True)
class TardisRows:
    """Rows of one symbol, in the order of the file.

    Attributes:
        file: the file.
        exchange, symbol: of all of them, as Tardis writes them.
        row: their numbers in the file, int64 [n], counted from 0 after the header.
        ts: the venue's time, int64 ns [n].
        recv: when Tardis received the message, int64 ns [n]; ``ts`` where the venue gives none.
        cells: the file's other columns, as text.
    """

    file: TardisFile
    exchange: str
    symbol: str
    row: Int64Array
    ts: Int64Array
    recv: Int64Array
    cells: pa.RecordBatch

    def __len__(self) -> int:
        return len(self.row)

    def decimals(self, names: Sequence[str], *, empty: bool = False) -> tuple[Int64Array, int]:
        """Some columns as whole numbers of 10^-scale, int64 [columns, n], and the scale.

        Args:
            names: of the columns.
            empty: cells may be, and are 0 then.

        Raises:
            DataError: a cell that is no number from 0, by its row.
        """
        texts = [self.cells.column(name) for name in names]
        if not empty:
            for name, text in zip(names, texts, strict=True):
                if text.null_count:
                    at = pc.index(text.is_null(), True).as_py()
                    self.file.refuse(int(self.row[at]), f"has no {name!r}")
        texts = [without_exponents(pc.fill_null(text, "0")) for text in texts]
        try:
            values, scale = parse_decimals(pa.concat_arrays(texts))
        except ValueError:
            self._refuse_number(names, texts)
        return values.reshape(len(names), -1), scale

    def choice(self, name: str, meanings: dict[str, int]) -> Int64Array:
        """A column of words as the numbers that they stand for, int64 [n].

        Raises:
            DataError: another word, by its row.
        """
        words = pc.utf8_lower(pc.fill_null(self.cells.column(name), ""))
        places = pc.index_in(words, pa.array([*meanings])).fill_null(-1).to_numpy()
        if places.min(initial=0) < 0:
            at = int(np.argmax(places < 0))
            listed = ", ".join(map(repr, meanings))
            problem = f"has {words[at].as_py()!r:.80} in {name!r}, which is none of {listed}"
            self.file.refuse(int(self.row[at]), problem)
        return np.array([*meanings.values()], dtype=np.int64)[places]

    def _refuse_number(self, names: Sequence[str], texts: Sequence[pa.Array]) -> NoReturn:
        for name, text in zip(names, texts, strict=True):
            try:
                parse_decimals(text)
            except ValueError:
                at, error = first_failure(text, parse_decimals, (ValueError,))
                self.file.refuse(int(self.row[at]), f"cannot be read: {name!r}: {error}")
        self.file.refuse(int(self.row[0]), f"and those after it have too many digits in {names}")


def tardis_files(
    input: Path, ignore: Sequence[str], *, depth: bool
) -> tuple[list[TardisFile], dict[str, int]]:
    """The files of an input, and how many others are ignored, by reason.

    They come in the order of their first receipts, so that names change nothing.

    Args:
        input: a file or folder.
        ignore: patterns of names to leave out.
        depth: read all levels of snapshots.

    Raises:
        DataError: there are none, others are there, or a header is not one of Tardis.
    """
    found = input_files(input, (_SUFFIX, *PACKINGS, ".zip"), ignore, noun=".csv or .csv.gz files")
    ignored = Counter(found.ignored)
    files = []
    for path in found.paths:
        below = path.name if path == input else path.relative_to(input).as_posix()
        for packed in unpacked(path, (_SUFFIX,), ignore, ignored):
            label = below if packed.member is None else f"{below}/{packed.member}"
            csv = CsvFile(packed)
            kind = data_type(csv, label)
            levels = levels_of(csv, depth) if kind == "book_snapshot" else 0
            files.append(TardisFile(csv, label, kind, levels))
    keyed = sorted((first_receipt(file.csv.packed), file.label, k) for k, file in enumerate(files))
    return [files[k] for _, _, k in keyed], dict(ignored)


def first_receipt(packed: Packed) -> int:
    """The local_timestamp of a file's first row; 0 if it has none that can be read."""
    for piece in packed.lines(1 << 16):
        lines = piece.split(b"\n", 2)
        if len(lines) < 2:
            return 0
        names, cells = (line.strip(b"\r\xef\xbb\xbf").split(b",") for line in lines[:2])
        at = names.index(b"local_timestamp")
        text = cells[at] if at < len(cells) else b""
        return int(text) if text.isdigit() and len(text) < 20 else 0
    return 0


def read_rows(file: TardisFile) -> Iterator[tuple[int, list[TardisRows]]]:
    """A file's rows, a block at a time: how many there are, and those of each symbol.

    Raises:
        DataError: damaged, other columns, times out of range or receipts that go back.
    """
    names = (*COMMON, *file.columns)
    row, last = 0, _EARLIEST
    for batch in file.csv.batches(names, names):
        if not batch.num_rows:
            continue
        recv = _times(file, batch, "local_timestamp", row)
        back = np.diff(recv, prepend=last) < 0
        if back.any():
            at = int(np.argmax(back))
            file.refuse(row + at, "has an earlier local_timestamp than the row before it")
        last = int(recv[-1])
        ts = _times(file, batch, "timestamp", row)
        yield batch.num_rows, [*_by_symbol(file, batch, row, ts * 1000, recv * 1000)]
        row += batch.num_rows


def _by_symbol(
    file: TardisFile, batch: pa.RecordBatch, first: int, ts: Int64Array, recv: Int64Array
) -> Iterator[TardisRows]:
    codes = np.zeros(batch.num_rows, dtype=np.int64)
    words: list[list[str]] = []
    for name in COMMON[:2]:
        column = batch.column(name)
        empty = pc.fill_null(pc.equal(column, ""), True)
        if pc.any(empty).as_py():
            file.refuse(first + pc.index(empty, True).as_py(), f"has no {name!r}")
        coded = column.dictionary_encode()
        words.append(coded.dictionary.to_pylist())
        codes = codes * len(words[-1]) + coded.indices.to_numpy()
    cells = batch.select(list(file.columns))
    for code in np.unique(codes).tolist():
        exchange, symbol = divmod(code, len(words[1]))
        some: BoolArray = codes == code
        rows = np.flatnonzero(some)
        yield TardisRows(
            file,
            words[0][exchange],
            words[1][symbol],
            first + rows,
            ts[rows],
            recv[rows],
            cells if len(rows) == len(codes) else cells.filter(pa.array(some)),
        )


def _times(file: TardisFile, batch: pa.RecordBatch, name: str, first: int) -> Int64Array:
    """A column of times in µs, int64 [n]."""
    column = batch.column(name)
    if column.null_count:
        file.refuse(first + pc.index(column.is_null(), True).as_py(), f"has no {name!r}")
    try:
        us = _whole(column)
    except _FAULTS:
        at, _ = first_failure(column, _whole, _FAULTS)
        file.refuse(
            first + at, f"has {column[at].as_py()!r:.80} in {name!r}, which is no time in µs"
        )
    wrong = (us < _EARLIEST) | (us > _LATEST)
    if wrong.any():
        at = int(np.argmax(wrong))
        file.refuse(first + at, f"has {us[at]} in {name!r}, which is no time in µs since 1970")
    return us


def _whole(column: Any) -> Int64Array:
    numbers: Int64Array = column.cast(pa.int64()).to_numpy()
    return numbers
