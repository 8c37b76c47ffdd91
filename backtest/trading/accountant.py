"""What a run's answers earned, and where the money went.

Money is an integer count of billionths of the currency: half ticks times lots times the worth of
one half-tick-lot of the instrument, so that sums by symbol, by time and by cause are exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.core.columnar import Frame
from backtest.core.room import Room
from backtest.inference.answers import Answers
from backtest.market.events import EventBatch
from backtest.market.instruments import Instrument
from backtest.market.quotes import StandingQuotes
from backtest.timing.outcomes import Timing
from backtest.trading.orders import Fill
from backtest.trading.sizing import SizingRule

if TYPE_CHECKING:
    import pyarrow as pa

COSTS = ("feed", "queueing", "service", "entry", "spread", "impact", "fees")
"""The terms of the attribution: net = decision - the sum of these."""


class TableSink(Protocol):
    """Takes tables of the run folder as they grow."""

    def write(self, name: str, table: pa.Table | Frame) -> None:
        """Add rows, whose values stay as they are; all pieces of a table have the same columns."""

    def discard(self, name: str) -> None:
        """Forget what was written to a table, which then starts anew."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything an accountant needs to know of a run with ``n`` events.

    Attributes:
        symbols: the dataset's symbol table [S].
        instruments: one for each symbol [S].
        events: quotes and times in bus order, without features.
        timing: pass 1's result.
        answers: predictions of the answered events.
        undropped: the same strategy's predictions had every event been answered, or ``None``.
        targets: true values, float32 [n, T], or ``None``.
        sizing: from forecast to position.
        entry, response: order entry and response latency of an order from each event, int64 ns [n].
        sessions: trading hours [open, close) in ns, or ``None``.
        warmup: the first events of the window, which never trade and are not paid for.
        end: when the window ends, ns.
        room: makes columns as long as the window.
        sink: takes tables that are too long to hold, piece by piece; ``None``: return them whole.
        progress: told how many events are settled, of as many as there are.
    """

    symbols: Sequence[str]
    instruments: Sequence[Instrument]
    events: EventBatch
    timing: Timing
    answers: Answers
    undropped: Answers | None
    targets: Float32Array | None
    sizing: SizingRule
    entry: Int64Array
    response: Int64Array
    sessions: Sequence[tuple[int, int]] | None
    warmup: int
    end: int
    room: Room | None = None
    sink: TableSink | None = None
    progress: Callable[[int], None] = lambda done: None


@dataclass(frozen=True, slots=True)
class Account:
    """An accountant's result.

    Attributes:
        metrics: plain values for ``metrics.json``.
        tables: tables of the run folder by name, such as ``fills`` and ``equity``.
    """

    metrics: Mapping[str, Any]
    tables: Mapping[str, pa.Table] = field(default_factory=dict)


class Accountant(ABC):
    """Settles a run."""

    needs_targets: ClassVar[bool] = False
    needs_quotes: ClassVar[bool] = False

    @abstractmethod
    def account(self, ledger: Ledger) -> Account:
        """Settle; called once, after the last answer."""


class Instants(NamedTuple):
    """The five instants of a fill, ns: t0 to t4 of the attribution."""

    event: int
    received: int
    begun: int
    ended: int
    venue: int


@dataclass(frozen=True, slots=True)
class AttributedFill:
    """A fill with its five instants and the money that each cause took, by ``COSTS``."""

    symbol: int
    fill: Fill
    instants: Instants
    cash: int
    decision: int
    costs: tuple[int, ...]


def attribute(
    symbol: int,
    fills: Sequence[Fill],
    *,
    timing: Timing,
    ts_event: Int64Array,
    quotes: StandingQuotes,
    instrument: Instrument,
    end: int,
) -> list[AttributedFill]:
    """Split what each fill of one symbol cost into its causes.

    With M0 to M4 the doubled mids at the event, its receipt, the beginning and end of its service
    and the order's arrival, a fill of q lots at P costs feed q(M1 - M0), queueing q(M2 - M1),
    service q(M3 - M2), entry q(M4 - M3), spread q(P - sgn(q) i - M4), impact |q| i and its fee; its
    decision earned q(M(end) - M0). Perold (1988), "The implementation shortfall", splits alike.
    """
    instants = np.array(
        [
            (
                ts_event[f.event],
                timing.received[f.event],
                timing.begun[f.event],
                timing.ended[f.event],
                f.arrived,
            )
            if f.event >= 0
            else (f.arrived,) * 5
            for f in fills
        ],
        dtype=np.int64,
    ).reshape(-1, 5)  # [fills, 5]
    mids = quotes.mids(symbol, instants.ravel()).reshape(-1, 5).tolist()
    last = int(quotes.mids(symbol, np.array([end]))[0]) if fills else 0
    worth = instrument.half_tick_lot
    attributed = []
    for fill, times, (m0, m1, m2, m3, m4) in zip(fills, instants.tolist(), mids, strict=True):
        q, price, moved = fill.lots, fill.half_ticks, fill.impact
        side = 1 if q > 0 else -1
        terms = (m1 - m0, m2 - m1, m3 - m2, m4 - m3, price - side * moved - m4, side * moved)
        fee = instrument.fee(q, price)
        attributed.append(
            AttributedFill(
                symbol,
                fill,
                Instants(*times),
                -q * price * worth - fee,
                q * (last - m0) * worth,
                (*(q * term * worth for term in terms), fee),
            )
        )
    return attributed


def totals(fills: Sequence[AttributedFill]) -> dict[str, int]:
    """Money by cause over some fills that leave no position open: net, decision and ``COSTS``."""
    sums = {"net": sum(f.cash for f in fills), "decision": sum(f.decision for f in fills)}
    return sums | {name: sum(f.costs[k] for f in fills) for k, name in enumerate(COSTS)}
