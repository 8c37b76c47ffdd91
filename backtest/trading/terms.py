"""What is fixed before a run trades: instruments, rules, latencies of orders, closing quotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.errors import DataError, UsageError
from backtest.market.instruments import Instrument
from backtest.trading.layout import (
    ALWAYS_OPEN,
    BAND,
    CLOSES,
    CLOSING_MID,
    END,
    ENTRY_LATENCY,
    FEE_RATE,
    IMPACT_OVER,
    IMPACT_UNDER,
    LATEST,
    LIMIT,
    RESPONSE_LATENCY,
    RULE_SIZE,
    TERM_SIZE,
    WORTH,
)
from backtest.trading.limits import Limits
from backtest.trading.order_terms import OrderTerms
from backtest.trading.orders import Latency, OrderRules
from backtest.trading.sizing import SizingRule


class ClosingQuotes:
    """Each symbol's last two-sided quote inside a session, at which open positions close.

    Args:
        symbols: size of the symbol table.
        rules: of orders: sessions and end of the window.

    Attributes:
        known: which symbols have one, bool [S].
        quotes: bid and ask in ticks, their sizes in lots, int64 [S, 4].
    """

    def __init__(self, symbols: int, rules: OrderRules) -> None:
        self.known: BoolArray = np.zeros(symbols, dtype=np.bool_)
        self.quotes: Int64Array = np.zeros((symbols, 4), dtype=np.int64)
        self._end = rules.end
        self._always_open = rules.sessions is None
        self._opens, self._closes = session_times(rules.sessions)

    def look_back(self, columns: Sequence[Any]) -> bool:
        """Look through rows that lie right before those that were looked through already.

        Args:
            columns: symbol int32; ts_event, bid, ask, bid_size and ask_size int64, all [n].

        Returns:
            Whether every symbol's quote is known, so that earlier rows do not matter.
        """
        from backtest.trading.quotes_loops import find_closing

        sessions = (self._always_open, self._opens, self._closes)
        return bool(find_closing(*columns, self._end, *sessions, self.known, self.quotes))

    @property
    def doubled_mid(self) -> Int64Array:
        """Bid + ask, half ticks, int64 [S]; 0 where there is none."""
        return self.quotes[:, 0] + self.quotes[:, 1]


@dataclass(frozen=True, slots=True)
class Terms:
    """What trading needs to know before it starts.

    Attributes:
        symbols: the dataset's symbol table [S].
        instruments: one for each symbol [S].
        rules: of orders: sessions and the end of the window are among them.
        sizing: from forecast to target position; ``None`` where orders rest.
        entry, response: order entry and response latency.
        warmup: events before this number never trade.
        ends: ends of the time buckets of the equity table, ns, ascending; the last is the window's.
        closing: where open positions close.
        ideal: keep the ideal accounts, for which ``settle`` is given undropped forecasts.
        spans: open time of each of the buckets, ns, by which means over their ends are weighted;
            ``None``: all count alike.
        reports: keep confirmations until ``confirmed`` takes them.
        orders: how orders rest, and where they come from; ``None``: none does, and ``sizing`` makes
            targets.
        limits: what the venue holds the account to; ``None``: nothing.
    """

    symbols: Sequence[str]
    instruments: Sequence[Instrument]
    rules: OrderRules
    sizing: SizingRule | None
    entry: Latency
    response: Latency
    warmup: int
    ends: Int64Array
    closing: ClosingQuotes
    ideal: bool = False
    spans: Int64Array | None = None
    reports: bool = False
    orders: OrderTerms | None = None
    limits: Limits | None = None

    @property
    def names_orders(self) -> bool:
        """Whether fills say of which order they are: where orders rest, or a switch may close."""
        return self.orders is not None or (self.limits is not None and self.limits.switches)

    def rule_table(self) -> Int64Array:
        """What is fixed for all symbols, int64 [RULE_SIZE].

        Raises:
            UsageError: the impact has more digits than can be counted with.
        """
        rules, table = self.rules, np.zeros(RULE_SIZE, dtype=np.int64)
        if max(rules.impact.numerator, rules.impact.denominator) >= LIMIT:
            raise UsageError(
                f"impact is {float(rules.impact):g}, which has too many digits",
                place="accountant 'market', parameter 'impact'",
                remedy="Round it to nine decimals.",
            )
        table[BAND] = min(rules.no_trade_band, LATEST)
        table[IMPACT_OVER], table[IMPACT_UNDER] = rules.impact.numerator, rules.impact.denominator
        table[END], table[ALWAYS_OPEN] = rules.end, rules.sessions is None
        for place, latency in ((ENTRY_LATENCY, self.entry), (RESPONSE_LATENCY, self.response)):
            table[place] = -1 if callable(latency) else latency
        return table

    def instrument_table(self) -> Int64Array:
        """What is fixed for each symbol, int64 [S, TERM_SIZE]; zeros where it is not tradable.

        Raises:
            DataError: an instrument's money has more digits than can be counted with.
        """
        table = np.zeros((len(self.symbols), TERM_SIZE), dtype=np.int64)
        table[:, CLOSING_MID] = self.closing.doubled_mid
        table[:, CLOSES] = self.closing.known
        for s, instrument in enumerate(self.instruments):
            if not instrument.tradable:
                continue
            fees = [*instrument.fees(maker=False), *instrument.fees(maker=True)]
            fractions = [number for fee in fees for number in fee.as_integer_ratio()]
            worth = instrument.half_tick_lot
            if max(map(abs, (*fractions, worth))) >= LIMIT:
                raise DataError(
                    f"a fee of {instrument.fee_rate} of the notional and "
                    f"{instrument.fee_per_lot} a lot has too many digits to be counted exactly",
                    place=f"symbol {self.symbols[s]!r}",
                    remedy="Round the fees in the dataset card, to nine decimals for instance.",
                )
            table[s, WORTH] = worth
            table[s, FEE_RATE:TERM_SIZE] = fractions
        return table

    def tradable(self) -> BoolArray:
        """Which symbols trade, bool [S]."""
        return np.array([i.tradable for i in self.instruments], dtype=np.bool_)


def session_times(sessions: Sequence[tuple[int, int]] | None) -> tuple[Int64Array, Int64Array]:
    """Openings and closings of sessions, each int64 ns [n] in one piece; empty if always open."""
    times = np.array(sessions or [], dtype=np.int64).reshape(-1, 2)
    return np.ascontiguousarray(times[:, 0]), np.ascontiguousarray(times[:, 1])
