"""The store of predictions: one file a content key, used again by every run that needs it."""

from __future__ import annotations

import contextlib
import os
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backtest.core.arrays import Float32Array
from backtest.core.atomic import new_file, sweep_all
from backtest.core.columnar import Column, Frame
from backtest.core.columnar_file import ColumnarFile
from backtest.core.room import RELEASE, Room
from backtest.errors import DataError
from backtest.inference.checkpoints import Checkpoint

_ROWS = 1 << 16
"""Rows read at once."""

_CHECKPOINT = ".checkpoint"
_KEPT = 30 * 86_400
"""Seconds after which a checkpoint that nobody has gone on from is removed."""


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
                for batch in file.iter_batches(_ROWS):
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

    def checkpoint(self, key: str) -> Checkpoint:
        """The checkpoint of the pass that computes the predictions of a key."""
        return Checkpoint(self.folder / f"{key}{_CHECKPOINT}", key)

    def stored(self) -> list[Stored]:
        """What is kept, least recently used first."""
        found = []
        for path in self.folder.glob("*.parquet"):
            info = path.stat()
            found.append(Stored(path.stem, info.st_size, info.st_mtime))
        return sorted(found, key=lambda stored: stored.used)

    def checkpoints(self) -> list[Stored]:
        """Checkpoints of passes that run or were stopped, the one written longest ago first."""
        found = []
        for folder in self.folder.glob(f"*{_CHECKPOINT}"):
            size, used = _size_and_age(folder)
            found.append(Stored(folder.stem, size, used, checkpoint=True))
        return sorted(found, key=lambda stored: stored.used)

    def sweep(self) -> list[Stored]:
        """Remove remains of killed writers, and checkpoints that nobody will go on from: those
        whose predictions are stored, and old ones. What a running process holds stays.

        Returns:
            The checkpoints that were removed.
        """
        sweep_all(self.folder)
        long_ago = time.time() - _KEPT
        return [
            stored
            for stored in self.checkpoints()
            if (stored.used < long_ago or self.path(stored.key).exists()) and self._removed(stored)
        ]

    def prune(self, *, used_before: float | None = None, most: int | None = None) -> list[Stored]:
        """Remove predictions and checkpoints; runs that used them stay whole, and predict again
        when run anew. What a running process holds stays.

        Args:
            used_before: only those last used before this time, in seconds since 1970.
            most: only as many, least recently used first, as leave at most so many bytes.

        Returns:
            What was removed.
        """
        removed = self.sweep()
        kept = sorted([*self.stored(), *self.checkpoints()], key=lambda stored: stored.used)
        left = sum(stored.bytes for stored in kept)
        for stored in kept:
            if used_before is not None and stored.used >= used_before:
                break
            if most is not None and left <= most:
                break
            if self._removed(stored):
                left -= stored.bytes
                removed.append(stored)
        return removed

    def _removed(self, stored: Stored) -> bool:
        if stored.checkpoint:
            return self.checkpoint(stored.key).discard()
        self.path(stored.key).unlink(missing_ok=True)
        return True


@dataclass(frozen=True, slots=True)
class Stored:
    """Predictions, or a checkpoint of them: key, size in bytes, when last used (Unix time)."""

    key: str
    bytes: int
    used: float
    checkpoint: bool = False


def _size_and_age(folder: Path) -> tuple[int, float]:
    """Bytes of a folder's files, and when the newest was written; one may vanish meanwhile."""
    size, newest = 0, 0.0
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):
            info = path.stat()
            size += info.st_size
            newest = max(newest, info.st_mtime)
    return size, newest
