"""What becomes of the rows of an input, while it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from backtest.core.arrays import BoolArray
from backtest.core.text import first_of
from backtest.data.canonical import CanonicalWriter
from backtest.data.sources import IngestReport

RECEIVED_BEFORE = "received before the event: ts_recv set to ts_event"
EMPTY_SIDE = "side with a price or size of 0: absent"


@dataclass
class Counts:
    """What became of rows.

    Attributes:
        read, refused, repaired: as in ``IngestReport``.
        depth: rows that became rows of depth.
        quotes: events that are quotes taken from depth.
    """

    read: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    depth: int = 0
    quotes: int = 0

    def refuse(self, reason: str, rows: BoolArray) -> None:
        """Count rows that are left out."""
        self.refused[reason] += int(np.count_nonzero(rows))

    def repair(self, what: str, rows: BoolArray) -> None:
        """Count rows that are changed."""
        self.repaired[what] += int(np.count_nonzero(rows))

    def reasons(self) -> str:
        """The first of the reasons why rows were left out."""
        return first_of(sorted(reason for reason, count in self.refused.items() if count))

    def report(self, writer: CanonicalWriter, ignored: Mapping[str, int]) -> IngestReport:
        """What an ingest gives back; reasons that never held are left out.

        Args:
            writer: wrote the dataset.
            ignored: files left out, by reason.
        """
        refused = {reason: count for reason, count in sorted(self.refused.items()) if count}
        repaired = {what: count for what, count in sorted(self.repaired.items()) if count}
        depth = {"read": self.depth, "written": writer.depth_rows, "quotes": self.quotes}
        depth = depth if self.depth else {}
        return IngestReport(self.read, writer.rows, refused, repaired, dict(ignored), depth)
