"""The store of predictions: one file a content key, used again by every run that needs it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.core.arrays import Float32Array
from backtest.core.atomic import new_file, sweep_all
from backtest.core.spool import Spool
from backtest.errors import DataError
from backtest.inference.checkpoints import Checkpoint

if TYPE_CHECKING:
    import pyarrow as pa

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

    def has(self, key: str) -> bool:
        """Whether there are predictions of a key."""
        return self.path(key).exists()

    def get(self, key: str, rows: int) -> Iterator[Float32Array] | None:
        """Predictions, float32 [n, outputs] piece by piece; ``None`` where there are none.

        Args:
            key: a content key.
            rows: how many there have to be.

        Raises:
            DataError: there are others than so many; while iterating: they are damaged.
        """
        import pyarrow.parquet as pq

        path = self.path(key)
        with _readable(path):
            try:
                file = pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)
            except FileNotFoundError:
                return None
            if file.metadata.num_rows != rows:
                file.close()
                raise OSError(f"{file.metadata.num_rows} rows for {rows} events")
            # Marks it as used, so that pruning takes what has long not been. What was opened can
            # be read even if it is pruned now.
            with suppress(FileNotFoundError):
                os.utime(path)
        return _pieces(path, file)

    def put(self, key: str, predictions: Spool) -> None:
        """Keep predictions."""
        writer = self.writer(key, predictions.width)
        for first in range(0, len(predictions), _ROWS):
            writer.write(predictions.read(first, min(first + _ROWS, len(predictions))))
        writer.finish()

    def writer(self, key: str, outputs: int) -> PredictionWriter:
        """Keeps predictions as they are made."""
        return PredictionWriter(self.path(key), outputs)

    def checkpoint(self, key: str) -> Checkpoint:
        """The checkpoint of the pass that computes the predictions of a key."""
        return Checkpoint(self.folder / f"{key}{_CHECKPOINT}", key)

    def stored(self) -> list[Stored]:
        """What is kept, least recently used first."""
        found = []
        for path in self.folder.glob("[!.]*.parquet"):
            with suppress(FileNotFoundError):  # removed meanwhile
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


class PredictionWriter:
    """Writes predictions aside; they are kept once ``finish`` is called.

    Args:
        path: where they will lie.
        outputs: predictions an event.
    """

    def __init__(self, path: Path, outputs: int) -> None:
        from backtest.core.table_files import TableFile

        self._stack = ExitStack()
        with ExitStack() as stack:
            aside = stack.enter_context(new_file(path))
            nothing = _batch(np.empty((0, outputs), dtype=np.float32))
            self._file = stack.enter_context(
                closing(TableFile(aside, nothing.schema, hashed=False))
            )
            self._stack = stack.pop_all()

    def write(self, predictions: Float32Array) -> None:
        """Add rows, float32 [n, outputs]."""
        self._file.append(_batch(predictions))

    def finish(self) -> None:
        """No more will come: from now on they are in the store."""
        self._stack.close()

    def abandon(self) -> None:
        """Keep nothing, because not all were made."""
        with suppress(_Abandoned), self._stack:
            raise _Abandoned


class _Abandoned(Exception):
    """What was begun is not finished."""


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Tell what goes wrong in reading a file of predictions."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"stored predictions cannot be read: {error}",
            place=str(path),
            remedy="Remove the file; the next run predicts again.",
        ) from None


def _pieces(path: Path, file: Any) -> Iterator[Float32Array]:
    with _readable(path), file:
        for batch in file.iter_batches(_ROWS):
            found = np.empty((len(batch), batch.num_columns), dtype=np.float32)
            for k, column in enumerate(batch.columns):
                found[:, k] = column.to_numpy()
            yield found


def _batch(predictions: Float32Array) -> pa.RecordBatch:
    from backtest.core.arrow import batch_of

    return batch_of({f"output_{k}": column for k, column in enumerate(predictions.T)})


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
        with suppress(OSError):
            info = path.stat()
            size += info.st_size
            newest = max(newest, info.st_mtime)
    return size, newest
