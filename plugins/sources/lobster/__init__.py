"""LOBSTER's files: every order of a NASDAQ stock, and the book after each message."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from backtest.data.sources import IngestReport, Source


@dataclass(frozen=True)
class Lobster(Source):
    """Pairs ``NAME_DATE_START_END_message_N.csv`` and ``…_orderbook_N.csv``, without headers.

    Row k of the order book is the book after row k of the messages. Its first level gives the
    quotes, a quote being an event when it changed; executions, displayed (4) and hidden (5), are
    trades, whose aggressor is the other side of the resting order's. Cross trades (6) are left out.
    From a halt (7, price -1) until trading resumes (price 1), there is no quote.

    Under ``depth = "orders"`` the messages become rows of single orders. Orders that were there
    before the first message, or came in while their level was deeper than the file's, are told from
    the book only in sum: each level has one nameless order for them. What is deeper than any level
    that the file ever showed counts as empty. Under ``"levels"`` the book's levels become rows of
    levels, and what is deeper is unknown.

    Attributes:
        depth: what becomes of orders behind the touch.
        zone: IANA name of the zone in which times count from midnight.
        tick_size: of displayed prices; hidden executions that are not on it are left out.
        currency: what prices are in.
        fee_per_share: charged for each share filled.
        ignore: patterns of names of files in the folder to leave out.
    """

    depth: Literal["orders", "levels", "none"] = "orders"
    zone: str = "America/New_York"
    tick_size: str = "0.01"
    currency: str = "USD"
    fee_per_share: str = "0.003"
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Sources are imported whenever plugins are listed: what is slow to import waits until here.
        from backtest.core.zones import known_zone
        from backtest.plugins.sources.shared.decimals import decimal_parameter

        known_zone(self.zone)
        decimal_parameter(self.fee_per_share, "fee_per_share", above_zero=False)
        if decimal_parameter(self.tick_size, "tick_size") * 10_000 % 1:
            raise ValueError(f"tick_size is {self.tick_size}, not a multiple of 0.0001")

    @property
    def tick(self) -> int:
        """How many of the file's units a tick is."""
        return int(Decimal(self.tick_size) * 10_000)

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write all symbols and days as one dataset."""
        from backtest.plugins.sources.lobster.events import ingest

        return ingest(self, input, output)
