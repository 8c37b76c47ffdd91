"""What strategies are trained on: every event once, in its symbol's order, purged at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from backtest.core.arrays import Float32Array
from backtest.core.spool import Spool
from backtest.core.times import format_utc
from backtest.data.canonical import write_canonical
from backtest.data.card import Calendar, Card
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import read_events, read_targets
from backtest.data.reading.stream import Stream
from backtest.data.training_data import TrainingData, cut_lanes, training_data
from backtest.errors import UsageError

MS = 1_000_000


@pytest.fixture
def dataset(small_dataset: Path) -> Dataset:
    return open_dataset(small_dataset)


Read = Callable[..., TrainingData]


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    """Training data that stays open until the test ends."""
    with ExitStack() as opened:

        def go(dataset: Dataset, purge: int = 0, end: int | None = None) -> TrainingData:
            stream = Stream(dataset, end=end)
            return opened.enter_context(training_data(stream, tmp_path, end=end, purge=purge))

        yield go


@pytest.mark.parametrize("lanes", [0, 1, 7, 64])
@pytest.mark.parametrize(("steps", "first"), [(1, None), (8, 3), (10_000, None)])
def test_chunks_hold_every_event_once_in_order(
    dataset: Dataset, read: Read, lanes: int, steps: int, first: int | None
) -> None:
    events = read_events(dataset, features=True)
    targets = read_targets(dataset)
    assert events.features is not None
    data = read(dataset)
    assert len(data) == len(events)
    by_lane: dict[tuple[int, int], list[tuple[int, int]]] = {}
    group = 0
    seen: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
    for chunk in data.sequences(lanes, steps, first=first):
        assert chunk.features.shape == (*chunk.counts.shape, 2)
        assert chunk.features.dtype == chunk.targets.dtype == np.float32
        assert len(chunk.counts) <= steps
        assert lanes == 0 or len(chunk.symbol) <= 2 * lanes
        group += chunk.fresh
        for t, lane in np.argwhere(chunk.counts):
            at = int(chunk.symbol[lane]), int(chunk.ts_event[t, lane])
            by_lane.setdefault((group, int(lane)), []).append(at)
            seen[at] = (chunk.features[t, lane].tolist(), chunk.targets[t, lane].tolist())
        assert not chunk.features[chunk.counts == 0].any()
    wanted = {
        (int(s), int(ts)): (x.tolist(), y.tolist())
        for s, ts, x, y in zip(
            events.symbol, events.ts_event, events.features, targets, strict=True
        )
    }
    assert seen == wanted
    assert sum(map(len, by_lane.values())) == len(events)
    for lane in by_lane.values():
        assert lane == sorted(lane)
        assert len({symbol for symbol, _ in lane}) == 1
    assert lanes == 0 or abs(len(by_lane) - lanes) <= len(data.symbols)


def test_targets_within_the_purge_are_not_learnt_from(dataset: Dataset, read: Read) -> None:
    events = read_events(dataset)
    end = int(events.ts_event[400])
    data = read(dataset, purge=50 * MS, end=end)
    assert len(data) == 400  # they still advance the state
    kept = int((events.ts_event < end - 50 * MS).sum())
    assert 0 < kept < 400
    assert sum(chunk.counts.sum() for chunk in data.sequences(4, 16)) == kept
    assert sum(len(rows.targets) for rows in data.rows(17)) == kept
    assert max(int(rows.ts_event.max()) for rows in data.rows()) < end - 50 * MS
    features, targets = data.table()
    assert features.shape == (kept, 2)
    assert targets.shape == (kept, 1)
    assert len(data.table()[0]) == kept


def test_both_parts_of_a_split_are_purged(dataset: Dataset, read: Read) -> None:
    ts = read_events(dataset).ts_event
    data = read(dataset, purge=20 * MS)
    first, second = data.split(0.25)
    assert first.end == second.start
    assert len(first) + len(second) == len(data)
    assert len(first) == int((ts < first.end).sum())
    for part in (first, second):
        latest = max(int(rows.ts_event.max()) for rows in part.rows())
        assert latest < part.end - 20 * MS
    earliest = min(int(rows.ts_event.min()) for rows in second.rows())
    assert earliest >= second.start
    with pytest.raises(UsageError, match="too few"):
        data.split(1e-9)


def test_a_split_of_long_rows_is_that_of_short_ones(
    dataset: Dataset, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = read(dataset)
    whole = [part.spans.tolist() for part in data.split(0.3)]
    monkeypatch.setattr("backtest.data.training_data._ROWS", 4)
    assert [part.spans.tolist() for part in data.split(0.3)] == whole


def test_nothing_is_left_on_the_disk(dataset: Dataset, read: Read, tmp_path: Path) -> None:
    data = read(dataset)
    assert len(data) == 600
    assert list(tmp_path.iterdir()) == []


def test_lanes_are_cut_from_one_symbol_each() -> None:
    cut = cut_lanes(np.array([5, 0, 3]), 4)
    assert cut.tolist() == [[0, 0, 2], [0, 2, 2], [0, 4, 1], [2, 0, 2], [2, 2, 1]]
    assert cut_lanes(np.array([5, 0, 3]), 0).tolist() == [[0, 0, 5], [2, 0, 3]]
    assert cut_lanes(np.array([0, 0]), 3).shape == (0, 3)


def test_a_dataset_without_targets_is_refused(dataset: Dataset, read: Read, tmp_path: Path) -> None:
    card = Card(name="bare", symbols=dataset.symbols)
    write_canonical(tmp_path / "bare", card, [read_events(dataset)])
    with pytest.raises(UsageError, match="no features to train on"):
        read(open_dataset(tmp_path / "bare"))


def test_no_more_rows_are_read_at_once_than_are_asked_for(
    dataset: Dataset, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = read(dataset)
    largest = 0
    whole = Spool.read

    def noted(spool: Spool, first: int, stop: int) -> Float32Array:
        nonlocal largest
        largest = max(largest, stop - first)
        return whole(spool, first, stop)

    monkeypatch.setattr(Spool, "read", noted)
    assert sum(chunk.counts.sum() for chunk in data.sequences(4, 16)) == 600
    assert largest == 16
    assert sum(len(rows.targets) for rows in data.rows(30)) == 600
    assert largest == 30


def test_no_lane_goes_on_over_a_break_at_which_state_is_reset(
    dataset: Dataset, read: Read, tmp_path: Path
) -> None:
    events = read_events(dataset, features=True)
    opens = [int(events.ts_event[k]) for k in (0, 200, 450)]
    instants = [format_utc(ts) for ts in [*opens, int(events.ts_event[-1]) + 1]]
    sessions = tuple(pairwise(instants))
    for breaks in ("reset", "carry"):
        table = {"sessions": sessions, "session_breaks": breaks}
        calendar = Calendar.model_validate(table)
        card = dataset.card.model_copy(update={"calendar": calendar})
        folder = tmp_path / breaks
        write_canonical(folder, card, [(events, read_targets(dataset))])
        data = read(open_dataset(folder))
        for lanes in (0, 2, 40):
            found, group = [], 0
            crossing: dict[tuple[int, int], set[int]] = {}
            for chunk in data.sequences(lanes, 7):
                group += chunk.fresh
                for t, lane in np.argwhere(chunk.counts):
                    ts = int(chunk.ts_event[t, lane])
                    found.append((int(chunk.symbol[lane]), ts))
                    number = int(np.searchsorted(opens, ts, side="right"))
                    crossing.setdefault((group, int(lane)), set()).add(number)
            assert len(found) == len(set(found)) == 600
            most = max(map(len, crossing.values()))
            assert most == 1 if breaks == "reset" else lanes == 40 or most > 1
            first, second = data.split(0.3)
            assert len(first) + len(second) == 600
