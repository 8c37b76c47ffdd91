"""Bytes of plain and compressed files and of zip archives, with bounds on what they unpack to.

Everything is read by the caller's own thread, a block when it is asked for: a library that reads
ahead on a thread of its own would still call into Python when the interpreter shuts down.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from backtest.errors import DataError
from backtest.plugins.sources.shared.inputs import (
    HIDDEN,
    NAMED,
    has_suffix,
    is_named,
    refuse_unknown,
)

BLOCK_BYTES = 1 << 23
MOST_LINE_BYTES = 1 << 24
MOST_RATIO = 400
"""How many times larger than its file may what is in it be; text reaches 50 or so."""

_ALWAYS = 1 << 26
"""Bytes that any file may unpack to."""

_MOST_MEMBERS = 100_000
_ENCRYPTED = 1
_FAULTS = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    OverflowError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    pa.ArrowException,
)
"""What the libraries raise for files that are damaged, or packed in a way that they do not know."""


@dataclass(frozen=True)
class Packed:
    """A file, or one of the files in a zip archive.

    Attributes:
        path: the file.
        member: its name in the archive; ``None`` for a file that is no archive.
    """

    path: Path
    member: str | None = None

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    def blocks(self, size: int = BLOCK_BYTES) -> Iterator[bytes]:
        """Its bytes unpacked, in blocks of up to ``size``.

        Raises:
            DataError: it cannot be read, is damaged or encrypted, or unpacks to more than
                ``MOST_RATIO`` times its size.
        """
        total = 0
        with ExitStack() as stack:
            with _reading(self.place):
                stream, packed_bytes = self._opened(stack)
            while True:
                with _reading(self.place):
                    block: bytes = stream.read(size)
                if not block:
                    return
                total += len(block)
                if total > max(_ALWAYS, MOST_RATIO * packed_bytes):
                    raise DataError(
                        f"{packed_bytes} bytes unpack to more than {MOST_RATIO} times as many",
                        place=self.place,
                        remedy="Unpack it yourself if it is to be trusted.",
                    )
                yield block

    def lines(self, size: int = BLOCK_BYTES) -> Iterator[bytes]:
        """Its bytes in pieces that end where a line does; only the last one may not.

        Raises:
            DataError: as ``blocks``, or a line of more than ``MOST_LINE_BYTES``.
        """
        rest = b""
        for block in self.blocks(size):
            held = rest + block
            end = _end_of_lines(held)
            piece, rest = held[:end], held[end:]
            if len(rest) > MOST_LINE_BYTES:
                raise DataError(f"a line has more than {MOST_LINE_BYTES} bytes", place=self.place)
            if piece:
                yield piece
        if rest:
            yield rest

    def _opened(self, stack: ExitStack) -> tuple[IO[bytes], int]:
        """A stream of its bytes, and how many they are packed."""
        packed_bytes = self.path.stat().st_size
        if self.member is not None:
            archive = stack.enter_context(zipfile.ZipFile(self.path))
            about = archive.getinfo(self.member)
            return stack.enter_context(archive.open(about)), about.compress_size
        with self.path.open("rb") as raw:
            magic = raw.read(6)
        opener: Callable[[], Any]
        if magic[:2] == b"\x1f\x8b":
            opener = partial(gzip.open, self.path)
        elif magic[:4] == b"\x28\xb5\x2f\xfd":
            file = stack.enter_context(pa.OSFile(str(self.path)))
            opener = partial(pa.CompressedInputStream, file, "zstd")
        elif magic[:3] == b"BZh":
            opener = partial(bz2.open, self.path)
        elif magic == b"\xfd7zXZ\0":
            opener = partial(lzma.open, self.path)
        else:
            opener = partial(self.path.open, "rb")
        return stack.enter_context(opener()), packed_bytes


def is_archive(path: Path) -> bool:
    """The file is a zip archive, by its first bytes."""
    with _reading(str(path)), path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def unpacked(
    path: Path, suffixes: tuple[str, ...] | None, ignore: Sequence[str], ignored: Counter[str]
) -> list[Packed]:
    """The file; of a zip archive, every file in it that is to be read.

    Args:
        suffixes: how names in an archive end that can be read, in either case; ``None``: any.
        ignore: patterns of names to leave out.
        ignored: takes how many are left out, by reason.

    Raises:
        DataError: an archive that is damaged or encrypted, or holds other files, or none.
    """
    if not is_archive(path):
        return [Packed(path)]
    found: list[Packed] = []
    unknown: list[str] = []
    for name in member_names(path):
        if any(part.startswith((".", "__MACOSX")) for part in name.split("/")):
            ignored[HIDDEN] += 1
        elif is_named(name, ignore):
            ignored[NAMED] += 1
        elif has_suffix(name, suffixes):
            found.append(Packed(path, name))
        else:
            unknown.append(name)
    refuse_unknown(unknown, suffixes, place=str(path))
    if not found:
        raise DataError("the archive holds no file to read", place=str(path))
    return found


def member_names(path: Path) -> list[str]:
    """Names of the files in a zip archive, sorted.

    Raises:
        DataError: it is damaged or encrypted, or holds a name twice or too many files.
    """
    with _reading(str(path)), zipfile.ZipFile(path) as archive:
        about = [info for info in archive.infolist() if not info.is_dir()]
    if len(about) > _MOST_MEMBERS:
        raise DataError(
            f"the archive holds {len(about):,} files, more than {_MOST_MEMBERS:,}", place=str(path)
        )
    names = sorted(info.filename for info in about)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"the archive holds {repeated[0]!r} twice", place=str(path))
    if any(info.flag_bits & _ENCRYPTED for info in about):
        raise DataError(
            "the archive is encrypted", place=str(path), remedy="Unpack it with its password first."
        )
    return names


@contextmanager
def _reading(place: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except _FAULTS as error:
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"the file cannot be read, as it is truncated or damaged: {text[0]:.200}",
            place=place,
            remedy="Fetch the file again.",
        ) from None


def _end_of_lines(held: bytes) -> int:
    """Where the last whole line ends, 0 if none does: a newline within quotes ends none."""
    end = held.rfind(b"\n") + 1 or held.rfind(b"\r", 0, -1) + 1
    last, odd = end, held.count(b'"', 0, end) % 2
    while end and odd:
        before = held.rfind(b"\n", 0, end - 1) + 1
        odd ^= held.count(b'"', before, end) % 2
        end = before
    # A quotation without an end is none: a cell holds a single quotation mark.
    return end if end or len(held) <= MOST_LINE_BYTES else last
