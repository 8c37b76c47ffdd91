"""hftbacktest's events: the array that its files hold, and the codes in it."""

from __future__ import annotations

import numpy as np

EVENT = np.dtype(
    [
        ("ev", "<u8"),
        ("exch_ts", "<i8"),
        ("local_ts", "<i8"),
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ],
    align=True,
)
"""A row: kind and flags, times in ns, price, quantity, an order's number, two reserved numbers."""

ARRAY = "data"
"""The name of the array in an ``.npz`` file."""

MARKER = "export.json"
"""The file beside exported arrays: of each symbol its file, number of rows, tick and lot size."""

KIND = 0xFF
DEPTH, TRADE, CLEAR, SNAPSHOT, BBO = range(1, 6)
ADD, CANCEL, MODIFY, FILL = range(10, 14)
EXCHANGE, LOCAL = 1 << 31, 1 << 30
"""Who is told of the row: the exchange at exch_ts, the trader at local_ts."""

BUY, SELL = 1 << 29, 1 << 28
"""The side of a level or an order, or who initiated a trade."""
