"""A run's tables as polars frames: symbols as text, clock times of the market's zone, prices and
money in currency.

All of them are lazy, since a table may hold tens of millions of rows: ``collect()`` gives a frame,
and ``collect(engine="streaming")`` reads bit by bit what is summed up or filtered. Money is
float64, the quotient of a whole number of the run's unit of money; below 2^53 units, which are nine
million of the currency by default, rounding to units gives that number back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.runs.implied import expressions, lacking
from backtest.trading.layout import COSTS
from backtest.trading.round_trips import COLUMNS, RoundTripFollower, RoundTrips

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    Pieces = Callable[[str, Sequence[str]], Iterator[pa.RecordBatch]]

INSTRUMENTS = "instruments.parquet"


def fill_frame(path: Path, money_unit: Decimal, zone: str) -> pl.LazyFrame:
    """A row a fill, in the order in which they were made.

    ``event`` (its number; -1: there is none), ``order`` (its number or id; -1, without an event:
    the fill closes a position at the end of the window), ``maker`` (whether the order rested),
    ``symbol``, ``lots`` (signed), ``displayed`` (lots at the touch when its order arrived, 0 for
    one that rested), ``taken`` (of these by own fills before it), ``price`` (currency),
    ``price_half_ticks``, ``ts_event``, ``ts_received``, ``ts_begun``, ``ts_ended``, ``ts_arrived``
    (at the venue), ``ts_venue`` (of the fill; Datetime ns in the zone); where orders rest ``ahead``
    and ``printed`` (lots; null where a place was not known); in currency ``notional``,
    ``cash`` (what it brought in), ``decision``, each cost, and ``net`` (decision less costs), which
    adds up to the net of the account.

    Args:
        path: of the table.
        money_unit: what its money is counted in, in currency.
        zone: of the market's clocks; an IANA name.
    """
    import polars as pl

    money = {name: pl.col(name).cast(pl.Int128) for name in ("cash", "decision", *COSTS)}
    notional = (money["cash"] + money["fees"]).abs().alias("notional")
    net = (money["decision"] - pl.sum_horizontal(money[c] for c in COSTS)).alias("net")
    names = [*money, "notional", "net"]
    return _scan(path, zone).with_columns(notional, net).with_columns(_money(names, money_unit))


def order_frame(path: Path, zone: str) -> pl.LazyFrame:
    """A row a report of the venue on an order that rests or might, in the order of ``ts_venue``.

    ``symbol``, ``order`` (its id), ``report`` (``accepted``, ``rejected``, ``filled`` while it
    rested, ``took``, ``cancelled``, ``replaced``, ``expired``; ``late``: a message found no such
    order), ``side`` (``buy``, ``sell``), ``lots`` (filled, left when it was cancelled or expired,
    or else the order's), ``price`` (currency), ``price_half_ticks``, ``event`` (number of the one
    that the message followed from; -1: none), ``ts_venue`` and ``ts_known`` (of the report),
    and the message's ``ts_event``, ``ts_received``, ``ts_begun``, ``ts_ended``, ``ts_arrived``
    (Datetime ns in the zone). Reports on fills and expiries have those of the message that gave the
    order its place.

    Args:
        path: of the table ``orders``.
        zone: of the market's clocks; an IANA name.
    """
    import polars as pl

    return _scan(path, zone).with_columns(pl.col("report", "side").cast(pl.String))


def position_frame(path: Path, money_unit: Decimal, zone: str) -> pl.LazyFrame:
    """A row a symbol that traded and time bucket, as things stand at the bucket's end.

    ``ts`` (Datetime ns in the zone), ``symbol``, ``lots`` (signed), ``mid`` and ``mid_half_ticks``
    (null before the first quote), ``value`` (lots at the mid, signed, in currency), ``net``
    (cumulated, marked to the mid), and ``decision`` and each cost booked within the bucket, in
    currency. Runs without instruments have neither mids nor ``value``.

    Args:
        path: of the table ``equity``.
        money_unit: what its money is counted in, in currency.
        zone: of the market's clocks; an IANA name.
    """
    import polars as pl

    frame = _scan(path, zone).with_columns(_money(["net", "decision", *COSTS], money_unit))
    names = frame.collect_schema().names()
    frame = frame.select(pl.col(c).alias("lots") if c == "position" else pl.col(c) for c in names)
    worth = lot_worth(path)
    if worth is None:
        return frame
    of_symbol = pl.col("symbol").replace_strict(
        list(worth), list(worth.values()), default=None, return_dtype=pl.Float64
    )
    value = pl.col("lots") * pl.col("mid").fill_null(0.0) * of_symbol
    return frame.with_columns(value.alias("value"))


def equity_frame(path: Path, money_unit: Decimal, zone: str) -> pl.LazyFrame:
    """A row a time bucket, over all symbols, in order.

    ``ts`` (Datetime ns in the zone), ``net`` (cumulated, marked to the mid), ``drawdown`` (how far
    it is below its highest so far, from 0 on), ``gross`` and ``exposure`` (values of all positions
    at the mid, without and with their signs), and ``decision`` and each cost booked within the
    bucket; all in currency. Runs without instruments have neither ``gross`` nor ``exposure``.

    Args:
        path: of the table ``equity``.
        money_unit: what its money is counted in, in currency.
        zone: of the market's clocks; an IANA name.
    """
    import polars as pl

    names = ["net", "decision", *COSTS]
    # The total of many symbols may take more than 64 bits, in which a sum would wrap.
    total = _scan(path, zone).group_by("ts").agg(pl.col(names).cast(pl.Int128).sum()).sort("ts")
    total = total.with_columns(_money(names, money_unit))
    peak = pl.col("net").cum_max().clip(lower_bound=0.0)
    total = total.with_columns((peak - pl.col("net")).alias("drawdown"))
    if lot_worth(path) is not None:
        value = pl.col("value")
        held = position_frame(path, money_unit, zone).sort("ts", "symbol").group_by("ts")
        exposure = held.agg(value.abs().sum().alias("gross"), value.sum().alias("exposure"))
        total = total.join(exposure, on="ts", how="left", maintain_order="left")
    return total


def round_trip_frame(path: Path, money_unit: Decimal, zone: str, pieces: Pieces) -> pl.LazyFrame:
    """A row a round trip, in the order in which they ended; open positions come last.

    A round trip leads from flat to flat; a fill that goes through zero ends one and begins another,
    and its fee is split by lots. ``symbol``, ``side`` (``long``, ``short``), ``ts_entry``,
    ``ts_exit`` (ts_venue of the first and the last fill, Datetime ns in the zone; ``ts_exit`` is
    null while the position is open), ``holding`` (Duration ns), ``peak_lots``, ``lots`` (all that
    entered), ``fills``, ``entry_price`` and ``exit_price`` (averages over lots), ``gross``,
    ``fees`` and ``net`` (in currency; of an open position, the cash so far). Runs without
    instruments have no prices.

    Args:
        path: of the table ``fills``.
        money_unit: what its money is counted in, in currency.
        zone: of the market's clocks; an IANA name.
        pieces: reads columns of a table of the run, piece by piece.
    """
    from polars.io.plugins import register_io_source

    worth = lot_worth(path)

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        for names, trips in follow_round_trips(pieces):
            frame = _trip_rows(names, trips, float(money_unit), zone, worth)
            frame = frame if left is None else frame.head(left)
            left = None if left is None else left - len(frame)
            frame = frame if with_columns is None else frame.select(with_columns)
            yield frame if predicate is None else frame.filter(predicate)
            if left == 0:
                return

    nothing = RoundTripFollower().rest()
    return register_io_source(source, schema=_trip_rows([], nothing, 1.0, zone, worth).schema)


def follow_round_trips(pieces: Pieces) -> Iterator[tuple[list[str], RoundTrips]]:
    """The names of symbols so far and the round trips that end, piece by piece; then open ones."""
    follower = RoundTripFollower()
    for piece in pieces("fills", COLUMNS):
        yield follower.names, follower.add(piece)
    yield follower.names, follower.rest()


def _trip_rows(
    names: list[str],
    trips: RoundTrips,
    money_unit: float,
    zone: str,
    worth: dict[str, float] | None,
) -> pl.DataFrame:
    import numpy as np
    import polars as pl

    instant = pl.Datetime("ns", zone)
    symbol = pl.Series(names, dtype=pl.String).gather(trips.symbol)
    columns: dict[str, Any] = {
        "symbol": symbol,
        "side": pl.Series(["short", "long"]).gather((trips.side + 1) // 2),
        "ts_entry": pl.Series(trips.entry).cast(instant),
        "ts_exit": pl.Series(trips.exit).cast(instant),
        "peak_lots": trips.peak,
        "lots": trips.lots_in.astype(np.int64),
        "fills": trips.fills,
    }
    if worth is not None:
        # Money of one lot for a price of 1: what entered brought in -side x lots x price.
        unit = np.array([worth[name] for name in symbol]) / money_unit
        with np.errstate(invalid="ignore", divide="ignore"):
            columns["entry_price"] = -trips.side * trips.money_in / (trips.lots_in * unit)
            columns["exit_price"] = trips.side * trips.money_out / (trips.lots_out * unit)
    units = round(1 / money_unit)
    columns |= {name: getattr(trips, name) / units for name in ("gross", "fees", "net")}
    frame = pl.DataFrame(columns)
    closed = pl.Series(~trips.is_open)
    frame = frame.with_columns(
        pl.when(closed).then("ts_exit").alias("ts_exit"),
        *([pl.col("exit_price").fill_nan(None)] if worth is not None else []),
    )
    holding = (pl.col("ts_exit") - pl.col("ts_entry")).alias("holding")
    return frame.insert_column(4, frame.select(holding)["holding"])


def _scan(path: Path, zone: str) -> pl.LazyFrame:
    """A table with symbols as text, and instants with the clocks of a zone."""
    import polars as pl

    frame = pl.scan_parquet(path)
    missing = lacking(path.stem, frame.collect_schema().names())
    instants = pl.selectors.datetime().dt.convert_time_zone(zone)
    frame = frame.with_columns(expressions(missing))
    return frame.with_columns(pl.col("symbol").cast(pl.String), instants)


def _money(names: Sequence[str], money_unit: Decimal) -> list[pl.Expr]:
    """Columns of money in currency."""
    import polars as pl

    units, found = float(1 / money_unit), []
    for name in names:
        amount = pl.col(name).cast(pl.Float64)
        # Divided by a column, since polars multiplies by the rounded reciprocal of a number.
        found.append(amount / (0 * amount + units))
    return found


def lot_worth(path: Path) -> dict[str, float] | None:
    """Currency that a lot of each symbol is worth for a price of 1; ``None``: it is not known.

    Args:
        path: of another table of the run.
    """
    import polars as pl

    from backtest.runs.tables import read_table

    instruments = path.with_name(INSTRUMENTS)
    if not instruments.exists():
        return None
    table = read_table(instruments, "instruments", lambda: 0)
    worth = table["lot_size"] * table["multiplier"]
    return dict(zip(table["symbol"].cast(pl.String), worth, strict=True))
