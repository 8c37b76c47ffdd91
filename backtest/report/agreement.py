"""How far a run's answers are from its reference's, read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from backtest.core.arrays import Float32Array, Float64Array, Int64Array
from backtest.core.arrow import Codes, integers
from backtest.core.moments import GroupedCorrelation, JointMoments
from backtest.core.rows import Rows
from backtest.errors import BacktestError, DataError
from backtest.inference.prediction_store import PredictionStore
from backtest.report.pace import BINS
from backtest.runs.folder import Run
from backtest.runs.tables import OUTPUT
from backtest.timing.outcomes import Status

_SPANS = BINS // 8


@dataclass(frozen=True)
class Agreement:
    """How far a run's answers are from those of the reference that answers every event.

    Attributes:
        outputs: root mean square error by output, in standard deviations of the reference.
        symbols: correlation of the forecasts by symbol.
        drift: the forecasts' root mean square error in each of ``BINS // 8`` spans of time, NaN
            where nothing was answered.
        times: the spans' ends, s since 1970.
    """

    outputs: Float64Array
    symbols: dict[str, float | None]
    drift: Float64Array
    times: Float64Array


class _Unreadable(Exception):
    """The reference's predictions are damaged."""


def agreement_of(run: Run) -> Agreement | None:
    """Agreement of a run; ``None`` if its reference's predictions are not available.

    Raises:
        DataError: a table of the run cannot be read.
    """
    notes = run.manifest["predictions"]
    # A strategy without a reference of its own is judged by its own undropped answers.
    note = notes.get("reference") or notes.get("undropped") or notes["answers"]
    if note["key"] is None or not run.manifest["config"].get("undropped"):
        return None
    store = PredictionStore(run.folder.parent / "predictions")
    events = run.metrics["timing"]["events"]
    try:
        return _agreement(run, _reference(store, str(note["key"]), events))
    except _Unreadable:
        return None
    except EOFError:
        raise _damaged(run, "it has fewer rows than events were answered") from None


def _damaged(run: Run, problem: str) -> DataError:
    return DataError(
        problem,
        place=str(run.folder / "predictions.parquet"),
        remedy="The file is damaged, or of another program: run it again with --no-reuse.",
    )


def _agreement(run: Run, pieces: Iterator[Float32Array]) -> Agreement | None:
    outputs = [name for name in run.columns("predictions") if name.startswith(OUTPUT)]
    if not outputs:
        raise _damaged(run, f"it has no column {OUTPUT}0")
    predictions = Rows(_predictions(run, outputs), np.empty((0, len(outputs))))
    reference = Rows(pieces, np.empty((0, len(outputs)), dtype=np.float32))
    codes, by_symbol = Codes(), GroupedCorrelation()
    tally = _Errors(run.extent("timing", "ts_event"))
    for piece in run.pieces("timing", ("ts_event", "symbol", "status")):
        answered = integers(piece["status"]) == Status.ANSWERED
        of_all = reference.take(len(answered)).astype(np.float64)
        mine, theirs = predictions.take(int(answered.sum())), of_all[answered]
        if mine.shape != theirs.shape:
            return None
        # Where one of the two has no opinion, there is nothing to compare.
        both = ~np.isnan(mine + theirs).any(axis=1)
        mine, theirs = mine[both], theirs[both]
        known = of_all[~np.isnan(of_all).any(axis=1)]
        tally.add(integers(piece["ts_event"])[answered][both], (mine - theirs) ** 2, known)
        symbol = codes(piece["symbol"])[answered][both]
        by_symbol.add(symbol, mine.mean(axis=1), theirs.mean(axis=1))
    errors, drift, times = tally.figures()
    # Symbols after the last one that was answered have no entry.
    symbols = dict(zip(codes.names, by_symbol.correlations(), strict=False))
    return Agreement(errors, symbols, drift, times)


class _Errors:
    """Squared errors by span of time and output.

    Args:
        extent: ts_event of the first and the last event, ns.
    """

    def __init__(self, extent: tuple[int, int]) -> None:
        first, last = extent
        self._edges = np.linspace(first, max(last, first + _SPANS), _SPANS + 1)
        self._counts = np.zeros(_SPANS)
        self._squares: Float64Array | None = None
        self._reference: JointMoments | None = None

    def add(self, times: Int64Array, squares: Float64Array, reference: Float64Array) -> None:
        """Add answered events [n] with their squared errors [n, outputs], and all references."""
        if self._squares is None or self._reference is None:
            outputs = reference.shape[1]
            self._squares, self._reference = np.zeros((_SPANS, outputs)), JointMoments(outputs)
        self._reference.add(reference.T)
        span = np.clip(np.searchsorted(self._edges, times, side="right") - 1, 0, _SPANS - 1)
        self._counts += np.bincount(span, minlength=_SPANS)
        np.add.at(self._squares, span, squares)

    def figures(self) -> tuple[Float64Array, Float64Array, Float64Array]:
        """By output, over time, and the ends of the spans, as ``Agreement`` has them."""
        assert self._squares is not None  # there are events, which ``extent`` found
        assert self._reference is not None
        spread = np.sqrt(np.diag(self._reference.products) / max(self._reference.count, 1))
        outputs = np.full(len(spread), np.nan)
        error = np.sqrt(self._squares.sum(axis=0) / max(self._counts.sum(), 1))
        answered = bool(self._counts.any())
        np.divide(error, spread, out=outputs, where=(spread > 0) & answered)
        relative = (self._squares / np.where(spread > 0, spread, 1) ** 2).mean(axis=1)
        drift = np.full(_SPANS, np.nan)
        np.divide(relative, self._counts, out=drift, where=self._counts > 0)
        return outputs, np.sqrt(drift), self._edges[1:] / 1e9


def _reference(store: PredictionStore, key: str, events: int) -> Iterator[Float32Array]:
    """The reference's predictions of all events, piece by piece.

    Raises:
        _Unreadable: they are gone, or damaged.
    """
    try:
        pieces = store.get(key, events)
        if pieces is None:
            raise _Unreadable
        yield from pieces
    except BacktestError as error:
        raise _Unreadable from error


def _predictions(run: Run, outputs: Sequence[str]) -> Iterator[Float64Array]:
    """The run's predictions of answered events, float64 [n, outputs] piece by piece."""
    for piece in run.pieces("predictions", outputs):
        yield np.column_stack([piece[name].cast("float64").to_numpy() for name in outputs])
