"""Resting orders that were filled while a message that would have saved them was on its way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from backtest.core.arrays import Int8Array
from backtest.core.arrow import Codes, integers
from backtest.runs.folder import Run

if TYPE_CHECKING:
    import polars as pl

STAGES = ("same instant", "feed", "queueing", "service", "entry")
"""Where such a message can be at the fill, in the order in which it gets there. Its event may be of
the same instant as the fill, often the filling row itself; then no speed would have saved it."""

_MESSAGES = ("cancelled", "replaced", "rejected", "late")
"""Reports that answer a message which was to withdraw or to change an order."""

_INSTANTS = ("ts_event", "ts_received", "ts_begun", "ts_ended", "ts_arrived")
_FILLS = ("symbol", "order", "maker", "ts_venue")
_ORDERS = ("symbol", "order", "report", "ts_venue", *_INSTANTS)
_KEYS = ["symbol", "order"]


def stages_of(run: Run) -> Int8Array:
    """Where the message was that came too late for each fill of a run, int8 [fills].

    1 and more: the place in ``STAGES``, plus 1; 0: no such message, or the order did not rest. A
    message that withdrew or changed the order came too late for its fill at tf if its event
    happened at t0 <= tf and it arrived at t4 > tf; of several the first to arrive counts. What is
    kept is a byte a fill, and what is on its way.

    Raises:
        DataError: a table of the run cannot be read.
    """
    import polars as pl

    stages: list[Int8Array] = []
    codes = Codes()
    fills = _fills(run, codes, stages)
    pending = pl.DataFrame(schema=dict.fromkeys(("symbol", "order", "filled", "row"), pl.Int64))
    loaded = np.iinfo(np.int64).min
    for piece in run.pieces("orders", _ORDERS):
        messages = _messages(piece, codes)
        until = int(integers(piece["ts_venue"])[-1]) if len(piece) else loaded
        while loaded <= until and (more := next(fills, None)) is not None:
            loaded, rows = more
            pending = pl.concat([pending, rows])
        found = pending.sort("filled").join_asof(
            messages.filter("answers").sort("arrived"), left_on="filled", right_on="arrived",
            by=_KEYS, strategy="forward", allow_exact_matches=False, check_sortedness=False,
        )  # fmt: skip
        late = found.filter(pl.col("t0") <= pl.col("filled"))
        passed = pl.sum_horizontal(pl.col("filled") >= pl.col(f"t{k}") for k in range(1, 4))
        stage = pl.when(pl.col("t0") == pl.col("filled")).then(1).otherwise(2 + passed)
        _mark(stages, late["row"].to_list(), late.select(stage).to_series().to_list())
        # A symbol's messages arrive in the order of their events, so that none of those to come
        # is older than this one.
        newest = messages.group_by("symbol").agg(pl.col("t0").max().alias("newest"))
        pending = (
            found.filter(pl.col("arrived").is_null())
            .join(newest, on="symbol", how="left")
            .filter(pl.col("newest").is_null() | (pl.col("newest") <= pl.col("filled")))
            .select(pending.columns)
        )
    for _ in fills:
        pass  # they are counted, and none of them came before a message
    return np.concatenate(stages) if stages else np.empty(0, dtype=np.int8)


def _fills(run: Run, codes: Codes, stages: list[Int8Array]) -> Iterator[tuple[int, pl.DataFrame]]:
    """The instant of the last fill of each piece, and those of orders that rested."""
    import polars as pl

    first = 0
    for piece in run.pieces("fills", _FILLS):
        stages.append(np.zeros(len(piece), dtype=np.int8))
        filled = integers(piece["ts_venue"])
        frame = pl.DataFrame(
            {
                "symbol": codes(piece["symbol"]),
                "order": integers(piece["order"]),
                "filled": filled,
                "row": np.arange(first, first + len(piece)),
            }
        )
        first += len(piece)
        maker = pl.Series(piece["maker"].to_numpy(zero_copy_only=False), dtype=pl.Boolean)
        if len(piece):
            yield int(filled[-1]), frame.filter(maker)


def _messages(piece: pa.RecordBatch, codes: Codes) -> pl.DataFrame:
    import polars as pl

    report = pl.Series(piece["report"].cast(pa.string()).to_pylist(), dtype=pl.String)
    columns = {"symbol": codes(piece["symbol"]), "order": integers(piece["order"])}
    columns |= {f"t{k}": integers(piece[name]) for k, name in enumerate(_INSTANTS[:4])}
    return pl.DataFrame(columns | {"arrived": integers(piece["ts_arrived"])}).with_columns(
        report.is_in(_MESSAGES).alias("answers")
    )


def _mark(pieces: list[Int8Array], rows: Sequence[int], stages: Sequence[int]) -> None:
    """Set the stages of some fills, by their rows in the table."""
    ends = np.cumsum([len(piece) for piece in pieces])
    for row, stage in zip(rows, stages, strict=True):
        place = int(np.searchsorted(ends, row, side="right"))
        pieces[place][row - ends[place]] = stage
