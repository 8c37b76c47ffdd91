"""A strategy bound to a dataset, and the key of its answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.core.arrays import BoolArray, Float32Array, Int64Array
from backtest.core.environment import device_model, versions
from backtest.core.grammar import parse_spec
from backtest.core.hashing import sha256_of
from backtest.core.parameters import as_table
from backtest.core.room import RELEASE
from backtest.errors import RunError, UsageError
from backtest.inference.calls import Stream, chunk_size
from backtest.strategies.base import Session, Strategy

if TYPE_CHECKING:
    from backtest.core.parts import Parts
    from backtest.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Inference:
    """A bound strategy with the name, parameters and origin that identify its answers."""

    strategy: Strategy
    table: dict[str, Any]
    origin: dict[str, Any]
    session: Session

    def forecast(self, predictions: Float32Array) -> Float32Array:
        """The one number that sizing reads for each of the predictions [n, outputs]: [n], finite.

        Raises:
            RunError: the strategy gave another form, or a number that is not finite.
        """
        found = self.strategy.forecast(predictions)
        place = f"strategy {self.table['name']!r}"
        if not isinstance(found, np.ndarray):
            raise RunError(f"forecast gave a {type(found).__name__}, not an array", place=place)
        if found.shape != predictions.shape[:1] or found.dtype.kind != "f":
            form = f"{found.dtype} {list(found.shape)}"
            raise RunError(f"forecast gave {form}, not float32 [{len(predictions)}]", place=place)
        if not np.may_share_memory(found, predictions) and not np.isfinite(found).all():
            row = int(np.flatnonzero(~np.isfinite(found))[0])
            said = predictions[row].tolist()
            raise RunError(f"forecast makes {found[row]} of the predictions {said}", place=place)
        return found

    def key(
        self,
        stream: Stream,
        answered: BoolArray,
        batches: list[Int64Array] | None,
        release: Callable[[], None] = lambda: None,
    ) -> str:
        """The content key of its answers to some events of a stream: a hash of all they depend on.

        Args:
            stream, answered, batches: as for ``predict``.
            release: called now and then, to let go of the pages of what was read.
        """
        chunk = chunk_size(self.strategy.needs_features) if batches is None else None
        return sha256_of(
            {
                "data": stream.dataset.data_hash(),
                "features": self.session.features,
                "window": [stream.start, stream.end, stream.count],
                "symbols": stream.symbols,
                "nonfinite": stream.nonfinite,
                "strategy": self.table,
                "fingerprint": self.strategy.fingerprint(),
                "origin": self.origin,
                "seed": self.session.seed,
                "device": device_model(self.session.device),
                "versions": versions(),
                "answered": _bits_sha256(answered, release),
                "batches": batches and [hashlib.sha256(b.tobytes()).hexdigest() for b in batches],
                "chunk": chunk,
                "resets": _resets_sha256(stream.dataset),
            }
        )


def bind(plugins: Parts, part: Any, session: Session, dataset: Dataset) -> Inference:
    """A strategy made, checked against the dataset and bound to it.

    Raises:
        BacktestError: there is none of that name, or it cannot be bound to this dataset, or has no
            outputs.
    """
    name = parse_spec(part, place="strategy").name
    strategy: Strategy = plugins.create("strategy", part, place="strategy")
    if strategy.needs_features and not dataset.features:
        raise UsageError(
            "the strategy reads features, but the dataset has none",
            place=f"strategy {name!r}",
            remedy="Use a strategy on quotes, or set needs_features = False if it reads none.",
        )
    strategy.bind(session)
    if not isinstance(strategy.outputs, int | np.integer) or strategy.outputs < 1:
        raise RunError(
            f"it has {strategy.outputs!r} outputs, but must have 1 or more",
            place=f"strategy {name!r}",
        )
    return Inference(
        strategy, as_table(strategy, name), plugins.origin("strategy", name).identity(), session
    )


def _resets_sha256(dataset: Dataset) -> str | None:
    """Of the instants from which on state is as new; ``None`` if it carries over all breaks."""
    if dataset.sessions is None or dataset.session_breaks == "carry":
        return None
    return hashlib.sha256(dataset.sessions[:, 0].tobytes()).hexdigest()


def _bits_sha256(answered: BoolArray, release: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    for first in range(0, len(answered), RELEASE):  # a multiple of 8: no byte is padded within
        some = answered[first : first + RELEASE]
        full = not len(some) % 8 and some.all()
        digest.update(b"\xff" * (len(some) // 8) if full else np.packbits(some).data)
        release()
    return digest.hexdigest()
