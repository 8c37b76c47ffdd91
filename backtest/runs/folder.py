"""Run folders: what a finished run left, read back."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.core.notebook import notebook_html
from backtest.runs.record import read_manifest, read_metrics
from backtest.runs.tables import read_table

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
        """What was run.

        Raises:
            DataError: it cannot be read, or lacks what readers rely on.
        """
        return read_manifest(self.folder / MANIFEST)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What came out, in figures.

        Raises:
            DataError: as ``manifest``.
        """
        return read_metrics(self.folder / "metrics.json")

    def table(self, name: str) -> pl.DataFrame:
        """A table of the run, such as ``timing``, ``predictions``, ``fills`` or ``equity``.

        Raises:
            DataError: the run has no such table, or it cannot be read or lacks what readers rely
                on.
        """
        path = self.folder / f"{name}.parquet"
        return read_table(path, name, lambda: int(self.metrics["timing"]["events"]))

    def _repr_html_(self) -> str | None:
        return notebook_html(self)


def open_run(path: Path) -> Run:
    """A run from its folder.

    Raises:
        DataError: the folder is no finished run.
    """
    run = Run(path)
    _ = run.manifest, run.metrics  # read and checked once
    return run
