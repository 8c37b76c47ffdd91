"""A list of orders in place of answers: messages to the venue that are sent as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from backtest.core.arrays import Float32Array
from backtest.errors import DataError
from backtest.market.events import EventBatch
from backtest.strategies.base import Strategy

_COLUMNS = ("ts_sent", "symbol", "action", "id", "side", "price", "total", "tif", "post_only")


@dataclass
class OrderListStrategy(Strategy):
    """Sends the orders of a Parquet file as they are, and has no opinion of its own.

    The file has a row a message: ``ts_sent`` (timestamp, or int64 ns), ``symbol``, ``action``
    (``new``, ``cancel``, ``cancel_all``, ``replace``) and ``id``; where the action needs them
    ``side`` (``buy``, ``sell``; of ``cancel_all`` empty for both), ``price`` in ticks and ``total``
    in lots, of which those filled are a part; perhaps ``tif`` (``gtc``, ``ioc``, ``fok``) and
    ``post_only`` (``no``, ``reject``, ``slide``). Rows of one instant are sent in the order of the
    file.

    Attributes:
        file: its path.
    """

    file: Path

    needs_features: ClassVar[bool] = False

    def predict(self, batch: EventBatch) -> Float32Array:
        return np.zeros((len(batch), 1), dtype=np.float32)

    def messages(self) -> dict[str, list[Any]]:
        """The columns of the file, times as int64 ns.

        Raises:
            DataError: it cannot be read, or lacks a column.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        place = str(self.file)
        try:
            table = pq.read_table(self.file)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"it cannot be read: {error}", place=place) from None
        missing = [name for name in _COLUMNS[:4] if name not in table.column_names]
        if missing:
            raise DataError(
                f"it has no column {', '.join(missing)}",
                place=place,
                remedy=f"An order list has the columns {', '.join(_COLUMNS)}.",
            )
        columns: dict[str, list[Any]] = {}
        for name in _COLUMNS:
            if name in table.column_names:
                column = table[name]
                if pa.types.is_timestamp(column.type):
                    column = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
                if column.null_count:
                    raise DataError(f"column {name} lacks values", place=place)
                columns[name] = column.to_pylist()
        return columns
