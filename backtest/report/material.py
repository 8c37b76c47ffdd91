"""What the sections of a report read: each run's tables boiled down to what a page can show.

Tables are read piece by piece, so that a run of any length takes no more memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from backtest.comparison.comparison import Comparison
from backtest.comparison.verdict import Field, fields
from backtest.core.arrays import Float64Array
from backtest.report.agreement import Agreement, agreement_of
from backtest.report.markouts import markouts_of
from backtest.report.pace import Pace, pace_of


@dataclass
class Material:
    """Everything a section may want to know of the runs.

    Attributes:
        compared: the runs, their rows and their profits.
        fields: the runs in fields of equal conditions.
    """

    compared: Comparison

    @cached_property
    def numbers(self) -> list[int]:
        """The colour of each run: runs of one strategy and policy share theirs."""
        variants: dict[tuple[str, str], int] = {}
        return [
            variants.setdefault((row["strategy"], row["policy"]), len(variants))
            for row in self.compared.rows
        ]

    @cached_property
    def fields(self) -> list[Field]:
        """The runs in fields of equal conditions, the main one first."""
        return fields(self.compared)

    @cached_property
    def pace(self) -> list[Pace]:
        """Timing of each run."""
        return [pace_of(run) for run in self.compared.runs]

    @cached_property
    def agreement(self) -> list[Agreement | None]:
        """Agreement of each run with its reference; ``None`` if the reference's predictions are
        not available."""
        return [agreement_of(run) for run in self.compared.runs]

    @cached_property
    def markouts(self) -> list[Float64Array | None]:
        """Mean markout of each run in half ticks at ``markouts.HORIZONS_NS``; ``None`` without
        quotes or fills."""
        return markouts_of(self.compared.runs)
