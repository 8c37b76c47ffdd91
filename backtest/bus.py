"""The event bus: a dataset's files as one stream of event batches in the total order.

The order is (ts_event, seq, source), ``source`` being a file's place among the dataset's files;
without ``seq`` it is (ts_event, source, row).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backtest.ahead import ahead
from backtest.components import suggestion
from backtest.data.decode import Columns, Decoder, Nonfinite, Policy, Selection
from backtest.data.merge import SortedFile, stream
from backtest.data.parquet import Footer, RowGroup, no_rows, scan
from backtest.errors import UsageError
from backtest.events import BoolArray, EventBatch, Float32Array, concatenate

if TYPE_CHECKING:
    from backtest.data.dataset import Dataset

_VALUES = ("ts_recv", "bid", "ask", "bid_size", "ask_size", "trade_price", "trade_size")
_BATCHES_AHEAD = 2
_DECODED_AHEAD = 1
_SMALLEST_CHUNK = 4096


class EventBus:
    """Event batches of a dataset in the total order; each iteration starts anew.

    Batches hold 1 to ``batch_rows`` events. Where one ends and the next begins follows the files,
    so nothing may depend on it. Arrays may be read-only views of decoded pages.

    Args:
        dataset: the dataset.
        start, end: half-open window of ts_event, int64 ns; ``None`` where it is open.
        symbols: names of the symbols wanted; ``None`` for all. Ids stay those of the dataset.
        features: all, none, or the named ones in that order.
        batch_rows: the most events in a batch.
        read_ahead: decode on another thread, a bounded number of batches ahead.
        nonfinite: NaN, infinity and null among features are refused, or set to 0 and counted.

    Raises:
        UsageError: an unknown symbol or feature, or a window that ends before it starts.
        DataError: files that cannot be read or whose columns differ; while iterating, besides:
            unsorted rows, unknown symbols, damaged pages, NaN or infinity.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        start: int | None = None,
        end: int | None = None,
        symbols: Sequence[str] | None = None,
        features: bool | Sequence[str] = True,
        batch_rows: int = 65_536,
        read_ahead: bool = True,
        nonfinite: Nonfinite = "refuse",
    ) -> None:
        if batch_rows < 1:
            raise UsageError(f"batch_rows must be at least 1, not {batch_rows}")
        self.dataset = dataset
        self.features = _feature_names(dataset, features)
        self.batch_rows = batch_rows
        self.read_ahead = read_ahead
        selection = _selection(
            dataset,
            start,
            end,
            symbols,
            values=_VALUES,
            features=self.features,
            nonfinite=nonfinite,
        )
        self._scan = _Scan.of(dataset, selection)
        self._decoders: list[Decoder] = []

    @property
    def replaced(self) -> int:
        """Features set to 0 under the policy ``zero`` in the latest iteration, so far."""
        return sum(decoder.replaced for decoder in self._decoders)

    @property
    def most_rows(self) -> int:
        """Rows of the row groups that may hold some of the selection."""
        return sum(group.rows for _, _, groups in self._scan.files for group in groups)

    def __iter__(self) -> Iterator[EventBatch]:
        self._decoders = self._scan.decoders()
        columns = self._scan.stream(self._decoders, self.batch_rows, read_ahead=self.read_ahead)
        batches = (_event_batch(piece) for piece in columns)
        return ahead(batches, _BATCHES_AHEAD) if self.read_ahead else batches


def read_events(
    dataset: Dataset,
    *,
    start: int | None = None,
    end: int | None = None,
    symbols: Sequence[str] | None = None,
    features: bool | Sequence[str] = False,
    nonfinite: Nonfinite = "refuse",
) -> EventBatch:
    """All events of a window as one batch; arguments and errors as for ``EventBus``."""
    bus = EventBus(
        dataset, start=start, end=end, symbols=symbols, features=features, nonfinite=nonfinite
    )
    return concatenate([*bus] or [_event_batch(bus._scan.nothing())])


def read_targets(
    dataset: Dataset,
    *,
    start: int | None = None,
    end: int | None = None,
    symbols: Sequence[str] | None = None,
) -> Float32Array:
    """Targets of a window's events, float32 [n, T], row by row those of ``read_events``.

    Raises:
        DataError: as ``EventBus``, or a target that is NaN, infinite or null.
        UsageError: as ``EventBus``, or the dataset has no targets.
    """
    if not dataset.has_targets:
        raise UsageError(
            "the dataset has no targets",
            place=dataset.name,
            remedy="Name their columns under [targets] in its card.",
        )
    selection = _selection(dataset, start, end, symbols, targets=dataset.targets)
    plan = _Scan.of(dataset, selection)
    parts = [columns["targets"] for columns in plan.stream(plan.decoders(), 65_536)]
    return np.concatenate(parts or [plan.nothing()["targets"]])


def stream_all(
    dataset: Dataset, *, nonfinite: Policy = "refuse", batch_rows: int = 65_536
) -> Iterator[tuple[EventBatch, Float32Array | None]]:
    """Every event with its targets float32 [n, T], for tools that rewrite or describe a dataset.

    Args:
        dataset: the dataset; targets are ``None`` if it has none.
        nonfinite: as for ``EventBus``; ``keep`` leaves NaN and infinity, in targets too.
        batch_rows: the most events in a batch.

    Raises:
        DataError: as ``EventBus``.
    """
    selection = _selection(
        dataset,
        None,
        None,
        None,
        values=_VALUES,
        features=dataset.features,
        targets=dataset.targets,
        nonfinite=nonfinite,
    )
    plan = _Scan.of(dataset, selection)
    for columns in plan.stream(plan.decoders(), batch_rows):
        targets = columns.pop("targets", None)
        yield _event_batch(columns), targets


@dataclass(frozen=True)
class _Scan:
    """Which row groups of which files may hold rows of a selection."""

    dataset: Dataset
    selection: Selection
    files: tuple[tuple[int, Footer, tuple[RowGroup, ...]], ...]

    @classmethod
    def of(cls, dataset: Dataset, selection: Selection) -> _Scan:
        files = []
        for source, footer in enumerate(dataset.footers):
            groups = tuple(g for g in footer.row_groups if _may_hold(g, selection))
            if groups:
                files.append((source, footer, groups))
        return cls(dataset, selection, tuple(files))

    def decoders(self) -> list[Decoder]:
        layout = self.dataset.layout
        return [Decoder(footer.place, layout, self.selection) for _, footer, _ in self.files]

    def stream(
        self, decoders: Sequence[Decoder], batch_rows: int, *, read_ahead: bool = False
    ) -> Iterator[Columns]:
        layout = self.dataset.layout
        overlap = _most_at_once([_times(groups) for _, _, groups in self.files])
        # Files that are open together share the memory that one would take.
        rows = max(min(batch_rows, _SMALLEST_CHUNK), batch_rows // max(overlap, 1))
        sorted_files = []
        for (source, footer, groups), decoder in zip(self.files, decoders, strict=True):
            batches = scan(
                self.dataset.filesystem,
                footer,
                groups,
                self.selection.file_columns(layout),
                symbol=layout.core["symbol"],
                batch_rows=rows,
            )
            if read_ahead and overlap <= 1:
                batches = ahead(batches, _DECODED_AHEAD)
            times = _times(groups)
            first = None if times is None else times[0]
            least = 1 if overlap <= 1 else rows
            sorted_files.append(SortedFile(source, first, decoder.decode_all(batches), least))
        return stream(sorted_files, batch_rows)

    def nothing(self) -> Columns:
        """Columns of length 0, as the files would give them."""
        layout = self.dataset.layout
        decoder = Decoder(self.dataset.name, layout, self.selection)
        return decoder.decode(0, no_rows(self.dataset.footers[0], layout.core["symbol"]))


def _selection(
    dataset: Dataset,
    start: int | None,
    end: int | None,
    symbols: Sequence[str] | None,
    *,
    values: tuple[str, ...] = (),
    features: tuple[str, ...] = (),
    targets: tuple[str, ...] = (),
    nonfinite: Policy = "refuse",
) -> Selection:
    if start is not None and end is not None and end < start:
        raise UsageError(
            f"the window ends ({end}) before it starts ({start})",
            remedy="Times are int64 nanoseconds since 1970, UTC.",
        )
    chosen = None if symbols is None else _chosen(dataset, symbols)
    return Selection(start, end, dataset.symbols, chosen, values, features, targets, nonfinite)


def _chosen(dataset: Dataset, symbols: Sequence[str]) -> BoolArray:
    _known(symbols, dataset.symbols, "symbol", dataset.name)
    return np.isin(np.array(dataset.symbols, dtype=object), np.array(symbols, dtype=object))


def _feature_names(dataset: Dataset, features: bool | Sequence[str]) -> tuple[str, ...]:
    if isinstance(features, bool):
        return dataset.features if features else ()
    _known(features, dataset.features, "feature", dataset.name)
    return tuple(features)


def _known(wanted: Sequence[str], known: Sequence[str], noun: str, place: str) -> None:
    for name in wanted:
        if name not in known:
            raise UsageError(f"no {noun} {name!r}", place=place, remedy=suggestion(name, known))


def _may_hold(group: RowGroup, selection: Selection) -> bool:
    if group.times is not None:
        low, high = group.times
        if selection.start is not None and high < selection.start:
            return False
        if selection.end is not None and low >= selection.end:
            return False
    if selection.chosen is None or group.symbols is None:
        return True
    first, last = group.symbols
    return any(first <= selection.symbols[i] <= last for i in np.flatnonzero(selection.chosen))


def _times(groups: Sequence[RowGroup]) -> tuple[int, int] | None:
    """Bounds of the row groups' ts_event; ``None`` if one of them does not state its own."""
    times = [group.times for group in groups if group.times is not None]
    if len(times) < len(groups):
        return None
    return min(low for low, _ in times), max(high for _, high in times)


def _most_at_once(spans: Sequence[tuple[int, int] | None]) -> int:
    """The most closed intervals that share an instant; an unknown one meets every other."""
    edges = [edge for span in spans if span for edge in ((span[0], 0), (span[1], 1))]
    count = most = sum(span is None for span in spans)
    for _, closes in sorted(edges):
        count += -1 if closes else 1
        most = max(most, count)
    return most


def _event_batch(columns: Columns) -> EventBatch:
    return EventBatch(**{name: array for name, array in columns.items() if name != "seq"})
