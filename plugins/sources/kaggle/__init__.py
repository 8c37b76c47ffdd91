"""The Jane Street market data of Kaggle: features and responders by date, time and symbol ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backtest.core.parameters import Nanoseconds
from backtest.core.times import parse_utc
from backtest.data.sources import IngestReport, Source


@dataclass(frozen=True)
class JaneStreetKaggle(Source):
    """A folder of ``partition_id=N/part-0.parquet``, or one that holds it as ``train.parquet``.

    The ids are not times: ts_event is ``start`` + date_id × one day + time_id × ``step``,
    so all symbols of one time_id happen at the same instant, in the order of the rows. Symbols are
    called ``S00``, ``S01``, … after their ids, the responders become targets, and ``weight``, which
    scores predictions, is left out.

    Attributes:
        start: the instant of date_id 0, time_id 0, in UTC.
        step: from one time_id to the next.
        nonfinite: null, NaN and infinity among features are refused, or set to 0 and counted.
        ignore: patterns of names of files in the folder to leave out.
    """

    start: str = "2020-01-01T00:00:00Z"
    step: Nanoseconds = 20_000_000_000
    nonfinite: Literal["refuse", "zero"] = "refuse"
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parse_utc(self.start)
        if self.step <= 0:
            raise ValueError(f"step must be above 0, not {self.step} ns")

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write all partitions as one dataset with features and targets but no quotes."""
        # Sources are imported whenever plugins are listed: what is slow to import waits until here.
        from backtest.plugins.sources.kaggle.events import ingest

        return ingest(self, input, output)
