"""From zipped equity ticks to a dataset: the NBBO's changes, trades, sessions, order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.core.times import format_utc
from backtest.core.zones import time_zone
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Calendar, Card, InstrumentTable
from backtest.data.reading.decode import Columns
from backtest.data.sources import IngestReport
from backtest.errors import DataError
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.equities.files import EquityFile, equity_files, read_rows
from backtest.plugins.sources.equities.nbbo import (
    ABSENT_ASK,
    ABSENT_BID,
    Best,
    Book,
    QuoteRows,
    half_quoted,
)
from backtest.plugins.sources.shared.counts import Counts
from backtest.plugins.sources.shared.inputs import card_name
from backtest.plugins.sources.shared.lanes import Lane, quotes, trades, write_lanes

_TEN_THOUSANDTHS_PER_TICK = 100
_ZONE = "America/New_York"
_OPEN, _CLOSE = time(9, 30), time(16)
_NBBO_COLUMNS = ("time", "bid", "bid_size", "ask", "ask_size", "exchange")


class EquityOptions(Protocol):
    """Parameters of ``UsEquitiesTicks``, which imports this module only when it ingests."""

    @property
    def quotes(self) -> Literal["national", "exchange"]: ...

    @property
    def fee_per_share(self) -> str: ...

    @property
    def ignore(self) -> tuple[str, ...]: ...


def ingest(source: EquityOptions, input: Path, output: Path) -> IngestReport:
    """See ``UsEquitiesTicks``.

    Raises:
        DataError: a file that is damaged, misnamed or not in the format; unsorted times.
    """
    files, ignored = equity_files(input, source.ignore)
    symbols = sorted({file.symbol for file in files})
    days = sorted({file.day for file in files})
    hours = [[format_utc(_utc_ns(day, clock)) for clock in (_OPEN, _CLOSE)] for day in days]
    card = Card(
        name=card_name("us-equities", input),
        description="NBBO and trades of US equities, in regular hours.",
        symbols=tuple(symbols),
        instruments={
            "default": InstrumentTable(
                tick_size=Decimal("0.01"),
                lot_size=Decimal(1),
                currency="USD",
                fee_per_lot=Decimal(source.fee_per_share),
            )
        },
        calendar=Calendar.model_validate({"zone": _ZONE, "sessions": hours}),
        notes={"nbbo": {"quotes": source.quotes, "symbols": len(symbols), "days": len(days)}},
    )
    reading = _Reading(source, symbols)
    with CanonicalWriter(output, card) as writer:
        write_lanes(writer, [reading.lane(file) for file in files])
    return reading.counts.report(writer, ignored)


def _utc_ns(day: date, clock: time) -> int:
    try:
        zone = time_zone(_ZONE)
    except ValueError as error:
        raise DataError(str(error)) from None
    return int(datetime.combine(day, clock, zone).timestamp()) * 1_000_000_000


class _Reading:
    """Lanes of all files, and what became of their rows."""

    def __init__(self, source: EquityOptions, symbols: list[str]) -> None:
        self.counts = Counts()
        self._source = source
        self._symbols = symbols

    def lane(self, file: EquityFile) -> Lane:
        chunks = self._quotes(file) if file.kind == "quote" else self._trades(file)
        return Lane(_utc_ns(file.day, time(0)), chunks)

    def _trades(self, file: EquityFile) -> Iterator[Columns]:
        symbol = self._symbols.index(file.symbol)
        for table in self._tables(file):
            price, size = table["price"], table["size"]
            keep = self._sound(table, (price,))
            keep &= self._refuse("trade without price or size", keep, (price <= 0) | (size <= 0))
            ts = self._times(file, table["time"])
            keep &= self._refuse("trade outside the session", keep, ~_in_session(file.day, ts))
            yield trades(
                symbol,
                {"ts_event": ts[keep]},
                price[keep] // _TEN_THOUSANDTHS_PER_TICK,
                size[keep],
            )

    def _quotes(self, file: EquityFile) -> Iterator[Columns]:
        """The NBBO's changes. The last row waits for the next chunk, which may complete it."""
        symbol = self._symbols.index(file.symbol)
        book = Book(self._source.quotes)
        states = _States(file)
        held: QuoteRows | None = None
        for table in self._tables(file):
            keep = self._sound(table, (table["bid"], table["ask"]))
            least = np.min([table[name] for name in _NBBO_COLUMNS[1:5]], axis=0)
            keep &= self._refuse("quote with a negative price or size", keep, least < 0)
            rows = QuoteRows(*(table[name][keep] for name in _NBBO_COLUMNS))
            rows = rows if held is None else held.followed_by(rows)
            # Whether the last row is half a quote only shows in the row after it.
            done = max(len(rows) - 1, 0)
            half = half_quoted(rows, self._source.quotes) if done else np.empty(0, dtype=np.bool_)
            yield self._changes(symbol, states, rows.slice(0, done), book, half)
            held = rows.slice(done, None)
        if held is not None and len(held):
            yield self._changes(symbol, states, held, book, np.zeros(1, dtype=np.bool_))
        states.check()

    def _changes(
        self, symbol: int, states: _States, rows: QuoteRows, book: Book, half: BoolArray
    ) -> Columns:
        # All rows update the book, whatever is left out of the events below.
        best = book.update(rows)
        ts = self._times(states.file, rows.time)
        keep = np.ones(len(rows), dtype=np.bool_)
        keep &= self._refuse("bid merged with the ask row after it", keep, half)
        outside = ~_in_session(states.file.day, ts)
        keep &= self._refuse("quote outside the session", keep, outside)
        no_bid, no_ask = best.bid == ABSENT_BID, best.ask == ABSENT_ASK
        states.count(keep & ~no_bid & ~no_ask, best)
        keep &= self._refuse("quote locked", keep, best.bid == best.ask)
        keep &= self._refuse("quote crossed", keep, best.bid > best.ask)
        keep &= self._refuse("quote unchanged", keep, states.unchanged(keep, best))
        return quotes(
            symbol,
            {"ts_event": ts[keep]},
            np.where(no_bid, NO_PRICE, best.bid // _TEN_THOUSANDTHS_PER_TICK)[keep],
            np.where(no_ask, NO_PRICE, best.ask // _TEN_THOUSANDTHS_PER_TICK)[keep],
            best.bid_size[keep],
            best.ask_size[keep],
        )

    def _sound(self, table: dict[str, Int64Array], prices: tuple[Int64Array, ...]) -> BoolArray:
        """Rows that are neither flagged nor off the grid, bool [n]."""
        keep = np.ones(len(table["time"]), dtype=np.bool_)
        keep &= self._refuse("flagged suspicious", keep, table["suspicious"] != 0)
        off = np.zeros_like(keep)
        for price in prices:
            off |= price % _TEN_THOUSANDTHS_PER_TICK != 0
        keep &= self._refuse("price off the cent", keep, off)
        return keep

    def _refuse(self, reason: str, rows: BoolArray, bad: BoolArray) -> BoolArray:
        """Count the bad ones among the rows; returns the others."""
        self.counts.refuse(reason, rows & bad)
        return ~bad

    def _times(self, file: EquityFile, ms: Int64Array) -> Int64Array:
        return _utc_ns(file.day, time(0)) + ms * 1_000_000

    def _tables(self, file: EquityFile) -> Iterator[dict[str, Any]]:
        for table in read_rows(file):
            self.counts.read += len(table["time"])
            yield table


class _States:
    """What a file's NBBO was last written as, and how often it was crossed."""

    def __init__(self, file: EquityFile) -> None:
        self.file = file
        self._last = (ABSENT_BID, 0, ABSENT_ASK, 0)
        self._two_sided = 0
        self._crossed = 0

    def count(self, rows: BoolArray, best: Best) -> None:
        self._two_sided += int(np.count_nonzero(rows))
        self._crossed += int(np.count_nonzero(rows & (best.bid > best.ask)))

    def unchanged(self, rows: BoolArray, best: Best) -> BoolArray:
        """Those of the rows that repeat the row before them, bool [n]."""
        columns = (best.bid, best.bid_size, best.ask, best.ask_size)
        chosen = np.flatnonzero(rows)
        same = np.zeros(len(rows), dtype=np.bool_)
        if len(chosen):
            now = np.stack([column[chosen] for column in columns])  # [4, k]
            before = np.concatenate([np.array(self._last)[:, None], now[:, :-1]], axis=1)
            same[chosen] = (now == before).all(axis=0)
            self._last = tuple(now[:, -1].tolist())
        return same

    def check(self) -> None:
        """Refuse a file that makes no sense under the rule it was read by."""
        if 2 * self._crossed > self._two_sided:
            raise DataError(
                f"{self._crossed} of {self._two_sided} quotes are crossed",
                place=str(self.file.path),
                remedy="The rows do not match the parameter quotes: try its other value.",
            )


def _in_session(day: date, ts: Int64Array) -> BoolArray:
    inside: BoolArray = (ts >= _utc_ns(day, _OPEN)) & (ts < _utc_ns(day, _CLOSE))
    return inside
