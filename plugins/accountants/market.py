"""The market accountant: orders against real quotes, and where the money went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.compiled import COMPILED_FROM, Uncompiled
from backtest.core.parameters import Nanoseconds
from backtest.errors import DataError, UsageError
from backtest.inference.answers import Answers
from backtest.market.quotes import StandingQuotes
from backtest.trading.accountant import (
    COSTS,
    Account,
    Accountant,
    AttributedFill,
    Ledger,
    attribute,
    totals,
)
from backtest.trading.orders import Decision, OrderRules, newest_of_each_instant, trade
from backtest.trading.settlement import Settlement, settle
from backtest.trading.sizing import target_lots

if TYPE_CHECKING:
    import pyarrow as pa

_BUCKETS = 500


@dataclass(frozen=True)
class MarketAccountant(Accountant):
    """Trades every answer at the quotes that stand when its order arrives.

    Attributes:
        position_limit: the most lots to hold of a symbol, either way; none: no limit.
        no_trade_band: a change of at most this many lots is not traded.
        impact: c in i = ceil(c x spread x filled / displayed) half ticks a lot.
        bucket: length of the time buckets of the equity table; none: a 500th of the window.
    """

    position_limit: int | None = None
    no_trade_band: int = 0
    impact: float = 0.0
    bucket: Nanoseconds | None = None

    needs_quotes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("position_limit", "no_trade_band", "impact", "bucket"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} is {value}, but it cannot be negative")
        if self.bucket == 0:
            raise ValueError("bucket is 0 ns, but a bucket lasts some time")

    def account(self, ledger: Ledger) -> Account:
        self._check(ledger)
        rules = self.rules(ledger.sessions, ledger.end)
        if len(ledger.events) >= COMPILED_FROM or ledger.sink is not None:
            try:
                return self._account(settle(ledger, rules, self.bucket_ends(ledger)), ledger)
            except Uncompiled:
                if ledger.sink is not None:
                    ledger.sink.discard("fills")
        return self.account_plainly(ledger)

    def account_plainly(self, ledger: Ledger) -> Account:
        """The same in plain Python, with integers of any length: what ``account`` must equal."""
        quotes = StandingQuotes(ledger.events, len(ledger.symbols))
        rules = self.rules(ledger.sessions, ledger.end)
        book = _Targets(ledger, quotes, rules)
        fills: list[list[AttributedFill]] = []
        ideal: list[int] | None = None if ledger.undropped is None else []
        for symbol, instrument in enumerate(ledger.instruments):
            traded = []
            if instrument.tradable:
                traded = trade(book.decisions(symbol), quotes.book(symbol), rules)
            fills.append(
                attribute(
                    symbol,
                    traded,
                    timing=ledger.timing,
                    ts_event=ledger.events.ts_event,
                    quotes=quotes,
                    instrument=instrument,
                    end=ledger.end,
                )
            )
            if ideal is not None:
                ideal.append(book.ideal(symbol) if instrument.tradable else 0)
        metrics = _metrics(ledger, fills, ideal)
        equity = _equity(ledger, fills, quotes, self.bucket_ends(ledger))
        metrics["max_drawdown"] = _drawdown(equity)
        return Account(metrics, {"fills": _fill_table(ledger, fills), "equity": equity})

    def rules(self, sessions: Sequence[tuple[int, int]] | None, end: int) -> OrderRules:
        """How targets become orders and orders fills."""
        impact = Fraction(str(self.impact))
        return OrderRules(self.position_limit, self.no_trade_band, impact, sessions, end)

    def _account(self, settled: Settlement, ledger: Ledger) -> Account:
        metrics = {**settled.metrics, "max_drawdown": _drawdown(settled.equity)}
        fills = {} if settled.fills is None else {"fills": settled.fills}
        return Account(metrics, {**fills, "equity": settled.equity})

    def _check(self, ledger: Ledger) -> None:
        if self.impact and ledger.events.bid_size is None:
            raise UsageError(
                "impact needs displayed sizes, which the dataset lacks",
                place="accountant 'market', parameter 'impact'",
                remedy="Leave impact at 0.",
            )
        currencies = {i.currency for i in ledger.instruments if i.tradable}
        if len(currencies) > 1:
            raise DataError(
                f"tradable symbols in several currencies: {', '.join(sorted(currencies))}",
                place="dataset card, [instruments]",
                remedy="Mark all but one currency's symbols tradable = false.",
            )

    def bucket_ends(self, ledger: Ledger) -> Int64Array:
        """When each time bucket ends, ns, ascending; the last one with the window."""
        start = int(ledger.events.ts_event[0]) if len(ledger.events) else ledger.end
        length = self.bucket or max(-(-(ledger.end - start) // _BUCKETS), 1)
        ends = np.arange(start + length, ledger.end, length, dtype=np.int64)
        return np.append(ends, ledger.end)


class _Targets:
    """Target positions by symbol, from the answers in time or from undropped ones."""

    def __init__(self, ledger: Ledger, quotes: StandingQuotes, rules: OrderRules) -> None:
        self._ledger = ledger
        self._quotes = quotes
        self._rules = rules

    def _wanted(
        self, symbol: int, answers: Answers, newest: Int64Array
    ) -> tuple[Int64Array, Int64Array]:
        """Of the events ``newest``, those with a say, and their targets."""
        rows = self._quotes.at_events(symbol, newest)
        has_say = (rows >= 0) & (newest >= self._ledger.warmup)
        events = newest[has_say]
        quotes = self._quotes.all.take(rows[has_say])
        targets = target_lots(self._ledger.sizing, answers.forecast[events], quotes)
        return events, self._rules.clip(targets)

    def decisions(self, symbol: int) -> list[Decision]:
        """What each answer of a symbol decides, in the order in which they become ready."""
        ledger = self._ledger
        events = np.flatnonzero((ledger.events.symbol == symbol) & ledger.answers.answered)
        events = events[np.lexsort((events, ledger.timing.ended[events]))]
        newest = events[newest_of_each_instant(ledger.timing.ended[events])]
        events, targets = self._wanted(symbol, ledger.answers, newest)
        columns = (
            events,
            ledger.timing.ended[events],
            targets,
            ledger.entry[events],
            ledger.response[events],
        )
        return [Decision(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]

    def ideal(self, symbol: int) -> int:
        """Money earned at the doubled mid of each event, with every event answered and no costs."""
        ledger = self._ledger
        assert ledger.undropped is not None
        events = np.flatnonzero(ledger.events.symbol == symbol)
        newest = events[newest_of_each_instant(ledger.events.ts_event[events])]
        events, targets = self._wanted(symbol, ledger.undropped, newest)
        if not len(events):
            return 0
        last = int(self._quotes.mids(symbol, np.array([ledger.end]))[0])
        mids = self._quotes.mids(symbol, ledger.events.ts_event[events]).tolist()
        position = earned = 0
        for target, mid in zip(targets.tolist(), mids, strict=True):
            if abs(target - position) > self._rules.no_trade_band:
                earned += (target - position) * (last - mid)
                position = target
        return earned * ledger.instruments[symbol].half_tick_lot


def _metrics(
    ledger: Ledger, fills: Sequence[Sequence[AttributedFill]], ideal: Sequence[int] | None
) -> dict[str, Any]:
    by_symbol = {}
    for k, (symbol, of_symbol) in enumerate(zip(ledger.symbols, fills, strict=True)):
        by_symbol[symbol] = _summary(of_symbol, None if ideal is None else ideal[k])
    total = _summary(
        [f for of_symbol in fills for f in of_symbol], None if ideal is None else sum(ideal)
    )
    currency = next((i.currency for i in ledger.instruments if i.tradable), None)
    return {"currency": currency, "money_unit": "1e-9", **total, "by_symbol": by_symbol}


def _summary(fills: Sequence[AttributedFill], ideal: int | None) -> dict[str, Any]:
    sums: dict[str, Any] = dict(totals(fills))
    sums["ideal"] = ideal
    sums["missed"] = None if ideal is None else ideal - sums["decision"]
    sums["fills"] = len(fills)
    sums["lots_traded"] = sum(abs(f.fill.lots) for f in fills)
    return sums


def _equity(
    ledger: Ledger,
    fills: Sequence[Sequence[AttributedFill]],
    quotes: StandingQuotes,
    ends: Int64Array,
) -> pa.Table:
    """Mark to market at the end of each bucket, and what each cause took within it, by symbol."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {
        name: [] for name in ("ts", "symbol", "position", "net", "decision", *COSTS)
    }
    for symbol, of_symbol in enumerate(fills):
        if not of_symbol:
            continue
        arrived = np.array([f.fill.arrived for f in of_symbol], dtype=np.int64)
        cuts = [0, *np.searchsorted(arrived, ends, side="right").tolist()]
        booked = [of_symbol[a:b] for a, b in pairwise(cuts)]
        position = list(accumulate(sum(f.fill.lots for f in part) for part in booked))
        cash = list(accumulate(sum(f.cash for f in part) for part in booked))
        worth = ledger.instruments[symbol].half_tick_lot
        rows = quotes.at_times(symbol, ends)
        mids = quotes.all.doubled_mid[rows].tolist()
        net = [c + p * m * worth for c, p, m in zip(cash, position, mids, strict=True)]
        costs = [[sum(f.costs[k] for f in part) for part in booked] for k in range(len(COSTS))]
        gained = np.diff([0, *net]).tolist()
        columns["ts"] += ends.tolist()
        columns["symbol"] += [ledger.symbols[symbol]] * len(ends)
        columns["position"] += position
        columns["net"] += net
        columns["decision"] += [g + sum(c) for g, *c in zip(gained, *costs, strict=True)]
        for name, of_cause in zip(COSTS, costs, strict=True):
            columns[name] += of_cause
    types = {"ts": pa.timestamp("ns", "UTC"), "symbol": pa.string()}
    return pa.table({k: pa.array(v, types.get(k, pa.int64())) for k, v in columns.items()})


def _drawdown(equity: pa.Table) -> int:
    """The deepest fall of the total's mark to market from its highest so far, at bucket ends."""
    if not len(equity):
        return 0
    summed = equity.group_by("ts", use_threads=False).aggregate([("net", "sum")]).sort_by("ts")
    curve = np.append(0, summed["net_sum"].to_numpy())
    return int((np.maximum.accumulate(curve) - curve).max())


def _fill_table(ledger: Ledger, fills: Sequence[Sequence[AttributedFill]]) -> pa.Table:
    """Every fill by arrival, then symbol; prices in half ticks, sizes in lots, money in 1e-9."""
    import pyarrow as pa

    flat = sorted((f for s in fills for f in s), key=lambda f: (f.fill.arrived, f.symbol))
    time = pa.timestamp("ns", "UTC")
    instants = ("ts_event", "ts_received", "ts_begun", "ts_ended", "ts_venue")
    columns: dict[str, pa.Array] = {
        "event": pa.array([f.fill.event for f in flat], pa.int64()),
        "symbol": pa.array([ledger.symbols[f.symbol] for f in flat], pa.string()),
        "lots": pa.array([f.fill.lots for f in flat], pa.int64()),
        "price_half_ticks": pa.array([f.fill.half_ticks for f in flat], pa.int64()),
    }
    for k, name in enumerate(instants):
        columns[name] = pa.array([f.instants[k] for f in flat], time)
    columns["cash"] = pa.array([f.cash for f in flat], pa.int64())
    columns["decision"] = pa.array([f.decision for f in flat], pa.int64())
    for k, name in enumerate(COSTS):
        columns[name] = pa.array([f.costs[k] for f in flat], pa.int64())
    return pa.table(columns)
