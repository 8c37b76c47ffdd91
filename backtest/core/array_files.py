"""Arrays one after another in a file, as laid out in memory, with a SHA-256 over several."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


class Unusable(Exception):
    """Arrays that are not those that were written, or that no file keeps."""


class ArrayWriter:
    """Appends arrays to a file.

    Attributes:
        bytes: of the arrays so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.bytes = 0
        self._file = file
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of the arrays so far."""
        return self._digest.hexdigest()

    def put(self, array: NDArray[Any]) -> None:
        """Append an array, row-major."""
        raw = np.asarray(array, order="C").reshape(-1).view(np.uint8)
        self.bytes += len(raw)
        self._digest.update(raw.data)
        self._file.write(raw.data)


class ArrayReader:
    """Reads what an ``ArrayWriter`` wrote, in the same order."""

    def __init__(self, file: BinaryIO) -> None:
        self._file: Any = file
        self._digest = hashlib.sha256()

    def get(self, shape: int | tuple[int, ...] | list[int], dtype: Any) -> NDArray[Any]:
        """The next array; to be believed once ``check`` has passed.

        Raises:
            Unusable: the file ends before it does.
        """
        array = np.empty(shape, dtype=dtype)
        raw = array.reshape(-1).view(np.uint8)
        # Memory left unwritten may hold the same values from before, which the digest would accept.
        if self._file.readinto(raw.data) < len(raw):
            raise Unusable(f"{Path(self._file.name).name} ends too early")
        self._digest.update(raw.data)
        return array

    def check(self, sha256: str) -> None:
        """Compare the digest of the arrays so far.

        Raises:
            Unusable: they are not what was written.
        """
        if self._digest.hexdigest() != sha256:
            raise Unusable(f"{Path(self._file.name).name} is damaged")


def write_named(file: BinaryIO, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Append arrays, and return what ``read_named`` needs to read them back: plain JSON.

    Raises:
        Unusable: an array whose dtype is not determined by its name.
    """
    writer = ArrayWriter(file)
    kept = []
    for name, array in arrays.items():
        kind = array.dtype.str
        # Objects would need pickle, and records have no name from which to make them again.
        if array.dtype.hasobject or np.dtype(kind) != array.dtype:
            raise Unusable(f"{name!r} is {array.dtype}, which cannot be stored")
        writer.put(array)
        kept.append([name, kind, list(array.shape)])
    return {"arrays": kept, "sha256": writer.sha256, "bytes": writer.bytes}


def read_named(file: BinaryIO, entry: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The next arrays of the file by name.

    Args:
        entry: what ``write_named`` returned.

    Raises:
        Unusable: they are not what was written.
    """
    reader = ArrayReader(file)
    arrays = {name: reader.get(shape, kind) for name, kind, shape in entry["arrays"]}
    reader.check(entry["sha256"])
    return arrays


@contextlib.contextmanager
def read_to_the_end(path: Path) -> Iterator[BinaryIO]:
    """A file that the block is to read from one end to the other.

    Raises:
        Unusable: something is left.
    """
    with path.open("rb") as file:
        yield file
        if file.read(1):
            raise Unusable(f"{path.name} has extra data at its end")
