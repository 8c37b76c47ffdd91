"""hftbacktest's event files: trades, levels and orders as its converters write them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from backtest.data.sources import IngestReport, Source


@dataclass(frozen=True)
class HftBacktest(Source):
    """``.npz`` files (or ``.npy``) of hftbacktest's structured events, one or a folder of them.

    Each file holds one symbol, whose name is the file's up to a date (``btcusdt_20240501.npz``), or
    what ``export.json`` says, which `backtest data export` writes beside its files.
    Rows for the exchange are read, at exch_ts; their receipt is local_ts. Rows for the local side
    alone are the other half of these, and are counted.

    Trades become events; levels (L2) or orders (L3) become rows of depth, and the touch that they
    leave becomes an event where it changed, after the last row of the same two times. A level that
    is cleared up to a price, or an order that is cancelled, is gone as a whole; a fill takes its
    lots from its order, and what the file says of the order next changes nothing more.

    Attributes:
        symbol: name of the symbol of all files; by default that of each file.
        depth: write levels or orders as rows of depth.
        tick_size, lot_size: as they are given to hftbacktest; by default those of an export, or
            the finest decimals seen of each symbol.
        currency: the one that the accountant counts in.
        fee_rate: of the notional.
        ignore: patterns of names of files in the folder to leave out.
    """

    symbol: str | None = None
    depth: bool = True
    tick_size: str | None = None
    lot_size: str | None = None
    currency: str = "USD"
    fee_rate: str = "0.001"
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Sources are imported whenever plugins are listed: what is slow to import waits until here.
        from backtest.plugins.sources.shared.decimals import decimal_parameter

        decimal_parameter(self.fee_rate, "fee_rate", above_zero=False)
        _ = self.grid

    @property
    def grid(self) -> tuple[Decimal | None, Decimal | None]:
        """The tick and the lot that were given."""
        from backtest.plugins.sources.shared.decimals import decimal_parameter

        tick, lot = self.tick_size, self.lot_size
        return (
            None if tick is None else decimal_parameter(tick, "tick_size"),
            None if lot is None else decimal_parameter(lot, "lot_size"),
        )

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write the file or files as one dataset."""
        from backtest.plugins.sources.hftbacktest.events import ingest

        return ingest(self, input, output)
