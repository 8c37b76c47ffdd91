"""The event bus: a dataset's files as one stream of event batches in the total order.

The order is (ts_event, seq, source), ``source`` being a file's place among the dataset's files;
without ``seq`` it is (ts_event, source, row).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from backtest.core.arrays import BoolArray, Float32Array, Int64Array
from backtest.core.prefetch import ahead
from backtest.core.text import suggestion_or_list
from backtest.data.reading.decode import Columns, Decoder, Nonfinite, Policy, Selection
from backtest.data.reading.plan import Scan
from backtest.errors import UsageError
from backtest.market.events import ABSENT, EventBatch, concatenate

if TYPE_CHECKING:
    from backtest.data.dataset import Dataset

_BATCHES_AHEAD = 2


class EventBus:
    """Event batches of a dataset in the total order; each iteration starts over.

    Batches hold 1 to ``batch_rows`` events. Where one ends and the next begins follows the files,
    so nothing may depend on it. Arrays may be read-only views of decoded pages;
    features lie row by row.

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
            unsorted rows, unknown symbols, damaged pages, NaN or infinity, negative sizes, prices
            and sizes beyond 2^62, aggressors of no trade or other than -1, 0 and 1.
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
        selection = selection_of(
            dataset,
            start,
            end,
            symbols,
            values=tuple(ABSENT),
            features=self.features,
            nonfinite=nonfinite,
        )
        self._scan = Scan.of(dataset, selection)
        self._decoders: list[Decoder] = []

    @property
    def replaced(self) -> int:
        """Features set to 0 under the policy ``zero`` in the latest iteration, so far."""
        return sum(decoder.replaced for decoder in self._decoders)

    @property
    def absent(self) -> dict[str, int]:
        """Numbers that were no prices in the latest iteration so far, by column.

        0 and negative ones, unless the card sets ``signed_prices`` for the symbol, and 2^63 - 1:
        that side is absent in the batches.
        """
        return dict(sum((decoder.absent for decoder in self._decoders), Counter()))

    def extent(self) -> tuple[int, int, int] | None:
        """How many events there are, and ts_event of the first and the last, ns.

        ``None`` if footers alone are not enough: rows may be outside the window, or belong to
        symbols that are not wanted.
        """
        return self._scan.extent()

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


def stream_targets(
    dataset: Dataset,
    *,
    start: int | None = None,
    end: int | None = None,
    symbols: Sequence[str] | None = None,
) -> Iterator[Float32Array]:
    """Targets of a window's events, float32 [n, T] piece by piece, row by row those of the bus.

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
    selection = selection_of(dataset, start, end, symbols, targets=dataset.targets)
    plan = Scan.of(dataset, selection)
    for columns in plan.stream(plan.decoders(), 65_536):
        yield columns["targets"]


def read_targets(
    dataset: Dataset,
    *,
    start: int | None = None,
    end: int | None = None,
    symbols: Sequence[str] | None = None,
) -> Float32Array:
    """The same at once, float32 [n, T]."""
    parts = [*stream_targets(dataset, start=start, end=end, symbols=symbols)]
    return np.concatenate(parts or [np.empty((0, len(dataset.targets)), dtype=np.float32)])


def stream_times(
    dataset: Dataset,
    *,
    start: int | None = None,
    end: int | None = None,
    symbols: Sequence[str] | None = None,
) -> Iterator[Int64Array]:
    """``ts_event`` of a window's events in order, int64 ns [n] piece by piece, read by itself.

    Raises:
        DataError: as ``EventBus``.
        UsageError: as ``EventBus``.
    """
    plan = Scan.of(dataset, selection_of(dataset, start, end, symbols))
    for columns in plan.stream(plan.decoders(), 65_536):
        yield columns["ts_event"]


def stream_labelled(
    dataset: Dataset,
    start: int | None,
    end: int | None,
    symbols: Sequence[str] | None,
    *,
    nonfinite: Nonfinite = "refuse",
) -> Iterator[tuple[EventBatch, Float32Array]]:
    """A window's symbols, times and features with their targets, float32 [n, K], for training.

    Raises:
        DataError: as ``EventBus``, or a target is not finite.
        UsageError: as ``EventBus``.
    """
    selection = selection_of(
        dataset,
        start,
        end,
        symbols,
        features=dataset.features,
        targets=dataset.targets,
        nonfinite=nonfinite,
    )
    plan = Scan.of(dataset, selection)
    for columns in plan.stream(plan.decoders(), 8192):
        targets = columns.pop("targets")
        yield _event_batch(columns), targets


def stream_all(
    dataset: Dataset,
    *,
    nonfinite: Policy = "refuse",
    batch_rows: int = 65_536,
    absent: Counter[str] | None = None,
) -> Iterator[tuple[EventBatch, Float32Array | None]]:
    """Every event with its targets float32 [n, T], for tools that rewrite or describe a dataset.

    Args:
        dataset: the dataset; targets are ``None`` if it has none.
        nonfinite: as for ``EventBus``; ``keep`` leaves NaN and infinity, in targets too.
        batch_rows: the most events in a batch.
        absent: takes, in the end, what ``EventBus.absent`` has.

    Raises:
        DataError: as ``EventBus``.
    """
    selection = selection_of(
        dataset,
        None,
        None,
        None,
        values=tuple(ABSENT),
        features=dataset.features,
        targets=dataset.targets,
        nonfinite=nonfinite,
    )
    plan = Scan.of(dataset, selection)
    decoders = plan.decoders()
    for columns in plan.stream(decoders, batch_rows):
        targets = columns.pop("targets", None)
        yield _event_batch(columns), targets
    if absent is not None:
        for decoder in decoders:
            absent.update(decoder.absent)


def selection_of(
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
    """What a window asks for of a dataset.

    Raises:
        UsageError: an unknown symbol, or a window that ends before it starts.
    """
    if start is not None and end is not None and end < start:
        raise UsageError(
            f"the window ends ({end}) before it starts ({start})",
            remedy="Times are int64 nanoseconds since 1970, UTC.",
        )
    chosen = None if symbols is None else _chosen(dataset, symbols)
    return Selection(
        start,
        end,
        dataset.symbols,
        chosen,
        values,
        features,
        targets,
        nonfinite,
        dataset.signed_prices,
    )


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
            raise UsageError(
                f"there is no {noun} {name!r}",
                place=f"dataset {place!r}",
                remedy=suggestion_or_list(name, known, f"Its {noun}s"),
            )


def _event_batch(columns: Columns) -> EventBatch:
    return EventBatch(**{name: array for name, array in columns.items() if name != "seq"})
