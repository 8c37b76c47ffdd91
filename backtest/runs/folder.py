"""Run folders: what a finished run left, read back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.core.atomic import is_unfinished
from backtest.core.notebook import notebook_html
from backtest.errors import DataError
from backtest.market.calendar import MarketHours
from backtest.runs import record
from backtest.runs.tables import column_names, first_and_last, read_pieces, read_table

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

MANIFEST = "manifest.json"
"""The file that makes a folder the folder of a run."""


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
        """What was run.

        Raises:
            DataError: it cannot be read, or lacks what readers rely on.
        """
        return record.read_manifest(self.folder / MANIFEST)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What came out, in figures.

        Raises:
            DataError: as ``manifest``.
        """
        return record.read_metrics(self.folder / "metrics.json")

    @cached_property
    def hours(self) -> MarketHours:
        """When its market was open in its window, and the zone of the market's clocks.

        Runs of earlier versions tell neither, and count as always open, with the clocks of UTC.

        Raises:
            DataError: as ``manifest``.
        """
        return MarketHours.from_record(self.manifest.get("calendar"))

    @property
    def fills(self) -> pl.LazyFrame:
        """A row a fill, in the order of arrival; frames of runs are described in ``frames``.

        Raises:
            DataError: it has none, because its accountant trades nothing.
        """
        from backtest.runs.frames import fill_frame

        return fill_frame(self._file("fills"), self._money_unit, self.hours.zone)

    @property
    def orders(self) -> pl.LazyFrame:
        """A row a report of the venue on the run's orders.

        Raises:
            DataError: it has none, because its orders do not rest.
        """
        from backtest.runs.frames import order_frame

        return order_frame(self._file("orders", "its orders do not rest"), self.hours.zone)

    @property
    def rests(self) -> bool:
        """Whether its orders may rest at the venue."""
        return self.metrics.get("orders") is not None and self.has_table("orders")

    @property
    def equity(self) -> pl.LazyFrame:
        """A row a time bucket, over all symbols.

        Raises:
            DataError: as for ``fills``.
        """
        from backtest.runs.frames import equity_frame

        return equity_frame(self._file("equity"), self._money_unit, self.hours.zone)

    @property
    def positions(self) -> pl.LazyFrame:
        """A row a symbol that traded and time bucket.

        Raises:
            DataError: as for ``fills``.
        """
        from backtest.runs.frames import position_frame

        return position_frame(self._file("equity"), self._money_unit, self.hours.zone)

    @property
    def round_trips(self) -> pl.LazyFrame:
        """A row a round trip, in the order in which they ended; computed from the fills.

        Raises:
            DataError: as for ``fills``.
        """
        from backtest.runs.frames import round_trip_frame

        path = self._file("fills")
        return round_trip_frame(path, self._money_unit, self.hours.zone, self.pieces)

    def table(self, name: str) -> pl.DataFrame:
        """A whole table of the run, such as ``timing``, ``predictions``, ``fills`` or ``equity``.

        Tables with a row an event or a fill may not fit in memory; ``pieces`` reads them bit by
        bit.

        Raises:
            DataError: the run has no such table, or it cannot be read or lacks what readers rely
                on.
        """
        path = self.folder / f"{name}.parquet"
        return read_table(path, name, lambda: int(self.metrics["timing"]["events"]))

    def pieces(self, name: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Columns of a table in its order, at most ``tables.PIECE_ROWS`` rows at once.

        A table without rows is one piece without any.

        Raises:
            DataError: while iterating: the run has no such table, or it cannot be read or lacks
                what readers rely on.
        """
        path = self.folder / f"{name}.parquet"
        return read_pieces(path, name, columns, lambda: int(self.metrics["timing"]["events"]))

    def columns(self, name: str) -> list[str]:
        """Names of a table's columns.

        Raises:
            DataError: the run has no such table, or it cannot be read.
        """
        return column_names(self.folder / f"{name}.parquet")

    def has_table(self, name: str) -> bool:
        """Whether it has a table, which depends on its accountant."""
        return (self.folder / f"{name}.parquet").exists()

    def extent(self, name: str, column: str) -> tuple[int, int]:
        """The first and the last value of a table's column of instants, ns.

        Raises:
            DataError: the run has no such table, it cannot be read, or it has no row.
        """
        return first_and_last(self.folder / f"{name}.parquet", name, column)

    def _file(self, name: str, why: str = "its accountant trades nothing") -> Path:
        """The file of a table; ``why`` says what a run is that has none."""
        path = self.folder / f"{name}.parquet"
        if not path.exists():
            raise DataError(f"the run has no table {name!r}: {why}", place=str(self.folder))
        return path

    @property
    def _money_unit(self) -> Decimal:
        return Decimal(self.metrics["account"].get("money_unit", "1e-9"))

    def _repr_html_(self) -> str | None:
        return notebook_html(self)


def open_run(path: Path) -> Run:
    """A run from its folder.

    Raises:
        DataError: the folder is no finished run.
    """
    if is_unfinished(path):
        raise DataError(
            "it is a run that is being written, or was not finished",
            place=str(path),
            remedy="Name the folder of a finished run.",
        )
    run = Run(path)
    _ = run.manifest, run.metrics  # read and checked once
    return run


def find_run(path: Path) -> Run | None:
    """The run in a folder; ``None`` if there is none, or it is removed while it is read.

    Raises:
        DataError: it is damaged, or not finished.
    """
    try:
        return open_run(path)
    except DataError:
        if (path / MANIFEST).exists():
            raise
        return None


def runs_in(folder: Path) -> list[Run]:
    """The finished runs in a folder, by name; what is hidden is none, for runs are written there.

    Raises:
        DataError: one is damaged.
    """
    return [run for path in run_folders(folder) if (run := find_run(path)) is not None]


def run_folders(folder: Path) -> list[Path]:
    """The folders of runs in a folder, by name, unread; what is hidden is none."""
    return sorted(path.parent for path in folder.glob(f"[!.]*/{MANIFEST}"))
