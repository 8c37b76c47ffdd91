"""Run folders: what a finished run left, read back."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.core.notebook import notebook_html
from backtest.core.text import suggested_path
from backtest.errors import DataError

if TYPE_CHECKING:
    import polars as pl

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
        """What was run."""
        return self._json(MANIFEST)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What came out, in figures."""
        return self._json("metrics.json")

    def table(self, name: str) -> pl.DataFrame:
        """A table of the run, such as ``timing``, ``predictions``, ``fills`` or ``equity``.

        Raises:
            DataError: the run has no such table, or it cannot be read.
        """
        import polars as pl
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / f"{name}.parquet"
        try:
            frame = pl.from_arrow(pq.read_table(path, page_checksum_verification=True))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"the table cannot be read: {error}", place=str(path)) from None
        assert isinstance(frame, pl.DataFrame)
        return frame

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


def open_run(path: Path) -> Run:
    """A run from its folder.

    Raises:
        DataError: the folder is no finished run.
    """
    run = Run(path)
    for key, part in (("run", run.manifest), ("timing", run.metrics)):
        if key not in part:
            raise DataError(
                "it is not the folder of a run",
                place=str(path),
                remedy="Name the folder of a finished run.",
            )
    return run
