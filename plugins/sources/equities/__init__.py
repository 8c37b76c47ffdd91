"""US equity ticks: zipped CSV of quotes and trades, a file a symbol, day and kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backtest.data.sources import IngestReport, Source


@dataclass(frozen=True)
class UsEquitiesTicks(Source):
    """A folder of ``SYMBOL_YYYYMMDD_quote.zip`` and ``SYMBOL_YYYYMMDD_trade.zip`` (or one of them).

    A quote row is: milliseconds since midnight in New York, bid price × 10,000, bid size, ask price
    × 10,000, ask size, exchange, condition, suspicious flag; zeros stand for the side that the row
    does not quote, a price without size for a side withdrawn, zeros on both sides for both. A trade
    row is: milliseconds, price × 10,000, size, exchange, condition, flag. Conditions are not
    interpreted.

    The NBBO after each row, under ``quotes = "national"``, is the newest row of each side: the rows
    give the national best and the exchange that shows it. With ``"exchange"`` the rows give each
    exchange's own quote: the NBBO is the highest bid and the lowest ask, its size the sum over the
    exchanges at that price. A bid row followed by an ask row of the same millisecond (and, under
    ``"exchange"``, of the same exchange) is one quote. The quote becomes an event when it changed,
    in the session of 9:30 to 16:00 in New York, one-sided if a side was withdrawn; locked and
    crossed states are left out, so that the quote before them stands. A file most of whose states
    are crossed is refused, as it is not what ``quotes`` says. In a millisecond trades come before
    quotes.

    Rows with the suspicious flag, with prices off the cent, or with negative prices or sizes are
    left out before all this.

    Attributes:
        quotes: what the quote rows represent.
        fee_per_share: charged for each share filled, in USD.
        ignore: patterns of names of files in the folder to leave out.
    """

    quotes: Literal["national", "exchange"] = "national"
    fee_per_share: str = "0.003"
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Sources are imported whenever plugins are listed: what is slow to import waits until here.
        from backtest.plugins.sources.shared.decimals import decimal_parameter

        decimal_parameter(self.fee_per_share, "fee_per_share", above_zero=False)

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write all symbols and days as one dataset of the NBBO and trades."""
        from backtest.plugins.sources.equities.events import ingest

        return ingest(self, input, output)
