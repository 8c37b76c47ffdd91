"""What a run's fills tell of its trading: round trips, when it earned, and its largest fills.

The fills are read once, piece by piece; what is kept does not grow with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.comparison.profits import money_units
from backtest.core.arrays import Float64Array, Int64Array
from backtest.core.arrow import integers
from backtest.core.zones import DAY_NS, HOUR_NS, to_clock
from backtest.report.magnitudes import Magnitudes
from backtest.runs.folder import Run
from backtest.trading.fill_table import INSTANTS, closing
from backtest.trading.layout import COSTS
from backtest.trading.round_trips import RoundTripFollower, RoundTrips

if TYPE_CHECKING:
    import pyarrow as pa

MOST_FILLS = 200
"""Fills that are shown one by one."""


@dataclass
class TripTally:
    """Some round trips added up; money in units of the run's.

    Attributes:
        count, won, lost: how many, with a profit after fees, with a loss.
        profit, loss: sums of the net of those; the loss is negative.
        best, worst: the largest and the smallest net.
        nets: by size.
        holding: times from the first to the last fill, ns, by size.
    """

    count: int = 0
    won: int = 0
    lost: int = 0
    profit: float = 0.0
    loss: float = 0.0
    best: float = -np.inf
    worst: float = np.inf
    nets: Magnitudes = field(default_factory=Magnitudes)
    holding: Magnitudes = field(default_factory=Magnitudes)

    def add(self, net: Float64Array, holding: Int64Array) -> None:
        """Count round trips that ended [n]."""
        if not len(net):
            return
        self.count += len(net)
        self.won += int((net > 0).sum())
        self.lost += int((net < 0).sum())
        self.profit += float(net[net > 0].sum())
        self.loss += float(net[net < 0].sum())
        self.best, self.worst = max(self.best, float(net.max())), min(self.worst, float(net.min()))
        self.nets.add(net)
        self.holding.add(holding)


class Sums:
    """Sums by a whole number from 0 on, such as an hour of the day or a symbol's number.

    ``sums[name]`` is float64 [n]: ``trips`` (round trips that ended), ``won`` (those with a
    profit), ``net`` (of all of them, units of money), ``fills``, ``turnover`` (their notional,
    likewise).
    """

    def __init__(self) -> None:
        self._columns = {name: np.zeros(0) for name in ("trips", "won", "net", "fills", "turnover")}

    def __len__(self) -> int:
        return len(self._columns["fills"])

    def __getitem__(self, name: str) -> Float64Array:
        return self._columns[name]

    def add_trips(self, keys: Int64Array, net: Float64Array) -> None:
        """Add round trips that ended [n]."""
        self._add(keys, {"trips": None, "won": net > 0, "net": net})

    def add_fills(self, keys: Int64Array, notional: Float64Array) -> None:
        """Add fills [n]."""
        self._add(keys, {"fills": None, "turnover": notional})

    def _add(self, keys: Int64Array, amounts: dict[str, Any]) -> None:
        more = int(keys.max(initial=-1)) + 1 - len(self)
        if more > 0:
            self._columns = {name: np.pad(v, (0, more)) for name, v in self._columns.items()}
        for name, values in amounts.items():
            self._columns[name] += np.bincount(keys, weights=values, minlength=len(self))


@dataclass
class Trades:
    """A run's fills boiled down.

    Attributes:
        unit: units of money that make one of the currency.
        trips, longs, shorts: all round trips, and those of each side.
        symbols: names, by their number in ``by_symbol``.
        by_symbol: sums by symbol.
        zone: of the market's clocks.
        by_hour: sums by the hour of the day there: of a fill's ts_venue, of a round trip's end.
        by_day: sums by the day from ``first_day`` on, likewise.
        first_day: the day before that of the first fill, since 1970; clocks may be set back over
            midnight.
        fills: how many there are.
        largest: those with the largest notional, rows of the table with ``notional``.
    """

    unit: int
    zone: str = "UTC"
    trips: TripTally = field(default_factory=TripTally)
    longs: TripTally = field(default_factory=TripTally)
    shorts: TripTally = field(default_factory=TripTally)
    symbols: Sequence[str] = ()
    by_symbol: Sums = field(default_factory=Sums)
    by_hour: Sums = field(default_factory=Sums)
    by_day: Sums = field(default_factory=Sums)
    first_day: int = 0
    fills: int = 0
    largest: list[dict[str, Any]] = field(default_factory=list)


def trades_of(run: Run) -> Trades | None:
    """A run's trades; ``None`` where it made no fill.

    Raises:
        DataError: its fills cannot be read.
    """
    if not run.has_table("fills"):
        return None
    made, follower = Trades(money_units(run), run.hours.zone), RoundTripFollower()
    made.symbols = follower.names
    largest = _Largest()
    for piece in run.pieces("fills", run.columns("fills")):
        if not len(piece):
            continue
        trips = follower.add(piece)
        clock = to_clock(integers(piece["ts_venue"]), made.zone)
        if not made.fills:
            made.first_day = int(clock[0]) // DAY_NS - 1
        notional = np.abs(integers(piece["cash"]) + integers(piece["fees"])).astype(np.float64)
        symbol = follower.numbers(piece["symbol"])
        for sums, keys in (
            (made.by_symbol, symbol),
            (made.by_hour, clock % DAY_NS // HOUR_NS),
            (made.by_day, clock // DAY_NS - made.first_day),
        ):
            sums.add_fills(keys, notional)
        _add_trips(made, trips)
        largest.add(piece, notional)
        made.fills += len(piece)
    made.largest = largest.rows()
    return made if made.fills else None


def _add_trips(made: Trades, trips: RoundTrips) -> None:
    holding, long = trips.exit - trips.entry, trips.side > 0
    for tally, chosen in ((made.trips, slice(None)), (made.longs, long), (made.shorts, ~long)):
        tally.add(trips.net[chosen], holding[chosen])
    made.by_symbol.add_trips(trips.symbol, trips.net)
    clock = to_clock(trips.exit, made.zone)
    made.by_hour.add_trips(clock % DAY_NS // HOUR_NS, trips.net)
    made.by_day.add_trips(clock // DAY_NS - made.first_day, trips.net)


class _Largest:
    """Keeps the fills of the largest notional; of equal ones the first."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []

    def add(self, piece: pa.RecordBatch, notional: Float64Array) -> None:
        full = len(self._rows) == MOST_FILLS
        least = self._rows[-1]["notional"] if full else -1.0
        chosen = np.flatnonzero(notional > least)
        chosen = chosen[np.argsort(-notional[chosen], kind="stable")][:MOST_FILLS]
        columns = {
            name: integers(piece[name])[chosen].tolist()
            for name in ("lots", *INSTANTS, "cash", "decision", *COSTS)
        }
        columns["closes"] = closing(piece)[chosen].tolist()
        columns["symbol"] = piece["symbol"].take(chosen).to_pylist()
        columns["notional"] = notional[chosen].tolist()
        if "price" in piece.schema.names:
            columns["price"] = piece["price"].take(chosen).to_pylist()
        more = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        self._rows = sorted([*self._rows, *more], key=lambda row: -row["notional"])[:MOST_FILLS]

    def rows(self) -> list[dict[str, Any]]:
        """From the largest on."""
        return self._rows
