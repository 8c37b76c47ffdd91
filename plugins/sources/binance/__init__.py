"""Recorded Binance websocket streams: best bid and ask, trades and depth, spot and futures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backtest.data.sources import IngestReport
from backtest.plugins.sources.shared.sizes import SizedSource


@dataclass(frozen=True)
class BinanceStream(SizedSource):
    """Raw lines ``local_ns JSON`` of combined streams, one file or all files of a folder.

    Files may be plain, compressed (gzip, zstd, bzip2, xz) or zip archives, whatever their names.

    ``bookTicker`` and ``trade`` become events, ``depth`` and answers to requests for the book rows
    of depth; every other stream is left out and counted, and so are futures trades outside the
    order book (``X`` is not MARKET). A trade's aggressor is the side that was not the maker
    (``m``). A symbol without ``bookTicker`` takes its quotes from its book, while that is known.
    Symbols are the venue's names, those of USD-margined futures with ``.um`` added, so that they
    stay apart from spot. Inverse (coin-margined) contracts, and those not in ``currency``, are not
    tradable.

    Times: ts_event is the venue's transaction time ``T``. With ``clock = "align"`` every file's
    receipts are moved by minus the 1 % quantile of receipt - T (the largest value with at most 1 %
    of the file's quotes and trades below it; of its depth, with ``E`` where there is no ``T``, if
    it has neither), because recorders' clocks are off by more than the latency;
    receipts that are still before their event are set to it, and counted. Spot bookTicker and depth
    have no transaction time: their ts_event is the receipt (moved alike), ts_recv is unknown.

    Attributes:
        clock: move the recorder's clock, or trust it.
        time_unit: of the venue's times.
        currency: the one that the accountant counts in.
        tick_sizes, lot_sizes: ``SYMBOL=SIZE``; otherwise the finest decimals seen.
        fee_rate: of the notional, for every tradable symbol.
        depth: write it, or leave its lines out.
        beyond: what lies beyond the levels of a snapshot that was cut at its limit.
        ignore: patterns of names of files in the folder to leave out.
    """

    clock: Literal["align", "keep"] = "align"
    time_unit: Literal["ms", "us"] = "ms"
    currency: str = "USDT"
    tick_sizes: tuple[str, ...] = ()
    lot_sizes: tuple[str, ...] = ()
    fee_rate: str = "0.001"
    depth: Literal["write", "leave"] = "write"
    beyond: Literal["unknown", "empty"] = "unknown"
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Sources are imported whenever plugins are listed: what is slow to import waits until here.
        from backtest.plugins.sources.shared.decimals import decimal_parameter

        decimal_parameter(self.fee_rate, "fee_rate", above_zero=False)
        super().__post_init__()

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write the file or files as one dataset of quotes, trades and depth."""
        from backtest.plugins.sources.binance.events import ingest

        return ingest(self, input, output)
