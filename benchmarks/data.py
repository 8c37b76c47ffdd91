"""Synthetic ticks: quotes of many symbols with random walks, written as a canonical dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backtest.core.atomic import new_folder
from backtest.data.canonical import write_canonical
from backtest.data.card import CARD_NAME, Card, Features, write_card
from backtest.data.table_files import ROW_GROUP_ROWS
from backtest.market.events import EventBatch

START = 1_700_000_000_000_000_000
PIECE = 1 << 18


def quotes(events: int, symbols: int = 39, mean_gap_ns: int = 1000) -> Iterator[EventBatch]:
    """``events`` quotes at exponential gaps; mids move by -1, 0 or 1 tick, sizes are 1 to 99."""
    random = np.random.default_rng(0)
    last, mids = START, np.full(symbols, 10_000, dtype=np.int64)
    for first in range(0, events, PIECE):
        n = min(PIECE, events - first)
        symbol = random.integers(0, symbols, n).astype(np.int32)
        times = last + np.cumsum(random.exponential(mean_gap_ns, n).astype(np.int64))
        last = int(times[-1])
        moves = random.integers(-1, 2, n)
        bid = np.empty(n, dtype=np.int64)
        for s in range(symbols):
            rows = np.flatnonzero(symbol == s)
            path = mids[s] + np.cumsum(moves[rows])
            bid[rows] = np.maximum(path, 1000)
            mids[s] = path[-1] if len(path) else mids[s]
        sizes = random.integers(1, 100, (2, n))
        yield EventBatch(symbol, times, bid=bid, ask=bid + 1, bid_size=sizes[0], ask_size=sizes[1])


def dataset(folder: Path, events: int, symbols: int = 39) -> Path:
    """The folder of a dataset of that many quotes, written unless it is there."""
    path = folder / f"quotes-{events}-{symbols}"
    if not path.exists():
        card = Card(name=path.name, symbols=tuple(f"S{k:02d}" for k in range(symbols)))
        write_canonical(path, card, quotes(events, symbols))
    return path


def by_symbol(folder: Path, events: int, symbols: int = 39) -> Path:
    """The same quotes, a file for each symbol: files that all overlap in time."""
    path = folder / f"quotes-{events}-{symbols}-by-symbol"
    if path.exists():
        return path
    whole = dataset(folder, events, symbols)
    with new_folder(path, marker=CARD_NAME) as aside:
        table = pa.concat_tables(
            pq.read_table(file) for file in sorted(whole.glob("events-*.parquet"))
        )
        names = table["symbol"].cast(pa.string())
        for k in range(symbols):
            name = f"S{k:02d}"
            rows = table.filter(pc.equal(names, name))
            integers = [field.name for field in rows.schema if field.name != "symbol"]
            pq.write_table(
                rows,
                aside / f"{name}.parquet",
                compression="zstd",
                row_group_size=ROW_GROUP_ROWS,
                use_dictionary=["symbol"],
                column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
                write_page_checksum=True,
            )
        write_card(aside, Card(name=path.name, symbols=tuple(f"S{k:02d}" for k in range(symbols))))
    return path


def with_features(folder: Path, events: int, layout: str, count: int = 79) -> Path:
    """Quotes with features of normal noise, in one of the two canonical layouts."""
    path = folder / f"features-{events}-{count}-{layout}"
    if path.exists():
        return path
    random = np.random.default_rng(1)
    names = tuple(f"f{k}" for k in range(count))
    wide = Features(columns=names)
    packed = Features(packed="features", names=names)
    card = Card(
        name=path.name,
        symbols=tuple(f"S{k:02d}" for k in range(39)),
        features=wide if layout == "wide" else packed,
    )

    def batches() -> Iterator[EventBatch]:
        for batch in quotes(events):
            matrix = random.standard_normal((len(batch), count), dtype=np.float32)
            yield replace(batch, features=matrix)

    write_canonical(path, card, batches())
    return path
