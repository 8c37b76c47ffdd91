"""Run folders: what a finished run left, read back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.core.atomic import is_unfinished
from backtest.core.notebook import notebook_html
from backtest.core.text import suggested_path
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
        with _readable(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
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

    def extent(self, name: str, column: str) -> tuple[int, int]:
        """The first and the last value of a table's column of instants, ns.

        Raises:
            DataError: the run has no such table, it cannot be read, or it has no row.
        """
        import pyarrow.parquet as pq

        path = self.folder / f"{name}.parquet"
        with _readable(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            filled = [k for k in range(file.num_row_groups) if file.metadata.row_group(k).num_rows]
            if not filled:
                raise DataError("holds no row", place=str(path))
            ends = [file.read_row_group(k, [column])[column] for k in (filled[0], filled[-1])]
            return ends[0][0].cast("int64").as_py(), ends[1][-1].cast("int64").as_py()

    def _repr_html_(self) -> str | None:
        return notebook_html(self)

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"the run cannot be read: {getattr(error, 'strerror', None) or error}",
                place=str(path),
                remedy=(None if self.folder.exists() else suggested_path(self.folder))
                or "Name the folder of a finished run.",
            ) from None
        if not isinstance(value, dict):
            raise DataError(
                "the file holds no table of values", place=str(path), remedy="Run it again."
            )
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
    if is_unfinished(path):
        raise DataError(
            "is a run that is being written, or was not finished",
            place=str(path),
            remedy="Name the folder of a finished run.",
        )
    run = Run(path)
    for key, part in (("run", run.manifest), ("timing", run.metrics)):
        if key not in part:
            raise DataError(
                "it is not the folder of a run",
                place=str(path),
                remedy="Name the folder of a finished run.",
            )
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
    paths = sorted(path.parent for path in folder.glob(f"[!.]*/{MANIFEST}"))
    return [run for path in paths if (run := find_run(path)) is not None]
