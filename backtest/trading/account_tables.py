"""What the market accountant hands over: equity over time, and figures, all exact."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.errors import UsageError
from backtest.market.instruments import Instrument
from backtest.trading import layout as at
from backtest.trading.fill_table import FillTable
from backtest.trading.layout import COSTS
from backtest.trading.refusals import too_large
from backtest.trading.terms import Terms

if TYPE_CHECKING:
    import pyarrow as pa

_INT64 = 2**63 - 1

_MOST_CELLS = 2**25
"""Time buckets of all symbols together; each takes 80 bytes."""


@dataclass(slots=True)
class Books:
    """What is added up while a run trades, as ``layout`` has it.

    Attributes:
        sums: by symbol, in two parts, int64 [S, 2, SUM_SIZE]; without the fills that close.
        booked: by symbol and time bucket, int64 [S, k, BUCKET_SIZE].
        marks: doubled mids at the ends of the buckets, int64 [k, S].
        held: the two ideal accounts of each symbol, int64 [S, 2, HELD_SIZE].
        closing: the fills that close what is open at the end, by symbol, int64 [n, FILL_SIZE].
        beyond: by how many lots each of them exceeds the displayed size [n].
    """

    sums: Int64Array
    booked: Int64Array
    marks: Int64Array
    held: Int64Array
    closing: Int64Array = field(default_factory=lambda: np.empty((0, at.FILL_SIZE), dtype=np.int64))
    beyond: list[int] = field(default_factory=list)

    @classmethod
    def empty(cls, symbols: int, buckets: int) -> Books:
        """Nothing traded yet.

        Raises:
            UsageError: so many buckets for so many symbols would take gigabytes.
        """
        if symbols * buckets > _MOST_CELLS:
            raise UsageError(
                f"{buckets:,} time buckets for each of {symbols:,} symbols are too many",
                place="the accountant's time buckets",
                remedy=f"Choose longer ones: {_MOST_CELLS // symbols:,} or fewer in the window.",
            )
        return cls(
            np.zeros((symbols, 2, at.SUM_SIZE), dtype=np.int64),
            np.zeros((symbols, buckets, at.BUCKET_SIZE), dtype=np.int64),
            np.zeros((buckets, symbols), dtype=np.int64),
            np.zeros((symbols, 2, at.HELD_SIZE), dtype=np.int64),
        )

    def totals(self, symbol: int) -> list[int]:
        """A symbol's sums, those of the fills that close included, by the places ``SUM_...``."""
        rest, limits = self.sums[symbol].tolist()
        sums = [low + high * at.LIMIT for low, high in zip(rest, limits, strict=True)]
        for row in self.closing[self.closing[:, at.SYMBOL] == symbol].tolist():
            for k in range(at.SUM_FILLS):
                sums[k] += row[at.CASH + k]
            sums[at.SUM_FILLS] += 1
            sums[at.SUM_TURNOVER] += abs(row[at.CASH] + row[at.FEES])
        return sums


def close_positions(terms: Terms, books: Books, positions: Int64Array) -> None:
    """Close what is open at the end at the touch of the closing quotes, whatever their size.

    All instants are the end's, and all mids the closing one, so that only the spread and the fee
    cost something.

    Args:
        positions: signed lots, int64 [S].

    Raises:
        RunError: the money of a fill does not fit 64 bits.
    """
    symbols = np.flatnonzero(positions).tolist()
    books.closing = np.zeros((len(symbols), at.FILL_SIZE), dtype=np.int64)
    for fill, s in zip(books.closing, symbols, strict=True):
        held, instrument = int(positions[s]), terms.instruments[s]
        bid, ask, bid_size, ask_size = terms.closing.quotes[s].tolist()
        touch, displayed = (bid, bid_size) if held > 0 else (ask, ask_size)
        price = 2 * touch
        fee = instrument.fee(-held, price)
        cash = held * price * instrument.half_tick_lot - fee
        spread = -held * (price - bid - ask) * instrument.half_tick_lot
        if max(abs(cash), abs(spread), abs(fee)) >= at.LIMIT:
            raise too_large(terms.symbols[s], f"closing {abs(held)} lots", abs(cash))
        fill[at.EVENT], fill[at.SYMBOL], fill[at.LOTS], fill[at.PRICE] = -1, s, -held, price
        fill[at.ORDER] = -1
        fill[at.T0 : at.FILLED + 1], fill[at.DISPLAYED] = terms.rules.end, displayed
        fill[at.CASH], fill[at.SPREAD], fill[at.FEES], fill[at.TRADED] = (
            cash,
            spread,
            fee,
            abs(held),
        )
        books.beyond.append(max(abs(held) - displayed, 0))


def equity_table(terms: Terms, books: Books) -> pa.Table:
    """Mark to market at the end of each time bucket, and what was booked within it, by symbol.

    Only symbols that traded are in it. The money of each is in the table exactly. Mids are absent
    before a symbol's first two-sided quote.

    Raises:
        RunError: an amount does not fit 64 bits.
    """
    import pyarrow as pa

    from backtest.core.arrow import symbol_array

    names = ("ts", "symbol", "position", "mid_half_ticks", "net", "decision", *COSTS)
    parts: dict[str, list[Any]] = {name: [] for name in names}
    for s in range(len(terms.symbols)):
        if not books.sums[s, at.UNITS, at.SUM_FILLS]:
            continue
        parts["ts"].append(terms.ends)
        parts["symbol"].append(np.full(len(terms.ends), s, dtype=np.int32))
        for name, values in _equity(terms, books, s).items():
            parts[name].append(values)
    joined = {k: np.concatenate(v) if v else np.empty(0, np.int64) for k, v in parts.items()}
    symbol, half_ticks = joined.pop("symbol"), joined.pop("mid_half_ticks")
    # A mark of 0 is none, unless a position is held at it: prices of some instruments may be 0.
    absent = (half_ticks == 0) & (joined["position"] == 0)
    mids = FillTable(terms.symbols, terms.instruments).prices(symbol, half_ticks)
    return pa.table(
        {
            "ts": pa.array(joined.pop("ts")).view(pa.timestamp("ns", "UTC")),
            "symbol": symbol_array(symbol, terms.symbols),
            "position": pa.array(joined.pop("position")),
            "mid": pa.array(mids, mask=absent),
            "mid_half_ticks": pa.array(half_ticks, mask=absent),
            **{name: pa.array(values) for name, values in joined.items()},
        }
    )


def _equity(terms: Terms, books: Books, s: int) -> dict[str, Int64Array]:
    """One symbol's rows of the equity table."""
    booked, worth = books.booked[s].copy(), terms.instruments[s].half_tick_lot
    marks = books.marks[:, s]
    rows = books.closing[books.closing[:, at.SYMBOL] == s]
    # What might not fit 64 bits is added up with Python's integers, at many times the cost.
    held = np.abs(np.cumsum(booked[:, at.BUCKET_LOTS].astype(np.float64))).max(initial=0.0) + 1.0
    largest = np.abs(booked.astype(np.float64)).sum() + np.abs(rows.astype(np.float64)).sum()
    largest += held * float(np.abs(marks).max(initial=0)) * worth
    exact: Any = np.int64 if 4.0 * largest < _INT64 else object
    booked, marks = booked.astype(exact), marks.astype(exact)
    for row in rows.astype(exact):
        booked[-1, at.BUCKET_LOTS] += row[at.LOTS]
        booked[-1, at.BUCKET_CASH] += row[at.CASH]
        booked[-1, at.BUCKET_COSTS :] += row[at.FEED : at.FEES + 1]
    position = np.cumsum(booked[:, at.BUCKET_LOTS])
    net = np.cumsum(booked[:, at.BUCKET_CASH]) + position * marks * worth
    costs = booked[:, at.BUCKET_COSTS :]
    columns = {
        "position": position,
        "mid_half_ticks": marks,
        "net": net,
        "decision": np.diff(net, prepend=0) + costs.sum(axis=1),
        **{name: costs[:, k] for k, name in enumerate(COSTS)},
    }
    for name, values in columns.items():
        most = max(map(abs, values), default=0) if exact is object else 0
        if most > _INT64:
            raise too_large(terms.symbols[s], f"{name!r} in the equity table", most)
    return {name: values.astype(np.int64) for name, values in columns.items()}


def figures(terms: Terms, books: Books) -> dict[str, Any]:
    """The account's figures, by symbol and in total: whole numbers of any size."""
    by_symbol = {}
    total: list[dict[str, int | None]] = []
    for s, symbol in enumerate(terms.symbols):
        sums = books.totals(s)
        figure = _summary(sums, _ideals(terms, books, s) if terms.ideal else None)
        closing = np.flatnonzero(books.closing[:, at.SYMBOL] == s).tolist()
        figure["closing"] = sum(
            -sum(books.closing[k, at.FEED : at.FEES + 1].tolist()) for k in closing
        )
        figure["closing_lots_beyond_displayed"] = sum(books.beyond[k] for k in closing)
        figure["fills"], figure["lots_traded"] = sums[at.SUM_FILLS], sums[at.SUM_LOTS]
        figure["turnover"] = sums[at.SUM_TURNOVER]
        figure["exposure"] = _exposure(terms, books, s)
        by_symbol[symbol] = figure
        total.append(figure)
    names = total[0] if total else {}
    tradable = next((i for i in terms.instruments if i.tradable), Instrument())
    currency = tradable.currency if any(i.tradable for i in terms.instruments) else None
    return {
        "currency": currency,
        "money_unit": f"{tradable.unit.normalize():e}",
        **{name: _sum([figure[name] for figure in total]) for name in names},
        "by_symbol": by_symbol,
    }


def _exposure(terms: Terms, books: Books, s: int) -> int:
    """The mean worth of a symbol's position, long or short, at the ends of the time buckets.

    Each counts by its open time, where the market closes. The last bucket counts with the position
    that the window's end closes.
    """
    lots = np.cumsum(books.booked[s][:, at.BUCKET_LOTS])
    held = np.flatnonzero(lots)
    worth = terms.instruments[s].half_tick_lot if len(held) else 0
    spans = terms.spans
    if spans is None or not spans.any():
        spans = np.ones(len(lots), dtype=np.int64)
    columns = (lots[held], books.marks[held, s], spans[held])
    rows = zip(*(column.tolist() for column in columns), strict=True)
    total = sum(abs(position * mark) * span for position, mark, span in rows)
    return total * worth // int(spans.sum())


def _ideals(terms: Terms, books: Books, s: int) -> tuple[int, int]:
    """What both ideal accounts of a symbol earned; nothing where nothing could be closed."""
    if not terms.closing.known[s]:
        return 0, 0
    last = int(terms.closing.doubled_mid[s])
    worth = terms.instruments[s].half_tick_lot if terms.instruments[s].tradable else 0
    every, answered = (
        (lots * last - cost - limits * at.LIMIT) * worth
        for lots, cost, limits in books.held[s].tolist()
    )
    return every, answered


def _summary(sums: list[int], ideals: tuple[int, int] | None) -> dict[str, int | None]:
    net, decision = sums[at.SUM_CASH], sums[at.SUM_DECISION]
    ideal, answered = ideals or (0, 0)
    compared = {
        "ideal": ideal,
        "missed": ideal - decision,
        "silence": ideal - answered,
        "liquidity": answered - decision,
    }
    return {
        "net": net,
        "decision": decision,
        **{name: sums[at.SUM_COSTS + k] for k, name in enumerate(COSTS)},
        **(compared if ideals is not None else dict.fromkeys(compared)),
    }


def _sum(values: list[int | None]) -> int | None:
    """The sum; ``None`` where the values are not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def drawdown(equity: pa.Table) -> int:
    """The deepest fall of the total's mark to market from its highest so far, at bucket ends."""
    times, nets = equity["ts"].cast("int64").to_numpy(), equity["net"].to_numpy()
    if not len(times):
        return 0
    ends, bucket = np.unique(times, return_inverse=True)
    # Totals may be longer than 64 bits.
    exact: Any = np.int64 if np.abs(nets.astype(np.float64)).sum() < _INT64 / 4 else object
    curve = np.zeros(len(ends) + 1, dtype=exact)  # from nothing on
    np.add.at(curve, bucket + 1, nets.astype(exact))
    return int((np.maximum.accumulate(curve) - curve).max())
