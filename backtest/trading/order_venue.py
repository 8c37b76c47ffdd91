"""Orders that rest: the venue of quoting rules and order lists, chunk by chunk."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.errors import RunError
from backtest.market.quotes import UNLIMITED
from backtest.market.window import Window
from backtest.strategies.messages import Messages
from backtest.trading import layout as at
from backtest.trading import order_layout as ol
from backtest.trading.depth_books import DepthBooks
from backtest.trading.depth_window import DepthWindow
from backtest.trading.order_list import OrderList
from backtest.trading.order_terms import OrderTerms
from backtest.trading.orders import Latency
from backtest.trading.quoting import wanted_quotes
from backtest.trading.standing import standing_figures
from backtest.trading.terms import Terms
from backtest.trading.venue import Venue, by_arrival, grown

_ENTRIES = 1 << 8
"""Messages, orders, reports and orders under way that there is room for at the beginning."""

_ROWS = 1 << 12
"""The same of fills, commands and rows of the log."""

_POOLS = (
    ("messages", ol.MESSAGE_SIZE),
    ("working", ol.WORKING_SIZE),
    ("reports", ol.REPORT_SIZE),
    ("pending", ol.PENDING_SIZE),
)
"""Entries that are used again, in the order of ``order_layout``."""

_SAID = (
    (ol.C_SYMBOL, "symbol"),
    (ol.C_ACTION, "action"),
    (ol.C_ID, "id"),
    (ol.C_SIDE, "side"),
    (ol.C_PRICE, "price"),
    (ol.C_TOTAL, "total"),
    (ol.C_TIF, "tif"),
    (ol.C_POST, "post_only"),
)
"""What messages say, of lists and of strategies, by its place in a command."""


class OrderVenue(Venue):
    """Lets orders rest, and fills them as the market comes to them.

    Args:
        window: holds the events, with the columns ``COLUMNS``; ``predictions`` too, where a quoting
            rule makes the orders.
        terms: what is fixed; ``orders`` among it.
        depth: rows of depth, where the dataset has them; otherwise only the touch is known.

    Attributes:
        keep_from: no order that is sent later has an instant before this one and before the oldest
            event that is not settled, ns.
    """

    follows_all: ClassVar[bool] = False
    """Whether an event may lead to orders of other symbols than its own."""

    COLUMNS: ClassVar[dict[str, Any]] = Venue.COLUMNS | {
        "trade_price": np.int64,
        "trade_size": np.int64,
        "aggressor": np.int8,
        "cancel": np.int64,
        "replace": np.int64,
    }

    def __init__(self, window: Window, terms: Terms, depth: DepthWindow | None = None) -> None:
        super().__init__(window, terms)
        from backtest.trading import order_venue_loops, switch_loops
        from backtest.trading.order_book_loops import Orders, Ticks

        assert terms.orders is not None
        self._loops, self._by_row = order_venue_loops, switch_loops
        self._ticks: Any = Ticks
        self._orders: OrderTerms = terms.orders
        self._order_rules = terms.orders.rule_table(terms.rules.position_limit)
        symbols = len(terms.symbols)
        books = np.zeros((symbols, ol.SYMBOL_SIZE), dtype=np.int64)
        heads = (
            *(ol.FIRST_MESSAGE, ol.FIRST_REPORT, ol.FIRST_PENDING, ol.BUYS, ol.SELLS, ol.CURSOR),
            ol.STANDING,
        )
        books[:, [at.BOUGHT_SINCE, at.SOLD_SINCE, *heads, *range(at.POINTER, at.POINTER + 5)]] = -1
        books[:, [at.ARRIVED, ol.HEARD_LAST, ol.PRINT_TIME]] = at.NO_TIME
        desks = np.zeros((symbols, 2, ol.DESK_SIZE), dtype=np.int64)
        desks[:, :, ol.D_SENT] = at.NO_TIME
        standing = np.zeros((symbols, 2, ol.STANDING_SIZE), dtype=np.int64)
        standing[:, :, ol.S_WHERE] = ol.NOWHERE
        state = np.zeros(ol.ORDER_STATE, dtype=np.int64)
        state[at.HALTED] = at.NO_TIME
        pools = {}
        for kind, (name, width) in enumerate(_POOLS):
            pools[name] = np.zeros((_ENTRIES, width), dtype=np.int64)
            _free(pools[name], 0, kind, state)
        self._trading = Orders(
            state=state,
            queue=np.zeros((_ROWS, ol.COMMAND_SIZE), dtype=np.int64),
            books=books,
            desks=desks,
            heard=np.zeros((0, ol.REPORT_SIZE), dtype=np.int64),
            log=np.zeros((_ROWS, ol.LOG_SIZE), dtype=np.int64),
            fills=np.zeros((_ROWS, at.FILL_SIZE), dtype=np.int64),
            standing=standing,
            unresolved=np.zeros((symbols, 2), dtype=np.int64),
            **pools,
        )
        self._listed = 0
        self._counts = np.zeros((2, len(ol.REPORTS)), dtype=np.int64)
        self.keep_from = at.LATEST
        followed = self._tradable
        if terms.orders.listed is not None:
            books[np.unique(terms.orders.listed.symbol), ol.PINNED] = 1
            followed = books[:, ol.PINNED] != 0
        elif self.follows_all:
            books[self._tradable, ol.PINNED] = 1
        self._depth = None
        if depth is not None and terms.orders.needs_depth:
            self._depth = DepthBooks(depth, followed)

    @property
    def positions(self) -> Int64Array:
        return cast(Int64Array, self._trading.books[:, at.POSITION])

    @property
    def needs(self) -> int:
        trading = self._trading
        oldest = self._keeper.oldest(self._settled)
        waiting = trading.queue[trading.state[at.HEAD] : trading.state[at.TAIL], ol.C_EVENT]
        books = trading.books
        active = (books[:, ol.WORKING] > 0) | (books[:, ol.FIRST_MESSAGE] >= 0)
        followed = books[active | (books[:, ol.PINNED] != 0), ol.CURSOR]
        ahead = waiting[:0] if self._depth is None else self._depth.oldest_event
        for events in (waiting, followed, ahead, books[:, ol.STANDING]):
            oldest = min(oldest, int(events[events >= 0].min(initial=oldest)))
        return oldest

    def follow(self, first: int, stop: int, *, last: bool = False) -> None:
        super().follow(first, stop, last=last)
        if first == stop:
            return
        rows = self._window.rows(first, stop)
        self._follow_latency("cancel", self._orders.cancel, first, stop)
        self._follow_latency("replace", self._orders.replace, first, stop)
        if self._orders.fills.queue.needs_sizes:
            self._check_sizes(rows)
        if self._depth is not None:
            self._depth.follow_events(first, self._window["symbol"][rows])
        books = self._trading.books
        unseen = (books[:, ol.PINNED] != 0) & (books[:, ol.CURSOR] < 0)
        if unseen.any():
            symbols, places = np.unique(self._window["symbol"][rows], return_index=True)
            found = unseen[symbols]
            books[symbols[found], ol.CURSOR] = places[found] + first
            if self.follows_all:
                books[symbols[found], ol.STANDING] = places[found] + first

    @property
    def needs_depth(self) -> int | None:
        """The number of the oldest row of depth that is still read; ``None``: none ever is."""
        return None if self._depth is None else self._depth.needs

    def follow_depth(self) -> None:
        """Take note of the rows that the window of depth has taken in last.

        Before ``advance`` all are to be there that lie before the newest event of ``follow``.
        """
        if self._depth is not None:
            self._depth.follow_rows()

    def _follow_latency(self, name: str, latency: Latency, first: int, stop: int) -> None:
        super()._follow_latency(name, latency, first, stop)
        if not callable(latency):  # here every event's is read from the window
            self._window[name][self._window.rows(first, stop)] = latency

    def _check_sizes(self, rows: slice) -> None:
        window = self._window
        for name in ("bid_size", "ask_size", "trade_size"):
            sizes = window[name][rows]
            most = int(sizes.max(initial=0))
            if most >= ol.MOST_DISPLAYED and most != UNLIMITED:
                symbol = self.terms.symbols[int(window["symbol"][rows][sizes.argmax()])]
                raise RunError(
                    f"{name} is {most:,} lots, more than places in a queue can be counted in",
                    place=f"symbol {symbol!r}",
                    remedy="Choose a larger lot_size in the dataset card.",
                )

    def answer(self, events: Int64Array, forecast: Float32Array) -> None:
        rule = self._orders.quoting
        if rule is None or not len(events):
            return
        window, asked = self._window, self._opinions(events, forecast)
        wanted = np.full((len(events), 4), at.SILENT, dtype=np.int64)
        if asked.any():
            quotes = self._quotes.at(events[asked])
            rows = events[asked] - window.first
            wanted[asked] = wanted_quotes(rule, window["predictions"][rows], quotes)
        self._reserve_answers(len(events))
        answered = self._answers.Answered
        columns = answered(*(window[name] for name in answered._fields))
        trading = self._trading
        self._answers.enqueue_quotes(
            window.first, self._base, events, wanted, columns, self._newest, trading.state,
            trading.queue,
        )  # fmt: skip

    def _send_listed(self, limit: int) -> None:
        """Put the messages of the list that are sent before an instant in the queue."""
        listed, latency = self._orders.listed, self._orders.listed_latency
        if listed is None or latency is None:
            return
        stop = int(np.searchsorted(listed.sent, limit))
        if stop == self._listed:
            return
        rows = slice(self._listed, stop)
        self._listed = stop
        commands = self._send(listed, rows)
        commands[:, ol.C_READY] = listed.sent[rows]
        commands[:, [ol.C_T0, ol.C_T1, ol.C_T2]] = listed.sent[rows, None]
        commands[:, ol.C_ENTRY : ol.C_RESPONSE + 1] = latency[rows]
        commands[:, ol.C_EVENT] = -1
        left = np.unique(listed.symbol[stop:])
        self._trading.books[:, ol.PINNED] = 0
        self._trading.books[left, ol.PINNED] = 1

    def _send(self, messages: Messages | OrderList, rows: slice) -> Int64Array:
        """Commands of some messages [k, COMMAND_SIZE], whose instants and latencies are to come."""
        commands = self._commands(rows.stop - rows.start)
        for column, name in _SAID:
            commands[:, column] = getattr(messages, name)[rows]
        return commands

    def _commands(self, count: int) -> Int64Array:
        """So many new commands at the end of the queue, [count, COMMAND_SIZE], to be filled in."""
        self._reserve_answers(count)
        state = self._trading.state
        first = int(state[at.TAIL])
        state[at.TAIL] += count
        commands: Int64Array = self._trading.queue[first : state[at.TAIL]]
        return commands

    def settle(
        self,
        first: int,
        stop: int,
        forecast: Float32Array,
        undropped: Float32Array | None = None,
    ) -> None:
        if self.follows_all and self._window.count:
            state, queue = self._trading.state, self._trading.queue
            oldest = min(stop, self._window.stop - 1) - self._window.first
            waiting = queue[state[at.HEAD] : state[at.TAIL], ol.C_T0]
            until = min(int(self._window["ts_event"][oldest]), self.keep_from)
            until = min(until, int(waiting.min(initial=at.LATEST)))
            self._loops.stand(until, self._window.first, self._market(), self._trading.books)
        super().settle(first, stop, forecast, undropped)

    def _market(self) -> Any:
        """The columns of the window that loops read."""
        columns = [self._window[name] for name in self._ticks._fields[:-1]]
        return self._ticks(*columns, self._quotes.stale)

    def _trade(self, now: int, frontier: int) -> None:
        self._checked = frontier
        self._work(min(now, frontier))

    def _work(self, limit: int) -> None:
        """Do all that happens before an instant, up to which everything is known."""
        self._send_listed(limit)
        ticks = self._market()
        self._keeper.follow_rows()
        while True:
            depth = None if self._depth is None else self._depth.current
            given = (
                limit, self._window.first, ticks, self._trading, depth, self._order_rules,
                self._rules, *self._sessions, self._keeper.given,
            )  # fmt: skip
            if self._keeper.switches:
                code = self._by_row.work_by_row(*given, self._account)
            else:
                code = self._loops.work(*given)
            if code != at.FULL:
                break
            self._grow()
        self._check(code)
        self._keeper.pass_rows(limit)
        self._book()

    def _close(self) -> None:
        while self._loops.end(self.terms.rules.end, self._trading) == at.FULL:
            self._grow()

    def take_log(self) -> Int64Array | None:
        """By time, then symbol, int64 [n, LOG_SIZE]."""
        state, log = self._trading.state, self._trading.log
        entries = log[: state[ol.LOGGED]]
        done = self._are_final(entries[:, ol.L_TIME])
        taken = entries[done]
        np.add.at(self._counts[0], taken[:, ol.L_KIND], 1)
        np.add.at(self._counts[1], taken[:, ol.L_KIND], np.abs(taken[:, ol.L_LOTS]))
        left = entries[~done]
        log[: len(left)] = left
        state[ol.LOGGED] = len(left)
        return taken[by_arrival(taken[:, ol.L_TIME], taken[:, ol.L_SYMBOL])]

    def figures(self) -> dict[str, Any]:
        """What became of the orders, after the end: reports and lots of each kind."""
        counted = zip(ol.REPORTS, *self._counts.tolist(), strict=True)
        found = {name: {"reports": count, "lots": lots} for name, count, lots in counted}
        if not self._keeper.switches:
            del found["flattened"]
        return found

    def standing(self, open_ns: int) -> dict[str, Any]:
        """``standing_figures``, after the end, of a window with so much open time, ns."""
        traded = self._trading.standing[self._tradable]
        return standing_figures(traded, len(traded), open_ns)

    def _grow(self) -> None:
        """Enlarge whatever one step more might fill."""
        trading, state = self._trading, self._trading.state
        most = int(trading.books[:, ol.WORKING].max(initial=0)) + 4
        if self._depth is not None:
            self._depth.grow()
            most += self._depth.most_levels
        self._reserve_fills(most)
        self._keeper.reserve()
        while state[ol.LOGGED] + most > len(self._trading.log):
            self._trading = self._trading._replace(log=grown(self._trading.log))
        for kind, (name, _) in enumerate(_POOLS):
            while state[ol.SPARE + kind] < most:
                entries = getattr(self._trading, name)
                larger = grown(entries)
                _free(larger, len(entries), kind, state)
                self._trading = self._trading._replace(**{name: larger})
        self._reserve_heard(most)

    def _reserve_heard(self, more: int) -> None:
        """Make room for the reports that are held and so many more, where they are handed on."""
        trading = self._trading
        held = len(trading.reports) - int(trading.state[ol.SPARE + ol.REPORTS_HELD])
        needed, heard = int(trading.state[ol.HEARD]) + held + more, trading.heard
        while 0 < len(heard) < needed:
            heard = grown(heard)
        self._trading = trading._replace(heard=heard)


def _free(entries: Int64Array, first: int, kind: int, state: Int64Array) -> None:
    """Make the entries from ``first`` on free, before those that are free already."""
    entries[first:, ol.NEXT] = np.arange(first + 1, len(entries) + 1)
    entries[-1, ol.NEXT] = state[ol.FREE + kind] if first else -1
    state[ol.FREE + kind] = first
    state[ol.SPARE + kind] += len(entries) - first
