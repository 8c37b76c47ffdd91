"""Fills and the instruments that they are in, as the run folder has them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.core.arrays import BoolArray, Float64Array, Int64Array
from backtest.market.instruments import Instrument
from backtest.trading import layout as at
from backtest.trading import limit_layout as ll
from backtest.trading import order_layout as ol
from backtest.trading.layout import COSTS

if TYPE_CHECKING:
    import pyarrow as pa

INSTANTS = ("ts_event", "ts_received", "ts_begun", "ts_ended", "ts_arrived", "ts_venue")
"""When the event of a fill happened and was received, was served, its order arrived, and it was
filled at the venue: on its arrival, or later if it rested."""

RESTING = ("order", "maker", "ts_arrived", "rest")
"""Columns that are written only where orders rest; ``runs.implied`` fills them in for readers."""

QUEUED = ("ahead", "printed")
"""Columns of fills of resting orders whose place was known, null of all others: lots ahead when it
became known, and lots printed at the order's price from then to the fill, with its own print."""

CLOSING = ("event", "order")
"""Columns that tell the fills that no message led to, since both are below 0: those that close a
position at the end of the window (-1), or because of a switch (``FLATTENED``)."""


def closing(fills: pa.RecordBatch) -> BoolArray:
    """Which fills close a position at the end of the window or because of a switch, bool [n].

    Args:
        fills: rows of the table, with the columns ``CLOSING``.
    """
    from backtest.core.arrow import integers

    event, order = (integers(fills[name]) for name in CLOSING)
    return (event == -1) & (order < 0)


def _side_array(side: Int64Array) -> pa.Array:
    """``buy`` for 1, ``sell`` for -1 and empty for 0, as a column of a table [n]."""
    from backtest.core.arrow import symbol_array

    return symbol_array((1 - side) // 2 + (side == 0) * 2, ("buy", "sell", ""))


class FillTable:
    """Makes rows of the table ``fills``.

    Args:
        symbols: the symbol table [S].
        instruments: one for each symbol [S].
        rests: whether orders rest. If none does, every fill is made on its order's arrival, and
            columns that say so are left out.
    """

    def __init__(
        self, symbols: Sequence[str], instruments: Sequence[Instrument], *, rests: bool = False
    ) -> None:
        self._symbols, self._rests = symbols, rests
        halves = [Fraction(i.tick_size) / 2 for i in instruments]
        self._over = np.array([float(half.numerator) for half in halves])
        self._under = np.array([float(half.denominator) for half in halves])

    def rows(self, fills: Int64Array) -> pa.RecordBatch:
        """Some fills.

        Args:
            fills: as ``Venue.take_fills`` gives them, int64 [KNOWN, k]; the columns lie in it.
        """
        import pyarrow as pa

        from backtest.core.arrow import batch_of, symbol_array, time_array

        symbol, half_ticks = fills[at.SYMBOL], fills[at.PRICE]
        maker = fills[at.MAKER] != 0
        columns = {
            "event": fills[at.EVENT],
            "order": fills[at.ORDER],
            "maker": maker,
            "symbol": symbol_array(symbol, self._symbols),
            "lots": fills[at.LOTS],
            "displayed": np.where(maker, 0, fills[at.DISPLAYED]),
            "taken": np.where(maker, 0, fills[at.TAKEN]),
            "price": self.prices(symbol, half_ticks),
            "price_half_ticks": half_ticks,
            **{name: time_array(fills[at.T0 + k]) for k, name in enumerate(INSTANTS)},
            "cash": fills[at.CASH],
            "decision": fills[at.DECISION],
            **{name: fills[at.FEED + k] for k, name in enumerate(COSTS)},
        }
        if self._rests:
            unknown = ~maker | (fills[at.AHEAD] == ol.NOT_KNOWN)
            for name, place in zip(QUEUED, (at.AHEAD, at.PRINTED), strict=True):
                columns[name] = pa.array(fills[place], mask=unknown)
        else:
            for name in RESTING:
                del columns[name]
        return batch_of(columns, nullable=QUEUED)

    def reports(self, log: Int64Array) -> pa.RecordBatch:
        """Some rows of the table ``orders``: what the venue reported of orders that rest.

        Args:
            log: as ``OrderVenue.take_log`` gives it, int64 [n, LOG_SIZE].
        """
        from backtest.core.arrow import batch_of, symbol_array, time_array

        symbol, price, side, kind = (
            log[:, k].copy() for k in (ol.L_SYMBOL, ol.L_PRICE, ol.L_SIDE, ol.L_KIND)
        )
        times = ("ts_venue", "ts_known", *INSTANTS[:5])
        places = (ol.L_TIME, ol.L_KNOWN, *range(ol.L_T0, ol.L_T4 + 1))
        return batch_of(
            {
                "symbol": symbol_array(symbol, self._symbols),
                "order": log[:, ol.L_ID].copy(),
                "report": symbol_array(kind, ol.REPORTS),
                "side": _side_array(side),
                "lots": np.abs(log[:, ol.L_LOTS]),
                "price": self.prices(symbol, 2 * price),
                "price_half_ticks": 2 * price,
                "event": log[:, ol.L_EVENT].copy(),
                **{
                    name: time_array(log[:, place].copy())
                    for name, place in zip(times, places, strict=True)
                },
            }
        )

    def breaches(self, rows: Int64Array, names: Sequence[str]) -> pa.RecordBatch:
        """What limits held back.

        Args:
            rows: as ``Venue.take_breaches`` gives them, int64 [n, BREACH_SIZE].
            names: of the limits.
        """
        from backtest.core.arrow import batch_of, symbol_array, time_array

        column = [rows[:, k].copy() for k in range(ll.BREACH_SIZE)]
        side, symbol = column[ll.B_SIDE], column[ll.B_SYMBOL]
        symbol[symbol < 0] = len(self._symbols)
        return batch_of(
            {
                "ts": time_array(column[ll.B_TIME]),
                "limit": symbol_array(column[ll.B_LIMIT], names),
                "symbol": symbol_array(symbol, [*self._symbols, ""]),
                "order": column[ll.B_ORDER],
                "side": _side_array(side),
                "lots": column[ll.B_LOTS],
                "event": column[ll.B_EVENT],
            }
        )

    def prices(self, symbol: Any, half_ticks: Any) -> Float64Array:
        """Prices in currency, float64 [n], of prices in half ticks, int64 [n].

        One division of whole numbers, so that 110.99 is the number that is written so.
        """
        return half_ticks * self._over[symbol] / self._under[symbol]


def instrument_table(symbols: Sequence[str], instruments: Sequence[Instrument]) -> pa.RecordBatch:
    """What lots and prices of the tradable symbols mean, a row a symbol.

    Decimals are float64, the nearest to each.
    """
    from backtest.core.arrow import batch_of, symbol_array

    traded = [k for k, instrument in enumerate(instruments) if instrument.tradable]
    chosen = [instruments[k] for k in traded]
    currencies = sorted({instrument.currency for instrument in chosen})
    currency = [currencies.index(instrument.currency) for instrument in chosen]
    numbers = ("tick_size", "lot_size", "multiplier", "fee_rate", "fee_per_lot", "unit")
    columns = {
        name: np.array([float(getattr(instrument, name)) for instrument in chosen])
        for name in numbers
    }
    for name in ("maker_fee_rate", "maker_fee_per_lot"):
        usual = columns[name.removeprefix("maker_")]
        own = [getattr(instrument, name) for instrument in chosen]
        columns[name] = np.array(
            [fee if rate is None else float(rate) for rate, fee in zip(own, usual, strict=True)]
        )
    columns["money_unit"] = columns.pop("unit")
    return batch_of(
        {
            "symbol": symbol_array(traded, symbols),
            **columns,
            "currency": symbol_array(currency, currencies),
        }
    )
