"""From DBN records of ten levels (``mbp-10``) to rows of depth beside their events."""

from __future__ import annotations

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.data.reading.decode import Columns
from backtest.market.depth import ASK, BID, BOTH, CLEAR, VALUES
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.databento.files import F_LAST, F_MAYBE_BAD_BOOK
from backtest.plugins.sources.databento.rows import Chunk, Grids, PriceRows, in_ticks
from backtest.plugins.sources.shared.counts import Counts

_LEVELS = 10
_SIDES = (("bid", BID), ("ask", ASK))


class LevelRows:
    """Rows of the schema ``mbp-10``: events as of ``mbp-1``, after the levels that changed.

    A level that better ones push out of the ten that are shown is not gone: nothing is said of it
    until it is shown again, or a worse one is in its place.

    Args:
        grids: of the symbols.
        counts: take what becomes of records.
    """

    def __init__(self, grids: Grids, counts: Counts) -> None:
        self._grids = grids
        self._events = PriceRows(grids, counts, depth=True)
        self._known: dict[tuple[int, int], dict[int, int]] = {}
        self._last: dict[int, Int64Array] = {}

    def rows(self, chunk: Chunk) -> Columns:
        """The events and rows of depth of some records."""
        events, at = self._events.placed_rows(chunk)
        depth = self._depth(chunk)
        whole: Columns = {"place": np.concatenate([3 * depth["place"], 3 * at + 1])}
        n = len(depth["place"])
        for name, values in events.items():
            absent = NO_PRICE if name in ("bid", "ask", "trade_price") else 0
            filler = depth.get(name, np.full(n, absent, dtype=values.dtype))
            whole[name] = np.concatenate([filler, values])
        whole["is_event"] = np.arange(n + len(at)) >= n
        for name in VALUES[:4]:
            values = depth[name]
            whole[name] = np.concatenate([values, np.zeros(len(at), dtype=values.dtype)])
        order = np.argsort(whole.pop("place"), kind="stable")
        return {name: values[order] for name, values in whole.items()}

    def _depth(self, chunk: Chunk) -> Columns:
        """Rows of levels that changed, with the record that each is of as ``place``."""
        data = chunk.records.data
        rows: list[tuple[int, int, int, int, int]] = []
        whole = np.flatnonzero((data["flags"] & F_LAST) != 0)
        part = chunk.select(np.isin(np.arange(len(data)), whole))
        state = self._states(part)  # [n, 2, 2, 10]
        bad = (part.records.data["flags"] & F_MAYBE_BAD_BOOK) != 0
        for k, (place, symbol) in enumerate(zip(whole.tolist(), part.symbol.tolist(), strict=True)):
            if bad[k]:
                if self._last.pop(symbol, None) is not None:
                    self._known.pop((symbol, BID), None)
                    self._known.pop((symbol, ASK), None)
                    rows.append((place, BOTH, 0, 0, CLEAR))
                continue
            before = self._last.get(symbol)
            self._last[symbol] = state[k]
            for side, (_, sign) in enumerate(_SIDES):
                if before is None or (before[side] != state[k, side]).any():
                    known = self._known.setdefault((symbol, sign), {})
                    prices, sizes = state[k, side].tolist()
                    for price, size in _changes(known, sign, prices, sizes):
                        rows.append((place, sign, price, size, 0))
        cells = np.array(rows, dtype=np.int64).reshape(-1, 5)
        at = cells[:, 0]
        return {
            "place": at,
            "symbol": chunk.symbol[at].astype(np.int32),
            "ts_event": chunk.ts[at],
            "ts_recv": chunk.recv[at],
            "side": cells[:, 1].astype(np.int8),
            "price": cells[:, 2],
            "size": cells[:, 3],
            "flags": cells[:, 4].astype(np.uint8),
        }

    def _states(self, chunk: Chunk) -> Int64Array:
        """Prices and lots of both sides' levels, int64 [n, 2, 2, 10]."""
        state = np.empty((len(chunk.symbol), 2, 2, _LEVELS), dtype=np.int64)
        for side, (name, _) in enumerate(_SIDES):
            for level in range(_LEVELS):
                price = in_ticks(chunk, f"{name}_px_{level:02d}", self._grids)
                size = chunk.records.data[f"{name}_sz_{level:02d}"]
                state[:, side, 0, level] = np.where(size > 0, price, NO_PRICE)
                state[:, side, 1, level] = np.where(price != NO_PRICE, size, 0)
        return state


def _changes(
    known: dict[int, int], sign: int, prices: list[int], sizes: list[int]
) -> list[tuple[int, int]]:
    """Levels of a side that are not as they were known: price and lots, 0 where it is gone.

    ``known`` is brought up to date.
    """
    shown = {p: s for p, s in zip(prices, sizes, strict=True) if p != NO_PRICE}
    full = len(shown) == _LEVELS
    worst = min(sign * p for p in shown) if full else 0
    gone = [p for p in known if p not in shown and (not full or sign * p > worst)]
    for price in gone:
        del known[price]
    new = [(p, s) for p, s in shown.items() if known.get(p) != s]
    known.update(new)
    return [(p, 0) for p in sorted(gone)] + new
