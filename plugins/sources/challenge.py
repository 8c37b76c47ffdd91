"""The inference challenge's Parquet: 79 features, a delay, four targets and a symbol; no prices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.times import parse_utc
from backtest.data.sources import IngestReport, Source
from backtest.errors import DataError
from backtest.market.events import EventBatch

FEATURES = tuple(f"feature_{i:02d}" for i in range(79))
TARGETS = tuple(f"target_{i:02d}" for i in range(4))
COLUMNS = dict.fromkeys((*FEATURES, "delay_ms", *TARGETS), "float") | {"symbol": "string"}
_BATCH_ROWS = 65_536
_NS_PER_MS = 1e6
_MS_PER_DAY = 86_400_000
_MAX_NS = 2**63 - 1


@dataclass(frozen=True)
class Challenge(Source):
    """One Parquet file in the challenge's layout, its rows in stream order.

    An event's ts_event is ``start`` plus the delays up to and including its own, each rounded to
    the nearest nanosecond (half to even; the product with 1e6 is exact in float64).

    Attributes:
        start: the instant before the first delay, in UTC.
        layout: one column for each feature, or all of them packed into one.
        nonfinite: NaN and infinity among features are refused, or set to 0 and counted.
    """

    start: str = "2025-09-01T00:00:00Z"
    layout: Literal["wide", "packed"] = "wide"
    nonfinite: Literal["refuse", "zero"] = "refuse"

    def __post_init__(self) -> None:
        parse_utc(self.start)

    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write the file as a dataset with features and targets but no quotes."""
        # Sources are imported whenever plugins are listed: what is slow to import waits until here.
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        from backtest.data.canonical import CanonicalWriter
        from backtest.data.card import Card, Features, Targets
        from backtest.data.parquet import check_decoded, check_sizes, mapped_errors
        from backtest.data.reading.matrices import wide_matrix
        from backtest.plugins.sources.shared.rows import refuse_nonfinite

        with mapped_errors(str(input)):
            file = pq.ParquetFile(input, page_checksum_verification=True, pre_buffer=False)
            check_sizes(file.metadata, str(input))
            _check_columns(file.schema_arrow, str(input))
            check_decoded(file.metadata, str(input), 1)
            names = pc.unique(file.read(["symbol"]).column(0).cast("string"))
            names = names.take(pc.sort_indices(names))
            if not len(names):
                raise DataError("it has no rows", place=str(input))
            if names.null_count:
                row = pc.index(file.read(["symbol"]).column(0).is_null(), True).as_py()
                raise DataError(f"row {row} has no symbol", place=str(input))
        packed = self.layout == "packed"
        card = Card(
            name="challenge-" + re.sub(r"[^A-Za-z0-9._-]", "-", input.stem),
            description="A stream of the inference challenge: features and targets, no prices.",
            symbols=tuple(names.to_pylist()),
            features=Features(packed="features", names=FEATURES)
            if packed
            else Features(columns=FEATURES),
            targets=Targets(columns=TARGETS),
        )
        now = parse_utc(self.start)
        batches = file.iter_batches(_BATCH_ROWS)
        with CanonicalWriter(output, card, nonfinite=self.nonfinite) as writer:
            while True:
                with mapped_errors(str(input)):
                    batch: Any = next(batches, None)
                if batch is None:
                    break
                delays = _delays(batch.column("delay_ms"), writer.rows, str(input))
                elapsed = np.cumsum(delays)  # at most a day each: a batch cannot wrap
                if now + int(elapsed[-1]) > _MAX_NS:
                    row = writer.rows + int(np.argmax(elapsed > _MAX_NS - now))
                    raise DataError(
                        f"row {row} lies beyond the year 2262, by the delays up to it",
                        place=str(input),
                    )
                ts = now + elapsed
                now = int(ts[-1])
                ids = pc.index_in(batch.column("symbol").cast("string"), names)
                features, targets = (wide_matrix(batch, some) for some in (FEATURES, TARGETS))
                place = str(input)
                if self.nonfinite == "refuse":
                    refuse_nonfinite(features, FEATURES, writer.rows, place=place, noun="features")
                refuse_nonfinite(targets, TARGETS, writer.rows, place=place, noun="targets")
                writer.write(EventBatch(ids.to_numpy(), ts, features=features), targets)
        zeroed = {"features that were NaN or infinite, set to 0": writer.replaced}
        return IngestReport(
            file.metadata.num_rows, writer.rows, repaired=zeroed if writer.replaced else {}
        )


def _check_columns(schema: Any, place: str) -> None:
    from backtest.data.schema import describe_difference

    text = {"large_string", "string_view"}
    found = {}
    for field in schema:
        kind = str(getattr(field.type, "value_type", field.type))
        found[field.name] = "string" if kind in text else kind
    difference = describe_difference(COLUMNS, found)
    if difference:
        raise DataError(
            f"not the challenge's columns: {difference}",
            place=place,
            remedy="They are feature_00 to feature_78, delay_ms, target_00 to target_03 as float32"
            " and symbol as text.",
        )


def _delays(column: Any, first_row: int, place: str) -> Int64Array:
    """Delays in whole nanoseconds, int64 [n], from float32 milliseconds."""
    delays = column.to_numpy(zero_copy_only=False)
    wrong = ~((delays >= 0) & (delays <= _MS_PER_DAY))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise DataError(
            f"row {first_row + i} has delay_ms {delays[i]}",
            place=place,
            remedy="A delay is a number of milliseconds from 0 to one day.",
        )
    nanoseconds: Int64Array = np.rint(delays.astype(np.float64) * _NS_PER_MS).astype(np.int64)
    return nanoseconds
