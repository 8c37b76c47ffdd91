"""Quarantine: a dataset without the rows that make it unusable, and those rows apart."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from backtest.core.atomic import new_folder, writing
from backtest.data.canonical import DEPTH_FILES
from backtest.data.card import CARD_NAME, write_card
from backtest.data.dataset import Dataset
from backtest.data.parquet import footer_digest
from backtest.data.quality.rules import RULES
from backtest.data.quality.validate import NO_RULE, QUARANTINED, Validation, validate
from backtest.errors import DataError

FOLDER = QUARANTINED
REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class Quarantine:
    """What became of the rows.

    Attributes:
        kept: rows of the new dataset.
        refused: rows set apart, by rule.
        unread: rows that could not be read, and are in neither.
    """

    kept: int
    refused: dict[str, int]
    unread: int

    def as_dict(self) -> dict[str, Any]:
        """The counts as plain values."""
        return asdict(self)


def quarantine(
    dataset: Dataset, output: Path | str, *, overwrite: bool = False
) -> tuple[Validation, Quarantine]:
    """Validate a dataset and write its good rows as a new one, whole or not at all.

    The new dataset has the files' columns as they are; files that cannot be read, or whose columns
    differ, are left out of it. In its folder ``quarantine`` are the rows refused, file by file,
    with the columns ``refused_for`` (the rule) and ``refused_row`` (the row in the original file),
    and ``report.json``: every finding and count. Memory: as for ``validate``.

    Args:
        dataset: the dataset to read.
        output: the folder to make.
        overwrite: replace a dataset that is already there.

    Raises:
        DataError: no row would be left, or ``output`` is there already or cannot be written.
    """
    with new_folder(output, marker=CARD_NAME, overwrite=overwrite) as folder:
        with _Splitter(folder, dataset) as splitter:
            validation = validate(dataset, sink=splitter)
        if not any(name.startswith("events-") for name in splitter.sha256):
            raise DataError(
                "no row would be left",
                place=dataset.location,
                remedy="`backtest data validate` shows what is wrong; ingest the data again.",
            )
        counts = Quarantine(splitter.kept, splitter.refused, validation.unread)
        note = {"quarantine": {"input": dataset.name, **counts.as_dict()}}
        update: dict[str, Any] = {"files": ("*.parquet",), "notes": dataset.card.notes | note}
        depth = any(name.startswith("depth-") for name in splitter.sha256)
        update["depth_files"] = (DEPTH_FILES,) if depth else ()
        update |= {"sha256": splitter.sha256, "footer_sha256": splitter.footer_sha256}
        report = {**counts.as_dict(), "validation": validation.as_dict()}
        with writing(folder):
            write_card(folder, dataset.card.model_copy(update=update))
            (folder / FOLDER / REPORT).write_text(json.dumps(report, indent=2), encoding="utf-8")
    return validation, counts


class _Splitter:
    """Writes the rows of each file to one file of good and one of refused rows."""

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        self.kept = 0
        self.refused: dict[str, int] = {}
        self.sha256: dict[str, str] = {}
        self.footer_sha256: dict[str, str] = {}
        self._folder = folder
        self._names = {
            file: f"{table}-{number:05d}.parquet"
            for table, files in (("events", dataset.files), ("depth", dataset.depth_files))
            for number, file in enumerate(files)
        }
        self._writers: dict[Path, Any] = {}
        self._file: str | None = None

    def __enter__(self) -> _Splitter:
        with writing(self._folder):
            (self._folder / FOLDER).mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._close()
            return
        for writer in self._writers.values():
            with contextlib.suppress(OSError):
                writer.close()

    def take(
        self, file: str, first_row: int, batch: pa.RecordBatch, broken: NDArray[np.int8]
    ) -> None:
        """As ``backtest.data.quality.validate.Sink``."""
        if file != self._file:
            self._close()
            self._file = file
        name = self._names[file]
        rows = np.flatnonzero(broken != NO_RULE)
        good = batch if not len(rows) else batch.filter(pa.array(broken == NO_RULE))
        if good.num_rows:
            self.kept += good.num_rows
            self._write(self._folder / name, pa.Table.from_batches([good]))
        if len(rows):
            names = np.array([*RULES])[broken[rows]].tolist()
            for rule in names:
                self.refused[rule] = self.refused.get(rule, 0) + 1
            refused = pa.Table.from_batches([batch.take(pa.array(rows))])
            refused = refused.append_column("refused_for", pa.array(names, pa.string()))
            refused = refused.append_column("refused_row", pa.array(first_row + rows))
            self._write(self._folder / FOLDER / name, refused)

    def _write(self, path: Path, table: pa.Table) -> None:
        with writing(path):
            if path not in self._writers:
                self._writers[path] = pq.ParquetWriter(
                    path, table.schema, compression="zstd", write_page_checksum=True
                )
            self._writers[path].write_table(table)

    def _close(self) -> None:
        for path, writer in self._writers.items():
            with writing(path):
                writer.close()
            if path.parent == self._folder:
                with path.open("rb") as file:
                    self.sha256[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
                    self.footer_sha256[path.name] = footer_digest(file)
        self._writers = {}
