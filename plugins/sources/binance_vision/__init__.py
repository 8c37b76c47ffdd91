"""The public dumps of data.binance.vision: trades, aggregate trades, and the best bid and ask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backtest.data.sources import IngestReport
from backtest.plugins.sources.shared.sizes import SizedSource


@dataclass(frozen=True)
class BinanceVision(SizedSource):
    """Files ``SYMBOL-KIND-DATE.zip`` of spot, USD-margined and coin-margined futures.

    One, or all files of a folder, of any days, months and symbols; also as ``.csv``, plain or
    compressed; with a header line or without. ``trades``, ``aggTrades`` and ``bookTicker`` become
    events; other kinds are ignored and counted. ``.CHECKSUM`` files are checked where the file that
    they are of is there.

    A symbol is the file's, with ``.um`` added for USD-margined futures, as in ``binance-stream``:
    spot is told by the column that it alone has (``is_best_match``), coin-margined futures by their
    names. Inverse (coin-margined) contracts, and those not in ``currency``, are not tradable.

    Times are milliseconds or, in spot files since 2025, microseconds, told by their size. There is
    no receipt. The rows of a file keep their order: one that is up to a second earlier than the
    one before it is moved to that one's time; more is refused. A row whose number is not above all
    earlier ones is left out, as is a quote that is locked or crossed.

    Attributes:
        trades: of a symbol with both, the kind to read.
        currency: the one that the accountant counts in.
        tick_sizes, lot_sizes: ``SYMBOL=SIZE``; otherwise the finest decimals seen.
        fee_rate: of the notional, for every symbol.
        ignore: patterns of names of files in the folder to leave out.
    """

    trades: Literal["trades", "aggTrades"] = "trades"
    currency: str = "USDT"
    tick_sizes: tuple[str, ...] = ()
    lot_sizes: tuple[str, ...] = ()
    fee_rate: str = "0.001"
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Sources are imported whenever plugins are listed: what is slow to import waits until here.
        from backtest.plugins.sources.shared.decimals import decimal_parameter

        decimal_parameter(self.fee_rate, "fee_rate", above_zero=False)
        super().__post_init__()

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write the file or files as one dataset of quotes and trades."""
        from backtest.plugins.sources.binance_vision.events import ingest

        return ingest(self, input, output)
