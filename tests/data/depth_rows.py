"""Random depth among random events, and what reading it must give, row by row in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backtest.data.canonical import write_canonical
from backtest.data.card import Card, write_card
from backtest.data.dataset import Dataset, open_dataset
from backtest.market.depth import (
    ASK,
    BID,
    BOTH,
    CLEAR,
    LAST,
    SNAPSHOT,
    VALUES,
    DepthBatch,
    DepthRows,
)
from backtest.market.events import EventBatch
from tests.parquet_files import SYMBOLS, TIMESTAMP, card_of, random_events

START = 1_700_000_000_000_000_000


def random_depth(rows: int, *, orders: bool, seed: int = 0, span: int | None = None) -> DepthRows:
    """Seeded rows, several at most instants, with a few snapshots and clears."""
    draw = np.random.default_rng(seed)
    flags = draw.choice([0, SNAPSHOT, SNAPSHOT | LAST, CLEAR], rows, p=[0.9, 0.05, 0.02, 0.03])
    side = draw.choice([BID, ASK], rows)
    side[(flags == CLEAR) & (draw.random(rows) < 0.5)] = BOTH
    return DepthRows(
        symbol=draw.integers(0, len(SYMBOLS), rows).astype(np.int32),
        ts_event=np.sort(draw.integers(0, span or rows // 2, rows)) + START,
        side=side.astype(np.int8),
        price=draw.integers(90, 130, rows),
        size=draw.integers(0, 50, rows),
        flags=flags.astype(np.uint8),
        order_id=draw.integers(0, rows, rows) if orders else None,
        action=draw.integers(0, 4, rows).astype(np.int8) if orders else None,
    )


@dataclass(frozen=True)
class Mixed:
    """Events and rows of depth in one order.

    Attributes:
        events, depth: each in its order.
        of_depth: for each place of the order, whether a row of depth is there, bool [n + m].
    """

    events: EventBatch
    depth: DepthRows
    of_depth: Any

    @property
    def follows(self) -> Any:
        """How many events precede each row of depth, int64 [m]."""
        return np.cumsum(~self.of_depth)[self.of_depth]

    def among(self) -> DepthBatch:
        """The rows with their places among all events."""
        columns = {name: getattr(self.depth, name) for name in DepthRows.__dataclass_fields__}
        return DepthBatch(**columns, follows=self.follows)


def mixed(rows: int, depth_rows: int, *, orders: bool = False, seed: int = 0) -> Mixed:
    """Random events and rows of depth; at an instant in which both are, in random order."""
    events = random_events(rows, seed=seed)
    depth = random_depth(depth_rows, orders=orders, seed=seed + 1, span=rows // 2)
    ts = np.concatenate([events.ts_event, depth.ts_event])
    source = np.repeat([False, True], [rows, depth_rows])
    draw = np.random.default_rng(seed + 2)
    # Ties in random order, but each table's own order stays: the k-th of a table is its k-th row.
    order = np.lexsort((draw.random(len(ts)), ts))
    return Mixed(events, depth, source[order])


def dataset_with(folder: Path, data: Mixed) -> Dataset:
    """The data as a dataset that the writer made."""
    write_canonical(folder, card_without_features(), [(plain(data.events), data.among())])
    return open_dataset(folder)


def card_without_features() -> Card:
    """A card for ``plain``."""
    return card_of().model_copy(update={"features": None})


def plain(events: EventBatch) -> EventBatch:
    """The events without features."""
    columns = {name: getattr(events, name) for name in EventBatch.__dataclass_fields__}
    return EventBatch(**columns | {"features": None})


def split_dataset(folder: Path, data: Mixed, parts: int, *, seed: int, row_group: int) -> Dataset:
    """The data in several files of each table, which overlap in time."""
    folder.mkdir()
    draw = np.random.default_rng(seed)
    seq = np.arange(len(data.of_depth))
    event_seq, depth_seq = seq[~data.of_depth], seq[data.of_depth]
    quotes = ("bid", "ask", "bid_size", "ask_size")
    events = {name: getattr(data.events, name) for name in quotes}
    depth = {name: getattr(data.depth, name) for name in VALUES}
    depth = {name: values for name, values in depth.items() if values is not None}
    for name, table, numbers, columns in (
        ("events", data.events, event_seq, events),
        ("depth", data.depth, depth_seq, depth),
    ):
        owner = draw.integers(0, parts, len(table))
        for part in range(parts):
            rows = np.flatnonzero(owner == part)
            arrays = {
                "ts_event": pa.array(table.ts_event[rows]).view(TIMESTAMP),
                "seq": pa.array(numbers[rows]),
                "symbol": pa.array([SYMBOLS[i] for i in table.symbol[rows]]),
                **{key: pa.array(values[rows]) for key, values in columns.items()},
            }
            path = folder / f"{name}-{part}.parquet"
            pq.write_table(pa.table(arrays), path, row_group_size=row_group)
    card = Card(name="test", symbols=SYMBOLS, depth_files=("depth-*.parquet",))
    write_card(folder, card)
    return open_dataset(folder)


def expected(
    data: Mixed,
    *,
    start: int | None = None,
    end: int | None = None,
    symbols: Sequence[str] | None = None,
    limit: int | None = None,
) -> list[tuple[int, ...]]:
    """Each row of a window with how many of its events precede: both tables walked row by row."""
    wanted = {SYMBOLS.index(name) for name in symbols} if symbols else set(range(len(SYMBOLS)))
    tables = (data.events, data.depth)
    at = [0, 0]
    seen = 0
    found: list[tuple[int, ...]] = []
    names = ("symbol", "ts_event", *VALUES)
    columns = [getattr(data.depth, name) for name in names]
    for of_depth in data.of_depth.tolist():
        row = at[of_depth]
        at[of_depth] += 1
        ts, symbol = int(tables[of_depth].ts_event[row]), int(tables[of_depth].symbol[row])
        if (start is not None and ts < start) or (end is not None and ts >= end):
            continue
        if symbol not in wanted:
            continue
        if of_depth and seen != limit:
            found.append((seen, *(-1 if of is None else int(of[row]) for of in columns)))
        elif not of_depth and seen != limit:
            seen += 1
    return found


def rows_of(batches: Sequence[DepthBatch]) -> list[tuple[int, ...]]:
    """Rows as ``expected`` has them."""
    names = ("follows", "symbol", "ts_event", *VALUES)
    found: list[tuple[int, ...]] = []
    for batch in batches:
        columns = [getattr(batch, name) for name in names]
        listed = [[-1] * len(batch) if of is None else of.tolist() for of in columns]
        found += zip(*listed, strict=True)
    return found
