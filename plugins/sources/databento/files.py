"""DBN files as arrays of records, a block at a time, by the vendor's decoder.

The vendor's transcoder unpacks blocks of any supported version to plain records of the newest one,
many millions a second; numpy views them with the layouts that the vendor's package states.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from backtest.errors import DataError
from backtest.plugins.sources.shared.inputs import input_files
from backtest.plugins.sources.shared.packed import Packed, unpacked

MARKET = ("mbo", "mbp-1", "mbp-10", "tbbo", "trades", "bbo-1s")
"""Schemas that become events."""

MBP_0, MBP_1, MBP_10, DEFINITION, MAPPING, BBO_1S, MBO = 0, 1, 10, 19, 22, 195, 160
"""Types of records (``rtype``)."""

RTYPES = {"mbo": MBO, "mbp-1": MBP_1, "mbp-10": MBP_10, "tbbo": MBP_1, "trades": MBP_0}
RTYPES |= {"bbo-1s": BBO_1S, "definition": DEFINITION}
"""Which type the records of a schema have."""

F_LAST, F_TOB, F_SNAPSHOT, F_MAYBE_BAD_BOOK = 128, 64, 32, 4
NO_DBN_PRICE = 2**63 - 1
NO_DBN_TIME = 2**64 - 1

_OTHER = {17: "bar", 18: "status", 20: "imbalance", 21: "error", 23: "system", 24: "statistics"}
_OTHER |= {32: "bar", 33: "bar", 34: "bar", 35: "bar", 36: "bar", MAPPING: "symbol mapping"}
_ABOUT = ("metadata.json", "condition.json", "manifest.json", "symbology.json", "symbology.csv")
"""Files that come with a download, all of which the DBN files say as well."""

_MAGIC = b"DBN"
_BLOCK_BYTES = 1 << 22
_MOST_RECORDS = 16_384


@dataclass(frozen=True)
class Records:
    """Consecutive records of one type.

    Attributes:
        rtype: their type.
        first: how many records of the file precede them.
        data: structured array [n] in the vendor's newest layout; ``action`` and ``side`` as uint8.
    """

    rtype: int
    first: int
    data: Any

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True)
class DbnFile:
    """A DBN file.

    Attributes:
        packed: its bytes.
        label: its path below the input.
        metadata: the vendor's ``Metadata``.
        schema: the schema's name; ``mixed`` for recordings of several.
    """

    packed: Packed
    label: str
    metadata: Any
    schema: str

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return self.packed.place

    def records(self) -> Iterator[Records]:
        """All records, in the order of the file.

        Raises:
            DataError: the file is damaged or truncated, or holds records of an unknown layout.
        """
        layouts = _layouts()
        first = 0
        for body in _bodies(self.packed):
            for rtype, found in _runs(body, self.place, first):
                data = found
                layout = layouts.get(rtype)
                if layout is not None:
                    extra = found.shape[1] - layout.itemsize
                    if extra not in (0, 8):  # 8: the time of sending, behind each record
                        raise DataError(
                            f"record {first} has {found.shape[1]} bytes, not {layout.itemsize}",
                            place=self.place,
                            remedy="Fetch the file again, or a newer databento-dbn.",
                        )
                    plain = np.ascontiguousarray(found[:, : layout.itemsize])
                    data = plain.reshape(-1).view(layout)
                yield Records(rtype, first, data)
                first += len(found)


def vendor() -> ModuleType:
    """The package ``databento_dbn``.

    Raises:
        DataError: it is not installed.
    """
    try:
        import databento_dbn
    except ImportError:
        raise DataError(
            "DBN files are decoded by the package databento-dbn, which is not installed",
            remedy="`pip install 'ticktoll[databento]'` installs it.",
        ) from None
    return databento_dbn


def dbn_files(input: Path, ignore: Sequence[str]) -> tuple[list[DbnFile], Counter[str]]:
    """The files of an input, and how many are left out, by reason.

    Raises:
        DataError: no files, or one that is not DBN.
    """
    vendor()
    suffixes = (".dbn", ".dbn.zst", ".zip")
    found = input_files(input, (*suffixes, *_ABOUT), ignore, noun=".dbn or .dbn.zst files")
    ignored = Counter(found.ignored)
    files = []
    for path in found.paths:
        if path != input and path.name.lower().endswith(_ABOUT):
            ignored["file about the download"] += 1
            continue
        label = path.name if path == input else path.relative_to(input).as_posix()
        for packed in unpacked(path, suffixes[:2], ignore, ignored):
            name = label if packed.member is None else f"{label}/{packed.member}"
            metadata = _metadata(packed)
            schema = "mixed" if metadata.schema is None else str(metadata.schema)
            files.append(DbnFile(packed, name, metadata, schema))
    return files, ignored


def other_record(rtype: int) -> str:
    """What records that become no events are counted as."""
    return f"{_OTHER.get(rtype, f'type {rtype}')} record"


def _layouts() -> dict[int, np.dtype[Any]]:
    """The layout of records by type."""
    v = vendor()
    kinds = {MBO: v.MBOMsg, MBP_0: v.TradeMsg, MBP_1: v.MBP1Msg, MBP_10: v.MBP10Msg}
    kinds |= {BBO_1S: v.BBOMsg, DEFINITION: v.InstrumentDefMsg, MAPPING: v.SymbolMappingMsg}
    return {
        rtype: np.dtype([(n, "u1" if n in ("action", "side") else t) for n, t in kind._dtypes])
        for rtype, kind in kinds.items()
    }


def _runs(body: bytes, place: str, first: int) -> Iterator[tuple[int, Any]]:
    """Runs of records of one type and length, uint8 [n, length]."""
    at, most = 0, _MOST_RECORDS
    while at < len(body):
        length, rtype = body[at] * 4, body[at + 1]
        if length < 16 or at + length > len(body):
            raise DataError(f"a record after record {first} is not whole", place=place)
        count = min((len(body) - at) // length, most)
        cells = np.frombuffer(body, np.uint8, count * length, at).reshape(count, length)
        other = (cells[:, 0] != body[at]) | (cells[:, 1] != rtype)
        if other.any():
            count = int(np.argmax(other))
        yield rtype, cells[:count]
        # Where types alternate, looking far ahead for the end of a run would be in vain.
        most = min(max(2 * count, 16), _MOST_RECORDS)
        at += count * length


def _bodies(packed: Packed) -> Iterator[bytes]:
    """Whole records of the newest version, without the metadata."""
    v = vendor()
    out = io.BytesIO()
    header = True
    with _decoding(packed.place):
        transcoder = v.Transcoder(out, v.Encoding.DBN, v.Compression.NONE)
    for block in packed.blocks(_BLOCK_BYTES):
        with _decoding(packed.place):
            transcoder.write(block)
            transcoder.flush()
        if header:
            if out.tell() < 8 or out.tell() < _header_bytes(out.getvalue()):
                continue
            body, header = out.getvalue()[_header_bytes(out.getvalue()) :], False
        else:
            body = out.getvalue()
        out.seek(0)
        out.truncate()
        if body:
            yield body
    if header or len(transcoder.buffer()):
        raise _damaged(packed.place, "it ends within a record")


def _header_bytes(data: bytes) -> int:
    return 8 + int.from_bytes(data[4:8], "little")


def _metadata(packed: Packed) -> Any:
    data = b""
    for block in packed.blocks(1 << 16):
        data += block
        if data[:3] != _MAGIC:
            break
        if len(data) >= 8 and len(data) >= _header_bytes(data):
            with _decoding(packed.place):
                return vendor().Metadata.decode(data[: _header_bytes(data)])
    problem = "the file is empty" if not data else "the file is not DBN"
    if data[:3] == _MAGIC:
        raise _damaged(packed.place, "it ends within the metadata")
    raise DataError(
        problem,
        place=packed.place,
        remedy="DBN files begin with their metadata; CSV of the vendor is read by the source csv.",
    )


@contextmanager
def _decoding(place: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise _damaged(place, f"{error!s:.200}") from None
    except BaseException as error:
        # A panic of the vendor's compiled code is no ``Exception``.
        if type(error).__name__ != "PanicException":
            raise
        raise _damaged(place, f"{error!s:.200}") from None


def _damaged(place: str, problem: str) -> DataError:
    return DataError(
        f"the file cannot be decoded, as it is truncated or damaged: {problem}",
        place=place,
        remedy="Fetch the file again.",
    )
