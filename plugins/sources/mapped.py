"""Any CSV or Parquet, through a mapping of its columns in a TOML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backtest.data.sources import IngestReport, Source


@dataclass(frozen=True)
class MappedCsv(Source):
    """CSV files with a header line, one or a folder of them, gzip or plain.

    Attributes:
        mapping: a TOML file; docs/data.md lists its keys.
        unsorted: rows out of time order are refused, or sorted (stably, all in memory).
        nonfinite: null, NaN and infinity among features are refused, or set to 0 and counted.
    """

    mapping: Path
    unsorted: Literal["refuse", "sort"] = "refuse"
    nonfinite: Literal["refuse", "zero"] = "refuse"

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write the files as one dataset."""
        # Sources are imported whenever plugins are listed: what is slow to import waits until here.
        from backtest.plugins.sources.mapped_events import ingest
        from backtest.plugins.sources.mapped_files import CsvFile, files_in

        paths = files_in(input, (".csv", ".csv.gz"))
        return ingest(self, [CsvFile(path) for path in paths], output)


@dataclass(frozen=True)
class MappedParquet(Source):
    """Parquet files, one or a folder of them.

    Attributes:
        mapping: a TOML file; docs/data.md lists its keys.
        unsorted: rows out of time order are refused, or sorted (stably, all in memory).
        nonfinite: null, NaN and infinity among features are refused, or set to 0 and counted.
    """

    mapping: Path
    unsorted: Literal["refuse", "sort"] = "refuse"
    nonfinite: Literal["refuse", "zero"] = "refuse"

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write the files as one dataset."""
        from backtest.plugins.sources.mapped_events import ingest
        from backtest.plugins.sources.mapped_files import ParquetFile, files_in

        paths = files_in(input, (".parquet",))
        return ingest(self, [ParquetFile(path) for path in paths], output)
