"""Recorded Binance depth in the venue's order: rows of depth, and quotes where nobody tells them.

An update says the new sizes of some levels, numbered so that a gap shows. An answer to a request
for the book arrives among the updates, some of which it knows already: it states the levels that no
later update has changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.data.reading.decode import Columns
from backtest.errors import DataError
from backtest.market.depth import ASK, BID, BOTH, CLEAR, LAST
from backtest.market.depth import SNAPSHOT as RESTATED
from backtest.market.events import NO_TIME
from backtest.plugins.sources.binance.depth_lines import PARTIAL, SNAPSHOT
from backtest.plugins.sources.binance.depth_spools import DepthSpool, Grid, Levels, Message
from backtest.plugins.sources.shared.counts import Counts
from backtest.plugins.sources.shared.lanes import depth_rows
from backtest.plugins.sources.shared.order_books import NO_QUOTE, LevelBook, Quote

_LIMITS = (5, 10, 20, 50, 100, 500, 1000, 5000)
"""How many levels of a side a request for the book may ask for: with as many, there may be more."""

_KEPT = 4096
"""Updates before a snapshot that are looked through for what it does not know yet."""

GAPS = "gaps in depth updates: the book is unknown until the next snapshot"
REPEATED = "depth updates that were known already"
ROUNDED = "depth sizes between lots: rounded up"
STALE = "order book snapshots that the updates around them do not join"
UNKNOWN = "order book snapshots of no known symbol"
BESIDE = "partial depth beside depth updates"


@dataclass(frozen=True, slots=True)
class Change:
    """Rows of depth that one message makes.

    Attributes:
        ts: their ts_event, ns.
        recv: when the message was received, ns, moved as the file's clock is.
        flags: of each row, uint8 [k].
        levels: side, price and size.
        known: the book's best levels are known after it.
    """

    ts: int
    recv: int
    flags: Any
    levels: Levels
    known: bool


class BookReader:
    """Turns one symbol's messages, file after file, into rows of depth.

    Args:
        partial: take partial books; otherwise they are left out, since there are updates.
        whole: take a snapshot that was cut at its limit for the whole book.
        counts: takes what was left out, and how many messages became depth.
    """

    def __init__(self, *, partial: bool, whole: bool, counts: Counts) -> None:
        self._partial = partial
        self._whole = whole
        self._counts = counts
        self._last = -1
        self._known = False
        self._ts = NO_TIME
        self._waiting: Message | None = None
        self._recent: deque[tuple[int, int, Levels]] = deque(maxlen=_KEPT)

    def changes(self, spool: DepthSpool, grid: Grid, shift: int) -> Iterator[Change]:
        """The rows of a file's messages.

        Raises:
            DataError: times go back, or numbers off the grid.
        """
        for message in spool.messages(grid):
            if message.kind == SNAPSHOT and message.last > self._last:
                # It is newer than the updates so far: it waits for the one that it knows last.
                self._counts.refused[STALE] += self._waiting is not None
                self._waiting = message
                continue
            if message.kind == SNAPSHOT:
                yield from self._change(self._snapshot(message), message, shift, spool)
            elif message.kind == PARTIAL:
                yield from self._change(self._restated(message), message, shift, spool)
            else:
                yield from self._change(self._update(message), message, shift, spool)
            if self._waiting is not None and self._last >= self._waiting.last:
                yield from self._joined(spool, shift)
        if self._waiting is not None:
            yield from self._joined(spool, shift)

    def _joined(self, spool: DepthSpool, shift: int) -> Iterator[Change]:
        message, self._waiting = self._waiting, None
        assert message is not None
        yield from self._change(self._snapshot(message), message, shift, spool)

    def _change(
        self, made: tuple[Any, Levels] | None, message: Message, shift: int, spool: DepthSpool
    ) -> Iterator[Change]:
        """The change that a message makes, if it makes one."""
        if made is None:
            return
        recv = message.recv + shift
        ts = recv if message.venue == NO_TIME else message.venue
        if message.kind == SNAPSHOT:  # what it says is as new as the updates before it
            ts = max(ts, self._ts)
        if ts < self._ts:
            raise DataError(
                f"line {message.line} has an earlier time than the line before it",
                place=spool.place,
                remedy="Messages of one stream must be in time order: sort the file's lines.",
            )
        self._ts = ts
        self._counts.depth += 1
        flags, levels = made
        if len(flags):
            yield Change(ts, recv, flags, levels, self._known)

    def _update(self, message: Message) -> tuple[Any, Levels] | None:
        if message.last <= self._last:
            self._counts.refused[REPEATED] += 1
            return None
        gap = self._last >= 0 and message.previous > self._last
        self._last = message.last
        flags = np.zeros(len(message.levels[0]), dtype=np.uint8)
        if not gap:
            self._recent.append((message.previous, message.last, message.levels))
            return flags, message.levels
        self._counts.repaired[GAPS] += 1
        self._known = False
        self._recent.clear()
        self._recent.append((message.previous, message.last, message.levels))
        return _cleared(CLEAR, flags, message.levels)

    def _snapshot(self, message: Message) -> tuple[Any, Levels] | None:
        """The levels as of the last update: the snapshot's, changed by the updates it lacks."""
        later = [item for item in self._recent if item[1] > message.last]
        # The first update that it lacks must follow on what it knows.
        if later[0][0] > message.last if later else message.last < self._last:
            self._counts.refused[STALE] += 1
            return None
        self._last = max(self._last, message.last)
        self._known = True
        levels = _merged(message.levels, [item[2] for item in later])
        return self._stated(message, levels, 0)

    def _restated(self, message: Message) -> tuple[Any, Levels] | None:
        if not self._partial:
            self._counts.refused[BESIDE] += 1
            return None
        if message.last < self._last:
            self._counts.refused[REPEATED] += 1
            return None
        self._last = message.last
        self._known = True
        flags, levels = self._stated(message, message.levels, message.limit)
        return _cleared(CLEAR | RESTATED, flags, levels)

    def _stated(self, message: Message, levels: Levels, limit: int) -> tuple[Any, Levels]:
        """Rows of a snapshot, the last of which says so if it shows the whole book."""
        counts = [int(np.count_nonzero(message.levels[0] == side)) for side in (BID, ASK)]
        limits = (limit,) if limit else _LIMITS
        cut = any(count in limits for count in counts)
        flags = np.full(len(levels[0]), RESTATED, dtype=np.uint8)
        if len(flags) and (self._whole or not cut):
            flags[-1] |= LAST
        return flags, levels


def _cleared(flag: int, flags: Any, levels: Levels) -> tuple[Any, Levels]:
    """The rows after one that clears both sides."""
    first = (np.array([BOTH], dtype=np.int8), np.zeros(1, np.int64), np.zeros(1, np.int64))
    pairs: Any = zip(first, levels, strict=True)
    joined: Any = tuple(np.concatenate(pair) for pair in pairs)
    return np.concatenate([np.array([flag], dtype=np.uint8), flags]), joined


def _merged(levels: Levels, later: list[Levels]) -> Levels:
    """Levels with later changes, those that are gone left out; bids from the best, then asks."""
    sides, prices, sizes = (np.concatenate(of) for of in zip(levels, *later, strict=True))
    # The last row of a level counts: by side, price and place, it is the one before another level.
    order = np.lexsort((np.arange(len(sides)), np.where(sides == BID, -prices, prices), -sides))
    side, price = sides[order], prices[order]
    final = np.append((side[1:] != side[:-1]) | (price[1:] != price[:-1]), True)
    kept = order[final[: len(order)]]
    kept = kept[sizes[kept] > 0]
    return sides[kept], prices[kept], sizes[kept]


class Touch:
    """The best levels of a book that is known."""

    def __init__(self) -> None:
        self._book = LevelBook()

    def apply(self, change: Change) -> Quote:
        """The touch after a change; absent while the book is not known."""
        rows = zip(change.flags.tolist(), *(of.tolist() for of in change.levels), strict=True)
        for flags, side, price, size in rows:
            if flags & CLEAR:
                self._book.clear()
            else:
                self._book.side(side).put(price, size)
        return self._book.quote() if change.known else NO_QUOTE


def depth_columns(symbol: int, changes: list[Change]) -> Columns:
    """Rows of a lane of depth."""
    counts = [len(change.flags) for change in changes]
    levels = [np.concatenate(of) for of in zip(*(c.levels for c in changes), strict=True)]
    values = dict(zip(("side", "price", "size"), levels, strict=True))
    values["flags"] = np.concatenate([change.flags for change in changes])
    return depth_rows(symbol, np.repeat([change.ts for change in changes], counts), values)
