"""NautilusTrader's Parquet catalogues: quotes, trades, order book deltas, instruments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backtest.data.sources import IngestReport
from backtest.plugins.sources.shared.sizes import SizedSource


@dataclass(frozen=True)
class NautilusCatalog(SizedSource):
    """A catalogue's folder, or files of one, with numbers of 64 or 128 bits.

    What a file holds is told by its columns, whatever its folder: quote ticks, trade ticks, order
    book deltas, or instruments; bars and all other data are left out and counted. A symbol is the
    ``instrument_id`` that the file's schema names.

    ``ts_event`` is the event's time and ``ts_recv`` is ``ts_init``, by which files must be sorted,
    but for a second. The rows of a file keep their order: one that is earlier than the one before
    it is moved to that one's time, and counted.

    Where an instrument has deltas, its quotes are the touch of the book that they build, and its
    files of quotes are left out. A book is looked at where a delta says so (``F_LAST``), or, in
    files that never do, where the time changes; before it was cleared or a snapshot ended, it is
    not known. Deltas become rows of depth: of orders where a level ever has several, otherwise of
    levels.

    Attributes:
        quotes: of the book, or of files of quotes, the deltas left out.
        depth: whether deltas are of orders or of levels.
        tick_sizes, lot_sizes: ``INSTRUMENT=SIZE``; otherwise those of the instrument's file, or of
            the precision that the files state, or finer if their numbers are.
        currency: of instruments without a file.
        ignore: patterns of names of files in the folder to leave out.
    """

    quotes: Literal["book", "files"] = "book"
    depth: Literal["auto", "levels", "orders"] = "auto"
    tick_sizes: tuple[str, ...] = ()
    lot_sizes: tuple[str, ...] = ()
    currency: str = "USD"
    ignore: tuple[str, ...] = ()

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write the files as one dataset of quotes and trades."""
        from backtest.plugins.sources.nautilus.events import ingest

        return ingest(self, input, output)
