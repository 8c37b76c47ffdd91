"""Whether a strategy that sends its own orders sends messages, and the same ones each time.

Its orders meet a made-up venue, which accepts, fills, withdraws and rejects at random: what is
checked is what the strategy says, not what it earns.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from backtest.conformance.inputs import random_cuts
from backtest.conformance.properties import Case
from backtest.core.arrays import Int64Array
from backtest.errors import RunError
from backtest.market.events import ABSENT, NO_TIME, EventBatch, locked
from backtest.market.order_codes import ACTIONS, FLATTENED, REPORTS
from backtest.market.quotes import Quotes
from backtest.strategies.desk import Desk, Reports, WorkingOrders
from backtest.strategies.messages import Messages
from backtest.strategies.reacting import check_methods, timer_of

_NEW, _CANCEL, _CANCEL_ALL, _REPLACE = ACTIONS.values()
_QUOTES = ("ts_event", "bid", "ask", "bid_size", "ask_size")


def check_decisions(case: Case, seed: int) -> None:
    """Decisions are messages for symbols that exist, and the same ones for the same reports."""
    first = _decided(case, seed)
    second = _decided(case, seed)
    assert len(first) == len(second), "decide was called as often, but gave up"
    for call, (one, other) in enumerate(zip(first, second, strict=True)):
        same = len(one) == len(other) and all(
            np.array_equal(getattr(one, name), getattr(other, name)) for name in Messages.__slots__
        )
        assert same, f"call {call} of decide: other messages for the same events and reports"


def _decided(case: Case, seed: int) -> list[Messages]:
    """What a new instance sends."""
    strategy: Any = case.fresh()
    check_methods(strategy, "strategy")
    timer = timer_of(strategy, "strategy")
    rng = np.random.default_rng(seed)
    symbols = len(case.session.symbols)
    desk, tradable = _MadeUp(symbols, rng), np.ones(symbols, dtype=np.bool_)
    found = []
    edges = [0, *random_cuts(len(case.events), rng), len(case.events)]
    for first, stop in pairwise(edges):
        if first == stop and timer is None:
            continue  # only a timer calls it without an event
        batch = case.events.select(slice(first, stop)).read_only()
        now = int(case.events.ts_event[max(stop - 1, 0)])
        reports = desk.reports(now)
        if len(reports) and hasattr(strategy, "on_reports"):
            strategy.on_reports(reports)
        if len(batch):
            strategy.predict(batch)
        desk.see(batch)
        try:
            messages = strategy.decide(now, batch, desk.known())
            messages = Messages.none() if messages is None else messages
            wrong = f"decide gave a {type(messages).__name__}, not Messages or None"
            assert isinstance(messages, Messages), wrong
            messages.check_symbols(tradable)
        except RunError as error:
            raise AssertionError(f"decide: {error.problem}") from None
        desk.send(messages)
        found.append(messages)
    return found


class _MadeUp:
    """A desk, and a venue that does what chance says."""

    def __init__(self, symbols: int, rng: np.random.Generator) -> None:
        self._rng, self._symbols = rng, symbols
        self._quotes: dict[str, Int64Array] = {
            name: np.full(symbols, ABSENT.get(name, NO_TIME), dtype=np.int64) for name in _QUOTES
        }
        self._position = np.zeros(symbols, dtype=np.int64)
        self._greatest = np.zeros(symbols, dtype=np.int64)
        self._sent: list[dict[str, int]] = []
        self._orders: dict[tuple[int, int], list[int]] = {}

    def see(self, batch: EventBatch) -> None:
        """Take note of the quotes of some events."""
        for name, column in self._quotes.items():
            given = getattr(batch, name)
            if given is not None:
                column[batch.symbol] = given

    def known(self) -> Desk:
        """What the trader knows."""
        rows = [[*key, *order] for key, order in sorted(self._orders.items())]
        table = np.array(rows, dtype=np.int64).reshape(-1, 6)
        unresolved = np.zeros((self._symbols, 2), dtype=np.int64)
        for symbol, _, side, _, total, filled in rows:
            unresolved[symbol, 0 if side > 0 else 1] += total - filled
        for sent in self._sent:
            if sent["action"] == _NEW:
                unresolved[sent["symbol"], 0 if sent["side"] > 0 else 1] += sent["total"]
        return Desk(
            locked(self._position.copy()),
            locked(unresolved),
            WorkingOrders(*(locked(np.ascontiguousarray(column)) for column in table.T)),
            Quotes(
                np.arange(self._symbols, dtype=np.int32),
                **{name: locked(column.copy()) for name, column in self._quotes.items()},
            ),
        )

    def send(self, messages: Messages) -> None:
        """Take messages, which are answered when reports are asked for."""
        columns = {name: getattr(messages, name).tolist() for name in Messages.__slots__}
        for k in range(len(messages)):
            sent = {name: column[k] for name, column in columns.items()}
            symbol = sent["symbol"]
            if sent["action"] == _NEW:
                if sent["id"] < 0:
                    sent["id"] = int(self._greatest[symbol]) + 1
                self._greatest[symbol] = max(self._greatest[symbol], sent["id"])
            self._sent.append(sent)

    def reports(self, now: int) -> Reports:
        """What became of messages and orders."""
        rows: list[list[int]] = []
        for sent in self._sent:
            self._answer(sent, rows)
        self._sent = []
        for key in sorted(self._orders):
            side, price, total, filled = self._orders[key]
            luck = self._rng.random()
            if luck < 0.3:
                lots = int(self._rng.integers(1, total - filled + 1))
                self._report(rows, "filled", key, side, lots, price, total)
            elif luck < 0.35:
                self._report(rows, "expired", key, side, total - filled, price, total)
        for symbol in np.flatnonzero(self._position).tolist():
            if self._rng.random() < 0.02:
                lots, side = abs(int(self._position[symbol])), -int(np.sign(self._position[symbol]))
                self._report(rows, "flattened", (symbol, FLATTENED), side, lots, 0, lots)
        rows.sort(key=lambda row: row[0])
        table = np.array(rows, dtype=np.int64).reshape(-1, 7)
        known = np.full(len(table), now, dtype=np.int64)
        columns = [known, *(np.ascontiguousarray(column) for column in table.T)]
        return Reports(*map(locked, columns))

    def _answer(self, sent: dict[str, int], rows: list[list[int]]) -> None:
        """What one message brings about."""
        key, action = (sent["symbol"], sent["id"]), sent["action"]
        if action == _CANCEL_ALL:
            for other, order in sorted(self._orders.items()):
                if other[0] == key[0] and sent["side"] in (0, order[0]):
                    self._report(
                        rows, "cancelled", other, order[0], order[2] - order[3], *order[1:3]
                    )
        elif action == _NEW:
            taken = key in self._orders or self._rng.random() < 0.1
            kind = "rejected" if taken else "accepted"
            self._report(rows, kind, key, sent["side"], sent["total"], sent["price"], sent["total"])
        elif key not in self._orders:
            self._report(rows, "late", key, 0, sent["total"], sent["price"], sent["total"])
        else:
            side, price, total, filled = self._orders[key]
            if action == _CANCEL or sent["total"] <= filled:
                self._report(rows, "cancelled", key, side, total - filled, price, total)
            else:
                lots = sent["total"]
                self._report(rows, "replaced", key, side, lots, sent["price"], lots)

    def _report(
        self, rows: list[list[int]], kind: str, key: tuple[int, int], side: int, lots: int,
        price: int, total: int,
    ) -> None:  # fmt: skip
        """Put down a report, and what the trader knows by it."""
        rows.append([key[0], REPORTS.index(kind), key[1], side, lots, price, total])
        if kind == "accepted":
            self._orders[key] = [side, price, total, 0]
        elif kind == "replaced":
            self._orders[key][1:3] = price, total
        elif kind == "filled":
            self._position[key[0]] += side * lots
            self._orders[key][3] += lots
        elif kind == "flattened":
            self._position[key[0]] = 0
        ended = kind in ("cancelled", "expired")
        if ended or (kind == "filled" and self._orders[key][3] == total):
            del self._orders[key]
