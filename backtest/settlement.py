"""Pass 3 at machine speed: targets, orders, fills and equity of the market accountant.

Columns are read chunk by chunk and fills leave in order of arrival as soon as no earlier one can
come, so memory does not grow with the history. What the loops cannot do (answers that overtake each
other, fees in fractions of a money unit, numbers beyond 64 bits) is left to plain Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from backtest.accounting import COSTS, Answers, Ledger
from backtest.columnar import Column, Frame, arrow_table
from backtest.errors import RunError
from backtest.events import BoolArray, Int32Array, Int64Array
from backtest.execution import Confirmation, OrderRules
from backtest.instruments import MONEY_UNIT, Instrument
from backtest.queueing import CHUNK, writable
from backtest.quotes import Quotes, QuotesAt
from backtest.room import Room

if TYPE_CHECKING:
    import pyarrow as pa

_FILLS = 1 << 15
_INT64 = 2**63 - 1


class Uncompiled(Exception):
    """The compiled loops cannot settle this exactly."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The market accountant's result; ``fills`` is ``None`` where the ledger's sink has them."""

    metrics: dict[str, Any]
    fills: pa.Table | None
    equity: pa.Table


def settle(ledger: Ledger, rules: OrderRules, ends: Int64Array) -> Settlement:
    """Settle a run.

    Args:
        ledger: the run.
        rules: of orders.
        ends: ends of the time buckets of the equity table, ns, ascending.

    Raises:
        Uncompiled: plain Python has to do it.
        RunError: the sizing rule gave something other than whole lots.
    """
    desk = Desk(ledger, rules, ends)
    desk.decide()
    fills = desk.trade()
    return Settlement(desk.metrics(), fills, desk.equity())


class Desk:
    """The state of settling one run: ``decide`` sets every target, ``trade`` fills orders."""

    def __init__(self, ledger: Ledger, rules: OrderRules, ends: Int64Array) -> None:
        from backtest.compiled import trading as loops

        self._loops = loops
        self._ledger = ledger
        self._rules = rules
        self._ends = ends
        self._room = ledger.room or Room(len(ledger.events))
        self._symbols = len(ledger.symbols)
        self._tradable = np.array([i.tradable for i in ledger.instruments])
        self._instruments = instrument_table(ledger.instruments)
        self._link: Int64Array = self._room.column(np.int64)
        self._wanted: Int64Array = self._room.column(np.int64)
        self._current = _rows(self._symbols, 2)
        self._current[:, 0] = -1
        self._marks = _rows(len(ends), self._symbols)
        self._held = _rows(self._symbols, 2)
        self._sums = _rows(self._symbols, 11)
        self._booked = np.zeros((self._symbols, len(ends), 9), dtype=np.int64)
        self._closing: list[list[int]] = []

    def decide(self) -> None:
        """Follow the quotes, and set the target of every event that has a say."""
        ledger, loops = self._ledger, self._loops
        latest, pending = _rows(self._symbols, 2), _rows(self._symbols, 4)
        latest[:, 0] = -1
        clock = np.zeros(1, dtype=np.int64)
        for first, last in chunks(len(ledger.events)):
            rows = slice(first, last)
            events = ledger.events.select(rows)
            standing = np.empty(last - first, dtype=np.int64)
            say = np.empty(last - first, dtype=np.uint8)
            bid, ask = writable(events.bid), writable(events.ask)
            columns = writable(events.symbol), writable(events.ts_event)
            timing = ledger.timing
            in_order = loops.stand(
                first, *columns, bid, ask,
                writable(timing.status[rows]), writable(timing.ended[rows]),
                self._link, self._wanted, self._current, latest, self._ends, self._marks, clock,
                standing, say,
            )  # fmt: skip
            if not in_order:
                raise Uncompiled
            eligible = (standing >= 0) & self._tradable[events.symbol]
            eligible[: max(ledger.warmup - first, 0)] = False
            wanted, _ = self._targets(ledger.answers, first, standing, eligible & (say > 0))
            self._wanted[rows] = wanted
            if ledger.undropped is not None:
                target, has_say = self._targets(ledger.undropped, first, standing, eligible)
                # An event before its symbol's first quote has no say: any row will do for it.
                quoted = np.maximum(standing, 0)
                paper = loops.paper(
                    *columns, standing, target, has_say,
                    cast(Any, ledger.events.bid)[quoted], cast(Any, ledger.events.ask)[quoted],
                    pending, self._held, self._rules.no_trade_band,
                )  # fmt: skip
                if not paper:
                    raise Uncompiled
            self._room.release()
            ledger.progress(last // 2)
        loops.finish_marks(self._current, self._marks, clock)
        if not loops.finish_paper(pending, self._held, self._rules.no_trade_band):
            raise Uncompiled

    def _targets(
        self, answers: Answers, first: int, standing: Int64Array, say: BoolArray
    ) -> tuple[Int64Array, BoolArray]:
        rows = np.flatnonzero(say)
        targets = np.full(len(say), self._loops.SILENT, dtype=np.int64)
        targets[rows] = sized(
            self._ledger, self._rules, answers.forecast[first + rows], standing[rows]
        )
        return targets, say

    def trade(self) -> pa.Table | None:
        """Send and fill every order, close what is open; the fills, unless the sink takes them."""
        ledger = self._ledger
        trader = Trader(ledger, self._rules, self._link, self._wanted, self._current[:, 1],
                        self._instruments, self._ends, self._sums, self._booked)  # fmt: skip
        pieces = []
        waiting = np.empty((0, self._loops.FILL_SIZE), dtype=np.int64)
        count = len(ledger.events)
        for first, last in chunks(count):
            waiting = np.concatenate([waiting, *trader.run(first, last)])
            if last < count:
                done = waiting[:, self._loops.T4] < ledger.events.ts_event[last]
            else:
                waiting = np.concatenate([waiting, self._closed(trader.book)])
                done = np.ones(len(waiting), dtype=np.bool_)
            ready, waiting = waiting[done], waiting[~done]
            if len(ready) or last == count:
                frame = self._fill_frame(ready)
                if ledger.sink is None:
                    pieces.append(arrow_table(frame))
                else:
                    ledger.sink.write("fills", frame)
            self._room.release()
            ledger.progress((count + last) // 2)
        if ledger.sink is not None:
            return None
        import pyarrow as pa

        return pa.concat_tables(pieces)

    def _closed(self, book: Int64Array) -> Int64Array:
        """Fills that close what is open at the end, at the last valid touch."""
        loops, ledger, end = self._loops, self._ledger, self._rules.end
        rows = []
        for s in range(self._symbols):
            held = int(book[s, loops.POSITION])
            if not held:
                continue
            at, mid = (int(v) for v in self._current[s])
            touch = cast(Any, ledger.events.bid if held > 0 else ledger.events.ask)[at]
            price = 2 * int(touch)
            instrument = ledger.instruments[s]
            worth, fee = instrument.half_tick_lot, instrument.fee(-held, price)
            costs = [0, 0, 0, 0, -held * (price - mid) * worth, 0, fee]
            row = [-1, s, -held, price, *[end] * 5, held * price * worth - fee, 0, *costs]
            if max(map(abs, row)) > _INT64:
                raise Uncompiled
            rows.append(row)
        self._closing = rows
        return np.array(rows, dtype=np.int64).reshape(-1, loops.FILL_SIZE)

    def _fill_frame(self, fills: Int64Array) -> Frame:
        loops = self._loops
        fills = fills[np.lexsort((fills[:, loops.SYMBOL], fills[:, loops.T4]))]
        columns = np.ascontiguousarray(fills.T)
        instants = ("ts_event", "ts_received", "ts_begun", "ts_ended", "ts_venue")
        symbols = columns[loops.SYMBOL].astype(np.int32)
        return {
            "event": Column("int64", columns[loops.EVENT]),
            "symbol": Column("text", symbols, names=tuple(self._ledger.symbols)),
            "lots": Column("int64", columns[loops.LOTS]),
            "price_half_ticks": Column("int64", columns[loops.PRICE]),
            **{n: Column("time", columns[loops.T0 + k]) for k, n in enumerate(instants)},
            "cash": Column("int64", columns[loops.CASH]),
            "decision": Column("int64", columns[loops.DECISION]),
            **{n: Column("int64", columns[loops.COST + k]) for k, n in enumerate(COSTS)},
        }

    def metrics(self) -> dict[str, Any]:
        """The account's figures, by symbol and in total."""
        loops, ledger = self._loops, self._ledger
        by_symbol = [[int(v) for v in row] for row in self._sums]
        for row in self._closing:
            sums = by_symbol[row[loops.SYMBOL]]
            for k in range(9):
                sums[k] += row[loops.CASH + k]
            sums[9] += 1
            sums[10] += abs(row[loops.LOTS])
        ideal = [0] * self._symbols
        for s, instrument in enumerate(ledger.instruments):
            position, cost = (int(v) for v in self._held[s])
            last = int(self._current[s, 1])
            ideal[s] = (
                (position * last - cost) * instrument.half_tick_lot if position or cost else 0
            )
        has_ideal = ledger.undropped is not None
        total = [sum(column) for column in zip(*by_symbol, strict=True)]
        currency = next((i.currency for i in ledger.instruments if i.tradable), None)
        return {
            "currency": currency,
            "money_unit": "1e-9",
            **_summary(total, sum(ideal) if has_ideal else None),
            "by_symbol": {
                symbol: _summary(by_symbol[s], ideal[s] if has_ideal else None)
                for s, symbol in enumerate(ledger.symbols)
            },
        }

    def equity(self) -> pa.Table:
        """Mark to market at the end of each bucket, and what was booked within it, by symbol."""
        import pyarrow as pa

        ledger, loops = self._ledger, self._loops
        for row in self._closing:
            bucket = self._booked[row[loops.SYMBOL], -1]
            bucket[0] += row[loops.LOTS]
            bucket[1] += row[loops.CASH]
            bucket[2:] += row[loops.COST :]
        closed = {row[loops.SYMBOL] for row in self._closing}
        traded = [s for s in range(self._symbols) if self._sums[s, 9] or s in closed]
        parts: dict[str, list[Any]] = {
            name: [] for name in ("ts", "position", "net", "decision", *COSTS)
        }
        for s in traded:
            booked = self._booked[s]
            position = np.cumsum(booked[:, 0])
            worth = ledger.instruments[s].half_tick_lot
            value = np.abs(position.astype(np.float64) * self._marks[:, s] * worth).max()
            if value + np.abs(booked[:, 1].astype(np.float64)).sum() > _INT64 / 4:
                raise Uncompiled
            net = np.cumsum(booked[:, 1]) + position * self._marks[:, s] * worth
            parts["ts"].append(self._ends)
            parts["position"].append(position)
            parts["net"].append(net)
            parts["decision"].append(np.diff(net, prepend=0) + booked[:, 2:].sum(axis=1))
            for k, name in enumerate(COSTS):
                parts[name].append(booked[:, 2 + k])
        joined = {k: np.concatenate(v) if v else np.empty(0, np.int64) for k, v in parts.items()}
        names = np.repeat(np.array([ledger.symbols[s] for s in traded], object), len(self._ends))
        return pa.table(
            {
                "ts": pa.array(joined.pop("ts"), pa.timestamp("ns", "UTC")),
                "symbol": pa.array(names, pa.string()),
                **joined,
            }
        )


class Trader:
    """Runs the compiled order loop over rows whose targets are set."""

    def __init__(
        self,
        ledger: Ledger,
        rules: OrderRules,
        link: Int64Array,
        wanted: Int64Array,
        mids: Int64Array,
        instruments: Int64Array,
        ends: Int64Array,
        sums: Int64Array,
        booked: Int64Array,
    ) -> None:
        from backtest.compiled import trading as loops

        self._loops = loops
        self._entry, self._response = ledger.entry, ledger.response
        events, timing = ledger.events, ledger.timing
        symbols = len(ledger.symbols)
        sessions = np.array(rules.sessions or [], dtype=np.int64).reshape(-1, 2)
        impact = rules.impact
        if max(impact.numerator, impact.denominator, rules.no_trade_band) > _INT64:
            raise Uncompiled
        terms = np.array(
            [
                rules.no_trade_band,
                impact.numerator,
                impact.denominator,
                rules.end,
                rules.sessions is None,
                events.bid_size is None,
            ],
            dtype=np.int64,
        )
        self.book = _rows(symbols, loops.BOOK_SIZE)
        for place in (loops.CURRENT, loops.QUOTE, loops.ORDERS):
            self.book[:, place] = -1
        self.book[:, loops.POINTER :] = -1
        self.book[:, loops.ARRIVED] = np.iinfo(np.int64).min
        self._state = np.zeros(3, dtype=np.int64)
        self._fills = np.empty((_FILLS, loops.FILL_SIZE), dtype=np.int64)
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
            np.ascontiguousarray(mids),
            terms,
            np.ascontiguousarray(sessions[:, 0]),
            np.ascontiguousarray(sessions[:, 1]),
            ends,
            self._fills,
            sums,
            booked,
        )
        self._instruments = instruments

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

    def run(self, first: int, last: int, events: Int64Array | None = None) -> Iterator[Int64Array]:
        """Fills int64 [k, FILL_SIZE] of the rows ``first`` to ``last``, or of those in ``events``.

        Raises:
            Uncompiled: a number does not fit 64 bits.
        """
        loops, state = self._loops, self._state
        rows: Any = slice(first, last) if events is None else events
        entry, response = writable(self._entry[rows]), writable(self._response[rows])
        listed = np.empty(0, dtype=np.int64) if events is None else events
        state[0], state[1] = first, 0
        while True:
            code = loops.trade(
                state, first, last, listed, *self._columns, entry, response,
                self.book, self._pool, self._instruments, *self._rest,
            )  # fmt: skip
            if code == loops.OVERFLOW:
                raise Uncompiled
            if code == loops.CROWDED:
                self._state[2] = len(self._pool)
                more = _pool(len(self._pool))
                more[:, 3] = np.where(more[:, 3] < 0, -1, more[:, 3] + len(self._pool))
                self._pool = np.concatenate([self._pool, more])
                continue
            yield self._fills[: state[1]].copy()
            if code == loops.DONE:
                return
            state[1] = 0


def quote_chain(ledger: Ledger, room: Room) -> tuple[Int64Array, Int64Array, Int64Array]:
    """For trading as one goes: what stands when.

    Returns:
        The chain of valid quotes [n], the row standing at each event [n] (-1: none yet), and the
        doubled mids at the end [S].
    """
    from backtest.compiled import trading as loops

    events, symbols = ledger.events, len(ledger.symbols)
    link, standing, unused = (room.column(np.int64) for _ in range(3))
    current, latest = _rows(symbols, 2), _rows(symbols, 2)
    current[:, 0] = -1
    nothing, clock = np.empty(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    for first, last in chunks(len(events)):
        chunk = events.select(slice(first, last))
        columns = (chunk.symbol, chunk.ts_event, chunk.bid, chunk.ask)
        unanswered = np.ones(last - first, dtype=np.uint8)
        loops.stand(
            first, *(writable(c) for c in columns), unanswered, nothing, link, unused, current,
            latest, nothing, _rows(0, symbols), clock, standing[first:last], unanswered.copy(),
        )  # fmt: skip
    return link, standing, np.ascontiguousarray(current[:, 1])


def sized(ledger: Ledger, rules: OrderRules, forecast: Any, standing: Int64Array) -> Int64Array:
    """Clipped target positions for forecasts, given the rows of the quotes that stand."""
    quotes = cast(Quotes, QuotesAt(ledger.events, standing))
    targets = np.asarray(ledger.sizing.targets(forecast, quotes))
    if targets.shape != forecast.shape or targets.dtype.kind != "i":
        raise RunError(
            f"it gave {targets.dtype} {list(targets.shape)}, not whole lots [{len(forecast)}]",
            place=f"sizing rule {type(ledger.sizing).__name__}",
        )
    return rules.clip(targets.astype(np.int64, copy=False))


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
        if per_lot.denominator != 1 or max(map(abs, row)) > _INT64:
            raise Uncompiled
        rows.append(row)
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def chunks(count: int, room: Room | None = None) -> Iterator[tuple[int, int]]:
    """Bounds of successive stretches of at most ``CHUNK`` rows; after each the room is released."""
    for first in range(0, count, CHUNK):
        yield first, min(first + CHUNK, count)
        if room is not None:
            room.release()


def _rows(count: int, width: int) -> Int64Array:
    return np.zeros((count, width), dtype=np.int64)


def _pool(count: int) -> Int64Array:
    """Free entries, each naming the next."""
    pool = _rows(count, 4)
    pool[:, 3] = np.arange(1, count + 1)
    pool[-1, 3] = -1
    return pool


def _summary(sums: Sequence[int], ideal: int | None) -> dict[str, Any]:
    return {
        "net": sums[0],
        "decision": sums[1],
        **{name: sums[2 + k] for k, name in enumerate(COSTS)},
        "ideal": ideal,
        "missed": None if ideal is None else ideal - sums[1],
        "fills": sums[9],
        "lots_traded": sums[10],
    }
