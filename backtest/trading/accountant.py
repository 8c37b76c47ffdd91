"""What an accountant is: it settles a run's answers, stretch by stretch, and gives figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from backtest.core.arrays import BoolArray, Float32Array, Int64Array
from backtest.inference.answers import Answers
from backtest.market.calendar import MarketHours
from backtest.market.events import EventBatch
from backtest.market.instruments import Instrument
from backtest.timing.outcomes import Timing
from backtest.trading.orders import OrderRules
from backtest.trading.venue import Venue

if TYPE_CHECKING:
    import pyarrow as pa


class TableSink(Protocol):
    """Takes tables of the run folder as they grow."""

    def write(self, name: str, rows: pa.RecordBatch | pa.Table) -> None:
        """Add rows; all pieces of a table have the same columns."""


@dataclass(frozen=True, slots=True)
class RunTerms:
    """What an accountant is told before the first event of a run.

    Attributes:
        symbols: the dataset's symbol table [S].
        instruments: one for each symbol [S].
        sessions: trading hours [open, close) in ns, or ``None``: always open.
        warmup: the first events of the window, which never trade and are not paid for.
        start, end: ts_event of the first event, and when the window ends, ns.
        outputs: predictions an event.
        targets: true values an event that the dataset has; 0: none.
        has_sizes: whether the dataset has displayed sizes.
        sink: takes tables that are too long to hold, piece by piece.
        venue: where the run's orders are filled, which writes the table ``fills``; ``None`` unless
            ``order_rules`` gave rules.
    """

    symbols: Sequence[str]
    instruments: Sequence[Instrument]
    sessions: Sequence[tuple[int, int]] | None
    warmup: int
    start: int
    end: int
    outputs: int
    targets: int
    has_sizes: bool
    sink: TableSink
    venue: Venue | None = None


@dataclass(frozen=True, slots=True)
class SettledEvents:
    """Consecutive events whose outcome is final. Columns are views that the next call overwrites.

    Attributes:
        first: number of the first of them in the run.
        events: times, symbols and, where the dataset has them, quotes; no features.
        timing: when each was received and served.
        answered: bool [n].
        answers: meaningless where not answered.
        targets: true values, float32 [n, T], or ``None``.
    """

    first: int
    events: EventBatch
    timing: Timing
    answered: BoolArray
    answers: Answers
    targets: Float32Array | None

    def __len__(self) -> int:
        return len(self.answered)


@dataclass(frozen=True, slots=True)
class Account:
    """An accountant's result.

    Attributes:
        metrics: plain values for ``metrics.json``; whole numbers may have any length.
        tables: tables of the run folder by name, beyond those that went to the sink.
    """

    metrics: Mapping[str, Any]
    tables: Mapping[str, pa.Table] = field(default_factory=dict)


class Settlement(ABC):
    """The settling of one run."""

    def add(self, settled: SettledEvents) -> None:
        """Take the next events, in bus order; by default they are of no interest."""

    @abstractmethod
    def finish(self) -> Account:
        """The result, after the last event and, where there is a venue, its last fill."""


class Accountant(ABC):
    """Settles runs. Its fields are its parameters; it holds no state of its own."""

    needs_targets: ClassVar[bool] = False
    """True: a dataset without true values is refused."""

    needs_quotes: ClassVar[bool] = False
    """True: a dataset without quotes is refused."""

    def order_rules(
        self, sessions: Sequence[tuple[int, int]] | None, end: int
    ) -> OrderRules | None:
        """How the run's answers become orders, and orders fills; ``None``: nothing is traded.

        Args:
            sessions: trading hours [open, close) in ns; ``None``: always open.
            end: when the window ends, ns.
        """
        return None

    def bucket_ends(self, start: int, end: int, hours: MarketHours) -> Int64Array:
        """When each time bucket of the equity table ends, ns, ascending; the last one at ``end``.

        By default there are about 500, equally long in open time. Asked for only where
        ``order_rules`` gives rules.

        Args:
            start: ts_event of the first event, ns.
            end: when the window ends, ns.
            hours: when the market is open.
        """
        return hours.bucket_ends(start, end)

    def join(
        self, accounts: Sequence[Mapping[str, Any]], shares: Sequence[float]
    ) -> Mapping[str, Any]:
        """The metrics of successive runs in one account, as of the folds of a walk-forward.

        By default ``net_points`` alone, if all of them have it.

        Args:
            accounts: the metrics of each.
            shares: by what a mean over the time of each counts in the whole.
        """
        if all("net_points" in account for account in accounts):
            return {"net_points": sum(account["net_points"] for account in accounts)}
        return {}

    @abstractmethod
    def open(self, terms: RunTerms) -> Settlement:
        """Begin to settle a run.

        Raises:
            BacktestError: it cannot be settled on such terms.
        """
