"""Fuzzed inputs of every source: read right, or refused with a ``BacktestError``; nothing else.

Values are fuzzed against a plain reading of every cell by ``Decimal``; formats by edits of whole
files, plain and compressed.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import tempfile
import zipfile
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.data.dataset import open_dataset
from backtest.data.quality.validate import validate
from backtest.data.reading.bus import read_events
from backtest.data.sources import Source, ingest
from backtest.errors import BacktestError
from backtest.market.events import NO_PRICE
from backtest.plugins.sources.challenge import FEATURES, TARGETS, Challenge
from backtest.plugins.sources.kaggle import JaneStreetKaggle
from backtest.plugins.sources.kaggle.events import FEATURES as KAGGLE_FEATURES
from backtest.plugins.sources.kaggle.events import TARGETS as RESPONDERS
from backtest.plugins.sources.mapped import MappedCsv, MappedParquet
from tests.mutations import EDITS, Edit, edited, tries
from tests.plugins.sources.test_mutated import binance, csv, equities, parquet

pytestmark = pytest.mark.slow
FUZZED = tries(400)
T0 = 1_723_161_255_000_000
TICK, LOT = Decimal("0.01"), Decimal("0.5")
MARKERS = (Decimal(9_999_999_999), Decimal(2) ** 63, Decimal(2) ** 64)
MAPPING = """
name = "mine"
[time]
event = "when"
unit = "us"
zone = "UTC"
[symbol]
column = "sym"
[price]
unit = "1"
tick_size = "0.01"
bid = "bid$"
ask = "ask$"
trade = "price$"
[size]
unit = "1"
lot_size = "0.5"
bid = "bs"
ask = "as"
trade = "q"
[trade]
aggressor = "side"
buyer = ["buy", 1, true]
seller = ["sell", -1, "ä"]
unknown = [0]
[instrument]
signed_prices = SIGNED
"""
NAMES = ("when", "sym", "bid$", "ask$", "price$", "bs", "as", "q", "side")
MEANINGS = dict.fromkeys(("buy", "1", "true"), 1) | dict.fromkeys(("sell", "-1", "ä"), -1)
MEANINGS |= dict.fromkeys(("", "null", "0"), 0)

PRICES = st.one_of(
    st.decimals(-50, 50, places=2).map(str),
    st.sampled_from(["", "0", "-0.0", "0.001", "1e2", "nan", "NaN", "inf", "-inf", "null", "1_0"]),
    st.sampled_from(["9999999999", "-9999999999", "9223372036854775807", "1.7976931348623157e308"]),
    st.sampled_from(["18446744073709551615", "1e400", "0x1", "4611686018427387904", "00.50", "+1"]),
)
SIZES = st.one_of(
    st.integers(-3, 50).map(lambda n: str(n / 2)),
    st.sampled_from(["", "0", "nan", "inf", "1e20", "-1e20", "0.3", "1e-9", "9223372036854775807"]),
)
TIMES = st.one_of(
    st.integers(0, 5).map(lambda n: str(T0 + n)),
    st.sampled_from(["", "0", "-1", str(T0 * 1000), str(T0 // 1000), f"{T0}.5", f"{T0}.0", "now"]),
)
VALUES = st.sampled_from([*MEANINGS, "Buy", " SELL ", "TRUE", "Ä", "false", "1.0", "no", "+1"])
ROWS = st.tuples(
    TIMES, st.sampled_from(["A", "B", "", "ä"]), PRICES, PRICES, PRICES, SIZES, SIZES, SIZES, VALUES
)


def number(cell: str) -> Decimal | float | None:
    """A cell as a person reads it; ``None`` if it is no number, NaN where it is not stated."""
    if cell in ("", "null"):
        return math.nan
    try:
        if "_" in cell or cell.startswith("0x"):
            return None
        value = Decimal(cell)
    except InvalidOperation:
        return None
    return value if value.is_finite() else float(value)


def steps(value: Decimal, step: Decimal) -> int | None:
    """The whole number of steps, or ``None`` off the grid or beyond what float64 tells."""
    exact = value / step
    nearest = int(exact.to_integral_value())
    return nearest if abs(exact - nearest) <= Decimal("0.001") and abs(nearest) <= 2**40 else None


def side(price: str, size: str, signed: bool) -> tuple[int, int] | None:
    """A price in ticks with its size in lots; ``None`` if a row with it is refused."""
    told, shown = number(price), number(size)
    if told is None or shown is None:
        return None
    lots: int | None = 0
    if isinstance(shown, Decimal):
        lots = steps(shown, LOT)
    elif math.isinf(shown):
        return None
    if lots is None:
        return None
    nothing = NO_PRICE, 0
    if not isinstance(told, Decimal) or abs(told) > Decimal("1e308"):
        return nothing
    if abs(Decimal(float(told))) in MARKERS or (told <= 0 and not signed):
        return nothing
    ticks = steps(told, TICK)
    if ticks is None:
        return None
    return nothing if (ticks == 0 and not signed) or lots < 0 else (ticks, lots)


def told_price(price: str, size: str, signed: bool) -> bool:
    """There is a price, though its negative size makes the trade absent."""
    return side(price, "1", signed) not in (None, (NO_PRICE, 0)) and side(price, size, signed) == (
        NO_PRICE, 0,
    )  # fmt: skip


def plain(rows: list[tuple[str, ...]], signed: bool) -> list[tuple[Any, ...]] | None:
    """The events of the rows in order, or ``None`` if one is refused."""
    events: list[tuple[Any, ...]] = []
    for when, symbol, bid, ask, price, *sizes, value in rows:
        if not when.replace(".", "", 1).isdigit() or not symbol:
            return None
        ns = int(Decimal(when) * 1000)  # half a microsecond is 500 ns
        if not 631_152_000 * 10**9 <= ns <= 4_102_444_800 * 10**9:
            return None
        sides = [side(p, s, signed) for p, s in zip((bid, ask, price), sizes, strict=True)]
        if None in sides or (events and ns < events[-1][0]):
            return None
        traded = sides[2] != (NO_PRICE, 0)
        meaning = MEANINGS.get(value.strip().lower())
        if meaning is None and (traded or told_price(price, sizes[2], signed)):
            return None
        events.append((ns, symbol, *sides, meaning if traded else 0))
    return events


def found(folder: Path) -> list[tuple[Any, ...]]:
    dataset = open_dataset(folder)
    e = read_events(dataset)
    sides = [
        [*zip(getattr(e, price).tolist(), getattr(e, size).tolist(), strict=True)]
        for price, size in (("bid", "bid_size"), ("ask", "ask_size"), ("trade_price", "trade_size"))
    ]
    names = [dataset.symbols[s] for s in e.symbol]
    assert e.aggressor is not None
    return [*zip(e.ts_event.tolist(), names, *sides, e.aggressor.tolist(), strict=True)]


@FUZZED
@given(st.lists(ROWS, min_size=1, max_size=6), st.booleans())
def test_values_are_those_of_a_plain_reading(rows: list[tuple[str, ...]], signed: bool) -> None:
    expected = plain(rows, signed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mapping.toml").write_text(MAPPING.replace("SIGNED", str(signed).lower()))
        lines = [",".join(NAMES), *(",".join(row) for row in rows)]
        (folder / "in.csv").write_text("\n".join(lines))
        try:
            report = ingest(
                "csv", MappedCsv(folder / "mapping.toml"), folder / "in.csv", folder / "out"
            )
        except BacktestError as error:
            refused = str(error)
            assert expected is None, refused
            return
        assert expected is not None
        assert found(folder / "out") == expected
        assert report.read == len(rows)
        assert validate(open_dataset(folder / "out")).usable


def challenge(folder: Path) -> tuple[bytes, Source]:
    draw = np.random.default_rng(1)
    names = (*FEATURES, "delay_ms", *TARGETS)
    table = {name: draw.random(20).astype(np.float32) for name in names}
    made = pa.table({**table, "symbol": ["A", "B"] * 10})
    pq.write_table(made, folder / "made", write_page_checksum=True)
    return (folder / "made").read_bytes(), Challenge()


def kaggle(folder: Path) -> tuple[bytes, Source]:
    draw = np.random.default_rng(1)
    table: dict[str, Any] = {
        "date_id": np.zeros(20, np.int16),
        "time_id": np.arange(20, dtype=np.int16),
        "symbol_id": (np.arange(20) % 3).astype(np.int8),
        "weight": draw.random(20),
    }
    table |= {name: draw.random(20).astype(np.float32) for name in (*KAGGLE_FEATURES, *RESPONDERS)}
    pq.write_table(pa.table(table), folder / "made", write_page_checksum=True)
    return (folder / "made").read_bytes(), JaneStreetKaggle()


PACKS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda raw: pa.compress(raw, "zstd", asbytes=True),
}
MADE = {
    "binance": (binance, "stream"),
    "equities": (equities, "ibm_20131007_quote.zip"),
    "csv": (csv, "in.csv"),
    "parquet": (parquet, "in.parquet"),
    "challenge": (challenge, "in.parquet"),
    "kaggle": (kaggle, "partition_id=0/part-0.parquet"),
}


def zipped(path: Path, raw: bytes) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("20131007_ibm_Quote_Tick.csv", raw)
    return path.read_bytes()


@FUZZED
@given(EDITS, st.sampled_from(sorted(PACKS)), st.booleans())
@pytest.mark.parametrize("name", MADE)
def test_formats_are_read_or_refused(name: str, edits: list[Edit], pack: str, inside: bool) -> None:
    make, file = MADE[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        whole, source = make(folder)
        path = folder / "in" / file
        path.parent.mkdir(parents=True)
        whole = edited(whole, edits if inside else [])
        if name == "equities":
            whole = zipped(path, whole)
        elif name in ("binance", "csv"):
            whole = PACKS[pack](whole)
        whole = edited(whole, [] if inside else edits)
        path.write_bytes(whole)
        given_path = folder / "in" if name == "kaggle" else path
        try:
            report = ingest(name, source, given_path, folder / "out")
        except BacktestError:
            assert not (folder / "out").exists()
            return
        events = report.written - report.depth.get("quotes", 0)
        read = events + report.depth.get("read", 0) + sum(report.refused.values())
        assert report.read == read
        assert validate(open_dataset(folder / "out")).usable


@FUZZED
@given(
    st.lists(st.sampled_from([*NAMES, "x", "bid", "symbol", ""]), max_size=4),
    st.lists(st.sampled_from([*NAMES, "x", "y", "seq", "ts_event"]), max_size=4),
    st.sampled_from(["0.01", "1e-12", "1e-30", "1e30", "7", "1e99999999999", "x", "-1"]),
    st.sampled_from(["1", "1e-12", "1e30", "1e-40"]),
    st.sampled_from(["EUR", "", "\x1b[31m"]),
)
def test_mappings_are_used_or_refused(
    features: list[str], targets: list[str], tick: str, lot: str, currency: str
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text = MAPPING.replace("SIGNED", "false").replace('"0.01"', f'"{tick}"')
        text = text.replace('"0.5"', f'"{lot}"') + f"currency = {currency!r}\n".replace("\\x", "x")
        text += f"[features]\ncolumns = {features!r}\n" if features else ""
        text += f"[targets]\ncolumns = {targets!r}\n" if targets else ""
        (folder / "mapping.toml").write_text(text)
        header = [*NAMES, "x", "y", "bid", "symbol", "seq", "ts_event"]
        values = [T0, "A", 14, 21, 7, 1, 1, 1, "buy", 0.5, 0.25, 1, 2, 3, 4]
        (folder / "in.csv").write_text(f"{','.join(header)}\n{','.join(map(str, values))}\n")
        table = {
            n: [str(v) if n in ("sym", "side") else v] for n, v in zip(header, values, strict=True)
        }
        pq.write_table(pa.table(table), folder / "in.parquet")
        for kind, file in ((MappedCsv, "in.csv"), (MappedParquet, "in.parquet")):
            try:
                ingest(
                    "mapped", kind(folder / "mapping.toml"), folder / file, folder / kind.__name__
                )
            except BacktestError:
                continue
            made = open_dataset(folder / kind.__name__)
            assert validate(made).usable
            assert len(read_events(made, features=True)) == 1
