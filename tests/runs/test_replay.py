"""The events of a window through the server, and what pass 2 learns of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading import stream as stream_module
from backtest.data.reading.bus import read_events
from backtest.data.reading.stream import Stream
from backtest.inference.answering import Served
from backtest.market.events import NO_PRICE, NO_TIME, EventBatch
from backtest.market.quotes import UNLIMITED
from backtest.market.window import Window
from backtest.plugins.latency_models import Affine, Exponential
from backtest.plugins.policies import All, NewestPerSymbol, One
from backtest.runs.replay import EVENT_COLUMNS, Gaps, Replay, ServedTally
from backtest.timing.outcomes import Status, Timing
from backtest.timing.server_rules import ServerRules
from backtest.timing.simulation import simulate
from tests.data.made import quote_dataset
from tests.parquet_files import dataset_of

SERVERS = {
    "keeps up": ServerRules(All(), Affine(10_000, 1000)),
    "drops": ServerRules(One(), Affine(3_000_000), line_limit=2),
    "conflates": ServerRules(NewestPerSymbol(), Affine(4_000_000)),
    "in no time": ServerRules(All(), Affine(1), scale=0.0),
}
FEED = Exponential(2_000_000)


@pytest.fixture(params=[1, 64, 1 << 16])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WITH_FEATURES", "WITHOUT_FEATURES"):
        monkeypatch.setattr(stream_module, name, request.param)


@pytest.fixture
def dataset(small_dataset: Path) -> Dataset:
    return open_dataset(small_dataset)


def end_of(events: EventBatch) -> int:
    return int(events.ts_event[-1]) + 1


def whole(rules: ServerRules, events: EventBatch) -> Timing:
    """What becomes of all events, taken at once."""
    return simulate(rules, events, FEED, symbols=3, end=end_of(events))


def served(
    rules: ServerRules, dataset: Dataset, *, lines: int = 3, batches: bool = True
) -> tuple[Timing, Served]:
    """What becomes of the events of a stream, and what pass 2 learns of it."""
    stream = Stream(dataset)
    replay = Replay(stream, rules, FEED, symbols=3, end=stream.extent.last + 1)
    tally = ServedTally(stream.count, lines, batches=batches)
    names = ("received", "begun", "ended", "status", "batch")
    parts: dict[str, list[Any]] = {name: [] for name in names}
    spans = []
    for progress in replay.run():
        tally.add(replay, progress)
        for name in names:
            parts[name].append(replay.window[name][replay.rows(progress)].copy())
        spans.append((progress.first, progress.stop, progress.last))
    assert spans[0][0] == 0
    assert spans[-1][1:] == (stream.count, True)
    assert all(one[1] == other[0] and not one[2] for one, other in pairwise(spans))
    return Timing(**{name: np.concatenate(parts[name]) for name in names}), tally.served()


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("rules", SERVERS.values(), ids=SERVERS)
def test_pieces_do_not_show_in_the_outcomes(rules: ServerRules, dataset: Dataset) -> None:
    wanted = whole(rules, read_events(dataset))
    timing, found = served(rules, dataset)
    for name in Timing.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(timing, name), getattr(wanted, name), err_msg=name)
    count = len(wanted.status)
    np.testing.assert_array_equal(found.answered[0:count], wanted.answered)
    assert found.batches is not None
    batches = [numbers.tolist() for numbers in found.batches]
    assert batches == [numbers.tolist() for numbers in wanted.batches()]


@pytest.mark.usefixtures("_pieces")
def test_what_is_missing_from_the_middle_is_found(dataset: Dataset) -> None:
    for name, unbroken in (("in no time", True), ("drops", False), ("conflates", False)):
        for lines in (1, 3):
            timing, found = served(SERVERS[name], dataset, lines=lines, batches=False)
            assert found.unbroken == unbroken == bool(timing.answered.all())
            assert found.batches is None


def test_a_window_holds_what_the_dataset_has(dataset: Dataset) -> None:
    columns = {**EVENT_COLUMNS, "features": (np.float32, 2)}
    stream = Stream(dataset)
    replay = Replay(
        stream, SERVERS["keeps up"], FEED,
        symbols=3, end=stream.extent.last + 1, columns=columns, features=True,
    )  # fmt: skip
    events = read_events(dataset, features=True)
    held = []

    def appended(piece: EventBatch, rows: slice) -> None:
        held.append(len(piece))
        for name in ("symbol", "ts_event", "ts_recv", "bid", "ask", "bid_size", "ask_size"):
            np.testing.assert_array_equal(replay.window[name][rows], getattr(piece, name))
        np.testing.assert_array_equal(replay.window["features"][rows], piece.features)
        assert (replay.window["trade_price"][rows] == NO_PRICE).all()
        assert not replay.window["trade_size"][rows].any()

    list(replay.run(appended))
    assert sum(held) == len(events)


def test_what_a_dataset_lacks_is_absent(tmp_path: Path) -> None:
    columns = {"ts_event": 10**18 + np.arange(5), "symbol": ["A"] * 5}
    stream = Stream(dataset_of(tmp_path / "d", {"a.parquet": columns}))
    replay = Replay(
        stream, SERVERS["keeps up"], Affine(0),
        symbols=3, end=10**18 + 10**9, columns=EVENT_COLUMNS,
    )  # fmt: skip
    list(replay.run())
    absent = {
        "ts_recv": NO_TIME, "bid": NO_PRICE, "ask": NO_PRICE, "bid_size": UNLIMITED,
        "ask_size": UNLIMITED, "trade_price": NO_PRICE, "trade_size": 0, "aggressor": 0,
    }  # fmt: skip
    for name, value in absent.items():
        assert set(replay.window[name][:5].tolist()) == {value}, name


def test_a_window_holds_who_initiated_a_trade(tmp_path: Path) -> None:
    dataset = quote_dataset(tmp_path / "d", 500)
    stream = Stream(dataset)
    replay = Replay(
        stream, SERVERS["keeps up"], FEED,
        symbols=3, end=stream.extent.last + 1, columns=EVENT_COLUMNS,
    )  # fmt: skip
    list(replay.run())
    wanted = read_events(dataset).aggressor
    assert wanted is not None
    assert set(wanted.tolist()) == {-1, 0, 1}
    assert replay.window["aggressor"].dtype == np.int8
    np.testing.assert_array_equal(replay.window["aggressor"][: len(wanted)], wanted)


def test_rows_that_somebody_else_needs_stay(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "WITHOUT_FEATURES", 16)
    stream = Stream(dataset)
    times = read_events(dataset).ts_event
    for keeps in (0, 50, 600):
        replay = Replay(
            stream, SERVERS["keeps up"], Affine(0),
            symbols=3, end=stream.extent.last + 1, columns={"ts_event": np.int64},
        )  # fmt: skip
        window, oldest = replay.window, 0

        def needs(window: Window = window, keeps: int = keeps) -> int:
            return window.stop - keeps

        for progress in replay.run(needs=needs):
            assert window.needed == oldest
            oldest = max(min(progress.stop, window.stop - keeps), oldest)
            rows = window.rows(oldest, window.stop)
            np.testing.assert_array_equal(window["ts_event"][rows], times[oldest : window.stop])


@pytest.mark.parametrize(
    ("status", "gap"),
    [
        ("", False),
        ("000000", False),
        ("400000", True),
        ("000004", False),
        ("000041", False),  # the last of each line
        ("010101", False),  # one line answers, the other never
        ("000100", True),
        ("100000", True),
        ("111111", False),
    ],
)
def test_answers_after_a_missing_one_are_found(status: str, gap: bool) -> None:
    answered = np.array([int(c) for c in status], dtype=np.uint8) == Status.ANSWERED
    symbols = np.arange(len(status), dtype=np.int32) % 2
    for size in (1, 2, 3, 100):
        by_symbol, together = Gaps(2), Gaps(1)
        for first in range(0, len(status), size):
            rows = slice(first, first + size)
            by_symbol.add(symbols[rows], answered[rows])
            together.add(symbols[rows], answered[rows])
        assert by_symbol.found == gap
        assert together.found == ("0" in status[answered.sum() :])
