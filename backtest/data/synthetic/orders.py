"""A synthetic market of limit orders: every order, and the quotes and trades that come of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.callbacks import ProgressCallback
from backtest.core.parameters import Nanoseconds
from backtest.data.canonical import write_canonical
from backtest.data.card import Card, InstrumentTable
from backtest.data.collapse import LevelMaker
from backtest.data.synthetic import order_layout as at
from backtest.data.synthetic.market import TICK_SIZE
from backtest.market.depth import DepthBatch
from backtest.market.events import EventBatch

VERSION = 1
"""Of the generator: another version may make other data from the same parameters."""

_BLOCK = 16_384
"""Actions whose random numbers are drawn together."""

_ROWS = 4 * _BLOCK
_LEVELS = 16_384
_ORDERS = 2048


@dataclass(frozen=True)
class OrderMarket:
    """A market in which traders place, change and cancel limit orders, and take what is there.

    Books are matched first in, first out. All numbers are whole, so that the same parameters give
    the same bytes.

    Attributes:
        seed: of everything that is drawn.
        symbols: how many, each with a book of its own.
        rate: actions a second of all symbols together, on average.
        reach: ticks from the other side within which orders are placed; takers go as far.
        size: mean size of an order, lots.
        target: orders of a book above which fewer are placed.
        limits, cancels, modifies: shares of the actions in 1000; the others take liquidity.
        snapshots: actions between two snapshots, each of which clears and restates all books;
            0: none.
        base: price about which books begin, ticks.
        start: time of the first actions, ns.
    """

    seed: int = 0
    symbols: int = 2
    rate: int = 2000
    reach: int = 12
    size: int = 10
    target: int = 300
    limits: int = 520
    cancels: int = 320
    modifies: int = 80
    snapshots: int = 0
    base: int = 100_000
    start: Nanoseconds = 1_756_735_200_000_000_000

    def __post_init__(self) -> None:
        positive = (self.symbols, self.rate, self.reach, self.size)
        shares = (self.limits, self.cancels, self.modifies)
        if min(positive) < 1 or min(self.seed, self.snapshots, *shares) < 0:
            raise ValueError("symbols, rate, reach and size are at least 1, the others at least 0")
        if sum(shares) > 1000:
            raise ValueError("limits, cancels and modifies are shares of 1000 together")
        if self.rate > 10**9 or self.base <= _LEVELS:
            raise ValueError(f"rate is at most 1e9 a second, and base above {_LEVELS} ticks")
        if not 4 * self.reach < self.target <= _ORDERS // 2:
            raise ValueError(f"target is above 4 × reach and at most {_ORDERS // 2} orders")


def generate_orders(
    market: OrderMarket,
    output: Path | str,
    *,
    actions: int,
    depth: Literal["orders", "levels"] = "orders",
    name: str = "orders",
    overwrite: bool = False,
    on_progress: ProgressCallback = lambda done, total: None,
) -> Card:
    """Write a dataset of the market with its depth, whole or not at all, and return its card.

    Args:
        market: its parameters.
        output: the folder to make.
        actions: how many actions of traders to make; each is about one row of depth.
        depth: of each order (L3), or what levels display (L2).
        name: the dataset's, for its card.
        overwrite: replace a dataset that is already there.
        on_progress: called with (actions done, actions in all).

    Raises:
        DataError: the folder is there and may not be replaced, or cannot be written.
    """
    extent = {"actions": actions, "depth": depth}
    notes: dict[str, Any] = {"version": VERSION, **extent, **asdict(market)}
    card = Card(
        name=name,
        description="A synthetic market of limit orders, matched first in, first out.",
        symbols=tuple(f"SYM_{k:03d}" for k in range(market.symbols)),
        instruments={"default": InstrumentTable(tick_size=TICK_SIZE)},
        notes={"generator": notes},
    )
    made = order_batches(market, actions, on_progress)
    if depth == "levels":
        maker = LevelMaker()
        made = ((events, maker.levels(rows)) for events, rows in made)
    write_canonical(output, card, made, overwrite=overwrite)
    return card


def order_batches(
    market: OrderMarket,
    actions: int,
    on_progress: ProgressCallback = lambda done, total: None,
) -> Iterator[tuple[EventBatch, DepthBatch]]:
    """The market's events with the rows of depth among them, piece by piece.

    Each execution is a trade, then its row; after each action comes the quote, if the touch or its
    size changed. All of an action happens at one instant.
    """
    books = _Books(market)
    random = np.random.SFC64(market.seed)
    left, until = actions, market.snapshots
    while left:
        count = min(left, _BLOCK)
        draws = (random.random_raw(6 * count) >> np.uint64(2)).astype(np.int64).reshape(-1, 6)
        left -= count
        while len(draws):
            # Snapshots come between actions.
            some = draws if not market.snapshots else draws[:until]
            done = books.act(some)
            until -= done
            if market.snapshots and not until:
                books.restate()
                until = market.snapshots
            draws = draws[done:]
            if books.piece_ready:
                yield books.piece()
        on_progress(actions - left, actions)
    if books.events:
        yield books.piece()


class _Books:
    """The books of all symbols, and what happened in them since the last piece."""

    def __init__(self, market: OrderMarket) -> None:
        n = market.symbols
        self.rows = self.events = 0
        self._low = market.base - _LEVELS // 2
        self._clock = np.array([market.start], dtype=np.int64)
        cancels = market.limits + market.cancels
        terms = {
            at.STEP: -(-(10**9) // market.rate),
            at.REACH: market.reach,
            at.MEAN_SIZE: market.size,
            at.LIMITS: market.limits,
            at.CANCELS: cancels,
            at.MODIFIES: cancels + market.modifies,
            at.TARGET: market.target,
        }
        self._terms = np.array([terms[k] for k in range(at.TERMS)], dtype=np.int64)
        self._traders = np.zeros((n, at.SYMBOL_SIZE), dtype=np.int64)
        self._traders[:, [at.BEST_BID, at.BEST_ASK]] = -1
        self._traders[:, at.ROOM] = _ORDERS
        self._traders[:, at.NEXT_ID] = 1
        self._traders[:, [at.QUOTED, at.QUOTED + 1]] = np.iinfo(np.int64).min
        self._orders = np.zeros((n, _ORDERS, at.ORDER_SIZE), dtype=np.int64)
        self._orders[:, :, at.FREE] = np.arange(_ORDERS)[::-1]
        self._levels = np.zeros((n, 2, _LEVELS, at.LEVEL_COLUMNS), dtype=np.int64)
        self._levels[:, :, :, [at.HEAD, at.TAIL]] = at.NONE
        room = _ROWS + n * _ORDERS
        self._depth = np.empty((room, 8), dtype=np.int64)
        self._follows = np.empty(room, dtype=np.int64)
        self._quotes = np.empty((_ROWS, 9), dtype=np.int64)

    @property
    def piece_ready(self) -> bool:
        """There is enough for a piece, and no room for much more."""
        return bool(self.events) and max(self.rows, self.events) > _ROWS // 2

    def act(self, draws: Int64Array) -> int:
        """Do some of these actions; returns how many."""
        from backtest.data.synthetic.order_loops import act

        done, self.rows, self.events = act(
            self._low,
            draws,
            self._terms,
            self._clock,
            self._traders,
            self._orders,
            self._levels,
            self._depth[:_ROWS],
            self._follows,
            self._quotes,
            self.rows,
            self.events,
        )
        return int(done)

    def restate(self) -> None:
        """Snapshots of all books."""
        from backtest.data.synthetic.order_loops import restate

        for symbol in range(len(self._traders)):
            me = self._traders[symbol]
            me[at.CLOCK] = self._clock[0]
            self.rows = restate(
                symbol,
                self._low,
                me,
                self._orders[symbol],
                self._levels[symbol],
                self._depth,
                self._follows,
                self.rows,
                self.events,
            )

    def piece(self) -> tuple[EventBatch, DepthBatch]:
        """What happened since the last one."""
        quotes, rows = self._quotes[: self.events].T, self._depth[: self.rows].T
        events = EventBatch(
            quotes[0].astype(np.int32),
            quotes[1].copy(),
            bid=quotes[2].copy(),
            ask=quotes[3].copy(),
            bid_size=quotes[4].copy(),
            ask_size=quotes[5].copy(),
            trade_price=quotes[6].copy(),
            trade_size=quotes[7].copy(),
            aggressor=quotes[8].astype(np.int8),
        )
        depth = DepthBatch(
            symbol=rows[0].astype(np.int32),
            ts_event=rows[1].copy(),
            side=rows[2].astype(np.int8),
            price=rows[3].copy(),
            size=rows[4].copy(),
            flags=rows[5].astype(np.uint8),
            order_id=rows[6].copy(),
            action=rows[7].astype(np.int8),
            follows=self._follows[: self.rows].copy(),
        )
        self.rows = self.events = 0
        return events, depth
