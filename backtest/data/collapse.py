"""Copies of a dataset that know less of the book: levels for orders, or the touch alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from backtest.core.atomic import new_folder
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import CARD_NAME, Columns
from backtest.data.dataset import Dataset
from backtest.data.reading.bus import stream_all
from backtest.data.reading.depth import DepthFeed, stream_depth
from backtest.errors import UsageError
from backtest.market.depth import (
    ADD,
    ASK,
    BID,
    BOTH,
    CANCEL,
    CLEAR,
    EXECUTE,
    LAST,
    MODIFY,
    SNAPSHOT,
    DepthBatch,
)

Level: TypeAlias = tuple[int, int]
"""Side and price."""


def collapse(
    dataset: Dataset,
    output: Path | str,
    *,
    to: Literal["levels", "events"],
    overwrite: bool = False,
) -> None:
    """Write the dataset without its orders, whole or not at all; events stay as they are.

    Args:
        dataset: one with the rows of orders (L3); for ``events``, with any depth or none.
        output: the folder to make.
        to: ``levels``: each row says what its level displays then (L2). ``events``: no depth.
        overwrite: replace a dataset that is already there.

    Raises:
        UsageError: the dataset has no orders to make levels of.
        DataError: the dataset cannot be read, or ``output`` is there already or cannot be written.
    """
    if to == "levels" and not dataset.depth_orders:
        raise UsageError(
            "the dataset has no rows of orders to make levels of",
            place=f"dataset {dataset.name!r}",
        )
    update: dict[str, Any] = {"columns": Columns(), "files": ("*.parquet",), "depth_files": ()}
    update |= {"sha256": {}, "footer_sha256": {}, "name": f"{dataset.name}-{to}"}
    card = dataset.card.model_copy(update=update)
    with (
        new_folder(output, marker=CARD_NAME, overwrite=overwrite) as folder,
        CanonicalWriter(folder, card) as writer,
    ):
        depth = DepthFeed(levels_of(stream_depth(dataset)) if to == "levels" else iter(()))
        for batch, targets in stream_all(dataset):
            rows = depth.among(writer.rows, writer.rows + len(batch))
            writer.write(batch, targets, depth=rows)
        for rows in depth.rest():
            writer.write_depth(rows)


def levels_of(batches: Iterator[DepthBatch]) -> Iterator[DepthBatch]:
    """Rows of levels from a stream's rows of orders: see ``LevelMaker``."""
    maker = LevelMaker()
    return (rows for rows in map(maker.levels, batches) if len(rows))


class LevelMaker:
    """Makes rows of levels from rows of orders, each at its place.

    A symbol's rows begin with an empty snapshot, since its book is known from the beginning. After
    a clear, and within a snapshot, levels are not whole until the snapshot ends: it states them
    then.
    """

    def __init__(self) -> None:
        self._books: dict[int, _Book] = {}

    def levels(self, batch: DepthBatch) -> DepthBatch:
        """The rows of levels that the next rows of orders make."""
        found: list[tuple[int, ...]] = []
        names = ("symbol", "side", "price", "size", "flags", "order_id", "action")
        columns = [getattr(batch, name).tolist() for name in names]
        for row, (symbol, *values) in enumerate(zip(*columns, strict=True)):
            if symbol not in self._books:
                self._books[symbol] = _Book()
                side, price = values[0] or BID, max(values[1], 1)
                found.append((row, side, price, 0, SNAPSHOT | LAST))
            found += [(row, *level) for level in self._books[symbol].apply(*values)]
        rows, side, price, size, flags = np.array(found, dtype=np.int64).reshape(-1, 5).T
        return DepthBatch(
            symbol=batch.symbol[rows],
            ts_event=batch.ts_event[rows],
            follows=batch.follows[rows],
            side=side.astype(np.int8),
            price=price,
            size=size,
            flags=flags.astype(np.uint8),
        )


class _Book:
    """One symbol's orders, and what its levels display."""

    def __init__(self) -> None:
        self._orders: dict[int, tuple[int, int, int]] = {}
        self._sizes: Counter[Level] = Counter()
        self._restated: dict[Level, None] = {}
        # Sides that were cleared: until a snapshot ends, their orders are not all that stand.
        self._unknown: set[int] = set()

    def apply(
        self, side: int, price: int, size: int, flags: int, order: int, action: int
    ) -> Iterator[tuple[int, int, int, int]]:
        """Side, price, size and flags of the rows of levels that a row of an order makes."""
        if not flags & SNAPSHOT:
            yield from self._end(0)
        touched: list[Level] = []
        if flags & CLEAR:
            self._clear(side)
            yield side, 0, 0, flags & (SNAPSHOT | CLEAR)
        else:
            touched = self._change(side, price, size, order, action)
        if not flags & SNAPSHOT:
            for level in touched:
                if level[0] not in self._unknown:
                    yield *level, self._sizes[level], 0
            return
        self._restated |= dict.fromkeys(touched)
        if flags & LAST:
            self._unknown = set()
            # Nothing was restated: what displays no lots, or the row's own level, ends it.
            self._restated = self._restated or {(side or BID, price or 1): None}
            yield from self._end(LAST)

    def _clear(self, side: int) -> None:
        sides = {BID, ASK} if side == BOTH else {side}
        self._orders = {k: v for k, v in self._orders.items() if v[0] not in sides}
        self._sizes = Counter({k: n for k, n in self._sizes.items() if k[0] not in sides})
        self._unknown |= sides

    def _end(self, flag: int) -> Iterator[tuple[int, int, int, int]]:
        """The levels of a snapshot, the last of which says so if the snapshot did."""
        levels = [level for level in self._restated if level[0] not in self._unknown]
        self._restated = {}
        for number, level in enumerate(levels, 1):
            ends = flag if number == len(levels) else 0
            yield *level, self._sizes[level], SNAPSHOT | ends

    def _change(self, side: int, price: int, size: int, order: int, action: int) -> list[Level]:
        """What becomes of an order; returns the levels that change or are restated."""
        known = self._orders.get(order)
        if known is None:
            if action in (ADD, MODIFY):
                return self._put(order, side, price, size)
            return []
        own_side, own_price, own_size = known
        level = own_side, own_price
        if action in (CANCEL, EXECUTE):
            left = max(own_size - size, 0)
            self._sizes[level] -= own_size - left
            if left:
                self._orders[order] = own_side, own_price, left
            else:
                del self._orders[order]
            return [level]
        self._sizes[level] -= own_size
        del self._orders[order]
        return list(dict.fromkeys([level, *self._put(order, side, price, size)]))

    def _put(self, order: int, side: int, price: int, size: int) -> list[Level]:
        if size:
            self._orders[order] = side, price, size
            self._sizes[side, price] += size
        return [(side, price)]
