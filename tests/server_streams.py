"""A server fed chunk by chunk, as the engine feeds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.market.events import EventBatch
from backtest.market.window import Window
from backtest.timing.latency import LatencyModel
from backtest.timing.outcomes import Timing
from backtest.timing.server import Batch, Server
from backtest.timing.server_rules import ServerRules

SpanOf = Callable[[Batch], int]
"""The scaled service time of a live batch, ns."""


@dataclass(frozen=True)
class Served:
    """What became of all events, and their numbers in the order in which they were answered."""

    timing: Timing
    answered: Int64Array
    batches: int


def serve(
    rules: ServerRules,
    events: EventBatch,
    feed: LatencyModel,
    *,
    symbols: int,
    end: int,
    chunk: int = 1 << 16,
    span_of: SpanOf | None = None,
) -> Served:
    """Run the server over a stream that is cut into chunks, through a window of few rows."""
    window = Window(Server.COLUMNS, rows=4)
    server = Server(rules, feed, window, symbols=symbols, end=end, live=span_of is not None)
    kept: dict[str, list[object]] = {name: [] for name in Server.COLUMNS}
    answered: list[int] = []
    settled = 0
    for rows, part, last in _chunks(events, window, chunk):
        server.receive(part, rows)
        for batch in _batches(server, last):
            assert span_of is not None
            before = server.now
            known = server.take_answered().tolist()
            assert not set(known) & set(batch.events.tolist())
            answered += known
            server.serve(span_of(batch))
            assert server.now >= before
        answered += server.take_answered().tolist()
        assert server.needs <= server.settled <= window.stop
        assert server.settled >= settled
        now_settled = window.rows(settled, server.settled)
        for name in kept:
            kept[name] += window[name][now_settled].tolist()
        settled = server.settled
        window.release(min(server.needs, settled))
    assert settled == len(events)
    columns = {n: np.array(v, dtype=Server.COLUMNS[n]) for n, v in kept.items() if n != "symbol"}
    return Served(Timing(**columns), np.array(answered, dtype=np.int64), server.batches)


def _chunks(
    events: EventBatch, window: Window, chunk: int
) -> Iterator[tuple[slice, EventBatch, bool]]:
    """The events piece by piece with their rows, and whether they are the last."""
    cuts = [*range(0, len(events), chunk), len(events)] if len(events) else [0, 0]
    for first, stop in pairwise(cuts):
        part = events.select(slice(first, stop))
        rows = window.extend(len(part))
        window["symbol"][rows] = part.symbol
        yield rows, part, stop == len(events)


def _batches(server: Server, last: bool) -> Iterator[Batch]:
    while (batch := server.advance(last=last)) is not None:
        yield batch
