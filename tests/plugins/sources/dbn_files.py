"""DBN files made record by record, and a plain reading of them by the vendor's decoder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from backtest.market.events import NO_PRICE, NO_TIME

v = pytest.importorskip("databento_dbn")

T0 = 1_719_878_400_000_000_000  # 2024-07-02T00:00:00Z
DAY = 86_400_000_000_000
NANO = 10**9
LAST, TOB, SNAPSHOT, BAD = 128, 64, 32, 4
NO_PX = v.UNDEF_PRICE
DAYS = (date(2024, 7, 2), date(2024, 7, 3), date(2024, 7, 4))


def zstd(data: bytes) -> bytes:
    """Compressed as the vendor does."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    return sink.getvalue().to_pybytes()


def metadata(
    schema: str | None, mappings: Any = None, *, version: int = 3, stype_in: str = "raw_symbol"
) -> bytes:
    """The head of a file; ``mappings`` is ``{name: [(start, end, number), …]}``."""

    class Interval:
        def __init__(self, start: date, end: date, symbol: str) -> None:
            self.start_date, self.end_date, self.symbol = start, end, symbol

    class Mapping:
        def __init__(self, name: str, intervals: Any) -> None:
            self.raw_symbol = name
            self.intervals = [Interval(*interval) for interval in intervals]

    if mappings is None:
        mappings = {"ESU4": [(DAYS[0], DAYS[2], "7")], "NQU4": [(DAYS[0], DAYS[2], "8")]}
    head: bytes = v.Metadata(
        dataset="GLBX.MDP3",
        start=T0,
        stype_in=v.SType.from_str(stype_in),
        stype_out=v.SType.INSTRUMENT_ID,
        schema=None if schema is None else v.Schema.from_str(schema),
        mappings=[Mapping(name, some) for name, some in mappings.items()],
        version=version,
    ).encode()
    return head


def written(
    path: Path, schema: str | None, records: Iterable[Any], mappings: Any = None, **more: Any
) -> Path:
    """A file of some records; compressed if its name says so."""
    data = metadata(schema, mappings, **more) + b"".join(bytes(r) for r in records)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zstd(data) if path.suffix == ".zst" else data)
    return path


def order(action: str, ts: int, side: str = "N", price: float | None = None, **more: Any) -> Any:
    """A record of ``mbo``; the price in currency."""
    return v.MBOMsg(
        publisher_id=more.get("publisher", 1),
        instrument_id=more.get("number", 7),
        ts_event=ts,
        order_id=more.get("id", 0),
        price=NO_PX if price is None else round(price * NANO),
        size=more.get("size", 0),
        action=v.Action.from_str(action),
        side=v.Side.from_str(side),
        ts_recv=more.get("recv", ts + 1000),
        flags=more.get("flags", LAST),
    )


def level_record(
    kind: Any, action: str, ts: int, side: str, levels: Sequence[Any], **more: Any
) -> Any:
    """A record of ``mbp-1``, ``mbp-10`` or ``tbbo``; levels are (bid, ask, sizes)."""
    pairs = [
        v.BidAskPair(
            bid_px=NO_PX if bid is None else round(bid * NANO),
            ask_px=NO_PX if ask is None else round(ask * NANO),
            bid_sz=bid_size,
            ask_sz=ask_size,
        )
        for bid, ask, bid_size, ask_size in levels
    ]
    price = more.get("price")
    return kind(
        publisher_id=more.get("publisher", 1),
        instrument_id=more.get("number", 7),
        ts_event=ts,
        price=NO_PX if price is None else round(price * NANO),
        size=more.get("size", 1),
        action=v.Action.from_str(action),
        side=v.Side.from_str(side),
        depth=0,
        ts_recv=more.get("recv", ts + 1000),
        flags=more.get("flags", LAST),
        levels=pairs if kind is v.MBP10Msg else pairs[0],
    )


def trade(ts: int, side: str, price: float | None, size: int, **more: Any) -> Any:
    """A record of ``trades``."""
    return v.TradeMsg(
        publisher_id=more.get("publisher", 1),
        instrument_id=more.get("number", 7),
        ts_event=ts,
        price=NO_PX if price is None else round(price * NANO),
        size=size,
        action=v.Action.TRADE,
        side=v.Side.from_str(side),
        depth=0,
        ts_recv=more.get("recv", ts + 1000),
        flags=LAST,
    )


def definition(name: str, number: int, ts: int = T0, **fields: Any) -> Any:
    """A record of ``definition``."""
    return v.InstrumentDefMsg(
        publisher_id=1,
        instrument_id=number,
        ts_event=ts,
        ts_recv=ts,
        display_factor=NANO,
        raw_symbol=name,
        asset="ES",
        security_type="FUT",
        instrument_class=fields.pop("kind", v.InstrumentClass.FUTURE),
        security_update_action=v.SecurityUpdateAction.ADD,
        min_price_increment=fields.pop("step", NO_PX),
        **fields,
    )


def market_by_order(seed: int, count: int, numbers: Sequence[int] = (7, 8)) -> list[Any]:
    """Orders that come, go, change and trade; the book of each number is cleared first."""
    draw = np.random.default_rng(seed)
    books: dict[int, dict[int, tuple[str, float, int]]] = {n: {} for n in numbers}
    out = [order("R", T0, number=n) for n in numbers]
    ts, free = T0, 100
    while len(out) < count:
        ts += int(draw.integers(0, 3)) * 1000
        n = int(draw.choice(numbers))
        book, what = books[n], draw.random()
        more: dict[str, Any] = {"number": n, "recv": ts + int(draw.integers(500, 900))}
        late = ts - int(draw.integers(0, 200)) if draw.random() < 0.1 else ts
        if what < 0.45 or not book:
            side = "BA"[int(draw.integers(2))]
            shift = int(draw.integers(1, 6)) * 0.25
            price, size = 100 - shift if side == "B" else 100 + shift, int(draw.integers(1, 9))
            free += 1
            book[free] = side, price, size
            out.append(order("A", late, side, price, size=size, id=free, **more))
            continue
        key = int(draw.choice([*book]))
        side, price, size = book[key]
        if what < 0.6:
            cut = int(draw.integers(1, size + 1))
            out.append(order("C", late, side, price, size=cut, id=key, **more))
        elif what < 0.8:
            moved = price + 0.25 * int(draw.integers(-1, 2))
            size, cut = int(draw.integers(1, 9)), 0
            price = moved if (moved < 100) == (side == "B") and moved != 100 else price
            out.append(order("M", late, side, price, size=size, id=key, **more))
        else:
            cut = int(draw.integers(1, size + 1))
            other = {"B": "A", "A": "B"}[side] if draw.random() < 0.8 else "N"
            hidden = int(draw.integers(0, 3))
            within = more | {"flags": 0}
            out.append(order("T", late, other, price, size=cut + hidden, **within))
            out.append(order("F", late, side, price, size=cut, id=key, **within))
            if draw.random() < 0.5:
                out.append(order("C", late, side, price, size=cut, id=key, **more))
            elif cut < size:
                out.append(order("M", late, side, price, size=size - cut, id=key, **more))
            else:
                out.append(order("C", late, side, price, size=cut, id=key, **more))
        book[key] = side, price, size - cut
        if size == cut:
            del book[key]
    return out


def decoded(path: Path) -> list[Any]:
    """The records of a file as the vendor's objects."""
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()
    records: list[Any] = v.DBNDecoder().write_and_decode(data)[1:]
    return records


class PlainBook:
    """One symbol's orders, searched through whenever the touch is asked for."""

    def __init__(self) -> None:
        self.orders: dict[int, tuple[str, int, int]] = {}

    def apply(self, r: Any) -> None:
        """Change the book by a record of ``mbo``."""
        kind, side = str(r.action), str(r.side)
        if kind == "R":
            self.orders.clear()
        elif kind == "A" or (kind == "M" and r.order_id not in self.orders):
            self.orders[r.order_id] = side, r.price, r.size
        elif kind == "M":
            self.orders[r.order_id] = self.orders[r.order_id][0], r.price, r.size
        elif kind == "C" and r.order_id in self.orders:
            side, price, size = self.orders[r.order_id]
            self.orders[r.order_id] = side, price, size - r.size
            if size <= r.size:
                del self.orders[r.order_id]

    def touch(self, tick: int) -> tuple[int, ...]:
        """Bid, ask, bid size and ask size."""
        prices, sizes = [], []
        for side, best in (("B", max), ("A", min)):
            there = [p for s, p, _ in self.orders.values() if s == side]
            price = best(there, default=None)
            total = sum(n for s, p, n in self.orders.values() if (s, p) == (side, price))
            prices.append(NO_PRICE if price is None else price // tick)
            sizes.append(total)
        return (*prices, *sizes)


def plainly(records: Sequence[Any], names: dict[int, int], tick: int) -> list[tuple[int, ...]]:
    """The events of one file: symbol, ts_event, ts_recv, quote and trade of each.

    Args:
        names: the symbol's place, by the instrument's number.
    """
    books: dict[int, PlainBook] = defaultdict(PlainBook)
    quote: dict[int, tuple[int, ...]] = dict.fromkeys(names, (NO_PRICE, NO_PRICE, 0, 0))
    last = dict.fromkeys(names, 0)
    rows: list[tuple[int, ...]] = []
    for r in records:
        n, kind = r.instrument_id, type(r).__name__
        sampled = kind == "BBOMsg" or r.flags & SNAPSHOT
        ts = last[n] = max(r.ts_recv if sampled else r.ts_event, last[n])
        head = names[n], ts, NO_TIME if kind == "BBOMsg" else max(r.ts_recv, ts)
        new = quote[n]
        if kind == "MBOMsg":
            books[n].apply(r)
            new = books[n].touch(tick) if r.flags & LAST else new
        elif kind != "TradeMsg" and (r.flags & LAST or kind == "BBOMsg"):
            top = r.levels[0]
            sides = ((top.bid_px, top.bid_sz), (top.ask_px, top.ask_sz))
            (b, bs), (a, as_) = ((NO_PRICE, 0) if p == NO_PX else (p // tick, n) for p, n in sides)
            new = (b, a, bs, as_)
        traded = kind != "BBOMsg" and str(r.action) == "T"
        events = []
        if new != quote[n]:
            events.append((*head, *new, NO_PRICE, 0, 0))
        if traded:
            aggressor = {"A": -1, "B": 1}.get(str(r.side), 0)
            at = len(events) if kind != "MBOMsg" else 0
            shown = new if kind != "MBOMsg" else quote[n]
            events.insert(at, (*head, *shown, r.price // tick, r.size, aggressor))
        quote[n] = new
        rows += events
    return rows
