"""Figures of pass 1, counted piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.core.arrow import batch_of, time_array
from backtest.core.quantiles import bins_of
from backtest.market.events import NO_TIME
from backtest.timing import metrics, quantile_loops
from backtest.timing.metrics import DelayTally, read_delays
from backtest.timing.outcomes import Status, Timing

COUNT = 3000


def outcomes(reach: int, *, answered: float) -> tuple[Any, Timing]:
    """Delays of any magnitude up to ``reach``, ns; a part of the events is answered."""
    random = np.random.default_rng(reach)
    ts_event = 10**18 + np.cumsum(random.integers(0, 100, COUNT))
    steps = (reach ** random.random((3, COUNT))).astype(np.int64)
    received, begun, ended = ts_event + np.cumsum(steps, axis=0)
    status = random.integers(1, 5, COUNT).astype(np.uint8)
    status[random.random(COUNT) < answered] = Status.ANSWERED
    silent = status != Status.ANSWERED
    batch = np.where(silent, -1, np.cumsum(~silent) // 2)
    begun[silent] = ended[silent] = NO_TIME
    return ts_event, Timing(received, begun, ended, status, batch)


def part(timing: Timing, rows: slice) -> Timing:
    return Timing(*(getattr(timing, name)[rows] for name in Timing.__dataclass_fields__))


def tally(ts_event: Any, timing: Timing) -> DelayTally:
    """The delays, added in pieces of any size."""
    found = DelayTally()
    for rows in (slice(0, 0), slice(0, 1), slice(1, 700), slice(700, COUNT)):
        found.add(ts_event[rows], part(timing, rows))
    return found


def quantiles(delays: Any) -> dict[str, int]:
    """What numpy says of all delays at once."""
    p50, p99 = np.quantile(delays, [0.5, 0.99], method="inverted_cdf").tolist()
    return {"p50": p50, "p99": p99, "max": int(delays.max())}


@pytest.mark.parametrize("answered", [1.0, 0.4, 0.001])
@pytest.mark.parametrize("reach", [2, 1000, 10**7, 10**15])
def test_figures_are_those_of_all_events_at_once(
    reach: int, answered: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ts_event, timing = outcomes(reach, answered=answered)
    monkeypatch.setattr(metrics, "_ROWS", 512)
    write(tmp_path / "timing.parquet", ts_event, timing)
    found = tally(ts_event, timing).metrics(lambda: read_delays(tmp_path / "timing.parquet"))
    chosen = timing.answered
    assert found["events"] == COUNT
    for status in Status:
        assert found[status.name.lower()] == np.count_nonzero(timing.status == status)
    assert found["response_rate"] == chosen.mean()
    assert found["batches"] == len(np.unique(timing.batch[chosen]))
    assert found["mean_batch"] == chosen.sum() / found["batches"]
    received, begun, ended = (
        column[chosen] for column in (timing.received, timing.begun, timing.ended)
    )
    assert found["latency_ns"] == {
        "feed": quantiles(received - ts_event[chosen]),
        "queueing": quantiles(begun - received),
        "service": quantiles(ended - begun),
        "sojourn": quantiles(ended - received),
    }


def write(path: Path, ts_event: Any, timing: Timing) -> None:
    """The columns of a run's table of timing."""
    silent = ~timing.answered
    columns = {
        "ts_event": time_array(ts_event),
        "ts_received": time_array(timing.received),
        "ts_begun": time_array(timing.begun, silent),
        "ts_ended": time_array(timing.ended, silent),
        "status": timing.status,
    }
    pq.write_table(pa.Table.from_batches([batch_of(columns, ("ts_begun", "ts_ended"))]), path)


def unread() -> Any:
    raise AssertionError("no delay is to be looked at again")


def no_event() -> tuple[Any, Timing]:
    nothing = np.empty(0, dtype=np.int64)
    return nothing, Timing(nothing, nothing, nothing, nothing.astype(np.uint8), nothing)


def silence() -> tuple[Any, Timing]:
    return outcomes(10**7, answered=0.0)


@pytest.mark.parametrize("made", [no_event, silence])
def test_without_an_answer_there_is_no_delay(made: Callable[[], tuple[Any, Timing]]) -> None:
    ts_event, timing = made()
    found = DelayTally()
    found.add(ts_event, timing)
    figures = found.metrics(unread)
    assert figures["answered"] == 0
    assert figures["response_rate"] == (0 if len(ts_event) else None)
    assert figures["batches"] == 0
    assert figures["mean_batch"] is None
    nothing = {"p50": None, "p99": None, "max": None}
    names = ("feed", "queueing", "service", "sojourn")
    assert figures["latency_ns"] == dict.fromkeys(names, nothing)


def test_short_delays_are_counted_without_a_second_look() -> None:
    ts_event, timing = outcomes(1000, answered=0.9)
    found = tally(ts_event, timing).metrics(unread)
    delays = timing.ended[timing.answered] - timing.received[timing.answered]
    assert found["latency_ns"]["sojourn"] == quantiles(delays)


@pytest.mark.parametrize("span", [0, 100, 300])
def test_growth_of_sojourn_times(span: int) -> None:
    """One server of ``span`` ns an event; events come 200 ns apart."""
    ts_event = 10**18 + 200 * np.arange(COUNT)
    ended = np.arange(1, COUNT + 1) * span + np.maximum.accumulate(
        ts_event - np.arange(COUNT) * span
    )
    status, batch = np.zeros(COUNT, dtype=np.uint8), np.arange(COUNT)
    timing = Timing(ts_event, ended - span, ended, status, batch)
    growth = tally(ts_event, timing).metrics(lambda: [(ts_event, timing)])["sojourn_growth"]
    assert growth == pytest.approx({0: 0, 100: 0, 300: 0.5}[span], abs=1e-9)


def test_growth_needs_two_receipts() -> None:
    now = np.full(3, 10**18)
    timing = Timing(now, now, now + np.arange(3), np.zeros(3, dtype=np.uint8), np.arange(3))
    found = DelayTally()
    found.add(now, timing)
    assert found.metrics(lambda: [(now, timing)])["sojourn_growth"] is None


def test_compiled_bins_are_those_of_the_plain_ones() -> None:
    random = np.random.default_rng(8)
    values = np.concatenate([np.arange(70_000), 2 ** random.uniform(0, 62, 2000)]).astype(np.int64)
    compiled = [quantile_loops.bin_of(value) for value in values.tolist()]
    assert compiled == bins_of(values, quantile_loops.MANTISSA).tolist()
