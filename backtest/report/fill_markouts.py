"""What resting orders lost to those who knew more, and their share of what was traded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from backtest.core.arrays import Int8Array, Int64Array
from backtest.core.arrow import Codes, integers
from backtest.data.dataset import Dataset
from backtest.market.events import NO_PRICE, EventBatch
from backtest.report.exact import exact_product
from backtest.report.picked_off import STAGES
from backtest.report.seen_events import Standing, damaged, numbers_of
from backtest.runs.folder import Run
from backtest.trading.fill_table import CLOSING, closing

if TYPE_CHECKING:
    import polars as pl

HORIZONS_NS = np.array([1, 2, 5, 10, 20, 50, 100, 200, 300, 600], dtype=np.int64) * 10**8
"""After the fill, 0.1 to 60 s."""

STALE_HORIZON = 3
"""Of these, the place of 1 s."""

_MINUTE = 60 * 10**9
_LATEST = int(np.iinfo(np.int64).max)
_FILLS = (
    *(*CLOSING, "symbol", "lots", "maker", "ts_venue"),
    *("price_half_ticks", "spread", "impact"),
)
_SYMBOL, _VALUE, _BEFORE, _KIND, _FILLED, _END, _ROWS = range(7)
_PLACE = ["symbol", "minute", "price"]


class FillMarkouts:
    """Adds up, in money, how the mid moved after fills: adverse = q (Mf - M(tf + h)).

    q are the signed lots of a fill at tf, Mf is the doubled mid before the row that filled it, and
    the window's end is the last instant that is looked at.

    Attributes:
        adverse: of orders that took, and of those that rested, at each horizon [2, h], units of
            money.
        late: the same at 1 s, by where the message was that came too late, as ``stages_of`` says.

    Args:
        run: whose orders rest.
        dataset: that it saw.
        stages: by fill, as ``stages_of`` gives them.

    Raises:
        DataError: now or later, the table of fills cannot be read, or is of other prices.
    """

    def __init__(self, run: Run, dataset: Dataset, stages: Int8Array) -> None:
        import polars as pl

        self.adverse = [[0] * len(HORIZONS_NS) for _ in range(2)]
        self.late = [0] * (len(STAGES) + 1)
        self._run, self._dataset = run, dataset
        self._has_trades = False
        self._pieces = self._fills(stages)
        self._more = True
        self._standing = Standing(len(dataset.symbols))
        self._open: Int64Array = np.empty((_ROWS, 0), dtype=np.int64)
        self._loaded = self._counted = int(np.iinfo(np.int64).min)
        self._ends = np.array([f["test_ns"][1] for f in run.manifest.get("folds", ())] or [_LATEST])
        places = dict.fromkeys((*_PLACE, "lots"), pl.Int64)
        self._own, self._traded = (pl.DataFrame(schema=places) for _ in range(2))
        self._shares = np.zeros((len(dataset.symbols), 2), dtype=np.int64)

    def add(self, events: EventBatch) -> None:
        """Take the next events."""
        import polars as pl

        if not len(events):
            return
        self._standing.add(events)
        latest = int(events.ts_event[-1])
        self._count(latest)
        if events.trade_price is not None and events.trade_size is not None:
            self._has_trades = True
            rows = np.flatnonzero((events.trade_price != NO_PRICE) & (events.trade_size > 0))
            prices, lots = 2 * events.trade_price[rows], events.trade_size[rows]
            traded = _places(events.symbol[rows], events.ts_event[rows], prices, lots)
            self._traded = pl.concat([self._traded, traded])
            self._share(latest // _MINUTE)

    def finish(self) -> None:
        """Count what is left after the last events."""
        self._count(_LATEST)
        self._share(_LATEST)

    @property
    def participation(self) -> dict[str, tuple[int, int]] | None:
        """By symbol, lots filled while resting, and all lots traded at the prices and in the
        minutes of these fills; ``None``: the dataset has no trades."""
        if not self._has_trades:
            return None
        pairs = zip(self._dataset.symbols, self._shares.tolist(), strict=True)
        return {name: (own, traded) for name, (own, traded) in pairs if own}

    def _count(self, until: int) -> None:
        """Read the mids before ``until``, at the horizons of all fills, that were not read yet."""
        while self._more and self._loaded < until:
            self._load()
        filled, last = self._open[_FILLED], self._open[_END] - 1
        for k, horizon in enumerate(HORIZONS_NS.tolist()):
            times = np.minimum(filled + horizon, last)
            due = np.flatnonzero((times >= self._counted) & (times < until))
            symbol, value, before, kind = self._open[:_FILLED, due]
            moved = before - self._standing.at(symbol, times[due])
            for rested in range(2):
                of = (kind != 0) == rested
                self.adverse[rested][k] += exact_product(value[of], moved[of])
            if k == STALE_HORIZON:
                for stage in range(1, len(STAGES) + 1):
                    of = kind == 1 + stage
                    self.late[stage] += exact_product(value[of], moved[of])
        ended = np.minimum(filled + int(HORIZONS_NS[-1]), last) < until
        self._open = self._open[:, ~ended]
        self._counted = until

    def _load(self) -> None:
        """Take the next fills, which are in the order in which they were made."""
        piece = next(self._pieces, None)
        self._more = piece is not None
        if piece is None or not piece.shape[1]:
            return
        joined = np.hstack([self._open, piece])
        # By symbol, so that mids that lie side by side are looked up together.
        self._open = joined[:, np.argsort(joined[_SYMBOL], kind="stable")]
        self._loaded = int(piece[_FILLED, -1])

    def _fills(self, stages: Int8Array) -> Iterator[Int64Array]:
        """The next fills, [_ROWS, n]: money of a half tick in their direction, the doubled mid
        before, 0 if they took, or else 1 and the stage."""
        import polars as pl

        codes, first = Codes(), 0
        for rows in self._run.pieces("fills", _FILLS):
            code = codes(rows["symbol"])
            of = numbers_of(codes.names, self._dataset, self._run)
            symbol = of[code]
            lots, filled, price = (
                integers(rows[name]) for name in ("lots", "ts_venue", "price_half_ticks")
            )
            worth = np.array([self._worth(s) for s in of.tolist()], dtype=np.int64)[code]
            if (np.abs(lots.astype(np.float64)) * worth >= 2.0**62).any() or not lots.all():
                raise damaged(self._run, "it holds a fill of no lots, or of too many")
            value = lots * worth
            paid = integers(rows["spread"]) + integers(rows["impact"])
            if (paid % value).any():
                raise damaged(self._run, "spread and price of a fill do not fit together")
            maker = rows["maker"].to_numpy(zero_copy_only=False).astype(np.int64)
            kind = maker * (1 + stages[first : first + len(rows)])
            end = self._ends[np.searchsorted(self._ends[:-1], filled, side="right")]
            columns = np.array([symbol, value, price - paid // value, kind, filled, end])
            first += len(rows)
            rested = maker != 0
            own = _places(symbol, filled, price, np.abs(lots))
            self._own = pl.concat([self._own, own.filter(pl.Series(rested))])
            yield columns[:, ~closing(rows)]

    def _worth(self, symbol: int) -> int:
        """Units of money that a lot earns with half a tick."""
        try:
            return self._dataset.instruments[symbol].half_tick_lot
        except ValueError as error:
            name = self._dataset.symbols[symbol]
            raise damaged(self._run, f"it holds fills of {name!r}: {error}") from None

    def _share(self, until: int) -> None:
        """Compare what was filled and traded in the minutes before ``until``."""
        import polars as pl

        done = pl.col("minute") < until
        own, traded = self._own.filter(done), self._traded.filter(done)
        if not len(own) and not len(traded):
            return
        self._own, self._traded = self._own.filter(~done), self._traded.filter(~done)
        met = traded.join(own, on=_PLACE, how="semi")
        for column, lots in enumerate((own, met)):
            sums = lots.group_by("symbol").agg(pl.col("lots").sum())
            self._shares[sums["symbol"].to_numpy(), column] += sums["lots"].to_numpy()


def _places(
    symbol: object, times: Int64Array, prices: Int64Array, lots: Int64Array
) -> pl.DataFrame:
    """Lots by symbol, minute and price in half ticks."""
    import polars as pl

    columns = (symbol, times // _MINUTE, prices, lots)
    named = zip((*_PLACE, "lots"), columns, strict=True)
    return pl.DataFrame({name: np.asarray(values, dtype=np.int64) for name, values in named})
