"""Run folders: what a finished run left, read back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.core.notebook import notebook_html
from backtest.errors import DataError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

MANIFEST = "manifest.json"
"""The file that makes a folder the folder of a run."""

PIECE_ROWS = 1 << 16
"""Rows of a table read at once."""


class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        reused: whether it stood there before it was asked for.
    """

    def __init__(self, folder: Path, *, reused: bool = False) -> None:
        self.folder = folder
        self.reused = reused

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def id(self) -> str:
        """Its id, also the name of its folder."""
        return str(self.manifest["run"])

    @property
    def digest(self) -> str:
        """Hash of everything it computed; the same inputs give the same digest."""
        return str(self.manifest["digest"])

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What was run."""
        return self._json(MANIFEST)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What came out, in figures."""
        return self._json("metrics.json")

    @property
    def fills(self) -> pl.LazyFrame:
        """A row a fill, in the order of arrival; frames of runs are described in ``frames``.

        Raises:
            DataError: it has none, because its accountant trades nothing.
        """
        from backtest.runs.frames import fill_frame

        return fill_frame(self._file("fills"), self._money_unit)

    @property
    def equity(self) -> pl.LazyFrame:
        """A row a time bucket, over all symbols.

        Raises:
            DataError: as for ``fills``.
        """
        from backtest.runs.frames import equity_frame

        return equity_frame(self._file("equity"), self._money_unit)

    @property
    def positions(self) -> pl.LazyFrame:
        """A row a symbol that traded and time bucket.

        Raises:
            DataError: as for ``fills``.
        """
        from backtest.runs.frames import position_frame

        return position_frame(self._file("equity"), self._money_unit)

    @property
    def round_trips(self) -> pl.LazyFrame:
        """A row a round trip, in the order in which they ended; computed from the fills.

        Raises:
            DataError: as for ``fills``.
        """
        from backtest.runs.frames import round_trip_frame

        return round_trip_frame(self._file("fills"), self._money_unit, self.pieces)

    def table(self, name: str) -> pl.DataFrame:
        """A whole table of the run, such as ``timing``, ``predictions``, ``fills`` or ``equity``.

        Tables with a row an event or a fill may not fit in memory; ``pieces`` reads them bit by
        bit.

        Raises:
            DataError: the run has no such table, or it cannot be read.
        """
        import polars as pl
        import pyarrow.parquet as pq

        path = self.folder / f"{name}.parquet"
        with _readable(path):
            frame = pl.from_arrow(pq.read_table(path, page_checksum_verification=True))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def pieces(self, name: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Columns of a table in its order, at most ``PIECE_ROWS`` rows at once.

        Raises:
            DataError: while iterating: the run has no such table, or it cannot be read.
        """
        import pyarrow.parquet as pq

        path = self.folder / f"{name}.parquet"
        with (
            _readable(path),
            pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file,
        ):
            yield from file.iter_batches(PIECE_ROWS, columns=list(columns))

    def columns(self, name: str) -> list[str]:
        """Names of a table's columns.

        Raises:
            DataError: the run has no such table, or it cannot be read.
        """
        import pyarrow.parquet as pq

        path = self.folder / f"{name}.parquet"
        with _readable(path):
            return list(pq.read_schema(path).names)

    def has_table(self, name: str) -> bool:
        """Whether it has a table, which depends on its accountant."""
        return (self.folder / f"{name}.parquet").exists()

    def _file(self, name: str) -> Path:
        """The file of a table that every run has whose accountant trades."""
        path = self.folder / f"{name}.parquet"
        if not path.exists():
            raise DataError(
                f"the run has no table {name!r}: its accountant trades nothing",
                place=str(self.folder),
            )
        return path

    @property
    def _money_unit(self) -> Decimal:
        return Decimal(self.metrics["account"].get("money_unit", "1e-9"))

    def _repr_html_(self) -> str | None:
        return notebook_html(self)

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot be read: {error}",
                place=str(path),
                remedy="Name the folder of a finished run.",
            ) from None
        if not isinstance(value, dict):
            raise DataError("holds no table of values", place=str(path))
        return value


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Reports what is wrong with a file under its name."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot be read: {error}", place=str(path)) from None


def open_run(path: Path) -> Run:
    """A run from its folder.

    Raises:
        DataError: the folder is no finished run.
    """
    run = Run(path)
    for key, part in (("run", run.manifest), ("timing", run.metrics)):
        if key not in part:
            raise DataError("is not the folder of a run", place=str(path))
    return run
