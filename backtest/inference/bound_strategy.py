"""A strategy bound to a dataset, and the key under which its answers are kept."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from backtest.core.arrays import BoolArray, Float32Array, Int64Array
from backtest.core.environment import device_model, versions
from backtest.core.grammar import parse_spec
from backtest.core.hashing import sha256_of
from backtest.core.marks import Marks
from backtest.core.parameters import as_table, file_digests
from backtest.data.reading.stream import Stream, piece_size
from backtest.errors import RunError, UsageError
from backtest.market.events import EventBatch
from backtest.strategies.base import Duplicates, Session, StateArrays, Strategy, form_problem

if TYPE_CHECKING:
    from backtest.core.parts import Parts
    from backtest.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Fit:
    """What a strategy is fitted to before it answers.

    Attributes:
        key: content key of the weights: a hash of all that they depend on.
        start, end: the stretch that is learnt from, half-open, ns.
        purge: see ``TrainingData``.
        weights: what was learnt; ``None`` as long as it has not been.
        sha256: of the weights.
        seconds: what training took; 0 where the weights were stored.
    """

    key: str
    start: int
    end: int
    purge: int
    weights: StateArrays | None = None
    sha256: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class BoundStrategy:
    """A bound strategy with the name, parameters and origin that identify its answers.

    ``fit`` is what it is trained on within the run; it must not answer before it has the weights.
    """

    strategy: Strategy
    table: dict[str, Any]
    origin: dict[str, Any]
    session: Session
    fit: Fit | None = None

    @property
    def name(self) -> str:
        """The name that it is registered under."""
        return str(self.table["name"])

    @property
    def resets(self) -> bool:
        """Whether ``reset`` gives a symbol the state of one never seen."""
        strategy = self.strategy
        return not strategy.stateful or type(strategy).reset is not Strategy.reset

    def restarted(self) -> BoundStrategy:
        """The same with the state that it had before its first event.

        It is reset; a strategy with state that does not implement ``reset`` is made and bound anew,
        since the one that was called remembers what it was called with.
        """
        if self.resets:
            self.strategy.reset(range(len(self.session.symbols)))
            return self
        return self.with_fit(self.fit)

    def anew(self) -> Strategy:
        """A strategy of the same parameters that has not been bound."""
        if dataclasses.is_dataclass(self.strategy):
            return dataclasses.replace(self.strategy)
        return type(self.strategy)()

    def with_fit(self, fit: Fit | None) -> BoundStrategy:
        """The same strategy bound anew, with the weights of a fit if they are known."""
        strategy = self.anew()
        if fit is not None and fit.weights is not None:
            strategy.load_weights(fit.weights)
        strategy.bind(self.session)
        return dataclasses.replace(self, strategy=strategy, fit=fit)

    def fingerprint(self) -> dict[str, str]:
        """What determines the answers beyond the parameters, known before it is trained."""
        return self.strategy.fingerprint() if self.fit is None else {"fit": self.fit.key}

    def training_windows(self) -> list[tuple[int, int]]:
        """The half-open windows of ts_event, ns, that its weights are known to be fitted to."""
        own = self.strategy.training_window()
        return [
            *([] if own is None else [own]),
            *([] if self.fit is None else [(self.fit.start, self.fit.end)]),
        ]

    def forecast(self, predictions: Float32Array) -> Float32Array:
        """The one number that sizing reads for each of the predictions [n, outputs]: [n].

        It is NaN where there is no opinion: where a prediction is NaN, or the strategy makes NaN of
        them, if it may; finite elsewhere.

        Raises:
            RunError: the strategy gave another form, or a number that is ``unusable``.
        """
        found = self.strategy.forecast(predictions)
        place = f"strategy {self.name!r}"
        if not isinstance(found, np.ndarray):
            raise RunError(f"forecast gave a {type(found).__name__}, not an array", place=place)
        if found.shape != predictions.shape[:1] or found.dtype.kind != "f":
            form = f"{found.dtype} {list(found.shape)}"
            raise RunError(f"forecast gave {form}, not float32 [{len(predictions)}]", place=place)
        if not np.may_share_memory(found, predictions):  # which have been checked
            bad = self.unusable(found)
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                made = f"{found[row]} of the predictions {predictions[row].tolist()}"
                raise RunError(f"forecast makes {made}", place=place)
        if self.strategy.no_opinion:
            silent = np.isnan(predictions).any(axis=1)
            if not np.isnan(found[silent]).all():
                found = np.where(silent, np.float32(np.nan), found)
        return found

    def unusable(self, values: Float32Array) -> BoolArray:
        """Which numbers nothing can be made of: those that are not finite, but NaN if it may be."""
        found: BoolArray = np.isinf(values) if self.strategy.no_opinion else ~np.isfinite(values)
        return found

    def checked(self, batch: EventBatch, predictions: Float32Array) -> Float32Array:
        """The predictions of a batch, float32 [n, outputs], none of them ``unusable``.

        Raises:
            RunError: they are something else.
        """
        problem = form_problem(predictions, len(batch), self.strategy.outputs)
        if problem is not None:
            raise RunError(problem, place=f"strategy {self.name!r}")
        bad = self.unusable(predictions)
        if bad.any():
            row = int(np.flatnonzero(bad.any(axis=1))[0])
            nan = np.isnan(predictions[row]).any()
            symbol = self.session.symbols[batch.symbol[row]]
            raise RunError(
                f"predict gave {predictions[row].tolist()} for symbol {symbol!r} at ts_event "
                f"{batch.ts_event[row]}",
                place=f"strategy {self.name!r}",
                remedy="A prediction that is not finite cannot be traded: check the model and its "
                "inputs from that event on."
                + (" If NaN says that it has no opinion, set no_opinion = True." if nan else ""),
            )
        return predictions

    def key(self, stream: Stream, answered: Marks, batches: Sequence[Int64Array] | None) -> str:
        """The content key of its answers to some events of a stream: a hash of all they depend on.

        Args:
            stream: ``n`` events.
            answered: which of them reach the strategy, [n].
            batches: event numbers of each call, for a strategy whose answers depend on them.
        """
        piece = piece_size(self.strategy.needs_features) if batches is None else None
        return sha256_of(
            {
                "data": stream.dataset.data_hash(),
                "features": self.session.features,
                "window": [stream.start, stream.end, stream.count],
                "symbols": stream.symbols,
                "nonfinite": stream.nonfinite,
                "strategy": self.table,
                "fingerprint": self.fingerprint(),
                "files": file_digests(self.strategy),
                "origin": self.origin,
                "seed": self.session.seed,
                "device": device_model(self.session.device),
                "versions": versions(),
                "answered": answered.sha256(),
                "batches": batches and [hashlib.sha256(b.tobytes()).hexdigest() for b in batches],
                "piece": piece,
                "resets": _resets_sha256(stream.dataset),
            }
        )


def bind(plugins: Parts, part: Any, session: Session, dataset: Dataset) -> BoundStrategy:
    """A strategy made, checked against the dataset and bound to it.

    Raises:
        BacktestError: there is none of that name, or it cannot be bound to this dataset, or has no
            outputs or an unknown way to serve duplicates.
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
    if strategy.duplicates not in get_args(Duplicates):
        raise RunError(
            f"it serves duplicates {strategy.duplicates!r}",
            place=f"strategy {name!r}",
            remedy=f"Set duplicates to one of {', '.join(get_args(Duplicates))}.",
        )
    return BoundStrategy(
        strategy, as_table(strategy, name), plugins.origin("strategy", name).identity(), session
    )


def _resets_sha256(dataset: Dataset) -> str | None:
    """Of the instants from which on state is as new; ``None`` if it carries over all breaks."""
    if dataset.sessions is None or dataset.session_breaks == "carry":
        return None
    return hashlib.sha256(dataset.sessions[:, 0].tobytes()).hexdigest()
