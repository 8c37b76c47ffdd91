"""The shipped latency models, each against its formula."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.errors import DataError, UsageError
from backtest.market.events import NO_TIME, EventBatch
from backtest.plugins.latency_models import (
    Affine,
    Constant,
    Exponential,
    Profile,
    Recorded,
    profile_metadata,
)
from backtest.timing.draws import Draws
from backtest.timing.latency import Composition


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def profile(path: Path, sizes: list[int], samples: list[float], **said: str) -> Path:
    table = pa.table({"batch_size": sizes, "sample_ns": samples})
    pq.write_table(table.replace_schema_metadata({"ticktoll": json.dumps(said)}), path)
    return path


def test_constant_and_affine() -> None:
    u = np.zeros(3)
    assert Constant(7).spans(ints(1, 5, 9), u).tolist() == [7, 7, 7]
    assert Affine(100, 3).spans(ints(1, 5, 9), u).tolist() == [103, 115, 127]


def test_a_service_is_the_sum_of_its_passes() -> None:
    symbols = np.array([0, 1, 0], dtype=np.int32)
    assert Affine(100, 3).service(Composition(symbols, (2, 1)), 0.5) == 209
    assert Affine(100, 3).service(Composition(symbols, (3,)), 0.5) == 109


def test_exponential_has_its_mean_and_floor() -> None:
    spans = Exponential(mean=1_000_000, floor=500).spans(
        np.ones(100_000, dtype=np.int64), Draws(0, "feed").first(100_000)
    )
    assert spans.min() >= 500
    assert spans.mean() == pytest.approx(1_000_500, rel=0.016)  # five deviations


@pytest.mark.parametrize("make", [lambda: Constant(-1), lambda: Affine(0, -1)])
def test_time_does_not_run_backwards(make: object) -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        make()  # type: ignore[operator]


def test_recorded_feed_is_never_negative() -> None:
    events = EventBatch(
        symbol=np.zeros(3, dtype=np.int32),
        ts_event=ints(100, 200, 300),
        ts_recv=ints(150, 190, NO_TIME),
    )
    assert Recorded().feed(events, np.zeros(3)).tolist() == [50, 0, 0]
    with pytest.raises(UsageError, match="only the feed"):
        Recorded().spans(ints(1), np.zeros(1))
    with pytest.raises(UsageError, match="no ts_recv"):
        Recorded().feed(EventBatch(events.symbol, events.ts_event), np.zeros(3))


def test_profile_is_a_quantile_interpolated_between_sizes(tmp_path: Path) -> None:
    path = profile(
        tmp_path / "p.parquet", [1, 1, 1, 9, 9, 9], [30.0, 10.0, 20.0, 100.0, 120.0, 110.0]
    )
    model = Profile(str(path))
    assert model.max_batch == 9
    u = np.array([0.0, 0.5, 0.5, 0.5])
    # Medians 20 and 110; at 5, half way, 65; the lowest of size 1 is 10.
    assert model.spans(ints(1, 1, 5, 9), u).tolist() == [10, 20, 65, 110]


def test_profile_does_not_extrapolate(tmp_path: Path) -> None:
    model = Profile(str(profile(tmp_path / "p.parquet", [2, 8], [1.0, 2.0])))
    for size in (1, 9):
        with pytest.raises(
            UsageError, match=f"a batch has {size} events, but 2 to 8 were measured"
        ):
            model.spans(ints(size), np.zeros(1))


def test_profile_describes_what_was_measured(tmp_path: Path) -> None:
    path = profile(tmp_path / "p.parquet", [1], [5.0], device="NVIDIA H200", strategy="eager")
    assert profile_metadata(path) == {"device": "NVIDIA H200", "strategy": "eager"}


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"batch_size": [1]}, "'sample_ns' is missing"),
        ({"batch_size": [], "sample_ns": []}, "no samples"),
        ({"batch_size": [1, 0], "sample_ns": [1.0, 1.0]}, "row 1"),
        ({"batch_size": [1], "sample_ns": [float("nan")]}, "nan"),
        ({"batch_size": [1], "sample_ns": [-1.0]}, "-1"),
        ({"batch_size": [1, None], "sample_ns": [1, 1]}, "row 1: batch_size is nan"),
        ({"batch_size": [1.5], "sample_ns": [1]}, "batch_size is 1.5"),
        ({"batch_size": [1], "sample_ns": [float("inf")]}, "sample_ns inf"),
        ({"batch_size": ["1"], "sample_ns": [1]}, "'batch_size' holds string, not numbers"),
        ({"batch_size": [1], "sample_ns": [[1]]}, "'sample_ns' holds list"),
    ],
)
def test_bad_profiles_are_refused(
    tmp_path: Path, columns: dict[str, list[float]], problem: str
) -> None:
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=problem) as caught:
        Profile(str(path))
    assert "bad.parquet" in str(caught.value)


def test_no_profile_at_all(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no Parquet")
    for name in ("text.parquet", "absent.parquet"):
        with pytest.raises(DataError, match=name):
            Profile(str(tmp_path / name))
