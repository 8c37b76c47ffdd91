"""Writes a copy of a dataset with features that builders compute from its quotes and trades."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from backtest.core.arrays import Float32Array, Int64Array
from backtest.core.atomic import new_folder, writing
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import CARD_NAME, Card, Columns, Features
from backtest.data.dataset import Dataset
from backtest.data.features.builders import FeatureBuilder, FeatureSet, check_causal, to_frame
from backtest.data.reading.bus import EventBus, read_events, stream_all
from backtest.data.reading.depth import DepthFeed, stream_depth
from backtest.errors import DataError, UsageError
from backtest.market.events import EventBatch

HELD_ROWS = 4_000_000
_SAMPLE_EVENTS = 65_536
_SAMPLE_SYMBOLS = 3
_SAMPLE_ROWS = 4096


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """What was made.

    Attributes:
        rows: events of the dataset.
        features: names of the new features.
        unknown: values set to 0 because there was not yet enough of the past (or no number: 0/0,
            infinity, more than float32 holds), by feature; without those that needed none.
    """

    rows: int
    features: tuple[str, ...]
    unknown: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)


def add_features(
    dataset: Dataset,
    output: Path | str,
    builders: Mapping[str, FeatureBuilder],
    *,
    overwrite: bool = False,
    held_rows: int = HELD_ROWS,
) -> FeatureReport:
    """Write the dataset with further features, whole or not at all.

    The new features follow the dataset's own; events, targets, depth and the rest of the card stay
    as they are. A symbol's past begins at its first event, and again at each session if the card
    says ``session_breaks = "reset"``. Builders are first tested for look-ahead.

    Memory: some 250 + 12 F bytes an event of the symbols held at once, which are as many as have
    ``held_rows`` events together, and at least one. All features are kept on disk while the
    output is written, at 4 F bytes an event. The events are read once for their numbers, once for
    each group of symbols held, and once to write them.

    Args:
        dataset: the events.
        output: the folder to make.
        builders: by the text that asked for them; recorded in the card's notes.
        overwrite: replace a dataset that is already there.
        held_rows: events to hold in memory at once.

    Raises:
        PluginError: a builder looks ahead, fails, or makes a feature that is there already.
        DataError: the dataset lacks what a builder reads, is refused by the bus, or ``output``
            cannot be written.
    """
    made = FeatureSet(builders)
    _check_inputs(dataset, made)
    check_causal(builders, [to_frame(events) for events in _sample(dataset)])
    counts = _counts(dataset)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    unknown = np.zeros(len(made.names), dtype=np.int64)
    with (
        new_folder(output, marker=CARD_NAME, overwrite=overwrite) as folder,
        tempfile.TemporaryFile(dir=folder) as scratch,  # has no name that could stay behind
    ):
        for symbols in _groups(counts, held_rows):
            for values in _symbol_features(dataset, symbols, made):
                bad = ~np.isfinite(values)
                unknown += np.count_nonzero(bad, axis=0)
                with writing(folder):
                    np.where(bad, np.float32(0), values).tofile(scratch)
        with writing(folder):
            scratch.flush()
        card = _card(dataset, made)
        with CanonicalWriter(folder, card) as writer:
            depth = DepthFeed(stream_depth(dataset) if dataset.has_depth else iter(()))
            for batch, targets in _widened(dataset, scratch, first, len(made.names)):
                stop = writer.rows + len(batch)
                writer.write(batch, targets, depth=depth.among(writer.rows, stop))
            for rows in depth.rest():
                writer.write_depth(rows)
            report = _report(writer.rows, made, unknown)
            note = {
                "builders": list(builders),
                "input": dataset.name,
                "data_hash": dataset.data_hash(),
                "unknown": dict(report.unknown),
            }
            writer.card = card.model_copy(update={"notes": card.notes | {"features": note}})
    return report


def _check_inputs(dataset: Dataset, made: FeatureSet) -> None:
    lacking = sorted(name for name in made.inputs if not dataset.layout.has(name))
    if lacking:
        raise DataError(
            f"it has no {', '.join(lacking)}, which a feature builder needs",
            place=dataset.name,
            remedy="Leave that builder out, or ingest the data with these columns.",
        )
    # The new dataset has the canonical names, whatever the files of this one call their columns.
    canonical = set(dict(Columns()).values())
    own = {*dataset.features, *dataset.targets, *dataset.layout.types}
    taken = sorted(set(made.names) & (own | canonical))
    if taken:
        raise UsageError(
            f"it already has a column {taken[0]!r}",
            place=dataset.name,
            remedy="Leave out the builder that makes it, or change its parameters.",
        )


def _sample(dataset: Dataset) -> Iterator[EventBatch]:
    """The first events of the busiest symbols among the dataset's first."""
    bus = EventBus(dataset, features=False, batch_rows=_SAMPLE_EVENTS, read_ahead=False)
    batches = list(islice(bus, 1))
    if not batches:
        raise DataError("the dataset has no events to compute features of", place=dataset.name)
    counts = np.bincount(batches[0].symbol)
    for symbol in np.argsort(-counts, kind="stable")[:_SAMPLE_SYMBOLS]:
        yield batches[0].select(np.flatnonzero(batches[0].symbol == symbol)[:_SAMPLE_ROWS])


def _counts(dataset: Dataset) -> Int64Array:
    """Events of each symbol, int64 [S]."""
    counts = np.zeros(len(dataset.symbols), dtype=np.int64)
    for batch in EventBus(dataset, features=False):
        counts += np.bincount(batch.symbol, minlength=len(counts))
    return counts


def _groups(counts: Int64Array, held_rows: int) -> Iterator[list[int]]:
    """Symbols to hold together, in order."""
    group: list[int] = []
    rows = 0
    for symbol, count in enumerate(counts.tolist()):
        if group and rows + count > held_rows:
            yield group
            group, rows = [], 0
        group.append(symbol)
        rows += count
    yield group


def _symbol_features(
    dataset: Dataset, symbols: list[int], made: FeatureSet
) -> Iterator[Float32Array]:
    """Features of each symbol that has events, in the symbols' order, float32 [n, F]."""
    events = read_events(dataset, symbols=[dataset.symbols[s] for s in symbols])
    for symbol in symbols:
        own = events.select(np.flatnonzero(events.symbol == symbol))
        for part in _pasts(dataset, own):
            yield made.evaluate(to_frame(part))


def _pasts(dataset: Dataset, events: EventBatch) -> Iterator[EventBatch]:
    """One symbol's events, cut where its past is reset."""
    cuts: list[int] = []
    if dataset.sessions is not None and dataset.session_breaks == "reset":
        cuts = np.searchsorted(events.ts_event, dataset.sessions[:, 0]).tolist()
    edges = sorted({0, *cuts, len(events)})
    for low, high in pairwise(edges):
        yield events.select(slice(low, high))


def _widened(
    dataset: Dataset, scratch: BinaryIO, first: Int64Array, width: int
) -> Iterator[tuple[EventBatch, Float32Array | None]]:
    """The dataset's events with the features of ``scratch``, which has them symbol by symbol.

    Args:
        first: each symbol's first row in ``scratch``, int64 [S].
        width: features a row.
    """
    features: Float32Array = np.memmap(scratch, dtype=np.float32, mode="r").reshape(-1, width)
    following = first.copy()
    for batch, targets in stream_all(dataset):
        order = np.argsort(batch.symbol, kind="stable")
        counts = np.bincount(batch.symbol, minlength=len(following))
        start = np.cumsum(counts) - counts
        rows = np.empty(len(batch), dtype=np.int64)
        rows[order] = (following - start)[batch.symbol[order]] + np.arange(len(batch))
        following += counts
        matrix = features[rows]
        if batch.features is not None:
            matrix = np.concatenate([batch.features, matrix], axis=1)
        columns = {name: getattr(batch, name) for name in EventBatch.__dataclass_fields__}
        yield EventBatch(**columns | {"features": matrix}), targets


def _card(dataset: Dataset, made: FeatureSet) -> Card:
    card = dataset.card
    names = (*dataset.features, *made.names)
    packed = card.features.packed if card.features else None
    features = Features(packed=packed, names=names) if packed else Features(columns=names)
    update = {"features": features, "columns": Columns(), "files": ("*.parquet",)}
    update |= {"depth_files": (), "sha256": {}, "footer_sha256": {}}
    return card.model_copy(update={"name": f"{card.name}-features", **update})


def _report(rows: int, made: FeatureSet, unknown: Int64Array) -> FeatureReport:
    counted = {n: k for n, k in zip(made.names, unknown.tolist(), strict=True) if k}
    return FeatureReport(rows, made.names, counted)
