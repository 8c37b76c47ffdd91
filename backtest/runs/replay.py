"""The events of a window through the simulated server, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from backtest.core.arrays import BoolArray, Int32Array, Int64Array
from backtest.core.marks import Marks
from backtest.data.reading.stream import Stream
from backtest.inference.answering import Served
from backtest.market.events import ABSENT, COLUMNS, NO_TIME, EventBatch
from backtest.market.quotes import UNLIMITED
from backtest.market.window import ColumnType, Window
from backtest.timing.latency import LatencyModel
from backtest.timing.outcomes import Status
from backtest.timing.server import Batch, Server
from backtest.timing.server_rules import ServerRules

LiveService = Callable[[Batch], int]
"""Serves a batch that the server has sent: its scaled service time, ns."""

_NARROW = {"symbol": np.int32, "aggressor": np.int8}

EVENT_COLUMNS: Mapping[str, ColumnType] = {
    name: _NARROW.get(name, np.int64) for name in COLUMNS if name != "features"
}
"""Columns of a window that hold events as they come; ``features`` have a width besides."""

_ABSENT = ABSENT | {"bid_size": UNLIMITED, "ask_size": UNLIMITED}
"""What a column holds of which the dataset knows nothing."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What one piece led to.

    Attributes:
        first, stop: numbers of the events whose outcome became final, half-open.
        last: whether it was the last piece.
    """

    first: int
    stop: int
    last: bool


class Replay:
    """One pass of a stream's events through the server.

    Args:
        stream: the events.
        rules: of the server.
        feed: from ts_event to receipt.
        symbols: size of the symbol table.
        end: when the window of time ends, ns.
        columns: columns of the window beyond the server's own.
        features: whether features are read; then ``columns`` has room for them.
        live: whether batches are served by the attribute ``live``, to be set before ``run``;
            otherwise the latency model says how long they take.

    Attributes:
        window: where events and their outcomes lie.
        server: the machine.
        live: serves batches.
    """

    def __init__(
        self,
        stream: Stream,
        rules: ServerRules,
        feed: LatencyModel,
        *,
        symbols: int,
        end: int,
        columns: Mapping[str, ColumnType] | None = None,
        features: bool = False,
        live: bool = False,
    ) -> None:
        self._stream = stream
        self._features = features
        self.live: LiveService | None = None
        self.window = Window({"symbol": np.int32, **Server.COLUMNS, **(columns or {})})
        self.server = Server(rules, feed, self.window, symbols=symbols, end=end, live=live)
        self._held: Batch | None = None

    def run(
        self,
        appended: Callable[[EventBatch, slice], None] = lambda events, rows: None,
        needs: Callable[[], int] | None = None,
    ) -> Iterator[Progress]:
        """Go through all events; what a piece led to is to be used up before the next is asked for.

        Args:
            appended: called with each piece and its rows in the window, before it is served.
            needs: the oldest event that somebody else reads; asked for after each piece.
        """
        window, server, settled = self.window, self.server, 0
        for piece in self._stream.pieces(features=self._features):
            rows = window.extend(len(piece))
            for name in EVENT_COLUMNS:
                if name in window:
                    column = getattr(piece, name)
                    window[name][rows] = _ABSENT[name] if column is None else column
            if piece.features is not None:
                window["features"][rows] = piece.features
            appended(piece, rows)
            server.receive(piece, rows)
            self._advance(int(piece.ts_event[-1]) if len(piece) else NO_TIME)
            before, settled = settled, server.settled
            yield Progress(before, settled, self.complete)
            needed = min(server.needs, settled)
            window.release(needed if needs is None else min(needed, needs()))

    def _advance(self, newest: int) -> None:
        """Serve what is certain; a live batch only once all has been read that happened before.

        Events are received later than they happen, so the server may know the next arrivals while
        quotes that fill earlier orders are still to be read.

        Args:
            newest: ts_event of the newest event, ns; another may have the same.
        """
        server, last = self.server, self.complete
        batch = self._held or server.advance(last=last)
        while batch is not None and (batch.now < newest or last):
            assert self.live is not None
            server.serve(self.live(batch))
            batch = server.advance(last=last)
        self._held = batch

    @property
    def complete(self) -> bool:
        """Whether the window has taken in all events."""
        return self.window.stop == self._stream.count

    def rows(self, progress: Progress) -> slice:
        """Rows of the window whose outcome became final."""
        return self.window.rows(progress.first, progress.stop)


class ServedTally:
    """Collects what pass 2 has to know of pass 1.

    Args:
        count: events of the run.
        lines: how many lines no answer may be missing from the middle of: one a symbol, or one.
        batches: whether the batches themselves are wanted.
    """

    def __init__(self, count: int, lines: int, *, batches: bool) -> None:
        self._marks = Marks(count, True)
        self._gaps = Gaps(lines)
        self._batches: list[tuple[Int64Array, Int64Array]] | None = [] if batches else None

    def add(self, replay: Replay, progress: Progress) -> None:
        """Take what a piece led to."""
        window, rows = replay.window, replay.rows(progress)
        answered = window["status"][rows] == Status.ANSWERED
        self._marks.set(progress.first, answered)
        self._gaps.add(window["symbol"][rows], answered)
        numbers = replay.server.take_answered()
        if self._batches is not None:
            places = numbers - window.first
            self._batches.append((numbers, window["batch"][places].copy()))

    def served(self) -> Served:
        """All of it, after the last piece."""
        unbroken = not self._gaps.found
        if self._batches is None:
            return Served(self._marks, unbroken)
        numbers = np.concatenate([n for n, _ in self._batches])
        batch = np.concatenate([b for _, b in self._batches])
        cuts = np.flatnonzero(np.diff(batch)) + 1
        return Served(self._marks, unbroken, np.split(numbers, cuts) if len(numbers) else [])


class Gaps:
    """Looks for answers to events that come after an unanswered one of their line.

    Args:
        lines: how many lines there are: one a symbol, or a single one for all events.

    Attributes:
        found: whether there is one.
    """

    def __init__(self, lines: int) -> None:
        self._missed = np.zeros(lines, dtype=np.bool_)
        self.found = False

    def add(self, symbols: Int32Array, answered: BoolArray) -> None:
        """Take the next events, [n]."""
        if self.found or (answered.all() and not self._missed.any()):
            return
        lines = symbols if len(self._missed) > 1 else np.zeros(len(symbols), dtype=np.int32)
        # Of each line, where the first unanswered event lies among these; -1: before them.
        first = np.where(self._missed, -1, len(lines))
        silent = np.flatnonzero(~answered)[::-1]
        first[lines[silent]] = np.minimum(first[lines[silent]], silent)
        self.found = bool((first[lines] < np.arange(len(lines)))[answered].any())
        self._missed[lines[silent]] = True
