"""What becomes of the rows of an input, while it is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from backtest.core.arrays import BoolArray
from backtest.core.text import first_of
from backtest.data.sources import IngestReport


@dataclass
class Counts:
    """What became of rows.

    Attributes:
        refused, repaired: as in ``IngestReport``.
    """

    refused: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)

    def refuse(self, reason: str, rows: BoolArray) -> None:
        """Count rows that are left out."""
        self.refused[reason] += int(np.count_nonzero(rows))

    def repair(self, what: str, rows: BoolArray) -> None:
        """Count rows that are changed."""
        self.repaired[what] += int(np.count_nonzero(rows))

    def reasons(self) -> str:
        """The first of the reasons why rows were left out."""
        return first_of(sorted(reason for reason, count in self.refused.items() if count))

    def report(self, read: int, written: int, ignored: Counter[str]) -> IngestReport:
        """What an ingest gives back; reasons that never held are left out."""
        refused = {reason: count for reason, count in sorted(self.refused.items()) if count}
        repaired = {what: count for what, count in sorted(self.repaired.items()) if count}
        return IngestReport(read, written, refused, repaired, dict(ignored))
