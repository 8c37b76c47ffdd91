"""Files of data.binance.vision: what their names and columns say, and their rows as numbers."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from backtest.core.arrays import Int8Array, Int64Array
from backtest.errors import DataError
from backtest.plugins.sources.binance.symbols import Market, symbol_name
from backtest.plugins.sources.mapped.files import read_csv
from backtest.plugins.sources.shared.decimals import parse_decimals
from backtest.plugins.sources.shared.inputs import PACKINGS, input_files
from backtest.plugins.sources.shared.packed import Packed, unpacked
from backtest.plugins.sources.shared.rows import first_failure

TRADES, AGGREGATES, QUOTES = "trades", "aggTrades", "bookTicker"

_NAME = re.compile(r"(?P<symbol>[^-/]+)-(?P<kind>[A-Za-z0-9]+)-[0-9]{4}-[0-9]{2}(-[0-9]{2})?\.")
_INVERSE = re.compile(r"USD_(PERP|[0-9]{6})$")
_CHECKSUM = ".checksum"
_HASH = re.compile(r"([0-9a-f]{64})\s+\*?(\S+)")
_BLOCK_BYTES = 1 << 22

_TRADE = ("id", "price", "qty", "quoteqty", "time", "isbuyermaker", "isbestmatch")
_AGGREGATE = (
    *("aggtradeid", "price", "quantity", "firsttradeid", "lasttradeid", "transacttime"),
    *("isbuyermaker", "isbestmatch"),
)
_QUOTE = (
    *("updateid", "bestbidprice", "bestbidqty", "bestaskprice", "bestaskqty"),
    *("transactiontime", "eventtime"),
)
_COLUMNS = {TRADES: _TRADE, AGGREGATES: _AGGREGATE, QUOTES: _QUOTE}
"""The columns of files without a header, in order; those of futures have no ``isbestmatch``."""

_NUMBER = {TRADES: "id", AGGREGATES: "aggtradeid", QUOTES: "updateid"}
_TIME = {TRADES: "time", AGGREGATES: "transacttime", QUOTES: "transactiontime"}
_PRICES = {
    TRADES: ("price",),
    AGGREGATES: ("price",),
    QUOTES: ("bestbidprice", "bestaskprice"),
}
_SIZES = {TRADES: ("qty",), AGGREGATES: ("quantity",), QUOTES: ("bestbidqty", "bestaskqty")}
_SAME = {"bestmatch": "isbestmatch", "isbestprice": "isbestmatch", "tradeid": "id"}
"""Other names of columns in headers."""

_PER_NS = {"ms": 1_000_000, "us": 1_000}
_SECONDS = (631_152_000, 4_102_444_800)  # 1990 and 2100


@dataclass(frozen=True)
class VisionRows:
    """Rows of a file, in order.

    Attributes:
        first: the number of the first, from 0.
        number: the venue's number of each, int64 [n].
        ts: int64 ns [n].
        price, size: [1, n] of trades, [2, n] of quotes (bid, ask), int64 of 10^-scale.
        aggressor: who initiated each trade, int8 [n]; 0 of quotes.
    """

    first: int
    number: Int64Array
    ts: Int64Array
    price: Int64Array
    price_scale: int
    size: Int64Array
    size_scale: int
    aggressor: Int8Array


@dataclass(frozen=True)
class VisionFile:
    """A file of trades or quotes.

    Attributes:
        packed: its bytes.
        symbol: as the venue calls it.
        kind: ``TRADES``, ``AGGREGATES`` or ``QUOTES``.
        market: of the symbol.
        columns: normalised names, in order.
        header: the first line names them.
    """

    packed: Packed
    symbol: str
    kind: str
    market: Market
    columns: tuple[str, ...]
    header: bool

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return self.packed.place

    @property
    def name(self) -> str:
        """The symbol in the dataset."""
        return symbol_name(self.symbol, self.market)

    def rows(self) -> Iterator[VisionRows]:
        """All rows.

        Raises:
            DataError: the file is damaged, or a row has other than the columns, or a cell that is
                no number, naming it.
        """
        texts = {*_PRICES[self.kind], *_SIZES[self.kind], "isbuyermaker"} & {*self.columns}
        numbers = (_NUMBER[self.kind], _TIME[self.kind])
        options = pacsv.ConvertOptions(
            column_types={n: pa.string() for n in texts} | {n: pa.int64() for n in numbers},
            include_columns=[*numbers, *sorted(texts)],
            strings_can_be_null=False,
        )
        first, skip, unit = 0, self.header, ""
        for piece in self.packed.lines(_BLOCK_BYTES):
            body = piece
            if skip:
                body, skip = piece.lstrip(b"\r\n").partition(b"\n")[2], False
            if not body.strip():
                continue
            table = read_csv(body, self.columns, options, first, self.place)
            data = {n: table.column(n).combine_chunks() for n in table.column_names}
            unit = unit or self._unit(data, first)
            yield self._decoded(data, first, unit)
            first += len(table)

    def _unit(self, data: dict[str, Any], first: int) -> str:
        time = data[_TIME[self.kind]]
        value = time[0].as_py() if len(time) else None
        for unit, ns in _PER_NS.items():
            per_second = 1_000_000_000 // ns
            if value is not None and _SECONDS[0] <= value / per_second <= _SECONDS[1]:
                return unit
        raise self._bad(first, f"has the time {value}, which is neither in ms nor in us")

    def _decoded(self, data: dict[str, Any], first: int, unit: str) -> VisionRows:
        for name, column in data.items():
            if column.null_count:
                row = pc.index(column.is_null(), True).as_py()
                raise self._bad(first + row, f"has no {name!r}")
        times = data[_TIME[self.kind]].to_numpy()
        per_second = 1_000_000_000 // _PER_NS[unit]
        wrong = (times < _SECONDS[0] * per_second) | (times > _SECONDS[1] * per_second)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise self._bad(first + i, f"has the time {times[i]}, which is not in {unit}")
        price, price_scale = self._decimals(data, _PRICES[self.kind], first)
        size, size_scale = self._decimals(data, _SIZES[self.kind], first)
        return VisionRows(
            first,
            data[_NUMBER[self.kind]].to_numpy(),
            times * _PER_NS[unit],
            price,
            price_scale,
            size,
            size_scale,
            self._aggressors(data, first, len(times)),
        )

    def _decimals(
        self, data: dict[str, Any], names: Sequence[str], first: int
    ) -> tuple[Int64Array, int]:
        columns = [data[name] for name in names]
        try:
            values, scale = parse_decimals(pa.concat_arrays(columns))
        except ValueError as problem:
            for name, column in zip(names, columns, strict=True):
                try:
                    parse_decimals(column)
                except ValueError:
                    row, error = first_failure(column, parse_decimals, (ValueError,))
                    raise self._bad(first + row, f"cannot be read: {name!r}: {error}") from None
            raise self._bad(first, f"and those after it: {problem}") from None
        return values.reshape(len(names), -1), scale

    def _aggressors(self, data: dict[str, Any], first: int, n: int) -> Int8Array:
        """The side that was not the maker, int8 [n]: 1 the buyer, -1 the seller."""
        if self.kind == QUOTES:
            return np.zeros(n, dtype=np.int8)
        said = pc.utf8_lower(data["isbuyermaker"])
        seller, buyer = pc.equal(said, "true"), pc.equal(said, "false")
        known = pc.or_(seller, buyer)
        if not pc.all(known).as_py():
            row = pc.index(known, False).as_py()
            text = data["isbuyermaker"][row].as_py()
            raise self._bad(first + row, f"has {text!r:.40} in 'isbuyermaker', not true or false")
        return np.where(seller.to_numpy(zero_copy_only=False), -1, 1).astype(np.int8)

    def _bad(self, row: int, problem: str) -> DataError:
        return DataError(f"row {row} {problem}", place=self.place, remedy="Fetch the file again.")


def vision_files(input: Path, ignore: Sequence[str]) -> tuple[list[VisionFile], Counter[str]]:
    """The files of an input that hold trades or quotes, and how many others, by reason.

    Raises:
        DataError: files of another format, with other columns, or that their checksum is not of.
    """
    suffixes = (".zip", ".csv", *(f".csv{packing}" for packing in PACKINGS))
    found = input_files(input, (*suffixes, _CHECKSUM), ignore, noun=".zip or .csv files")
    ignored = Counter(found.ignored)
    files = []
    for path in found.paths:
        if path.name.lower().endswith(_CHECKSUM):
            ignored[_checked(path)] += 1
            continue
        for packed in unpacked(path, suffixes[1:], ignore, ignored):
            name = (packed.member or path.name).rsplit("/", 1)[-1]
            match = _NAME.match(name)
            if match is None:
                raise DataError(
                    "its name is not SYMBOL-KIND-DATE",
                    place=packed.place,
                    remedy="Keep the names of the dumps, such as BTCUSDT-trades-2024-08-01.zip.",
                )
            if match["kind"] not in _COLUMNS:
                ignored[f"{match['kind']}: neither quotes nor trades"] += 1
                continue
            file = _described(packed, match["symbol"], match["kind"])
            if file is None:
                ignored["file without rows"] += 1
            else:
                files.append(file)
    return files, ignored


def _described(packed: Packed, symbol: str, kind: str) -> VisionFile | None:
    """The file with its columns; ``None`` if it has no row."""
    lines: list[bytes] = []
    for piece in packed.lines(1 << 16):
        lines += [line for line in piece.splitlines() if line.strip()]
        if len(lines) > 1:
            break
    if not lines:
        return None
    cells = lines[0].decode(errors="replace").strip().removeprefix("\ufeff").split(",")
    header = not cells[0].strip().lstrip("-").isdecimal()
    if header:
        names = [re.sub(r"[^a-z]", "", cell.lower()) for cell in cells]
        columns = tuple(_SAME.get(name, name) for name in names)
        if len(lines) == 1:
            return None
    else:
        columns = _COLUMNS[kind][: len(cells)]
    needed = {_NUMBER[kind], _TIME[kind], *_PRICES[kind], *_SIZES[kind]}
    needed |= set() if kind == QUOTES else {"isbuyermaker"}
    missing = sorted(needed - {*columns})
    if missing or len(columns) != len(cells) or len({*columns}) != len(columns):
        raise DataError(
            f"its first line has {len(cells)} columns that are not those of {kind}"
            + (f": there is no {missing[0]!r}" if missing else ""),
            place=packed.place,
            remedy=f"They are, with a header or without: {', '.join(_COLUMNS[kind])}.",
        )
    market: Market = "um"
    if "isbestmatch" in columns:
        market = "spot"
    elif _INVERSE.search(symbol):
        market = "cm"
    return VisionFile(packed, symbol, kind, market, columns, header)


def _checked(path: Path) -> str:
    """What a checksum is counted as; refuses the file that it does not fit."""
    match = _HASH.match(path.read_text(errors="replace").strip())
    if match is None:
        raise DataError("it is no SHA-256 checksum and name", place=str(path))
    file = path.with_name(match[2].rsplit("/", 1)[-1])
    if not file.is_file():
        return "checksum of a file that is not there"
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != match[1]:
        raise DataError(
            "it is not the file that its checksum is of", place=str(file),
            remedy="Fetch the file again.",
        )  # fmt: skip
    return "checksum that holds"
