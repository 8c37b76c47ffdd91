"""Any CSV or Parquet, through a mapping of its columns in a TOML file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from backtest.data.sources import IngestReport, Source


@dataclass(frozen=True)
class MappedCsv(Source):
    """CSV files, one or a folder of them, plain, compressed or in zip archives.

    Read are ``.csv`` and ``.txt``, as they are or with ``.gz``, ``.zst``, ``.bz2`` or ``.xz`` after
    it, and ``.zip`` archives of them, at any depth, in either case; other files are an error unless
    ``ignore`` names them. Folders such as ``symbol=AAA`` are columns.

    Attributes:
        mapping: a TOML file; docs/mapping.md lists its keys.
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
        from backtest.plugins.sources.mapped.dataset import ingest
        from backtest.plugins.sources.mapped.files import CsvFile
        from backtest.plugins.sources.mapped.mapping import read_mapping
        from backtest.plugins.sources.mapped.path_columns import in_folders
        from backtest.plugins.sources.shared.inputs import PACKINGS, input_files
        from backtest.plugins.sources.shared.packed import unpacked

        plain = (".csv", ".txt")
        found = input_files(input, (*plain, *PACKINGS, ".zip"), self.ignore, noun=".csv files")
        ignored = Counter(found.ignored)
        packed = [unpacked(path, plain, self.ignore, ignored) for path in found.paths]
        mapping = read_mapping(self.mapping)
        files = [
            in_folders(CsvFile(file, mapping.csv), _below(input, file.path, file.member))
            for some in packed
            for file in some
        ]
        return replace(ingest(self, mapping, files, output), ignored=dict(ignored))


@dataclass(frozen=True)
class MappedParquet(Source):
    """Parquet files, one or a folder of them; folders such as ``symbol=AAA`` are columns.

    Attributes:
        mapping: a TOML file; docs/mapping.md lists its keys.
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
        from backtest.plugins.sources.mapped.dataset import ingest
        from backtest.plugins.sources.mapped.files import ParquetFile
        from backtest.plugins.sources.mapped.mapping import read_mapping
        from backtest.plugins.sources.mapped.path_columns import in_folders
        from backtest.plugins.sources.shared.inputs import input_files

        suffixes = (".parquet", ".parq", ".pq")
        found = input_files(input, suffixes, self.ignore, noun=".parquet files")
        files = [in_folders(ParquetFile(path), _below(input, path)) for path in found.paths]
        report = ingest(self, read_mapping(self.mapping), files, output)
        return replace(report, ignored=found.ignored)


def _below(input: Path, path: Path, member: str | None = None) -> str:
    """A file's path below the input, and within its archive."""
    place = path.relative_to(input).as_posix() if path != input else path.name
    return place if member is None else f"{place}/{member}"
