"""What the compiled market accountant hands over: fills, equity and figures, from its sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.columnar import Column, Frame
from backtest.core.compiled import INT64, Uncompiled
from backtest.trading.accountant import COSTS, Ledger

if TYPE_CHECKING:
    import pyarrow as pa

_INSTANTS = ("ts_event", "ts_received", "ts_begun", "ts_ended", "ts_venue")


@dataclass(frozen=True, slots=True)
class Books:
    """What the loops add up while they trade.

    Attributes:
        sums: by symbol: cash, decision, costs, fills, lots [S, 11].
        booked: by symbol and time bucket: lots, cash, costs [S, k, 9].
        marks: doubled mids at the ends of the buckets [k, S].
        held: by symbol: the ideal position, and what it cost in half-tick-lots [S, 2].
        mids: doubled mids at the window's end [S].
    """

    sums: Int64Array
    booked: Int64Array
    marks: Int64Array
    held: Int64Array
    mids: Int64Array

    @classmethod
    def empty(cls, symbols: int, buckets: int) -> Books:
        """Nothing traded yet."""
        shapes = ((symbols, 11), (symbols, buckets, 9), (buckets, symbols), (symbols, 2), symbols)
        return cls(*(np.zeros(shape, dtype=np.int64) for shape in shapes))


def fill_frame(symbols: Sequence[str], fills: Int64Array, rows: Int64Array) -> Frame:
    """Some rows of fills int64 [k, FILL_SIZE] by arrival, then symbol, as the table has them."""
    from backtest.trading import loops

    columns = np.empty((loops.FILL_SIZE, len(rows)), dtype=np.int64)
    order = _by_arrival(fills[rows, loops.T4], fills[rows, loops.SYMBOL])
    loops.columns_of(fills, rows[order], columns)
    codes = columns[loops.SYMBOL].astype(np.int32)
    return {
        "event": Column("int64", columns[loops.EVENT]),
        "symbol": Column("text", codes, names=tuple(symbols)),
        "lots": Column("int64", columns[loops.LOTS]),
        "price_half_ticks": Column("int64", columns[loops.PRICE]),
        **{n: Column("time", columns[loops.T0 + k]) for k, n in enumerate(_INSTANTS)},
        "cash": Column("int64", columns[loops.CASH]),
        "decision": Column("int64", columns[loops.DECISION]),
        **{n: Column("int64", columns[loops.COST + k]) for k, n in enumerate(COSTS)},
    }


def figures(ledger: Ledger, books: Books, closing: Sequence[Sequence[int]]) -> dict[str, Any]:
    """The account's figures, by symbol and in total; ``closing`` are the fills at the end."""
    from backtest.trading import loops

    by_symbol = [[int(v) for v in row] for row in books.sums]
    for row in closing:
        sums = by_symbol[row[loops.SYMBOL]]
        for k in range(9):
            sums[k] += row[loops.CASH + k]
        sums[9] += 1
        sums[10] += abs(row[loops.LOTS])
    ideal = [0] * len(by_symbol)
    for s, instrument in enumerate(ledger.instruments):
        position, cost = (int(v) for v in books.held[s])
        last = int(books.mids[s])
        ideal[s] = (position * last - cost) * instrument.half_tick_lot if position or cost else 0
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


def equity(
    ledger: Ledger, books: Books, closing: Sequence[Sequence[int]], ends: Int64Array
) -> pa.Table:
    """Mark to market at the end of each bucket, and what was booked within it, by symbol.

    Raises:
        Uncompiled: a number does not fit 64 bits.
    """
    import pyarrow as pa

    from backtest.trading import loops

    for row in closing:
        bucket = books.booked[row[loops.SYMBOL], -1]
        bucket[0] += row[loops.LOTS]
        bucket[1] += row[loops.CASH]
        bucket[2:] += row[loops.COST :]
    closed = {row[loops.SYMBOL] for row in closing}
    traded = [s for s in range(len(books.sums)) if books.sums[s, 9] or s in closed]
    parts: dict[str, list[Any]] = {n: [] for n in ("ts", "position", "net", "decision", *COSTS)}
    for s in traded:
        booked, marks = books.booked[s], books.marks[:, s]
        position = np.cumsum(booked[:, 0])
        worth = ledger.instruments[s].half_tick_lot
        value = np.abs(position.astype(np.float64) * marks * worth).max()
        if value + np.abs(booked[:, 1].astype(np.float64)).sum() > INT64 / 4:
            raise Uncompiled
        net = np.cumsum(booked[:, 1]) + position * marks * worth
        parts["ts"].append(ends)
        parts["position"].append(position)
        parts["net"].append(net)
        parts["decision"].append(np.diff(net, prepend=0) + booked[:, 2:].sum(axis=1))
        for k, name in enumerate(COSTS):
            parts[name].append(booked[:, 2 + k])
    joined = {k: np.concatenate(v) if v else np.empty(0, np.int64) for k, v in parts.items()}
    names = np.repeat(np.array([ledger.symbols[s] for s in traded], object), len(ends))
    return pa.table(
        {
            "ts": pa.array(joined.pop("ts"), pa.timestamp("ns", "UTC")),
            "symbol": pa.array(names, pa.string()),
            **joined,
        }
    )


def _by_arrival(arrived: Int64Array, symbol: Int64Array) -> Int64Array:
    """The order by arrival, then symbol; what is nearly in order is quickly sorted."""
    if not len(arrived):
        return np.empty(0, dtype=np.int64)
    since, symbols = arrived - arrived.min(), int(symbol.max()) + 1
    if int(since.max()) >= INT64 // symbols:
        return np.lexsort((symbol, arrived))
    return np.argsort(since * symbols + symbol, kind="stable")


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
