"""Databento's binary files (DBN): market by order, by price, trades, and instrument definitions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from backtest.data.sources import IngestReport
from backtest.plugins.sources.shared.sizes import SizedSource


@dataclass(frozen=True)
class DatabentoDbn(SizedSource):
    """DBN files of versions 1 to 3, ``.dbn`` or ``.dbn.zst``: one, or all files of a folder.

    Read are the schemas ``mbo``, ``mbp-1``, ``mbp-10``, ``tbbo``, ``trades`` and ``bbo-1s``, and
    ``definition`` for what the instruments are; they are decoded by the vendor's package
    ``databento-dbn`` (``pip install 'ticktoll[databento]'``). A folder may hold files of one
    schema, or of ``trades`` beside ``bbo-1s``, and any number of definitions.

    Symbols are those of the files' symbol mappings on the day of the record's ``ts_recv``. With
    records of several publishers, ``.`` and the publisher's number follow. What was asked for as a
    continuous contract is a symbol for each instrument behind it, because prices jump from one to
    the next.

    ``ts_event`` is the venue's time; of records of a snapshot, and of ``bbo-1s``, it is
    ``ts_recv``. Files are in the order of ``ts_recv``: a symbol's record that is earlier than the
    one before it is moved to that one's time, one that is more than a second late to the time up to
    which events are complete; both are counted.

    A quote is an event when the touch or its size changed; books are looked at where the venue's
    event ends (``F_LAST``). Both sides are absent where the record says that the book may be bad.
    A trade's aggressor is its ``side``.

    Attributes:
        schema: of several schemas in a folder, the one to read; ``definition`` is always read.
        publishers: numbers of the publishers to read; all by default.
        tick_sizes, multipliers: ``SYMBOL=SIZE``; otherwise those of the definitions, or the largest
            step that all prices are multiples of, and 1.
        currency: of instruments whose definition names none.
        fee_per_lot: charged for each contract or share filled.
        ignore: patterns of names of files in the folder to leave out.
    """

    schema: Literal["any", "mbo", "mbp-1", "mbp-10", "tbbo", "trades", "bbo-1s"] = "any"
    publishers: tuple[int, ...] = ()
    tick_sizes: tuple[str, ...] = ()
    multipliers: tuple[str, ...] = ()
    currency: str = "USD"
    fee_per_lot: str = "0"
    ignore: tuple[str, ...] = ()

    BY_SYMBOL: ClassVar[tuple[str, ...]] = ("tick_sizes", "multipliers")

    def __post_init__(self) -> None:
        # Sources are imported whenever plugins are listed: what is slow to import waits until here.
        from backtest.plugins.sources.shared.decimals import decimal_parameter

        decimal_parameter(self.fee_per_lot, "fee_per_lot", above_zero=False)
        super().__post_init__()

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write the file or files as one dataset of quotes and trades."""
        from backtest.plugins.sources.databento.events import ingest

        return ingest(self, input, output)
