"""The events of a window in pieces of one size: nothing of it depends on how files are cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.data.dataset import Dataset
from backtest.data.reading import stream as stream_module
from backtest.data.reading.bus import read_events
from backtest.data.reading.stream import Extent, Stream, piece_size
from backtest.errors import DataError, UsageError
from backtest.market.events import EventBatch, concatenate
from backtest.market.quotes import UNLIMITED
from tests.parquet_files import SYMBOLS, assert_same, dataset_of, random_events

ROWS = 400
EVENTS = random_events(ROWS, seed=9)  # two events share an instant on average
TARGETS = np.random.default_rng(3).normal(size=(ROWS, 2)).astype(np.float32)
START = int(EVENTS.ts_event[0])

WINDOWS: dict[str, dict[str, Any]] = {
    "all": {},
    "from": {"start": int(EVENTS.ts_event[50])},
    "until": {"end": int(EVENTS.ts_event[300])},
    "within": {"start": int(EVENTS.ts_event[50]) + 1, "end": int(EVENTS.ts_event[300])},
    "wider": {"start": START - 10, "end": int(EVENTS.ts_event[-1]) + 10},
    "symbols": {"symbols": ("A", "C")},
    "first": {"limit": 77},
    "first of it": {"start": int(EVENTS.ts_event[50]), "symbols": ("B",), "limit": 40},
    "more than there are": {"limit": 10**6},
}


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "WITH_FEATURES", 32)
    monkeypatch.setattr(stream_module, "WITHOUT_FEATURES", 48)
    monkeypatch.setattr(stream_module, "_SEARCHED", 16)


def split(folder: Path, owner: Any, row_group: int = 1000) -> Dataset:
    """The events in as many files as there are owners."""
    files: dict[str, Any] = {}
    for number in np.unique(owner):
        mine = np.flatnonzero(owner == number)
        events = EVENTS.select(mine)
        assert events.features is not None
        plain = {n: getattr(events, n) for n in ("ts_event", "bid", "ask", "bid_size", "ask_size")}
        files[f"{number}.parquet"] = {
            **plain,
            "seq": mine,
            "symbol": [SYMBOLS[i] for i in events.symbol],
            **{f"f{k}": events.features[:, k] for k in range(3)},
            **{f"t{k}": TARGETS[mine, k] for k in range(2)},
        }
    return dataset_of(
        folder, files, row_group,
        features={"columns": ["f0", "f1", "f2"]}, targets={"columns": ["t0", "t1"]},
    )  # fmt: skip


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Dataset]:
    """One file; files after one another; files that overlap; and odd row groups."""
    folder = tmp_path_factory.mktemp("layouts")
    owner = np.random.default_rng(1).integers(0, 4, ROWS)
    return [
        split(folder / "one", np.zeros(ROWS, int)),
        split(folder / "after", np.arange(ROWS) // 70),
        split(folder / "across", owner),
        split(folder / "groups", np.arange(ROWS) // 110, row_group=9),
    ]


def wanted(dataset: Dataset, *, features: bool, **window: Any) -> EventBatch:
    """The events of a window, all at once."""
    limit = window.pop("limit", None)
    return read_events(dataset, features=features, **window).select(slice(0, limit))


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_the_extent_is_that_of_its_events(
    layouts: Sequence[Dataset], window: dict[str, Any]
) -> None:
    for dataset in layouts:
        events = wanted(dataset, features=False, **window)
        times = events.ts_event.tolist()
        stream = Stream(dataset, **window)
        assert stream.extent == Extent(len(events), times[0], times[-1])
        assert stream.count == len(events)


@pytest.mark.parametrize("window", [WINDOWS[name] for name in ("all", "wider")])
def test_footers_tell_the_extent_of_whole_files(
    layouts: Sequence[Dataset], window: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scanned(*_: Any, **__: Any) -> Any:
        raise AssertionError("footers tell it")

    monkeypatch.setattr(stream_module, "stream_times", scanned)
    for dataset in layouts:
        assert Stream(dataset, **window).count == ROWS


def test_a_window_without_events_is_refused(layouts: Sequence[Dataset]) -> None:
    late = int(EVENTS.ts_event[-1]) + 1
    for window in ({"start": late}, {"end": START}, {"start": late, "limit": 5}):
        with pytest.raises(UsageError, match="no event lies in the window"):
            _ = Stream(layouts[0], **window).extent  # type: ignore[arg-type]


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_pieces_have_one_size_whatever_the_files(
    layouts: Sequence[Dataset], window: dict[str, Any], features: bool
) -> None:
    size = piece_size(features)
    assert size == (32 if features else 48)
    for dataset in layouts:
        events = wanted(dataset, features=features, **window)
        stream = Stream(dataset, **window)
        pieces = [*stream.pieces(features=features)]
        assert {len(piece) for piece in pieces[:-1]} <= {size}
        assert 0 < len(pieces[-1]) <= size
        assert_same(concatenate(pieces), events)
        assert_same(stream.whole(features=features), events)


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_reading_begins_at_any_piece(layouts: Sequence[Dataset], window: dict[str, Any]) -> None:
    for dataset in layouts:
        stream = Stream(dataset, **window)
        every = [*stream.pieces(features=True)]
        for first in range(len(every) + 2):
            found = [*stream.pieces(features=True, first=first)]
            assert len(found) == max(len(every) - first, 0)
            for piece, same in zip(found, every[first:], strict=True):
                assert_same(piece, same)


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_targets_are_those_of_the_events(
    layouts: Sequence[Dataset], window: dict[str, Any]
) -> None:
    symbols = np.isin(EVENTS.symbol, [SYMBOLS.index(s) for s in window.get("symbols", SYMBOLS)])
    inside = symbols & (EVENTS.ts_event >= window.get("start", START))
    inside &= EVENTS.ts_event < window.get("end", START + 10**18)
    for dataset in layouts:
        found = np.concatenate([*Stream(dataset, **window).targets()])
        np.testing.assert_array_equal(found, TARGETS[inside][: window.get("limit")])


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_looking_back_sees_each_event_once_from_the_last(
    layouts: Sequence[Dataset], window: dict[str, Any]
) -> None:
    names = ("symbol", "ts_event", "bid", "ask", "bid_size", "ask_size")
    for dataset in layouts:
        seen: list[Sequence[Any]] = []

        def look(columns: Sequence[Any], seen: list[Sequence[Any]] = seen) -> bool:
            seen.append(columns)
            return False

        Stream(dataset, **window).look_back(look)
        events = wanted(dataset, features=False, **window)
        for k, name in enumerate(names):
            found = np.concatenate([columns[k] for columns in reversed(seen)])
            np.testing.assert_array_equal(found, getattr(events, name), err_msg=name)
            assert all(columns[k].flags.writeable for columns in seen)


def test_looking_back_ends_when_enough_was_seen(layouts: Sequence[Dataset]) -> None:
    for dataset in layouts:
        sizes: list[int] = []

        def look(columns: Sequence[Any], sizes: list[int] = sizes) -> bool:
            sizes.append(len(columns[0]))
            return sum(sizes) > 5

        Stream(dataset).look_back(look)
        assert 5 < sum(sizes) < ROWS / 4


def test_data_without_sizes_shows_unlimited_ones_in_looking_back(tmp_path: Path) -> None:
    count = 5
    columns = {
        "ts_event": START + np.arange(count), "symbol": ["A"] * count,
        "bid": np.arange(count), "ask": np.arange(count) + 1,
    }  # fmt: skip
    seen: list[Sequence[Any]] = []

    def look(columns: Sequence[Any]) -> bool:
        seen.append(columns)
        return False

    Stream(dataset_of(tmp_path / "d", {"a.parquet": columns})).look_back(look)
    assert {int(size) for columns in seen for side in columns[4:] for size in side} == {UNLIMITED}
    assert sum(len(columns[0]) for columns in seen) == count


def test_files_that_change_while_they_are_read_are_noticed(layouts: Sequence[Dataset]) -> None:
    for features, claimed in (
        (False, Extent(ROWS + 1, START, int(EVENTS.ts_event[-1]))),
        (True, Extent(ROWS, START, int(EVENTS.ts_event[200]))),
    ):
        stream = Stream(layouts[0])
        stream.__dict__["extent"] = claimed
        with pytest.raises(DataError, match=f"of {claimed.count} rows were found up to"):
            list(stream.pieces(features=features))
