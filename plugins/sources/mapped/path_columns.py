"""Columns that the folders of a file name, as in ``symbol=AAA/date=2024-08-08/part-0.parquet``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa

from backtest.errors import DataError
from backtest.plugins.sources.mapped.files import InputTable

_NOTHING = "__HIVE_DEFAULT_PARTITION__"
"""What a folder is named where the value is null."""


@dataclass(frozen=True)
class InFolders:
    """A file whose rows have further columns, the same text in each row.

    Attributes:
        file: the file itself.
        given: text by name of column; ``None``: null.
    """

    file: InputTable
    given: Mapping[str, str | None]

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return self.file.place

    def types(self) -> dict[str, str]:
        """The name and type of every column."""
        own = self.file.types()
        twice = sorted(own.keys() & self.given.keys())
        if twice:
            raise DataError(
                f"the column {twice[0]!r} is there twice: in the file and in the names of its"
                " folders",
                place=self.place,
                remedy="Name the folder or the column otherwise.",
            )
        return own | dict.fromkeys(self.given, "")

    def batches(self, columns: Sequence[str], text: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Some columns; those of the folders are text."""
        own = [name for name in columns if name not in self.given] or [*self.file.types()][:1]
        for batch in self.file.batches(own, text):
            arrays = [
                pa.array([self.given[name]] * batch.num_rows, type=pa.string())
                if name in self.given
                else batch.column(name)
                for name in columns
            ]
            yield pa.record_batch(arrays, names=list(columns))


def in_folders(file: InputTable, place: str) -> InputTable:
    """The file with the columns that its folders name; as it is, if they name none.

    Args:
        file: the file.
        place: its path below the input, with ``/`` between.

    Raises:
        DataError: two folders give one column.
    """
    given: dict[str, str | None] = {}
    for folder in place.split("/")[:-1]:
        name, is_one, value = folder.partition("=")
        if not is_one or not name:
            continue
        if name in given:
            raise DataError(f"two of its folders give the column {name!r}", place=file.place)
        given[unquote(name)] = None if value == _NOTHING else unquote(value)
    return InFolders(file, given) if given else file
