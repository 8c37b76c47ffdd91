"""Reading tensors from ``.safetensors`` and ``.pt`` files, and writing ``.safetensors``.

The safetensors format: eight bytes that give the header's length (little endian), a JSON header
``{name: {"dtype", "shape", "data_offsets": [begin, end]}}``, then the bytes of all tensors.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backtest.core.json_text import loads
from backtest.core.text import suggested_path
from backtest.errors import DataError
from backtest.strategies.weight_files import HEADER_LIMIT

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_LENGTH_BYTES = 8
_MOST_NUMBERS = 2**48
_REMEDY = "Give a .safetensors or .pt file that holds a flat state dict."


def read_tensors(path: Path, *, device: str = "cpu") -> dict[str, Tensor]:
    """Every tensor of a ``.safetensors`` or ``.pt`` file by name, copied to ``device``.

    A ``.pt`` file is read with ``weights_only=True``, never otherwise, and must hold a flat state
    dict: a wrapper such as ``{"state_dict": ...}`` is refused, because what else it carries would
    be dropped in silence.

    Raises:
        DataError: no such file, another suffix, a malformed file, or not a flat state dict.
    """
    readers = {".safetensors": _read_safetensors, ".pt": _read_pt}
    if path.suffix not in readers:
        raise DataError(
            f"unknown kind of weight file {path.suffix!r}", place=str(path), remedy=_REMEDY
        )
    try:
        return readers[path.suffix](path, device)
    except OSError as error:
        raise DataError(
            f"the weights cannot be read: {error.strerror or error}",
            place=str(path),
            remedy=(None if path.exists() else suggested_path(path)) or _REMEDY,
        ) from None


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors by name, and texts by name as the file's metadata.

    The same tensors and texts in the same order give the same bytes.
    """
    names = {dtype: name for name, dtype in _DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(_LENGTH_BYTES, "little"))
        file.write(text)
        for tensor in tensors.values():
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)


def _read_safetensors(path: Path, device: str) -> dict[str, Tensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if not 0 < length <= min(size - _LENGTH_BYTES, HEADER_LIMIT):
            raise _malformed(path, "its header is cut off")
        text = file.read(length)
    try:
        header = loads(text)
        header.pop("__metadata__", None)
        entries = {name: _entry(value) for name, value in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _malformed(path, "its header is not a safetensors header") from None
    start = _LENGTH_BYTES + length
    if max((end for *_, end in entries.values()), default=0) != size - start:
        raise _malformed(path, "its length is not what its header says")
    # Copy-on-write, so that the pages are writable as torch wants and the file stays as it is.
    data = np.memmap(path, dtype=np.uint8, mode="c", offset=start) if size > start else None
    found = {}
    for name, (dtype, shape, begin, end) in entries.items():
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise _malformed(path, f"tensor {name!r} has not the bytes of its shape")
        if data is None or begin == end:
            found[name] = torch.empty(shape, dtype=dtype, device=device)
            continue
        raw = torch.from_numpy(np.array(data[begin:end]))  # aligned, whatever the offset
        found[name] = raw.view(dtype).view(shape).to(device)
    return found


def _entry(value: Mapping[str, Any]) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    shape = tuple(int(n) for n in value["shape"])
    begin, end = (int(n) for n in value["data_offsets"])
    if (
        min(shape, default=0) < 0
        or not 0 <= begin <= end
        or math.prod(filter(None, shape)) > _MOST_NUMBERS
    ):
        raise ValueError("impossible sizes")
    return _DTYPES[value["dtype"]], shape, begin, end


def _read_pt(path: Path, device: str) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError:
        raise DataError(
            "it holds more than plain tensors, so it is not loaded",
            place=str(path),
            remedy="Save a state dict alone: torch.save(model.state_dict(), path).",
        ) from None
    except OSError:
        raise
    except Exception as error:  # the unpickler runs a program, which may fail in any way
        problem = str(error).partition("\n")[0] or type(error).__name__
        raise _malformed(path, problem) from None
    if not isinstance(found, Mapping) or not found:
        raise _malformed(path, "it does not hold a state dict")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise DataError(
                f"entry {name!r} is not a tensor, so this is not a flat state dict",
                place=str(path),
                remedy="Save the state dict itself: torch.save(model.state_dict(), path).",
            )
        if not _is_plain(value):
            raise _malformed(path, f"tensor {name!r} has not the bytes of its shape")
    return dict(found)


def _is_plain(tensor: Tensor) -> bool:
    """Whether it is dense and has a number of its own for each place."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return False
    return tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()


def _malformed(path: Path, problem: str) -> DataError:
    return DataError(f"malformed weight file: {problem}", place=str(path), remedy=_REMEDY)
