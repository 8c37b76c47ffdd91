"""The latency models that come with the project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import numpy as np

from backtest.core.arrays import Float64Array, Int64Array
from backtest.core.json_text import loads
from backtest.core.parameters import Nanoseconds
from backtest.core.text import suggested_path, suggestion_or_list
from backtest.errors import DataError, UsageError
from backtest.market.events import NO_TIME, EventBatch
from backtest.plugins.hookspecs import hookimpl
from backtest.timing.latency import LatencyModel, SpanTable
from backtest.timing.layout import LONGEST

_PROFILE = "Give a Parquet file with the columns batch_size and sample_ns."
_MOST_EVENTS = 2**31


@dataclass(frozen=True)
class Constant(LatencyModel):
    """The same time for every pass, whatever its size."""

    span: Nanoseconds = 0

    uses_draws: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _not_negative(span=self.span)

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        return np.full(len(sizes), self.span, dtype=np.int64)

    def table(self, u: Float64Array) -> SpanTable:
        return SpanTable(np.array([self.span], dtype=np.int64))


@dataclass(frozen=True)
class Affine(LatencyModel):
    """``base`` for every pass and ``per_event`` for each event in it."""

    base: Nanoseconds
    per_event: Nanoseconds = 0

    uses_draws: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _not_negative(base=self.base, per_event=self.per_event)

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        # Spans that no clock outlives are cut, so that the sum stays within 64 bits.
        passes = np.minimum(self.per_event * sizes.astype(np.float64), LONGEST - 1)
        exact = passes < LONGEST - 1
        return min(self.base, LONGEST) + np.where(exact, self.per_event * sizes, LONGEST - 1)

    def table(self, u: Float64Array) -> SpanTable:
        return SpanTable(np.array([self.base], dtype=np.int64), self.per_event)


@dataclass(frozen=True)
class Exponential(LatencyModel):
    """Random: ``floor`` plus an exponential with mean ``mean``, whatever the size."""

    mean: Nanoseconds
    floor: Nanoseconds = 0

    def __post_init__(self) -> None:
        _not_negative(mean=self.mean, floor=self.floor)

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        drawn = np.rint(-self.mean * np.log1p(-u))
        return min(self.floor, LONGEST) + np.minimum(drawn, LONGEST - 1).astype(np.int64)

    def table(self, u: Float64Array) -> SpanTable:
        return SpanTable(self.spans(np.ones(len(u), dtype=np.int64), u))


@dataclass(frozen=True)
class Recorded(LatencyModel):
    """Only for the feed: the recorded latency, ts_recv - ts_event.

    An event whose receipt was not recorded has the span 0, and so has one received before it
    happened, as recorders with a slow clock show it.
    """

    uses_draws: ClassVar[bool] = False

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        raise UsageError(
            "only the feed latency can be recorded",
            place="latency model 'recorded'",
            remedy="Use constant, affine, exponential or profile for service, entry and response.",
        )

    def feed(self, events: EventBatch, u: Float64Array) -> Int64Array:
        if events.ts_recv is None:
            raise UsageError(
                "the dataset has no ts_recv column",
                place="latency model 'recorded'",
                remedy="Choose another feed latency, such as constant:250us.",
            )
        known = events.ts_recv != NO_TIME
        spans = np.where(known, events.ts_recv, events.ts_event) - events.ts_event
        return np.maximum(spans, 0)


@dataclass(frozen=True)
class Measured(LatencyModel):
    """Only for the service: the measured time of each call of the strategy on this machine.

    The passes then run interleaved (a closed loop), and no two runs are quite the same.
    """

    live: ClassVar[bool] = True

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        raise UsageError(
            "only the service time can be measured",
            place="latency model 'measured'",
            remedy="Use constant, affine, exponential or profile for feed, entry and response.",
        )


@dataclass(frozen=True)
class Profile(LatencyModel):
    """Service times measured on a device: a Parquet table of samples by batch size.

    The file has the columns ``batch_size`` (int) and ``sample_ns`` (int), any number of samples a
    size, and in its metadata, under the key ``ticktoll``, a JSON object that says what was measured
    (``device``, ``strategy``, ``precision``, versions). A draw is a quantile of the samples;
    between two measured sizes the same quantile of both is interpolated linearly. Sizes outside
    the measured ones are refused.

    Attributes:
        source: path of the file, or the name of one in ``datasets/profiles``.
    """

    source: str
    _table: dict[int, Float64Array] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        packaged = _packaged_profiles()
        if self.path.parent == packaged and not self.path.exists():
            raise UsageError(
                f"no packaged latency profile is called {self.source!r}",
                place="latency model 'profile'",
                remedy=suggestion_or_list(
                    self.source, sorted(p.stem for p in packaged.glob("*.parquet")), "Profiles"
                ),
            )
        object.__setattr__(self, "_table", read_profile(self.path))

    @cached_property
    def path(self) -> Path:
        """The path of the profile."""
        if "/" in self.source or self.source.endswith(".parquet"):
            return Path(self.source)
        return _packaged_profiles() / f"{self.source}.parquet"

    @property
    def max_batch(self) -> int:
        return max(self._table)

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        known = np.array(list(self._table))
        outside = sizes[(sizes < known[0]) | (sizes > known[-1])]
        if len(outside):
            raise UsageError(
                f"a batch has {outside[0]} events, but {known[0]} to {known[-1]} were measured",
                place=f"latency profile {self.source!r}",
                remedy="Lower max_batch, or measure that size.",
            )
        upper = np.searchsorted(known, sizes)
        lower = np.where(known[upper] == sizes, upper, upper - 1)
        width = np.maximum(known[upper] - known[lower], 1)
        weight = (sizes - known[lower]) / width
        quantiles = [
            (np.quantile(self._table[known[lo]], q), np.quantile(self._table[known[up]], q))
            for lo, up, q in zip(lower, upper, u, strict=True)
        ]
        low, high = np.array(quantiles).reshape(-1, 2).T
        return np.rint(low + weight * (high - low)).astype(np.int64)

    def table(self, u: Float64Array) -> SpanTable:
        quantiles = np.column_stack([np.quantile(samples, u) for samples in self._table.values()])
        return SpanTable(
            np.zeros(len(u), dtype=np.int64), 0, np.array(list(self._table)), quantiles
        )


def _packaged_profiles() -> Path:
    return Path(str(files("backtest") / "datasets" / "profiles"))


def read_profile(path: Path) -> dict[int, Float64Array]:
    """Samples in ns by batch size, sizes ascending.

    Raises:
        DataError: no such file, not a profile, or a span or size that cannot be.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from backtest.data.parquet import check_decoded, check_sizes, mapped_errors

    wanted = ["batch_size", "sample_ns"]
    with mapped_errors(str(path)):
        if path.is_dir():
            raise DataError(
                "it is a folder, not a latency profile", place=str(path), remedy=_PROFILE
            )
        if not path.exists():
            raise DataError(
                "the latency profile cannot be read: there is no such file",
                place=str(path),
                remedy=suggested_path(path) or _PROFILE,
            )
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
            check_sizes(file.metadata, str(path))
            for name in wanted:
                count = file.schema_arrow.names.count(name)
                if count != 1:
                    raise DataError(
                        f"column {name!r} is {'there twice' if count else 'missing'}",
                        place=str(path),
                        remedy=_PROFILE,
                    )
            check_decoded(file.metadata, str(path), len(wanted))
            table = file.read(wanted)
    if not len(table):
        raise DataError("the profile has no samples", place=str(path), remedy="Measure it again.")
    for name in ("batch_size", "sample_ns"):
        kind = table[name].type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise DataError(f"column {name!r} holds {kind}, not numbers", place=str(path))
    # Whatever is null is NaN then.
    sizes, samples = (table[n].to_numpy().astype(np.float64) for n in ("batch_size", "sample_ns"))
    known = np.isfinite(sizes) & np.isfinite(samples)
    wrong = ~known | (sizes < 1) | (sizes > _MOST_EVENTS) | (sizes != np.floor(sizes))
    bad = np.flatnonzero(wrong | (samples < 0) | (samples >= LONGEST))
    if len(bad):
        row = bad[0]
        raise DataError(
            f"batch_size is {sizes[row]:g} and sample_ns {samples[row]:g}",
            place=f"{path}, row {row}",
            remedy="Sizes are whole, from 1 to 2^31; samples are from 0 to 2^62 ns.",
        )
    return {int(size): np.sort(samples[sizes == size]) for size in np.unique(sizes)}


def profile_metadata(path: Path) -> dict[str, str]:
    """The profile's metadata about its measurement; empty if it has none.

    Raises:
        DataError: the file cannot be read, or its metadata hold something else.
    """
    import pyarrow.parquet as pq

    from backtest.data.parquet import mapped_errors

    with mapped_errors(str(path)):
        stated = loads((pq.read_schema(path).metadata or {}).get(b"ticktoll", b"{}"))
    if not isinstance(stated, dict):
        raise DataError("its metadata hold no table of values", place=str(path))
    return {str(key): str(value) for key, value in stated.items()}


@hookimpl
def backtest_register_latency_models(register: Callable[[str, type[LatencyModel]], None]) -> None:
    register("constant", Constant)
    register("affine", Affine)
    register("exponential", Exponential)
    register("recorded", Recorded)
    register("measured", Measured)
    register("profile", Profile)


def _not_negative(**spans: int) -> None:
    for name, span in spans.items():
        if span < 0:
            raise ValueError(f"{name} is {span} ns, but cannot be negative")
