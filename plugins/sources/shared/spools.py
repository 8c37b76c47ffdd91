"""Rows kept on disk, by symbol and kind, until the grid of every symbol is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.data.reading.decode import Columns
from backtest.errors import DataError
from backtest.plugins.sources.shared.decimals import step_of, to_grid

MOST_RUNS = 64
"""Sorted runs of a spool, which are merged at once: so far may rows be out of order."""

PIECE_ROWS = 16_384
_BUFFERED_ROWS = 1 << 21
_MAX = 2**63 - 1
_SCALE_OF = dict.fromkeys(("bid", "ask", "trade_price", "price"), 0)
_SCALE_OF |= dict.fromkeys(("bid_size", "ask_size", "trade_size", "size"), 1)
"""Which of the scales a column has."""

Scales: TypeAlias = tuple[int, int]
"""Decimals of the prices and of the sizes: they are whole numbers of 10^-scale."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that lie together in a spool's file, sorted by (ts_event, seq).

    Attributes:
        offset: where they begin, in bytes.
        rows: how many.
        scales: of their prices and sizes.
        place: the input's file that they come from.
    """

    offset: int
    rows: int
    scales: Scales
    place: str


@dataclass
class Run:
    """Parts of a spool, each later than the one before."""

    first: int
    last: int
    parts: list[Part]


@dataclass
class Spool:
    """Rows of one symbol and kind.

    Attributes:
        path: the file, which is opened for each block that is written: there may be thousands.
        names: of the columns, all int64; among them ts_event and seq.
        runs: what was written, as few sorted runs.
        unsorted: rows that were earlier than the row before them.
        scales: the finest so far.
    """

    path: Path
    names: tuple[str, ...]
    runs: list[Run] = field(default_factory=list)
    unsorted: int = 0
    scales: Scales = (0, 0)
    rows: int = 0
    _held: list[tuple[Columns, Scales, str]] = field(default_factory=list)
    _size: int = 0
    _last: int = 0

    def add(self, columns: Columns, scales: Scales, place: str) -> None:
        """Append rows in the order of the file."""
        ts = columns["ts_event"]
        if not len(ts):
            return
        first = self._last if self.rows else int(ts[0])
        self.unsorted += int(np.count_nonzero(np.diff(ts, prepend=first) < 0))
        self._last = int(ts[-1])
        self.rows += len(ts)
        self.scales = max(self.scales[0], scales[0]), max(self.scales[1], scales[1])
        self._held.append((columns, scales, place))

    @property
    def held(self) -> int:
        """Rows that are not yet on disk."""
        return sum(len(columns["ts_event"]) for columns, _, _ in self._held)

    def flush(self) -> None:
        """Write what is held.

        Raises:
            DataError: rows are so far out of time order that too many runs would have to be merged.
        """
        waiting, self._held = self._held, []
        for place, group in groupby(waiting, key=itemgetter(2)):
            some = [*group]
            finest = max(s[0] for _, s, _ in some), max(s[1] for _, s, _ in some)
            try:
                self._write([_at_scales(*item[:2], finest) for item in some], finest, place)
            except ValueError:  # numbers too different to be counted in one unit
                for columns, scales, _ in some:
                    self._write([columns], scales, place)

    def pieces(self, run: Run) -> Iterator[tuple[Columns, Scales, str]]:
        """A run's columns, a piece at a time, with their scales and the file they come from."""
        width = len(self.names)
        for part in run.parts:
            table = np.fromfile(
                self.path, dtype=np.int64, count=width * part.rows, offset=part.offset
            ).reshape(width, part.rows)
            for low in range(0, part.rows, PIECE_ROWS):
                piece = table[:, low : low + PIECE_ROWS]
                yield dict(zip(self.names, piece, strict=True)), part.scales, part.place

    def _write(self, some: Sequence[Columns], scales: Scales, place: str) -> None:
        table = np.stack([np.concatenate([part[name] for part in some]) for name in self.names])
        at = self.names.index("ts_event")
        if np.any(np.diff(table[at]) < 0):
            table = table[:, np.argsort(table[at], kind="stable")]
        ts = table[at]
        part = Part(self._size, table.shape[1], scales, place)
        with self.path.open("ab") as file:
            file.write(np.ascontiguousarray(table).tobytes())
        self._size += table.nbytes
        for run in self.runs:
            if run.last <= ts[0]:
                run.parts.append(part)
                run.last = int(ts[-1])
                return
        if len(self.runs) == MOST_RUNS:
            raise DataError(
                "the venue's times go back too far and too often to be sorted in bounded memory",
                place=place,
                remedy="Sort the file (stably) by the venue's time.",
            )
        self.runs.append(Run(int(ts[0]), int(ts[-1]), [part]))


class Spools:
    """Spools in a folder, which together hold a bounded number of rows in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spools: dict[tuple[str, ...], Spool] = {}
        self._held = 0

    def add(self, key: tuple[str, ...], columns: Columns, scales: Scales, place: str) -> None:
        """Append rows to the spool of a key; the first ones decide its columns."""
        if key not in self._spools:
            path = self._folder / f"{len(self._spools)}.rows"
            self._spools[key] = Spool(path, tuple(columns))
        spool = self._spools[key]
        spool.add(columns, scales, place)
        self._held += len(columns["ts_event"])
        if spool.held >= PIECE_ROWS:
            self._held -= spool.held
            spool.flush()
        elif self._held > _BUFFERED_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what any spool holds."""
        for spool in self._spools.values():
            spool.flush()
        self._held = 0

    def items(self) -> Iterator[tuple[tuple[str, ...], Spool]]:
        """Keys and spools, in the order in which they began."""
        yield from self._spools.items()


def _at_scales(columns: Columns, scales: Scales, finest: Scales) -> Columns:
    """The same columns with prices and sizes in finer units."""
    return {
        name: rescaled(values, finest[_SCALE_OF[name]] - scales[_SCALE_OF[name]])
        if name in _SCALE_OF
        else values
        for name, values in columns.items()
    }


def on_grid(columns: Columns, scales: Scales, tick: Decimal, lot: Decimal) -> Columns:
    """The columns of prices as ticks, and those of sizes as lots.

    Raises:
        ValueError: a number that is not on the grid.
    """
    steps = (step_of(scales[0]), tick), (step_of(scales[1]), lot)
    return {
        name: to_grid(values, *steps[_SCALE_OF[name]])
        for name, values in columns.items()
        if name in _SCALE_OF
    }


def rescaled(values: Int64Array, by: int) -> Int64Array:
    """Whole numbers times 10^by.

    Raises:
        ValueError: one is more than int64 holds.
    """
    if not by or not values.size:
        return values
    factor = 10**by
    if max(abs(int(values.min())), abs(int(values.max()))) * factor > _MAX:
        raise ValueError(f"a number with {by} decimals more has more digits than 64 bits can hold")
    return values * np.int64(factor)
