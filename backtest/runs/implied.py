"""Columns that a table may lack, and what they would have held.

Where no order rests, every fill is of an order that took on its arrival and has no id: columns that
would say so on each row are left out. Tables of earlier versions lack them as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_HELD: Mapping[str, Mapping[str, str | int | bool]] = {
    "fills": {"order": -1, "maker": False, "ts_arrived": "ts_venue", "rest": 0},
    "equity": {"rest": 0},
}
"""By table and column: a value, or the name of another column that held the same."""


def lacking(name: str, present: Collection[str]) -> dict[str, str | int | bool]:
    """Columns that a table lacks but that can be filled in, with their values or other columns.

    Args:
        name: of the table.
        present: the columns that it has.
    """
    return {
        column: held
        for column, held in _HELD.get(name, {}).items()
        if column not in present and (not isinstance(held, str) or held in present)
    }


def expressions(missing: Mapping[str, str | int | bool]) -> list[pl.Expr]:
    """What fills in columns, as ``lacking`` gives them, in a frame that has the others."""
    import polars as pl

    kinds = {bool: pl.Boolean, int: pl.Int64}
    return [
        (pl.col(held) if isinstance(held, str) else pl.lit(held, kinds[type(held)])).alias(column)
        for column, held in missing.items()
    ]


def completed(
    rows: pa.RecordBatch, missing: Mapping[str, str | int | bool], chosen: Collection[str]
) -> pa.RecordBatch:
    """Some columns of a piece of a table, those that it lacks filled in.

    Args:
        rows: the piece.
        missing: as ``lacking`` gives it.
        chosen: names of columns, in order.
    """
    import pyarrow as pa

    columns = {}
    for column in chosen:
        held = missing.get(column, column)
        columns[column] = (
            rows[held]
            if isinstance(held, str)
            else pa.repeat(pa.scalar(held, pa.bool_() if isinstance(held, bool) else pa.int64()),
                           len(rows))
        )  # fmt: skip
    return pa.RecordBatch.from_pydict(columns)
