"""Any CSV or Parquet, through a mapping of its columns in a TOML file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from backtest.data.sources import IngestReport, Source


@dataclass(frozen=True)
class MappedCsv(Source):
    """CSV files with a header line, one or a folder of them, plain, compressed or in zip archives.

    Read are ``.csv`` and ``.txt``, as they are or with ``.gz``, ``.zst``, ``.bz2`` or ``.xz`` after
    it, and ``.zip`` archives of them, at any depth, in either case; other files are an error unless
    ``ignore`` names them.

    Attributes:
        mapping: a TOML file; docs/data.md lists its keys.
        unsorted: rows out of time order are refused, or sorted (stably, all in memory).
        nonfinite: null, NaN and infinity among features are refused, or set to 0 and counted.
        ignore: patterns of names of files in the folder or archive to leave out.
    """

    mapping: Path
    unsorted: Literal["refuse", "sort"] = "refuse"
    nonfinite: Literal["refuse", "zero"] = "refuse"
    ignore: tuple[str, ...] = ()

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write the files as one dataset."""
        # Sources are imported whenever plugins are listed: what is slow to import waits until here.
        from backtest.plugins.sources.inputs import PACKINGS, input_files
        from backtest.plugins.sources.mapped_dataset import ingest
        from backtest.plugins.sources.mapped_files import CsvFile
        from backtest.plugins.sources.packed import unpacked

        plain = (".csv", ".txt")
        found = input_files(input, (*plain, *PACKINGS, ".zip"), self.ignore, noun=".csv files")
        ignored = Counter(found.ignored)
        packed = [unpacked(path, plain, self.ignore, ignored) for path in found.paths]
        files = [CsvFile(file) for some in packed for file in some]
        return replace(ingest(self, files, output), ignored=dict(ignored))


@dataclass(frozen=True)
class MappedParquet(Source):
    """Parquet files, one or a folder of them.

    Attributes:
        mapping: a TOML file; docs/data.md lists its keys.
        unsorted: rows out of time order are refused, or sorted (stably, all in memory).
        nonfinite: null, NaN and infinity among features are refused, or set to 0 and counted.
        ignore: patterns of names of files in the folder to leave out.
    """

    mapping: Path
    unsorted: Literal["refuse", "sort"] = "refuse"
    nonfinite: Literal["refuse", "zero"] = "refuse"
    ignore: tuple[str, ...] = ()

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write the files as one dataset."""
        from backtest.plugins.sources.inputs import input_files
        from backtest.plugins.sources.mapped_dataset import ingest
        from backtest.plugins.sources.mapped_files import ParquetFile

        suffixes = (".parquet", ".parq", ".pq")
        found = input_files(input, suffixes, self.ignore, noun=".parquet files")
        report = ingest(self, [ParquetFile(path) for path in found.paths], output)
        return replace(report, ignored=found.ignored)
