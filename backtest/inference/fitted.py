"""Training within a run: what a strategy is fitted to, and the store of what it learnt."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.core.atomic import new_file, sweep_all, writing
from backtest.core.callbacks import ProgressCallback
from backtest.core.environment import device_model, versions
from backtest.core.hashing import sha256_of
from backtest.core.parameters import file_digests
from backtest.core.tracebacks import describe
from backtest.data.reading.stream import Stream
from backtest.data.training_data import training_data
from backtest.errors import BacktestError, RunError, UsageError
from backtest.inference.bound_strategy import BoundStrategy, Fit
from backtest.strategies.base import Strategy, can_fit
from backtest.strategies.weight_files import TRAINED_FROM, TRAINED_TO

WEIGHTS = "weights"
"""The folder of fitted weights within the folder of runs."""

_SHA256 = "sha256"


def planned_fit(bound: BoundStrategy, stretch: Stream, end: int, purge: int) -> Fit:
    """What a strategy is to be fitted to, and the content key of the weights.

    Args:
        bound: the strategy without that.
        stretch: what it is to learn from.
        end: when that ends, ns.
        purge: see ``TrainingData``.

    Raises:
        UsageError: the strategy cannot be trained, or the dataset has nothing to learn from.
    """
    dataset, place = stretch.dataset, f"strategy {bound.name!r}"
    if not can_fit(bound.strategy):
        raise UsageError(
            "it cannot be trained: it has no method fit",
            place=place,
            remedy="Leave [training] out, or implement fit and load_weights.",
        )
    if type(bound.strategy).load_weights is Strategy.load_weights:
        raise UsageError(
            "it has a method fit, but none to take the weights",
            place=place,
            remedy="Implement load_weights along with fit.",
        )
    if not dataset.has_targets:
        raise UsageError(
            f"the dataset {dataset.name!r} has no targets to learn",
            place=place,
            remedy="Name their columns under [targets] in its card.",
        )
    start = stretch.extent.first if stretch.start is None else stretch.start
    shared = bound.strategy.shared_fit()
    key = sha256_of(
        {
            "data": dataset.data_hash(),
            "features": dataset.features,
            "targets": dataset.targets,
            "stretch": [start, end, purge],
            "symbols": stretch.symbols,
            "nonfinite": stretch.nonfinite,
            "strategy": bound.table if shared is None else shared,
            "fingerprint": bound.strategy.fingerprint(),
            "files": file_digests(bound.strategy) if shared is None else None,
            "origin": bound.origin if shared is None else None,
            "seed": bound.session.seed,
            "device": device_model(bound.session.device),
            "versions": versions(),
        }
    )
    return Fit(key, start, end, purge)


def fitted(
    bound: BoundStrategy,
    stretch: Stream,
    folder: Path,
    *,
    reuse: bool,
    progress: ProgressCallback,
) -> BoundStrategy:
    """The strategy with the weights of its fit: stored ones, or else trained now and stored.

    Of several processes that want the same weights, one trains and the others wait for it.

    Args:
        bound: has a ``fit``.
        stretch: what it is to learn from.
        folder: of the store.
        reuse: take stored weights.
        progress: called with (done, total) by the training.

    Raises:
        BacktestError: it cannot be trained or bound, or the weights cannot be stored.
    """
    fit = bound.fit
    assert fit is not None
    path = folder / f"{fit.key}.safetensors"
    seconds = 0.0
    with _alone(path.with_suffix(".lock")):
        sweep_all(folder)
        found = _read(path) if reuse else None
        if found is None:
            began = perf_counter()
            with training_data(
                stretch,
                folder,
                end=fit.end,
                purge=fit.purge,
                seed=bound.session.seed,
                device=bound.session.device,
                progress=progress,
            ) as data:
                learnt = _fit(bound, data)
            window = {TRAINED_FROM: str(fit.start), TRAINED_TO: str(fit.end)}
            with new_file(path) as aside:
                _write(aside, learnt, window)
            found = _read(path)
            assert found is not None
            seconds = perf_counter() - began
    weights, digest = found
    return bound.with_fit(replace(fit, weights=weights, sha256=digest, seconds=seconds))


def _fit(bound: BoundStrategy, data: Any) -> dict[str, NDArray[Any]]:
    place = f"strategy {bound.name!r}"
    try:
        learnt = bound.anew().fit(data)
    except BacktestError:
        raise
    except Exception as error:
        raise RunError(f"fit raises {describe(error)}", place=place) from error
    if not isinstance(learnt, Mapping) or not learnt:
        raise RunError(f"fit gave {_form(learnt)}, not arrays by name", place=place)
    for name, array in learnt.items():
        if not isinstance(array, np.ndarray) or array.dtype.str[1:] not in _DTYPES:
            raise RunError(
                f"fit gave {_form(array)} for {name!r}, not an array of numbers",
                place=place,
                remedy="Other things can be stored as bytes: np.frombuffer(data, np.uint8).",
            )
    return {str(name): array for name, array in learnt.items()}


def _form(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return "an empty mapping" if value == {} else f"a {type(value).__name__}"


_DTYPES = {
    "f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8",
    "u1": "U8", "b1": "BOOL",
}  # fmt: skip
"""Names in ``.safetensors`` files of the kinds of numbers that weights may be."""


def _write(path: Path, arrays: Mapping[str, NDArray[Any]], texts: Mapping[str, str]) -> None:
    """A ``.safetensors`` file that also holds a digest of its arrays; no torch is needed."""
    header: dict[str, Any] = {}
    parts, offset = [], 0
    for name, array in arrays.items():
        dtype = array.dtype.str[1:]
        raw = np.ascontiguousarray(array.astype(f"<{dtype}", copy=False)).tobytes()
        end = offset + len(raw)
        header[name] = {
            "dtype": _DTYPES[dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        parts.append(raw)
        offset = end
    digest = _digest(header, parts)
    text = json.dumps({"__metadata__": {**texts, _SHA256: digest}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with writing(path):
        path.write_bytes(b"".join([struct.pack("<Q", len(text)), text, *parts]))


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], str] | None:
    """The arrays and their digest; ``None`` where there are none, or none that can be believed."""
    try:
        raw = path.read_bytes()
        length = struct.unpack("<Q", raw[:8])[0]
        header = json.loads(raw[8 : 8 + length])
        wanted = header.pop("__metadata__")[_SHA256]
        parts = {
            name: raw[8 + length + entry["data_offsets"][0] : 8 + length + entry["data_offsets"][1]]
            for name, entry in header.items()
        }
        if _digest(header, parts.values()) != wanted:
            return None
        kinds = {name: f"<{dtype}" for dtype, name in _DTYPES.items()}
        return {
            name: np.frombuffer(parts[name], kinds[entry["dtype"]]).reshape(entry["shape"]).copy()
            for name, entry in header.items()
        }, wanted
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error):
        return None  # damaged, so they are made anew


def _digest(header: Mapping[str, Any], parts: Any) -> str:
    digest = hashlib.sha256(sha256_of(header).encode())
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process is within a block of this path, which the system ends for it."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Whoever held it before may have removed the file meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    break
            os.close(handle)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)
