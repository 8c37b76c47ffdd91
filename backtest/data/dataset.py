"""A dataset: a card and the Parquet files that it names, in a folder or an object store."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.fs as pafs

from backtest.core.arrays import BoolArray, Int64Array
from backtest.core.text import first_of, suggested_path, suggestion
from backtest.data.card import CARD_NAME, Card, Columns, card_text, read_card
from backtest.data.depth_checks import no_sequence, no_sizes
from backtest.data.parquet import Footer, mapped_errors, read_footer
from backtest.data.schema import Layout, check_same_layout, depth_layout_of, layout_of
from backtest.errors import DataError
from backtest.market.calendar import MarketHours
from backtest.market.instruments import Instrument

_BLOCK = 1 << 20
_digests: dict[tuple[str, str, int, int], str] = {}
_cards: dict[str, Card] = {}
_opened: dict[Any, Dataset] = {}
_KEPT = 16
"""Datasets that a process keeps open at most: what was read of them is not read again."""


@dataclass(frozen=True)
class DepthTable:
    """A dataset's files of depth, to be read as its events are.

    Attributes:
        name: the dataset's.
        filesystem: where the files are.
        footers: those of the files, in the order of their names.
        layout: which columns they hold.
    """

    name: str
    filesystem: pafs.FileSystem
    footers: tuple[Footer, ...]
    layout: Layout

    @property
    def orders(self) -> bool:
        """Its rows are of single orders (L3)."""
        return self.layout.has("order_id")


@dataclass(frozen=True)
class Dataset:
    """A card joined with its files. Nothing is read from the files until it is asked for.

    Attributes:
        card: the parsed card.
        location: the folder as a person would write it, for messages.
        filesystem: where the files are.
        root: the folder within ``filesystem``.
        files: paths below the folder, sorted, of the files of events; a file's place here is its
            events' ``source``.
        card_digest: SHA-256 of the card's text; where it names a zone, which determines no result,
            of what ``write_card`` writes without it.
        depth_files: the same as ``files``, of the files of depth.
    """

    card: Card
    location: str
    filesystem: pafs.FileSystem
    root: str
    files: tuple[str, ...]
    card_digest: str
    depth_files: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The card's name."""
        return self.card.name

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbol table: an event's symbol id indexes it."""
        return self.card.symbols

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in the order of ``EventBatch.features``."""
        return self.card.features.all if self.card.features else ()

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets, in the order of ``read_targets``."""
        return self.card.targets.columns if self.card.targets else ()

    @cached_property
    def instruments(self) -> tuple[Instrument, ...]:
        """The instrument of every symbol, in the symbols' order."""
        return self.card.resolved_instruments()

    @cached_property
    def signed_prices(self) -> BoolArray | None:
        """Which symbols' prices may be 0 or negative, bool [S]; ``None`` if no symbol's may."""
        signed = np.array([instrument.signed_prices for instrument in self.instruments])
        return signed if signed.any() else None

    @cached_property
    def sessions(self) -> Int64Array | None:
        """Open and close of every session, int64 ns [k, 2], half-open; ``None`` if always open."""
        sessions = self.card.calendar.sessions
        return None if sessions is None else np.array(sessions, dtype=np.int64).reshape(-1, 2)

    @cached_property
    def hours(self) -> MarketHours:
        """When its market is open, and the zone of its clocks."""
        return MarketHours.of_sessions(self.card.calendar.zone, self.sessions)

    @property
    def session_breaks(self) -> Literal["carry", "reset"]:
        """Whether state is carried across session breaks or reset."""
        return self.card.calendar.session_breaks

    @property
    def has_quotes(self) -> bool:
        """The files hold bid and ask. Reads the footers."""
        return self.layout.has("bid")

    @property
    def has_targets(self) -> bool:
        """The card names targets."""
        return bool(self.targets)

    @property
    def has_depth(self) -> bool:
        """There are files of depth. Reads nothing."""
        return bool(self.depth_files)

    @property
    def depth_orders(self) -> bool:
        """The rows of its depth are of single orders (L3). Raises as ``depth`` does."""
        return self.depth is not None and self.depth.orders

    @property
    def all_files(self) -> tuple[str, ...]:
        """The files of both tables, sorted."""
        return tuple(sorted(self.files + self.depth_files))

    @cached_property
    def footers(self) -> tuple[Footer, ...]:
        """The footers of the files of events, in the order of ``files``.

        Raises:
            DataError: a file that is not Parquet, that lacks a column or has one of another type,
                or whose columns differ from those of the first file.
        """
        return self._footers(
            self.files, self.card.columns, lambda footer: layout_of(self.card, footer)
        )

    @cached_property
    def depth(self) -> DepthTable | None:
        """The files of depth; ``None`` if there are none.

        Raises:
            DataError: as ``footers``, or events without ``seq``, or without quotes with sizes.
        """
        if not self.depth_files:
            return None
        footers = self._footers(self.depth_files, Columns(), depth_layout_of)
        if not self.layout.has("seq"):
            raise no_sequence(self.location)
        if not self.layout.has("bid_size"):
            raise no_sizes(self.location)
        return DepthTable(self.name, self.filesystem, footers, depth_layout_of(footers[0]))

    def _footers(
        self, files: Sequence[str], columns: Columns, layout: Callable[[Footer], Layout]
    ) -> tuple[Footer, ...]:
        footers = tuple(
            read_footer(
                self.filesystem,
                self.path(f),
                self.place(f),
                columns,
                digest=self.card.footer_sha256.get(f),
            )
            for f in files
        )
        check_same_layout([*map(layout, footers)], [footer.place for footer in footers])
        return footers

    @cached_property
    def extents(self) -> dict[Any, Any]:
        """How far windows reach that were looked at before, by what selects them."""
        return {}

    @cached_property
    def layout(self) -> Layout:
        """Which canonical columns the files hold. Raises as ``footers`` does."""
        return layout_of(self.card, self.footers[0])

    def path(self, file: str) -> str:
        """A file's path within ``filesystem``."""
        return f"{self.root}/{file}"

    def place(self, file: str) -> str:
        """A file's path as a person would write it."""
        return f"{self.location.rstrip('/')}/{file}"

    def data_hash(self) -> str:
        """SHA-256 over the card and the digests of the files, in hexadecimal.

        A file is read once a process while its size and modification time stay the same.

        Raises:
            DataError: a file cannot be read, or is not the one whose digest the card states.
        """
        digest = hashlib.sha256(self.card_digest.encode())
        for file in self.all_files:
            found = self.file_digest(file)
            stated = self.card.sha256.get(file, found)
            if found != stated:
                raise DataError(
                    f"its SHA-256 is {found}, but the card says {stated}",
                    place=self.place(file),
                    remedy="The file changed after the card was written: ingest it again.",
                )
            digest.update(f"\0{file}\0{found}".encode())
        return digest.hexdigest()

    def verify(self) -> None:
        """Check every file against the card's ``[sha256]``.

        Raises:
            DataError: a file differs, or a file that the card lists is missing.
        """
        missing = sorted(self.card.sha256.keys() - set(self.all_files))
        if missing:
            raise DataError(
                f"{len(missing):,} of the files that its card lists are missing:"
                f" {first_of(list(map(repr, missing)))}",
                place=self.location,
                remedy="Fetch them again.",
            )
        self.data_hash()

    def file_digest(self, file: str) -> str:
        """SHA-256 of a file's bytes, in hexadecimal.

        Raises:
            DataError: it cannot be read.
        """
        path = self.path(file)
        with mapped_errors(self.place(file)):
            info = self.filesystem.get_file_info(path)
            key = (self.filesystem.type_name, path, info.size or 0, info.mtime_ns or 0)
            if info.mtime_ns is None or key not in _digests:
                digest = hashlib.sha256()
                with self.filesystem.open_input_stream(path) as stream:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
                _digests[key] = digest.hexdigest()
        return _digests[key]


def open_dataset(source: str | Path, *, filesystem: pafs.FileSystem | None = None) -> Dataset:
    """A dataset by name or place.

    Args:
        source: the name of a packaged dataset (``sample``); or a folder with a ``dataset.toml``,
            or that file; or a URI that pyarrow's filesystems understand (``s3://bucket/folder``).
        filesystem: where ``source`` is, instead of this machine.

    Raises:
        DataError: nothing there, a card that is refused, or no file that matches it.
    """
    location = str(source)
    local = filesystem is None and "://" not in location
    if filesystem is None and "://" in location:
        with mapped_errors(location):
            filesystem, root = pafs.FileSystem.from_uri(location)
    elif filesystem is None:
        packaged = _packaged(location)
        filesystem, root = pafs.LocalFileSystem(), packaged or str(Path(source).absolute())
    else:
        root = location
    if root.rstrip("/").endswith(f"/{CARD_NAME}"):
        root = root.rstrip("/").removesuffix(f"/{CARD_NAME}")
        location = location.rstrip("/").removesuffix(CARD_NAME) or "."
    root = root.rstrip("/")
    place = f"{location.rstrip('/')}/{CARD_NAME}"
    with mapped_errors(place):
        info = filesystem.get_file_info(f"{root}/{CARD_NAME}")
        if info.type != pafs.FileType.File:
            raise DataError(
                f"not a dataset: there is no {CARD_NAME}",
                place=location,
                remedy=_instead(location),
            )
        with filesystem.open_input_stream(f"{root}/{CARD_NAME}") as stream:
            text = stream.read()
        digest = hashlib.sha256(text).hexdigest()
        card = _cards.get(digest) or read_card(place, text)
        found = _matching(filesystem, root, card.files + card.depth_files)
    names = tuple(name for name, _, _ in found)
    depth_files = tuple(n for n in names if any(_match(n, p) for p in card.depth_files))
    files = tuple(n for n in names if n not in set(depth_files))
    for entry, patterns, matching in (
        ("files", card.files, files),
        ("depth_files", card.depth_files, depth_files),
    ):
        if patterns and not matching:
            raise DataError(
                f"no file matches {', '.join(map(repr, patterns))}",
                place=location,
                remedy=f"Put the Parquet files beside {CARD_NAME}, or correct the entry {entry} in"
                " it.",
            )
    keyed = digest
    if "zone" in card.calendar.model_fields_set:
        keyed = hashlib.sha256(card_text(card.without_zone()).encode()).hexdigest()
    dataset = Dataset(card, location, filesystem, root, files, keyed, depth_files)
    if not local or any(changed is None for _, _, changed in found):
        return dataset
    # What was read of footers and windows holds while the card and the files are the same.
    _keep(_cards, digest, card)
    return _keep(_opened, (location, root, digest, found), dataset)


def _keep(kept: dict[Any, Any], key: Any, value: Any) -> Any:
    """What is kept under a key, or else the value, which then is; the oldest go first."""
    if key not in kept:
        while len(kept) >= _KEPT:
            kept.pop(next(iter(kept)), None)
        kept[key] = value
    return kept.get(key, value)


def packaged_datasets() -> tuple[str, ...]:
    """Names of the datasets that are part of this distribution."""
    folder = _datasets_folder()
    if not folder.is_dir():
        return ()
    return tuple(sorted(f.name for f in folder.iterdir() if (f / CARD_NAME).is_file()))


def _datasets_folder() -> Path:
    return Path(str(importlib.resources.files("backtest").joinpath("datasets")))


def _instead(location: str) -> str:
    """What to name in place of what is not a dataset."""
    packaged = packaged_datasets()
    near = suggestion(location, packaged)
    if near is None and "://" not in location and not Path(location).exists():
        near = suggested_path(Path(location))
    return (
        near
        or "Name a folder that `backtest data ingest` wrote, or a packaged dataset"
        f" ({', '.join(packaged) or 'none'})."
    )


def _packaged(name: str) -> str | None:
    return str(_datasets_folder() / name) if name in packaged_datasets() else None


def _matching(
    filesystem: pafs.FileSystem, root: str, patterns: Sequence[str]
) -> tuple[tuple[str, int, int | None], ...]:
    """Path below the folder, size and time of the last change (ns) of each file that matches."""
    deep = any("/" in pattern for pattern in patterns)
    entries: list[Any] = filesystem.get_file_info(pafs.FileSelector(root, recursive=deep))
    names = [
        (e.path[len(root) + 1 :], e.size, e.mtime_ns)
        for e in entries
        if e.type == pafs.FileType.File
    ]
    return tuple(sorted(n for n in names if any(_match(n[0], p) for p in patterns)))


def _match(name: str, pattern: str) -> bool:
    """A path below the folder against a glob: ``*`` stays in a segment, ``**`` is any number."""
    return _match_segments(name.split("/"), pattern.split("/"))


def _match_segments(names: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**" and _match_segments(names, patterns[1:]):
        return True
    if not names or (names[0].startswith(".") and not patterns[0].startswith(".")):
        return False
    if patterns[0] == "**":
        return _match_segments(names[1:], patterns)
    return fnmatchcase(names[0], patterns[0]) and _match_segments(names[1:], patterns[1:])
