"""A list of orders in place of answers: messages to the venue that are sent as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from backtest.core.arrays import Float32Array
from backtest.errors import DataError
from backtest.market.events import EventBatch
from backtest.strategies.base import Session, Strategy

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class OrderListStrategy(Strategy):
    """Sends the orders of a Parquet file as they are, and has no opinion of its own.

    The file has a row a message: ``ts_sent`` (an instant with a time zone, or int64 ns),
    ``symbol``, ``action`` (``new``, ``cancel``, ``cancel_all``, ``replace``) and ``id``; where the
    action needs them ``side`` (``buy``, ``sell``; of ``cancel_all`` empty for both), ``price`` in
    ticks and ``total`` in lots, of which those filled are a part; perhaps ``tif`` (``gtc``,
    ``ioc``, ``fok``) and ``post_only`` (``no``, ``reject``, ``slide``). They are sent in the order
    of time, those of one instant in the order of the file.

    Attributes:
        file: its path.
    """

    file: Path

    needs_features: ClassVar[bool] = False
    stateful: ClassVar[bool] = False

    def bind(self, session: Session) -> None:
        """Read the file.

        Raises:
            DataError: it cannot be read.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with self.file.open("rb") as file:
                self._messages: pa.Table = pq.read_table(file)
        except OSError as error:
            raise DataError(
                f"it cannot be read: {error.strerror or error}",
                place=str(self.file),
                remedy="Give the path of a Parquet file of orders.",
            ) from None
        except pa.ArrowException as error:
            raise DataError(
                f"it is no Parquet file that can be read: {error}",
                place=str(self.file),
                remedy="Write it anew, for example with polars' write_parquet.",
            ) from None

    def predict(self, batch: EventBatch) -> Float32Array:
        return np.zeros((len(batch), 1), dtype=np.float32)

    def messages(self) -> pa.Table:
        """The rows of the file, unchecked."""
        return self._messages
