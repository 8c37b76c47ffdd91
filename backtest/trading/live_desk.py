"""Orders and fills while a closed loop runs, for a strategy that reacts to them."""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.core.compiled import Uncompiled
from backtest.core.room import Room
from backtest.errors import UsageError
from backtest.inference.bound_strategy import Inference
from backtest.market.events import NO_TIME
from backtest.trading.accountant import Ledger
from backtest.trading.compiled_trader import Trader, sized
from backtest.trading.orders import Confirmation, OrderRules
from backtest.trading.settlement import quote_chain


class LiveDesk:
    """Sends orders as answers become ready, and tells of fills when they are known.

    Orders of an instant are sent when it is over: only the newest answer of an instant trades.

    Args:
        ledger: the run as far as it is known: no timing, no answers.
        rules: of orders.
        inference: whose answers are traded.
    """

    def __init__(self, ledger: Ledger, rules: OrderRules, inference: Inference) -> None:
        room = ledger.room or Room(len(ledger.events))
        self._ledger = ledger
        self._rules = rules
        self._inference = inference
        self._tradable = np.array([i.tradable for i in ledger.instruments])
        link, self._standing, mids = quote_chain(ledger, room)
        self._wanted: Int64Array = room.column(np.int64)
        timing = ledger.timing
        symbols = len(ledger.symbols)
        try:
            self._trader = Trader(
                ledger,
                rules,
                link,
                self._wanted,
                mids,
                np.empty(0, dtype=np.int64),
                np.zeros((symbols, 11), dtype=np.int64),
                np.zeros((0, 0, 9), dtype=np.int64),
            )
        except Uncompiled:
            raise UsageError(
                "fees in fractions of a billionth cannot be traded in a closed loop",
                place=f"strategy {inference.table['name']!r}",
                remedy="Round fee_per_lot in the dataset card to nine decimals.",
            ) from None
        self._begun, self._ended = timing.begun, timing.ended
        self._all_received = timing.received
        self._ready = NO_TIME
        self._newest: dict[int, tuple[int, float]] = {}
        self._unknown: list[tuple[int, int, Confirmation]] = []
        self._count = 0

    @property
    def received(self) -> Int64Array:
        """Receipts, to be set before the first answer."""
        return self._all_received

    @received.setter
    def received(self, received: Int64Array) -> None:
        self._all_received[:] = received

    def answered(
        self, numbers: Int64Array, predictions: Float32Array, begun: int, ended: int
    ) -> None:
        """A batch is ready at ``ended``, which never comes before an earlier one's."""
        if ended != self._ready:
            self._send()
            self._ready = ended
        self._begun[numbers] = begun
        self._ended[numbers] = ended
        symbols = self._ledger.events.symbol[numbers].tolist()
        forecasts = self._inference.forecast(predictions).tolist()
        for symbol, number, forecast in zip(symbols, numbers.tolist(), forecasts, strict=True):
            newest = self._newest.get(symbol)
            if newest is None or newest[0] < number:
                self._newest[symbol] = number, forecast

    def confirmed(self, now: int) -> list[Confirmation]:
        """Fills that became known since they were last asked for, by when they did."""
        if self._ready < now:
            self._send()
        known = []
        while self._unknown and self._unknown[0][0] <= now:
            known.append(heappop(self._unknown)[2])
        return known

    def _send(self) -> None:
        chosen = list(self._newest.values())
        self._newest.clear()
        rows = np.array([number for number, _ in chosen], dtype=np.int64)
        forecast = np.array([forecast for _, forecast in chosen], dtype=np.float32)
        standing = self._standing[rows]
        symbols = self._ledger.events.symbol[rows]
        say = (standing >= 0) & (rows >= self._ledger.warmup) & self._tradable[symbols]
        rows, standing, forecast, symbols = (a[say] for a in (rows, standing, forecast, symbols))
        if not len(rows):
            return
        self._wanted[rows] = sized(self._ledger, self._rules, forecast, standing)
        self._trader.stand_at(symbols, standing)
        try:
            self._trader.run_at(rows)
        except Uncompiled:
            raise UsageError(
                "a fill is worth more than 64 bits of money units hold",
                place="closed loop",
                remedy="Choose larger lots in the dataset card, or a smaller position.",
            ) from None
        for fill in self._trader.confirmations(self._trader.fills):
            self._count += 1
            heappush(self._unknown, (fill.known, self._count, fill))
        self._trader.keep(self._trader.fills[:0])
