"""Tardis' downloadable CSV files: quotes, trades and order books of crypto venues."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from backtest.data.sources import IngestReport
from backtest.plugins.sources.shared.sizes import SizedSource


@dataclass(frozen=True)
class Tardis(SizedSource):
    """CSV files as Tardis' datasets are downloaded, one or a folder of them, at any depth.

    Data types are known by the header, and by the name where two share one: ``quotes``,
    ``book_ticker``, ``trades``, ``incremental_book_L2`` and ``book_snapshot_N``. A symbol's quotes
    are those of the first of ``quotes``, ``book_ticker``, the touch of ``incremental_book_L2`` and
    the first level of ``book_snapshot_N`` that covers the time; the others are left out there, and
    counted. So are the rows of ``derivative_ticker``, ``liquidations`` and ``options_chain``.

    Levels become rows of depth: those of ``incremental_book_L2`` from its first snapshot on, or,
    where a symbol has none of these, those of ``book_snapshot_N``, which say nothing of what lies
    behind the last of them.

    Times: ts_event is ``timestamp``, ts_recv ``local_timestamp``. Where both are the same, Tardis
    had no time of the venue: ts_recv is unknown. Rows are sorted by ``timestamp``, in the order of
    the files at equal times; a book's never goes back. Receipts before their event are set to it.

    Symbols are the venue's names, with ``.EXCHANGE`` added where the input has several exchanges.

    Attributes:
        depth: write levels as rows of depth.
        currency: the one that the accountant counts in.
        tick_sizes, lot_sizes: ``SYMBOL=SIZE``; otherwise the finest decimals seen.
        multipliers: ``SYMBOL=NUMBER``: units of the underlying in one of the file's amounts, for
            linear contracts; otherwise 1.
        untradable: patterns of ``EXCHANGE/SYMBOL`` that the accountant cannot account for, as they
            are inverse or in another currency.
        fee_rate: of the notional, for every tradable symbol.
        ignore: patterns of names of files in the folder to leave out.
    """

    depth: bool = True
    currency: str = "USD"
    tick_sizes: tuple[str, ...] = ()
    lot_sizes: tuple[str, ...] = ()
    multipliers: tuple[str, ...] = ()
    untradable: tuple[str, ...] = (
        "binance-delivery/*",
        "bitmex/*USD",
        "bitmex/XBT[FGHJKMNQUVXZ][0-9][0-9]",
        "bybit/*USD",
        "cryptofacilities/[FP]I_*",
        "deribit/BTC-*",
        "deribit/ETH-*",
        "huobi-dm/*",
        "huobi-dm-swap/*",
        "okex-futures/*-USD-*",
        "okex-swap/*-USD-SWAP",
    )
    fee_rate: str = "0.001"
    ignore: tuple[str, ...] = ()

    BY_SYMBOL: ClassVar[tuple[str, ...]] = ("tick_sizes", "lot_sizes", "multipliers")

    def __post_init__(self) -> None:
        # Sources are imported whenever plugins are listed: what is slow to import waits until here.
        from backtest.plugins.sources.shared.decimals import decimal_parameter

        decimal_parameter(self.fee_rate, "fee_rate", above_zero=False)
        super().__post_init__()

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write the file or files as one dataset."""
        from backtest.plugins.sources.tardis.events import ingest

        return ingest(self, input, output)
