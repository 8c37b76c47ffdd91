"""Pass 1 over events that are all in memory."""

from __future__ import annotations

import numpy as np

from backtest.market.events import EventBatch
from backtest.market.window import Window
from backtest.timing.latency import LatencyModel
from backtest.timing.outcomes import Timing
from backtest.timing.server import Server
from backtest.timing.server_rules import ServerRules

_PIECE = 1 << 16


def simulate(
    rules: ServerRules,
    events: EventBatch,
    feed: LatencyModel,
    *,
    symbols: int,
    end: int,
    piece: int = _PIECE,
) -> Timing:
    """Serve every event.

    Args:
        rules: of the server.
        events: in bus order, none after ``end``.
        feed: from ts_event to receipt.
        symbols: size of the symbol table.
        end: when the window of time ends, ns; a service that ends later answers nothing.
        piece: events that the server is given at once; nothing depends on it.
    """
    window = Window(Server.COLUMNS)
    server = Server(rules, feed, window, symbols=symbols, end=end)
    count = len(events)
    names = ("received", "begun", "ended", "status", "batch")
    found = [np.empty(count, dtype=Server.COLUMNS[name]) for name in names]
    settled = 0
    for first in range(0, count, piece):
        some = events.select(slice(first, first + piece))
        rows = window.extend(len(some))
        window["symbol"][rows] = some.symbol
        server.receive(some, rows)
        server.advance(last=first + len(some) == count)
        before, settled = settled, server.settled
        for name, column in zip(names, found, strict=True):
            column[before:settled] = window[name][window.rows(before, settled)]
        server.take_answered()
        window.release(server.needs)
    return Timing(*found)
