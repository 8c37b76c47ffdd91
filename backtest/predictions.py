"""Pass 2: events through a strategy, and the store from which its answers are used again.

A prediction depends on the answered events of its symbol, the strategy and its weights; not on how
events were batched. So events run in large chunks, whatever the simulated batches were, and what
was predicted once is kept under a key of all that determines it.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.atomic import new_file
from backtest.bus import EventBus, read_events
from backtest.columnar import Column, Frame
from backtest.columnar_file import ColumnarFile
from backtest.data.decode import Nonfinite
from backtest.errors import DataError, RunError
from backtest.events import BoolArray, EventBatch, Float32Array, Int64Array
from backtest.hashing import package_sha256, sha256_of
from backtest.room import Room
from backtest.strategies.base import Session, Strategy

if TYPE_CHECKING:
    from backtest.data.dataset import Dataset

CHUNK = 8192
"""Events handed to a strategy at once, at most."""

WITHOUT_FEATURES = 1 << 16
"""The same for strategies that read no features."""

RELEASE = 1 << 18
"""Answers after which written pages are let go of."""

Progress = Callable[[int, int], None]
"""Told after each chunk how many events of how many are answered."""

_VERSIONED = ("numpy", "torch", "triton")


@dataclass(frozen=True, slots=True)
class Stream:
    """The events of one window, to be read again and again.

    Attributes:
        dataset: where they come from.
        start, end: the window, ns; ``None`` for the dataset's own.
        symbols: those wanted; ``None`` for all.
        count: events taken from its beginning.
        nonfinite: NaN and infinity among features are refused, or set to 0.
        events: the same events without features, where they have been read.
    """

    dataset: Dataset
    start: int | None
    end: int | None
    symbols: tuple[str, ...] | None
    count: int
    nonfinite: Nonfinite = "refuse"
    events: EventBatch | None = None

    def batches(self, features: bool) -> Iterator[tuple[int, EventBatch]]:
        """Batches of at most ``CHUNK`` events, each with the number of its first event."""
        first = 0
        if not features and self.events is not None:
            for first in range(0, self.count, WITHOUT_FEATURES):
                yield first, self.events.select(slice(first, first + WITHOUT_FEATURES))
            return
        bus = EventBus(
            self.dataset,
            start=self.start,
            end=self.end,
            symbols=self.symbols,
            features=features,
            batch_rows=CHUNK,
            nonfinite=self.nonfinite,
        )
        for batch in bus:
            if first >= self.count:
                return
            yield first, batch.select(slice(0, self.count - first))
            first += len(batch)

    def whole(self, features: bool) -> EventBatch:
        """All of them at once."""
        if not features and self.events is not None:
            return self.events
        events = read_events(
            self.dataset,
            start=self.start,
            end=self.end,
            symbols=self.symbols,
            features=features,
            nonfinite=self.nonfinite,
        )
        return events.select(slice(0, self.count))


@dataclass(frozen=True, slots=True)
class Inference:
    """A bound strategy with the name, parameters and origin that identify its answers."""

    strategy: Strategy
    table: dict[str, Any]
    origin: dict[str, Any]
    session: Session

    def key(self, stream: Stream, answered: BoolArray, batches: list[Int64Array] | None) -> str:
        """The content key of its answers to some events of a stream."""
        return sha256_of(
            {
                "data": stream.dataset.data_hash(),
                "window": [stream.start, stream.end, stream.count],
                "symbols": stream.symbols,
                "nonfinite": stream.nonfinite,
                "strategy": self.table,
                "fingerprint": self.strategy.fingerprint(),
                "origin": self.origin,
                "seed": self.session.seed,
                "device": device_model(self.session.device),
                "versions": versions(),
                "answered": _bits_sha256(answered),
                "batches": batches and [hashlib.sha256(b.tobytes()).hexdigest() for b in batches],
            }
        )


def predict(
    inference: Inference,
    stream: Stream,
    answered: BoolArray,
    batches: list[Int64Array] | None,
    progress: Progress,
    room: Room | None = None,
) -> Float32Array:
    """Answers of a freshly reset strategy.

    Args:
        inference: the strategy, bound.
        stream: ``n`` events.
        answered: which of them reach the strategy, bool [n].
        batches: event numbers of each call, for a strategy whose answers depend on them;
            otherwise ``None``, and calls are as large as they can be.
        progress: told after each call.
        room: where the answers lie; by default in memory.

    Returns:
        float32 [n, outputs], zero where not answered.

    Raises:
        RunError: an answer of the wrong shape, or not finite.
    """
    strategy = inference.strategy
    everyone = range(len(inference.session.symbols))
    strategy.reset(everyone)
    room = room or Room(len(answered))
    out: Float32Array = room.column(np.float32, strategy.outputs)
    total, done, session = int(np.count_nonzero(answered)), 0, None
    for numbers, batch in _calls(stream, strategy.needs_features, answered, batches):
        for now, rows in _by_session(stream.dataset, batch.ts_event):
            if session not in (None, now):
                strategy.reset(everyone)
            session = now
            places: Any = numbers[rows]
            if batches is None and places[-1] - places[0] + 1 == len(places):
                places = slice(int(places[0]), int(places[-1]) + 1)
            out[places] = _answer(inference, batch.select(rows))
        if (done + len(numbers)) // RELEASE > done // RELEASE:
            room.release()
        done += len(numbers)
        progress(done, total)
    return out


def _calls(
    stream: Stream, features: bool, answered: BoolArray, batches: list[Int64Array] | None
) -> Iterator[tuple[Int64Array, EventBatch]]:
    if batches is not None:
        events = stream.whole(features)
        for numbers in batches:
            yield numbers, events.select(numbers)
        return
    for first, batch in stream.batches(features):
        rows = np.flatnonzero(answered[first : first + len(batch)])
        if len(rows):
            yield first + rows, batch if len(rows) == len(batch) else batch.select(rows)


def _by_session(dataset: Dataset, ts_event: Int64Array) -> Iterator[tuple[int, slice]]:
    """Slices of a batch that lie in one session each; one slice where state carries over breaks."""
    if dataset.sessions is None or dataset.session_breaks == "carry":
        yield 0, slice(0, len(ts_event))
        return
    session = session_numbers(dataset, ts_event)
    cuts = [0, *(np.flatnonzero(np.diff(session)) + 1).tolist(), len(session)]
    for first, last in itertools.pairwise(cuts):
        yield int(session[first]), slice(first, last)


def session_numbers(dataset: Dataset, ts_event: Int64Array) -> Int64Array:
    """The session that each instant lies in or follows, int64 [n]."""
    assert dataset.sessions is not None
    return np.searchsorted(dataset.sessions[:, 0], ts_event, side="right")


def _answer(inference: Inference, batch: EventBatch) -> Float32Array:
    """Checked predictions; a call that the device has no memory for is halved until it fits."""
    try:
        predictions = inference.strategy.predict(batch)
    except Exception as error:
        # torch's own error, by name: a strategy without torch must not import it for this.
        if type(error).__name__ != "OutOfMemoryError":
            raise
        if len(batch) == 1:
            raise RunError(
                f"out of memory on {inference.session.device} with a single event",
                place=f"strategy {inference.table['name']!r}",
                remedy="Lower the capacity, so that fewer symbols' state is kept there.",
            ) from None
        middle = len(batch) // 2
        halves = (batch.select(slice(0, middle)), batch.select(slice(middle, None)))
        return np.concatenate([_answer(inference, half) for half in halves])
    return checked(inference, batch, predictions)


def checked(inference: Inference, batch: EventBatch, predictions: Float32Array) -> Float32Array:
    """The predictions of a batch, float32 [n, outputs] and finite.

    Raises:
        RunError: they are not.
    """
    wanted = (len(batch), inference.strategy.outputs)
    name = inference.table["name"]
    if predictions.shape != wanted or predictions.dtype != np.float32:
        raise RunError(
            f"predict gave {predictions.dtype} {list(predictions.shape)}, not float32 "
            f"{list(wanted)}",
            place=f"strategy {name!r}",
        )
    if not np.isfinite(predictions).all():
        row = int(np.flatnonzero(~np.isfinite(predictions).all(axis=1))[0])
        symbol = inference.session.symbols[batch.symbol[row]]
        raise RunError(
            f"predict gave {predictions[row].tolist()} for symbol {symbol!r} at ts_event "
            f"{batch.ts_event[row]}",
            place=f"strategy {name!r}",
            remedy="A prediction that is not finite cannot be traded: check the model and its "
            "inputs from that event on.",
        )
    return predictions


class PredictionStore:
    """Predictions by content key, one Parquet file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where the predictions of a key lie, or would."""
        return self.folder / f"{key}.parquet"

    def get(self, key: str, room: Room | None = None) -> Float32Array | None:
        """Predictions float32 [n, outputs], or ``None`` where there are none.

        Args:
            key: a content key.
            room: where they are put; by default in memory.

        Raises:
            DataError: they are damaged, or not as many as there are events.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path(key)
        if not path.exists():
            return None
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                rows, outputs = file.metadata.num_rows, file.metadata.num_columns
                room = room or Room(rows)
                if rows != room.rows:
                    raise OSError(f"{rows} rows for {room.rows} events")
                found: Float32Array = room.column(np.float32, outputs)
                first = 0
                for batch in file.iter_batches(WITHOUT_FEATURES):
                    for k, column in enumerate(batch.columns):
                        found[first : first + len(batch), k] = column.to_numpy()
                    first += len(batch)
                    room.release()
            # Marks it as used, so that pruning takes what has long not been.
            os.utime(path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"stored predictions cannot be read: {error}",
                place=str(path),
                remedy="Remove the file; the next run predicts again.",
            ) from None
        return found

    def put(self, key: str, predictions: Float32Array, room: Room | None = None) -> None:
        """Keep predictions float32 [n, outputs], which lie in ``room``."""

        def frame(rows: slice) -> Frame:
            outputs = enumerate(predictions[rows].T)
            return {f"output_{k}": Column("float32", column) for k, column in outputs}

        with (
            new_file(self.path(key)) as path,
            closing(ColumnarFile(path, frame(slice(0)), hashed=False)) as file,
        ):
            for first in range(0, len(predictions), RELEASE):
                file.write(frame(slice(first, first + RELEASE)))
                if room is not None:
                    room.release()

    def stored(self) -> list[Stored]:
        """What is kept, least recently used first."""
        found = []
        for path in self.folder.glob("*.parquet"):
            info = path.stat()
            found.append(Stored(path.stem, info.st_size, info.st_mtime))
        return sorted(found, key=lambda stored: stored.used)

    def prune(self, *, used_before: float | None = None, most: int | None = None) -> list[Stored]:
        """Remove predictions; runs that used them stay whole, and predict again when run anew.

        Args:
            used_before: only those last used before this time, in seconds since 1970.
            most: only as many, least recently used first, as leave at most so many bytes.

        Returns:
            What was removed.
        """
        kept = self.stored()
        left = sum(stored.bytes for stored in kept)
        removed = []
        for stored in kept:
            if used_before is not None and stored.used >= used_before:
                break
            if most is not None and left <= most:
                break
            self.path(stored.key).unlink(missing_ok=True)
            left -= stored.bytes
            removed.append(stored)
        return removed


@dataclass(frozen=True, slots=True)
class Stored:
    """One entry of the store: its key, its size in bytes, and when it was last used (Unix time)."""

    key: str
    bytes: int
    used: float


def _bits_sha256(answered: BoolArray) -> str:
    digest = hashlib.sha256()
    for first in range(0, len(answered), RELEASE):  # a multiple of 8: no byte is padded within
        some = answered[first : first + RELEASE]
        full = not len(some) % 8 and some.all()
        digest.update(b"\xff" * (len(some) // 8) if full else np.packbits(some).data)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """What answers can depend on: versions of distributions, and the digest of this package."""
    found = {name: version for name in _VERSIONED if (version := _version(name)) is not None}
    return {"backtest": package_sha256(), **found}


@cache
def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def device_model(device: str) -> str:
    """What a torch device name stands for, such as ``NVIDIA H200``."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return device
