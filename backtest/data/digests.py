"""Digests of a dataset's files, added to its card, which find damage where checksums do not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pyarrow.parquet as pq

from backtest.core import toml
from backtest.core.atomic import new_file
from backtest.data.card import CARD_NAME, read_card, write_card
from backtest.data.dataset import Dataset
from backtest.data.parquet import footer_digest, mapped_errors
from backtest.errors import DataError, UsageError

_TABLES = ("sha256", "footer_sha256")


@dataclass(frozen=True, slots=True)
class Digested:
    """What became of a dataset's files.

    Attributes:
        added: files whose digests the card did not state.
        known: files whose digests it stated, and which have them.
    """

    added: tuple[str, ...]
    known: tuple[str, ...]


def add_digests(dataset: Dataset) -> Digested:
    """Write the SHA-256 of every file, and of its footer, into the dataset's card.

    The card's text stays as it is if it has no digests yet, and is written anew otherwise. Every
    row group is read once before, so that no damaged file gets a digest.

    Raises:
        UsageError: the dataset is not in a folder of this machine.
        DataError: a file cannot be read, or is not the one whose digest the card states; the card
            cannot be written.
    """
    if not isinstance(dataset.filesystem, pafs.LocalFileSystem):
        raise UsageError(
            "the dataset is no folder of this machine, so no digests can be added to its card",
            place=dataset.location,
        )
    dataset.verify()
    stated = {name: dict(getattr(dataset.card, name)) for name in _TABLES}
    found: dict[str, dict[str, str]] = {name: {} for name in _TABLES}
    for file in dataset.all_files:
        found["sha256"][file] = dataset.file_digest(file)
        with mapped_errors(dataset.place(file)):
            _read_whole(Path(dataset.path(file)))
            with Path(dataset.path(file)).open("rb") as opened:
                found["footer_sha256"][file] = footer_digest(opened)
        known = stated["footer_sha256"].get(file)
        if known not in (None, found["footer_sha256"][file]):
            raise DataError(
                "its footer is not the one whose SHA-256 the card states",
                place=dataset.place(file),
                remedy="The file changed after the card was written: ingest it again.",
            )
    missing = tuple(f for f in dataset.all_files if any(f not in stated[name] for name in _TABLES))
    if missing:
        _write(Path(dataset.root), found)
    return Digested(missing, tuple(f for f in dataset.all_files if f not in missing))


def _read_whole(path: Path) -> None:
    for _ in pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False).iter_batches():
        pass


def _write(folder: Path, digests: dict[str, dict[str, str]]) -> None:
    card = folder / CARD_NAME
    text = card.read_text(encoding="utf-8")
    with new_file(card) as aside:
        if "sha256" in text:
            update: dict[str, Any] = digests
            write_card(aside.parent, read_card(card).model_copy(update=update), name=aside.name)
        else:  # what a person wrote, comments and all, stays
            aside.write_text(f"{text.rstrip()}\n\n{toml.dumps(digests).lstrip()}", encoding="utf-8")
