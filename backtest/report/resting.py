"""What became of a run's resting orders: who filled them, when, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from backtest.core.arrays import BoolArray, Int8Array
from backtest.core.arrow import integers
from backtest.core.quantiles import Quantiles
from backtest.report.exact import exact_sum
from backtest.report.picked_off import STAGES, stages_of
from backtest.runs.folder import Run
from backtest.trading.fill_table import CLOSING, QUEUED, closing
from backtest.trading.layout import COSTS

TAKER, MAKER = 0, 1
"""Orders that took on arrival, and orders that rested."""

_DELAYS = ("feed", "queueing", "service", "entry", "rest")
_COLUMNS = (*CLOSING, "maker", "lots", "ts_arrived", "ts_venue", "decision", *COSTS)


@dataclass
class Filled:
    """Some fills added up.

    Attributes:
        fills: how many.
        lots: without signs.
        money: sums of ``moved`` (what they earned from the mid before the fill to the end of the
            window), ``spread``, ``impact``, ``fees`` and ``net``, in units of money.
    """

    fills: int = 0
    lots: int = 0
    money: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("moved", "spread", "impact", "fees", "net"), 0)
    )

    def add(self, rows: pa.RecordBatch, chosen: BoolArray) -> None:
        """Add some of the next fills.

        Args:
            rows: with the columns of the table.
            chosen: which of them, bool [n].
        """
        of = {name: exact_sum(integers(rows[name])[chosen]) for name in ("decision", *COSTS)}
        self.fills += int(chosen.sum())
        self.lots += exact_sum(np.abs(integers(rows["lots"])[chosen]))
        self.money["moved"] += of["decision"] - sum(of[name] for name in _DELAYS)
        self.money["net"] += of["decision"] - sum(of[name] for name in COSTS)
        for name in ("spread", "impact", "fees"):
            self.money[name] += of[name]


@dataclass
class RestingOrders:
    """What became of a run's orders.

    Attributes:
        reports: by kind, how many ``reports`` and on how many ``lots``.
        bracket: ``net``, ``fills`` and ``lots`` (``None`` in runs of earlier versions) of the
            whole account by queue model: ``through``, ``chosen``, ``optimistic``; ``chosen`` alone
            where the strategy sends its own orders.
        filled: fills of orders that took, and of those that rested.
        waits: from a resting order's arrival to each of its fills, ns.
        standing: how orders stood against the touch, as ``metrics.json`` has it.
        ahead: of maker fills whose place was known, the lots ahead when it became known.
        printed: of the same, the lots printed at the price from then to the fill.
        first: how many of them had nobody ahead.
        stages: where the message was that came too late for each fill, as ``stages_of`` gives it.
        late: fills and lots by these stages, 0 first.
    """

    reports: Mapping[str, Mapping[str, int]]
    bracket: Mapping[str, Mapping[str, int | None]]
    stages: Int8Array
    standing: Mapping[str, Any] | None = None
    ahead: Quantiles = field(default_factory=Quantiles)
    printed: Quantiles = field(default_factory=Quantiles)
    first: int = 0
    filled: tuple[Filled, Filled] = field(default_factory=lambda: (Filled(), Filled()))
    waits: Quantiles = field(default_factory=Quantiles)
    late: list[list[int]] = field(default_factory=lambda: [[0, 0] for _ in range(len(STAGES) + 1)])

    @property
    def quoted(self) -> int:
        """Lots of accepted orders, of each as many as it came to with its replacements.

        Each of these lots is filled, or left when its order is cancelled or expires.
        """
        kinds = ("filled", "took", "cancelled", "expired")
        return sum(self.reports[kind]["lots"] for kind in kinds)

    @property
    def fill_ratio(self) -> float | None:
        """Filled lots over ``quoted``; ``None`` where nothing was accepted."""
        filled = self.reports["filled"]["lots"] + self.reports["took"]["lots"]
        return filled / self.quoted if self.quoted else None


def resting_of(run: Run) -> RestingOrders | None:
    """What became of a run's orders; ``None``: they do not rest.

    Raises:
        DataError: a table of the run cannot be read.
    """
    if not run.rests or not run.has_table("fills"):
        return None
    told: dict[str, Any] = dict(run.metrics["orders"])
    account, bracket = run.metrics["account"], told.pop("bracket", {})
    chosen = {name: account.get(of) for name, of in _CHOSEN.items()}
    nets = {name: {"lots": None, **bracket[name]} for name in bracket} | {"chosen": chosen}
    ordered = {name: nets[name] for name in ("through", "chosen", "optimistic") if name in nets}
    standing = told.pop("standing", None)  # of earlier versions nothing is known
    found = RestingOrders(told, ordered, stages_of(run), standing)
    first = 0
    queued = QUEUED if set(QUEUED) <= set(run.columns("fills")) else ()
    for rows in run.pieces("fills", (*_COLUMNS, *queued)):
        if queued:
            known = rows[QUEUED[0]].is_valid().to_numpy(zero_copy_only=False)
            ahead, printed = (integers(rows[name])[known] for name in QUEUED)
            found.ahead.add(ahead)
            found.printed.add(printed)
            found.first += int((ahead == 0).sum())
        maker = rows["maker"].to_numpy(zero_copy_only=False).astype(np.bool_)
        found.filled[MAKER].add(rows, maker)
        found.filled[TAKER].add(rows, ~maker & ~closing(rows))
        waited = integers(rows["ts_venue"]) - integers(rows["ts_arrived"])
        found.waits.add(np.maximum(waited[maker], 0))
        stages = found.stages[first : first + len(rows)]
        lots = np.abs(integers(rows["lots"]))
        for k in range(1, len(STAGES) + 1):
            found.late[k][0] += int((stages == k).sum())
            found.late[k][1] += exact_sum(lots[stages == k])
        first += len(rows)
    return found


_CHOSEN = {"net": "net", "fills": "fills", "lots": "lots_traded"}
