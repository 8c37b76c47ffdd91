"""What the sections of a report read: each run's tables boiled down to what a page can show.

Tables are read piece by piece, so that a run of any length takes no more memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import inf

import pyarrow.compute as pc

from backtest.comparison.comparison import Comparison
from backtest.comparison.fields import Field, fields
from backtest.comparison.rows import earned
from backtest.comparison.run_settings import chosen, told_apart
from backtest.core.arrays import Float64Array
from backtest.data.dataset import Dataset
from backtest.report.agreement import Agreement, agreement_of
from backtest.report.charts import Axis
from backtest.report.fill_markouts import FillMarkouts
from backtest.report.markouts import Markouts
from backtest.report.pace import Pace, pace_of
from backtest.report.resting import RestingOrders, resting_of
from backtest.report.seen_events import Follower, follow
from backtest.report.tear_sheet import Exposure, exposure
from backtest.report.trades import Trades, trades_of
from backtest.runs.folder import Run
from backtest.trading.capacity import COLUMNS, Capacity, CapacityFollower

SHOWN = 8
"""Runs that charts show at first, at most."""


@dataclass
class Material:
    """Everything a section may want to know of the runs.

    Attributes:
        compared: the runs, their rows and their profits.
        fields: the runs in fields of equal conditions.
    """

    compared: Comparison

    @cached_property
    def zone(self) -> str:
        """The zone of the clocks that the page shows."""
        return self.compared.zone

    @cached_property
    def clock(self) -> Axis:
        """The axis of everything over time."""
        return Axis.of_clock(self.zone)

    @cached_property
    def order(self) -> list[int]:
        """Positions of the runs, those that earned most first."""

        def rank(k: int) -> float:
            value = earned(self.compared.rows[k])
            return inf if value is None else -value

        return sorted(range(len(self.compared.rows)), key=rank)

    @cached_property
    def factors(self) -> list[tuple[str, tuple[str, ...]]]:
        """What was chosen differently for the runs: name, and each run's value."""
        return [
            (name.removeprefix("latency."), tuple("–" if v is None else str(v) for v in values))
            for name, values in self.compared.differences()
            if chosen(name) and told_apart(name, values)
        ]

    @cached_property
    def names(self) -> list[str]:
        """A short name for each run: its strategy; among several its place and policy, too."""
        if self.single is not None:
            return [self.compared.rows[0]["strategy"]]
        place = {k: n for n, k in enumerate(self.order, 1)}
        several = len({row["policy"] for row in self.compared.rows}) > 1
        return [
            f"{place[k]}. {row['strategy']}" + (f", {row['policy']}" if several else "")
            for k, row in enumerate(self.compared.rows)
        ]

    @cached_property
    def first(self) -> list[int]:
        """The runs that charts show at first: the best of the main field."""
        return list(self.fields[0].members[:SHOWN])

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
        found = [None if of is None else of[0] for of in self._followed]
        return [of.mean() if isinstance(of, Markouts) else None for of in found]

    @cached_property
    def resting(self) -> RestingOrders | None:
        """What became of a single run's orders; ``None`` of several, or where none rests."""
        return None if self.single is None else resting_of(self.single)

    @cached_property
    def fill_markouts(self) -> FillMarkouts | None:
        """How the mid moved after a single run's fills; ``None`` of several, where no order rests,
        or where the quotes are not available."""
        followers = self._followed[0]
        found = None if self.resting is None or followers is None else followers[-1]
        if not isinstance(found, FillMarkouts):
            return None
        found.finish()
        return found

    @cached_property
    def _followed(self) -> list[list[Follower] | None]:
        """Who was shown all quotes of each run."""
        openers: list[Callable[[Run, Dataset], Follower]] = [Markouts]
        resting = self.resting
        if resting is not None:
            openers.append(lambda run, dataset: FillMarkouts(run, dataset, resting.stages))
        return follow(self.compared.runs, openers)

    @property
    def single(self) -> Run | None:
        """The run, where there is only one."""
        return self.compared.runs[0] if len(self.compared.runs) == 1 else None

    @cached_property
    def exposure(self) -> Exposure | None:
        """Positions of a single run over time; ``None`` of several, or where nothing was traded."""
        return None if self.single is None else exposure(self.single, self.compared.profits[0])

    @cached_property
    def trades(self) -> Trades | None:
        """Round trips and fills of a single run; ``None`` of several, or where there are none."""
        return None if self.single is None else trades_of(self.single)

    @cached_property
    def rested(self) -> bool:
        """Whether orders of a single run could rest, or did, as in the joined run of folds."""
        run = self.single
        if run is None or run.rests or not run.has_table("fills"):
            return run is not None and run.rests
        return any(pc.any(rows["maker"]).as_py() for rows in run.pieces("fills", ("maker",)))

    @cached_property
    def capacity(self) -> Capacity | None:
        """What a single run would have earned at other sizes; ``None`` of several, where orders
        rested, without fills or displayed sizes, or where a run of an earlier version did not note
        them."""
        run = self.single
        if run is None or self.rested or not run.has_table("fills"):
            return None
        if not set(COLUMNS) <= set(run.columns("fills")):
            return None
        follower = CapacityFollower()
        for piece in run.pieces("fills", COLUMNS):
            follower.add(piece)
        return follower.capacity()
