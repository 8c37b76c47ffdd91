"""A description's figures, recomputed plainly, and its page."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.core.times import format_span, format_utc, parse_utc
from backtest.data.canonical import write_canonical
from backtest.data.card import Calendar, Card, Features
from backtest.data.dataset import open_dataset
from backtest.data.quality.describe import describe
from backtest.data.quality.duplicates import Duplicates
from backtest.data.quality.tally import Busiest, Histogram, Moments, Timeline
from backtest.data.reading import bus
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, NO_TIME, EventBatch
from backtest.report.dataset_page import render
from tests.data.made import START, SYMBOLS, feature_dataset, quote_dataset, quote_events
from tests.stored import charts

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "[/x]",
    "\x1b[31m",
    "=cmd|' /C calc'!A0",
    "&lt;",
)


@pytest.fixture(params=[65_536, 100])
def batch_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same figures whatever the batches are."""
    whole = bus.stream_all
    monkeypatch.setattr(
        "backtest.data.quality.describe.stream_all",
        lambda dataset, **options: whole(dataset, batch_rows=request.param, **options),
    )


@pytest.mark.usefixtures("batch_rows")
def test_figures(tmp_path: Path) -> None:
    dataset = quote_dataset(tmp_path / "d", 2000)
    figures = describe(dataset)
    json.dumps(figures, allow_nan=False)
    e = quote_events(2000)
    assert e.bid is not None
    assert e.ask is not None
    assert e.ts_recv is not None
    assert e.trade_price is not None
    ts, gaps = e.ts_event, np.diff(e.ts_event)
    assert figures["rows"] == 2000
    assert (figures["first"], figures["last"]) == (format_utc(int(ts[0])), format_utc(int(ts[-1])))
    assert figures["span_ns"] == ts[-1] - ts[0]
    assert figures["events_per_s"] == pytest.approx(2000e9 / (ts[-1] - ts[0]))
    assert [g["gap_ns"] for g in figures["largest_gaps"]] == sorted(gaps.tolist())[:-6:-1]
    assert figures["largest_gaps"][0]["after"] == format_utc(int(ts[np.argmax(gaps)]))
    assert figures["gaps_ns"]["p75"] == pytest.approx(np.quantile(gaps, 0.75), rel=0.05)
    assert sum(count for _, count in figures["gap_octaves"]) == 1999
    second = np.bincount((ts - ts[0] // 10**9 * 10**9) // 10**9)
    assert figures["busiest"][2]["events"] == second.max()
    assert sum(figures["timeline"]["events"]) == 2000
    both = (e.bid != NO_PRICE) & (e.ask != NO_PRICE)
    quotes = figures["quotes"]
    assert quotes["valid"] == (both & (e.bid <= e.ask)).sum()
    assert quotes["crossed"] == (both & (e.bid > e.ask)).sum()
    assert quotes["locked"] == (both & (e.bid == e.ask)).sum()
    assert quotes["one_sided"] == ((e.bid == NO_PRICE) != (e.ask == NO_PRICE)).sum()
    latency = figures["feed_latency_ns"]
    assert (latency["recorded"], latency["negative"]) == (2000, 0)
    assert latency["least"] == (e.ts_recv - ts).min()
    together = 0
    for i, row in enumerate(figures["symbols"]):
        own = np.flatnonzero(e.symbol == i)
        valid = own[(both & (e.bid <= e.ask))[own]]
        together += int((np.diff(ts[own]) == 0).sum())
        assert row["symbol"] == SYMBOLS[i]
        assert row["rows"] == len(own)
        assert row["first"] == format_utc(int(ts[own[0]]))
        assert row["last"] == format_utc(int(ts[own[-1]]))
        assert row["longest_gap_ns"] == np.diff(ts[own]).max()
        assert row["trades"] == (e.trade_price[own] != NO_PRICE).sum()
        spread = np.sort(e.ask[valid] - e.bid[valid])
        assert row["spread_ticks_p50"] == spread[int(np.ceil(len(spread) / 2)) - 1]
        assert row["mid_ticks"][-1] == (e.bid[valid[-1]] + e.ask[valid[-1]]) / 2
    assert figures["same_instant_and_symbol"] == together
    traded = e.trade_price != NO_PRICE
    assert e.aggressor is not None
    sides = {"buyer": 1, "seller": -1, "unknown": 0}
    counts = {name: np.count_nonzero(e.aggressor[traded] == side) for name, side in sides.items()}
    assert figures["trades"] == {"count": traded.sum(), **counts}
    assert min(counts.values()) > 0
    assert figures["identical"] == 0


@pytest.mark.usefixtures("batch_rows")
def test_nan_and_infinity_are_counted_apart_from_the_moments(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    matrix = (1000 + rng.normal(size=(400, 3))).astype(np.float32)
    matrix[:, 1] = 0
    matrix[[3, 250], 0] = np.nan
    matrix[150, 0] = -np.inf
    matrix[:, 2] = np.nan
    folder = tmp_path / "d"
    names = ("a", "b", "c")
    card = Card(name="n", symbols=SYMBOLS, features=Features(packed="x", names=names))
    events = quote_events(400)
    columns = {name: getattr(events, name) for name in EventBatch.__dataclass_fields__}
    write_canonical(folder, card, [EventBatch(**columns | {"features": np.zeros_like(matrix)})])
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "events-00000.parquet")
    cells = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(12), 400, [None, pa.py_buffer(matrix.tobytes())]
    )
    table = table.set_column(table.schema.get_field_index("x"), "x", cells)
    pq.write_table(table, folder / "events-00000.parquet")
    text = (folder / "dataset.toml").read_text()
    (folder / "dataset.toml").write_text(re.sub(r"\[(footer_)?sha256\][^\[]*", "", text))
    a, b, c = describe(open_dataset(folder))["features"]
    good = matrix[np.isfinite(matrix[:, 0]), 0].astype(float)
    assert (a["nan"], a["inf"], a["zero"]) == (2, 1, 0)
    assert a["mean"] == pytest.approx(good.mean(), rel=1e-12)
    assert a["sd"] == pytest.approx(good.std(), rel=1e-9)
    assert (a["min"], a["max"]) == (good.min(), good.max())
    assert (b["mean"], b["sd"], b["zero"]) == (0, 0, 400)
    assert c == {"name": "c", "mean": None, "sd": None, "min": None, "max": None} | {
        "nan": 400,
        "inf": 0,
        "zero": 0,
    }


def test_targets_and_sessions(tmp_path: Path) -> None:
    sessions = [
        [format_utc(START), format_utc(START + 10**9)],
        [format_utc(START + 10**15), format_utc(START + 10**15 + 1)],
    ]
    calendar = Calendar.model_validate({"sessions": sessions})
    figures = describe(quote_dataset(tmp_path / "d", 500, calendar=calendar))
    inside = int((quote_events(500).ts_event < START + 10**9).sum())
    assert figures["sessions"] == {
        "sessions": 2,
        "empty": 1,
        "events_inside": inside,
        "events_outside": 500 - inside,
    }
    assert figures["open_ns"] == 10**9
    assert figures["events_per_s"] == 500
    (target,) = describe(feature_dataset(tmp_path / "f"))["targets"]
    assert target["name"] == "y"
    assert abs(target["sd"] - 1) < 0.1


def test_events_without_quotes_or_receipts(tmp_path: Path) -> None:
    events = EventBatch(np.zeros(1, np.int32), np.array([5]), ts_recv=np.array([NO_TIME]))
    write_canonical(tmp_path / "d", Card(name="bare", symbols=("A", "B")), [events])
    figures = describe(open_dataset(tmp_path / "d"))
    assert figures["quotes"] is None
    assert figures["trades"] is None
    assert figures["events_per_s"] is None
    assert figures["gaps_ns"] is None
    assert figures["feed_latency_ns"]["recorded"] == 0
    assert figures["symbols"][1]["first"] is None
    assert "bare" in render(figures)


def test_trades_of_a_dataset_that_says_of_none_who_initiated_it(tmp_path: Path) -> None:
    events = dataclasses.replace(quote_events(100), aggressor=None)
    write_canonical(tmp_path / "d", Card(name="bare", symbols=SYMBOLS), [events])
    figures = describe(open_dataset(tmp_path / "d"))
    assert events.trade_price is not None
    count = int((events.trade_price != NO_PRICE).sum())
    assert figures["trades"] == {"count": count, "buyer": 0, "seller": 0, "unknown": count}
    assert re.search(rf"initiator is unknown</th>\s*<td[^>]*>{count}<", render(figures))


def test_an_unsorted_dataset_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from backtest.data.card import write_card

    write_card(tmp_path, Card(name="x", symbols=("A",)))
    pq.write_table(pa.table({"ts_event": [2, 1], "symbol": ["A", "A"]}), tmp_path / "e.parquet")
    with pytest.raises(DataError, match="not sorted: row 1"):
        describe(open_dataset(tmp_path))


class Page(HTMLParser):
    """The elements, text and policy of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.policy = ""
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"] or ""

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_figures(folder: Path) -> dict[str, Any]:
    events = quote_events(300, symbols=len(HOSTILE))
    columns = {name: getattr(events, name) for name in EventBatch.__dataclass_fields__}
    features = np.ones((300, len(HOSTILE)), np.float32)
    card = Card(
        name="hostile",
        symbols=HOSTILE,
        features=Features(columns=tuple(f"f{name}" for name in HOSTILE)),
    )
    write_canonical(folder, card, [EventBatch(**columns | {"features": features})])
    return describe(open_dataset(folder))


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    text = render(hostile_figures(tmp_path / "<b>&"))
    page = Page(text)
    assert not page.tags & {"img", "b>x", "iframe", "object"}
    assert not {a for a in page.attributes if a.startswith("on")} | page.attributes & {"style"}
    assert "\x1b" not in text
    for name in (HOSTILE[0], "[/x]", "\\x1b[31m", HOSTILE[3], "f&lt;"):
        assert name in page.text
    own = text.count("</script>")
    assert own == render(describe(quote_dataset(tmp_path / "d", 50))).count("</script>") + (
        len(HOSTILE) - len(SYMBOLS)
    )


def test_the_charts_of_the_page_are_the_figures(tmp_path: Path) -> None:
    figures = describe(quote_dataset(tmp_path / "d", 300))
    text = render(figures)
    assert text == render(describe(open_dataset(tmp_path / "d")))
    drawn, timeline = charts(text), figures["timeline"]
    (events,) = (data for name, data in drawn.items() if name.startswith("Events in "))
    assert events["series"][0]["y"] == [*timeline["events"], timeline["events"][-1]]
    start, times = parse_utc(timeline["start"]) / 1e9, events["xs"][0]
    assert times[0] == pytest.approx(start, abs=1e-6)
    assert times[-1] == pytest.approx(
        start + len(timeline["events"]) * timeline["bucket_ns"] / 1e9, abs=1e-6
    )
    gaps = drawn["Time since the event before, of any symbol"]
    octaves = [(low, count) for low, count in figures["gap_octaves"] if low]
    assert gaps["series"][0]["y"][:-1] == [count for _, count in octaves]
    assert gaps["xs"][0][:-1] == pytest.approx([low / 1e9 for low, _ in octaves], rel=1e-4)
    for symbol in figures["symbols"]:
        mids = drawn[f"Mid of {symbol['symbol']}"]["series"][0]["y"]
        assert mids == [None if mid is None else pytest.approx(mid) for mid in symbol["mid_ticks"]]


def test_histogram_quantiles_are_within_3_percent() -> None:
    rng = np.random.default_rng(4)
    values = np.concatenate([np.exp(rng.uniform(0, 40, 5000)).astype(np.int64), [0, 2**62, 31]])
    histogram = Histogram()
    for part in np.array_split(values, 7):
        histogram.add(part)
    at = (0.0, 0.1, 0.5, 0.9, 1.0)
    exact = np.sort(values)[[max(int(np.ceil(q * len(values))) - 1, 0) for q in at]]
    np.testing.assert_allclose(histogram.quantiles(at) or [], exact, rtol=0.032)
    assert sum(count for _, count in histogram.octaves()) == len(values)
    assert histogram.octaves()[0] == (0, 1)
    assert Histogram().quantiles((0.5,)) is None


def test_small_numbers_are_exact_by_group() -> None:
    histogram = Histogram(2)
    histogram.add(np.array([3, 31, 17]), np.array([0, 1, 1], dtype=np.int32))
    assert histogram.quantiles((0.5, 1.0), 1) == [17, 31]
    assert histogram.quantiles((0.5,), 0) == [3]
    assert histogram.quantiles((1.0,)) == [31]


def test_a_timeline_widens_without_losing_events() -> None:
    timeline = Timeline(1)
    ts = np.cumsum(np.random.default_rng(5).integers(0, 9_000_000, 3000))
    for part in np.array_split(ts, 30):
        timeline.put(np.zeros(len(part), np.int32), timeline.add(part), part.astype(float))
    edges = ts[0] + timeline.width * np.arange(len(timeline.counts) + 1)
    assert timeline.counts == np.histogram(ts, edges)[0].tolist()
    assert timeline.series(0)[-1] == ts[-1]
    assert timeline.series(0)[0] == ts[ts < edges[1]][-1]


def test_the_busiest_window_spans_batches() -> None:
    busiest = Busiest(10)
    for part in ([1, 2, 11, 12], [13, 19, 20], [20, 21], [40]):
        busiest.add(np.array(part))
    assert (busiest.count, busiest.start) == (4, 10)


def test_moments_do_not_cancel() -> None:
    values = (1e6 + np.random.default_rng(6).normal(size=(5000, 1))).astype(np.float32)
    moments = Moments(("x",))
    for part in np.array_split(values, 13):
        moments.add(part)
    assert moments.as_rows()[0]["sd"] == pytest.approx(values.astype(float).std(), rel=1e-9)


def test_duplicates_need_every_column_to_agree() -> None:
    columns = {
        "symbol": np.array([0, 1, 0, 0, 0, 1], np.int32),
        "ts_event": np.array([5, 5, 5, 5, 6, 6]),
        "bid": np.array([1, 1, 1, 1, 1, 1]),
        "features": np.array([[1], [1], [2], [1], [1], [1]], np.float32),
    }
    assert Duplicates().mark(columns).tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (4_587_519, "4.59 ms"),
        (-1500, "-1.5 µs"),
        (90_000_000_000, "1.5 min"),
        (400 * 86_400 * 10**9, "400 d"),
    ],
)
def test_spans_are_written_for_reading(ns: int, text: str) -> None:
    assert format_span(ns) == text
