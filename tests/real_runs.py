"""Slices of real files as the oracle sees them, to hold runs of the engine against.

A dataset's canonical files and card are read here with nothing but pyarrow, so that what the engine
reads is compared as well. The strategy is ``imbalance`` without smoothing, whose answers are worked
out again; the sizing rule is ``sign``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tests.markets import Composition, Market, Service
from tests.oracle import TERMS, Account, Attribution, Event, Fill, Policy, Timing

MONEY_UNIT = Fraction(1, 10**9)

STATUSES = ("answered", "dropped", "expired", "conflated", "unfinished")
"""By the number that ``timing.parquet`` holds."""

_COLUMNS = ("seq", "ts_event", "symbol", "bid", "ask", "bid_size", "ask_size", "ts_recv")

INSTANTS = ("ts_event", "ts_received", "ts_begun", "ts_ended", "ts_venue")


ALL = Policy("all")


@dataclass(frozen=True)
class Scenario:
    """What runs on a slice. Spans are unscaled ns; ``feed=None`` is the recorded one.

    Attributes:
        start, end: the window [start, end) in ns UTC.
        base, per_event: service time of one pass.
        composition: passes of a batch, which is the strategy's to declare.
    """

    start: int
    end: int
    policy: Policy = ALL
    base: int = 1_000_000
    per_event: int = 100_000
    composition: Composition = "packed"
    feed: int | None = None
    entry: int = 250_000
    response: int = 250_000
    scale: float = 1.0
    line: int = 100
    max_batch: int | None = None
    max_age: int | None = None
    lots: int = 1
    threshold: float = 0.0
    limit: int | None = None
    band: int = 0
    impact: Fraction = Fraction(0)
    warmup: int = 0

    def settings(self) -> dict[str, Any]:
        """The keyword arguments of ``backtest.run`` that mean the same, without the dataset."""
        latency: dict[str, Any] = {
            "service": f"affine:{self.base}ns,{self.per_event}ns",
            "entry": f"constant:{self.entry}ns",
            "response": f"constant:{self.response}ns",
            "scale": self.scale,
        }
        if self.feed is not None:
            latency["feed"] = f"constant:{self.feed}ns"
        policy: dict[str, Any] = {"name": self.policy.name}
        if self.policy.name in ("at-most", "deadline"):
            policy["n"] = self.policy.n
        if self.policy.name == "deadline":
            policy["d"] = self.policy.d
        server = {
            "line_limit": self.line, "max_batch": self.max_batch, "max_age": self.max_age
        }  # fmt: skip
        accountant = {
            "name": "market",
            "position_limit": self.limit,
            "no_trade_band": self.band,
            "impact": float(self.impact),
        }
        return {
            "strategy": "imbalance",
            "policy": policy,
            "latency": latency,
            "sizing": {"name": "sign", "lots": self.lots, "threshold": self.threshold},
            "accountant": given(accountant),
            "server": given(server),
            "window": {"start": self.start, "end": self.end},
            "warmup": self.warmup,
        }


def given(table: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a table that are not left to their defaults."""
    return {key: value for key, value in table.items() if value is not None}


def nanoseconds(text: str) -> int:
    """An instant of a card, such as ``2013-10-07T13:30:00Z``, in ns."""
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000


def read_card(folder: Path) -> dict[str, Any]:
    """The tables of a dataset's card."""
    return tomllib.loads((folder / "dataset.toml").read_text())


def read_slice(folder: Path, symbols: Sequence[str], start: int, end: int) -> list[Event]:
    """The events of a window, in bus order; the files must be canonical, with ``seq``."""
    rows: list[tuple[int, int, Event]] = []
    for file in sorted(folder.glob("events-*.parquet")):
        columns = [name for name in _COLUMNS if name in pq.read_schema(file).names]
        table = pq.read_table(file, columns=columns)
        times = table["ts_event"].cast(pa.int64())
        inside = pc.and_(pc.greater_equal(times, start), pc.less(times, end))

        def column(name: str, table: pa.Table = table, inside: Any = inside) -> list[Any]:
            if name not in table.schema.names:
                return [None] * int(pc.sum(inside).as_py() or 0)
            values = table[name].filter(inside)
            return list((values.cast(pa.int64()) if name != "symbol" else values).to_pylist())

        for seq, t, symbol, bid, ask, bid_size, ask_size, received in zip(
            *(column(name) for name in _COLUMNS), strict=True
        ):
            event = Event(
                symbols.index(symbol), t, bid, ask, bid_size or 0, ask_size or 0, received
            )
            rows.append((t, seq, event))
    return [event for _, _, event in sorted(rows, key=lambda row: row[:2])]


def read_targets(folder: Path) -> list[list[float]]:
    """What judges the answers to all events of a dataset of one file, in bus order."""
    (file,) = folder.glob("events-*.parquet")
    table = pq.read_table(file)
    columns = [table[name].to_pylist() for name in read_card(folder)["targets"]["columns"]]
    rows = zip(*(as_int(table[name]) for name in ("ts_event", "seq")), *columns, strict=True)
    return [list(row[2:]) for row in sorted(rows, key=lambda row: row[:2])]


def imbalance(events: Sequence[Event]) -> list[float]:
    """What ``imbalance`` answers to every event: float32, of the symbol's newest usable quote."""
    newest: dict[int, float] = {}
    answers = []
    for e in events:
        shown = e.bid_size + e.ask_size
        if e.bid is not None and e.ask is not None and e.bid <= e.ask and shown > 0:
            newest[e.symbol] = float(np.float32((e.bid_size - e.ask_size) / shown))
        answers.append(newest.get(e.symbol, 0.0))
    return answers


def targets(answers: Sequence[float], lots: int, threshold: float) -> list[int]:
    """The position that ``sign`` wants after every answer."""
    return [0 if abs(a) <= threshold else lots if a > 0 else -lots for a in answers]


def market_of(folder: Path, scenario: Scenario) -> Market:
    """A slice of a dataset as a market of the oracle's."""
    card = read_card(folder)
    symbols = card["symbols"]
    events = read_slice(folder, symbols, scenario.start, scenario.end)
    tables = card.get("instruments", {})
    terms = [tables.get("default", {}) | tables.get(symbol, {}) for symbol in symbols]
    money = [
        Fraction(t.get("tick_size", "0.01"))
        * Fraction(t.get("lot_size", "1"))
        * Fraction(t.get("multiplier", "1"))
        / 2
        / MONEY_UNIT
        for t in terms
    ]
    assert all(value.denominator == 1 for value in money)
    rates = {Fraction(t.get("fee_rate", "0")) for t in terms}
    per_lot = {Fraction(t.get("fee_per_lot", "0")) / MONEY_UNIT for t in terms}
    assert len(rates) == len(per_lot) == 1  # a market has the same fees for all its symbols
    sessions = card.get("calendar", {}).get("sessions")
    count = len(events)
    if scenario.feed is None:
        feed = [0 if e.ts_recv is None else max(0, e.ts_recv - e.ts_event) for e in events]
    else:
        feed = [scenario.feed] * count
    return Market(
        events=tuple(events),
        feed=tuple(feed),
        policy=scenario.policy,
        service=Service(scenario.composition, scenario.base, scenario.per_event),
        end=scenario.end,
        line=scenario.line,
        max_batch=scenario.max_batch,
        max_age=scenario.max_age,
        scale=scenario.scale,
        targets=tuple(targets(imbalance(events), scenario.lots, scenario.threshold)),
        entry=(scenario.entry,) * count,
        response=(scenario.response,) * count,
        value=tuple(int(value) for value in money),
        tradable=tuple(t.get("tradable", True) for t in terms),
        limit=scenario.limit,
        band=scenario.band,
        impact=scenario.impact,
        fee_rate=rates.pop(),
        fee_per_lot=int(per_lot.pop()),
        sessions=tuple((nanoseconds(a), nanoseconds(b)) for a, b in sessions) if sessions else None,
        warmup=scenario.warmup,
    )


def as_int(column: pa.ChunkedArray) -> list[int | None]:
    """A column of instants or whole numbers as plain integers."""
    return list(column.cast(pa.int64()).to_pylist())


def timing_rows(timing: Timing) -> list[tuple[int | str | None, ...]]:
    """(received, status, begun, ended, batch) of every event; the last three where answered.

    Without a server, at scale 0, there are no batches.
    """
    rows: list[tuple[int | str | None, ...]] = []
    for i, status in enumerate(timing.status):
        served = (timing.t2[i], timing.t3[i], timing.batch[i])
        rows.append((timing.t1[i], status, *(served if status == "answered" else ())))
    return rows


def run_timing_rows(table: pa.Table, scale: float) -> list[tuple[int | str | None, ...]]:
    """The same of a run's ``timing.parquet``."""
    rows: list[tuple[int | str | None, ...]] = []
    for received, status, begun, ended, batch in zip(
        *(as_int(table[n]) for n in ("ts_received", "status", "ts_begun", "ts_ended", "batch")),
        strict=True,
    ):
        name = STATUSES[status or 0]
        rows.append(
            (
                received,
                name,
                *((begun, ended, batch if scale else None) if name == "answered" else ()),
            )
        )
    return rows


def fill_rows(fills: Sequence[Fill], symbols: Sequence[str]) -> list[tuple[int | str, ...]]:
    """(event, symbol, lots, price, instants, sizes, cash, terms) of every fill, by arrival."""
    ordered = sorted(fills, key=lambda fill: (fill.t4, fill.symbol))
    return [
        (
            -1 if fill.event is None else fill.event, symbols[fill.symbol], fill.lots, fill.price,
            fill.t0, fill.t1, fill.t2, fill.t3, fill.t4, fill.displayed, fill.taken,
            fill.cash, *(getattr(fill, term) for term in TERMS),
        )
        for fill in ordered
    ]  # fmt: skip


def run_fill_rows(table: pa.Table) -> list[tuple[int | str, ...]]:
    """The same of a run's ``fills.parquet``."""
    columns = [as_int(table["event"]), table["symbol"].to_pylist()]
    names = ("lots", "price_half_ticks", *INSTANTS, "displayed", "taken", "cash", *TERMS)
    columns += [as_int(table[name]) for name in names]
    return list(zip(*columns, strict=True))


def money(terms: Attribution) -> dict[str, int]:
    """An attribution's amounts by their names in ``metrics.json``."""
    return {column.name: getattr(terms, column.name) for column in fields(Attribution)}


def run_money(figures: Mapping[str, Any]) -> dict[str, int]:
    """The same of a run's ``account`` figures, or of one symbol's."""
    return {column.name: figures[column.name] for column in fields(Attribution)}


def money_by_symbol(account: Account, symbols: Sequence[str]) -> dict[str, dict[str, int]]:
    """Amounts by symbol; a symbol without an event has none."""
    return {
        symbol: money(account.by_symbol.get(number, Attribution()))
        for number, symbol in enumerate(symbols)
    }
