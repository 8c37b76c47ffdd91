"""Orders and fills in compiled loops, over events whose quotes are chained and targets are set."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, cast

import numpy as np

from backtest.core.arrays import Int32Array, Int64Array, writable
from backtest.core.compiled import INT64, Uncompiled
from backtest.market.instruments import MONEY_UNIT, Instrument
from backtest.market.quotes import Quotes, QuotesAt
from backtest.trading.accountant import Ledger
from backtest.trading.orders import Confirmation, OrderRules
from backtest.trading.sizing import target_lots

ALWAYS = INT64
"""The frontier where every event is linked."""

_FILLS = 1 << 14


class Trader:
    """Runs the compiled order loop over rows whose targets are set.

    Attributes:
        book: a row a symbol, as ``compiled.trading`` has it.
        row: the next row to trade on, in bus order.
    """

    def __init__(
        self,
        ledger: Ledger,
        rules: OrderRules,
        link: Int32Array,
        wanted: Int64Array,
        mids: Int64Array,
        ends: Int64Array,
        sums: Int64Array,
        booked: Int64Array,
    ) -> None:
        from backtest.trading import loops

        self._loops = loops
        self._entry, self._response = ledger.entry, ledger.response
        events, timing = ledger.events, ledger.timing
        sessions = np.array(rules.sessions or [], dtype=np.int64).reshape(-1, 2)
        impact = rules.impact
        if max(impact.numerator, impact.denominator, rules.no_trade_band) > INT64:
            raise Uncompiled
        terms = (
            rules.no_trade_band,
            impact.numerator,
            impact.denominator,
            rules.end,
            rules.sessions is None,
            events.bid_size is None,
        )
        self.row = 0
        self.book = np.zeros((len(ledger.symbols), loops.BOOK_SIZE), dtype=np.int64)
        for place in (loops.CURRENT, loops.QUOTE, loops.ORDERS):
            self.book[:, place] = -1
        self.book[:, loops.POINTER :] = -1
        self.book[:, loops.ARRIVED] = np.iinfo(np.int64).min
        self._state = np.zeros(3, dtype=np.int64)
        self._filled = np.empty((_FILLS, loops.FILL_SIZE), dtype=np.int64)
        self._pool = _pool(1024)
        nothing = np.empty(0, dtype=np.int64)
        self._columns = (
            *(writable(c) for c in (events.symbol, events.ts_event, events.bid, events.ask)),
            nothing if events.bid_size is None else writable(events.bid_size),
            nothing if events.ask_size is None else writable(events.ask_size),
            link,
            wanted,
            *(writable(c) for c in (timing.received, timing.begun, timing.ended)),
        )
        self._rest = (
            instrument_table(ledger.instruments),
            np.ascontiguousarray(mids),
            np.array(terms, dtype=np.int64),
            np.ascontiguousarray(sessions[:, 0]),
            np.ascontiguousarray(sessions[:, 1]),
            ends,
        )
        self._sums = (sums, booked)

    def stand_at(self, symbols: Int32Array, rows: Int64Array) -> None:
        """Say which quotes stand, for events that are not run through in bus order."""
        book = self.book
        book[symbols, self._loops.CURRENT] = np.maximum(book[symbols, self._loops.CURRENT], rows)

    def confirmations(self, fills: Int64Array) -> list[Confirmation]:
        """What is told of some fills, and when."""
        loops = self._loops
        known = fills[:, loops.T4] + self._response[fills[:, loops.EVENT]]
        places = [loops.SYMBOL, loops.EVENT, loops.LOTS, loops.PRICE, loops.T4]
        rows = np.column_stack([fills[:, places], known]).tolist()
        return [Confirmation(*row) for row in rows]

    @property
    def fills(self) -> Int64Array:
        """Fills that were not taken yet, a view [k, FILL_SIZE]."""
        return self._filled[: self._state[1]]

    def keep(self, fills: Int64Array) -> None:
        """Hold these fills alone."""
        self._filled[: len(fills)] = fills
        self._state[1] = len(fills)

    def run_to(self, last: int, frontier: int) -> None:
        """Trade on from ``row``, up to the row ``last`` or one whose order arrives too late.

        Args:
            last: the row to stop before.
            frontier: every event before this instant is linked, ns.

        Raises:
            Uncompiled: a number does not fit 64 bits.
        """
        nothing = np.empty(0, dtype=np.int64)
        self._run(self.row, last, frontier, nothing, slice(self.row, last))
        self.row = int(self._state[0])

    def run_at(self, events: Int64Array) -> None:
        """Trade on some rows, each symbol's in order; raises as ``run_to`` does."""
        self._run(0, len(events), ALWAYS, events, events)

    def _run(self, first: int, last: int, frontier: int, listed: Int64Array, rows: Any) -> None:
        loops, state = self._loops, self._state
        entry, response = _spans(self._entry, rows), _spans(self._response, rows)
        state[0] = first
        while True:
            code = loops.trade(
                state, first, last, frontier, listed, *self._columns, entry, response,
                self.book, self._pool, *self._rest, self._filled, *self._sums,
            )  # fmt: skip
            if code == loops.OVERFLOW:
                raise Uncompiled
            if code == loops.CROWDED:
                state[2] = len(self._pool)
                more = _pool(len(self._pool))
                more[:, 3] = np.where(more[:, 3] < 0, -1, more[:, 3] + len(self._pool))
                self._pool = np.concatenate([self._pool, more])
            elif code == loops.FULL:
                self._filled = np.concatenate([self._filled, np.empty_like(self._filled)])
            else:
                return


def sized(ledger: Ledger, rules: OrderRules, forecast: Any, standing: Int64Array) -> Int64Array:
    """Clipped target positions for forecasts, given the rows of the quotes that stand."""
    quotes = cast(Quotes, QuotesAt(ledger.events, standing))
    return rules.clip(target_lots(ledger.sizing, forecast, quotes))


def instrument_table(instruments: Sequence[Instrument]) -> Int64Array:
    """Worth of a half-tick-lot, fee per lot, and the fee rate's numerator and denominator [S, 4].

    Raises:
        Uncompiled: a fee per lot is no whole number of money units, or too long.
    """
    rows = []
    for instrument in instruments:
        per_lot = Fraction(instrument.fee_per_lot) / Fraction(MONEY_UNIT)
        rate = Fraction(instrument.fee_rate)
        row = (instrument.half_tick_lot, int(per_lot), rate.numerator, rate.denominator)
        if per_lot.denominator != 1 or max(map(abs, row)) > INT64:
            raise Uncompiled
        rows.append(row)
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def _spans(latency: Int64Array, rows: Any) -> Any:
    """Latencies at some rows; a single one where it is the same for all."""
    return writable(latency[:1] if latency.strides == (0,) else latency[rows])


def _pool(count: int) -> Int64Array:
    """Free entries, each naming the next."""
    pool = np.zeros((count, 4), dtype=np.int64)
    pool[:, 3] = np.arange(1, count + 1)
    pool[-1, 3] = -1
    return pool
