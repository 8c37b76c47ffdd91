"""Latency models: how long a batch is served, and how long a message travels.

Spans are int64 ns. A model is a pure function of what is asked and of a uniform draw ``u``; draws
are counter-based, so that the batch or event with the same number meets the same luck in every
scenario.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from backtest.core.arrays import Float64Array, Int32Array, Int64Array
from backtest.errors import RunError
from backtest.market.events import EventBatch
from backtest.timing.draws import Draws, Stream
from backtest.timing.layout import LONGEST

OrderMessage: TypeAlias = Literal["entry", "cancel", "replace", "response"]
"""Messages between a trader and the venue: orders, cancels and replacements, and reports."""


@dataclass(frozen=True, slots=True)
class Composition:
    """What a batch is made of.

    Attributes:
        symbols: symbol of each event in arrival order, int32 [n].
        passes: sizes of the model calls that serve it: ``(1,) * n`` where the strategy serves one
            event at a time, rounds of distinct symbols, or ``(n,)`` where it packs duplicates.
    """

    symbols: Int32Array
    passes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SpanTable:
    """Spans of batches number ``first``, ``first + 1``, ... as the compiled server reads them.

    A pass of ``m`` events lasts ``base + per_event m``; or, with ``sizes``, what lies between the
    nearest two of them, linearly, rounded to whole ns.

    Attributes:
        base: a row for each batch, or a single one for all, int64 ns [k].
        per_event: ns.
        sizes: ascending, int64 [g]; empty where ``base`` is meant.
        quantiles: spans of each batch at each size, float64 ns [k, g].
    """

    base: Int64Array
    per_event: int = 0
    sizes: Int64Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    quantiles: Float64Array = field(default_factory=lambda: np.empty((0, 0)))


class LatencyModel(ABC):
    """A span of time for a batch of some size; a message is a batch of one.

    Spans are never negative: a run stops where one is.
    """

    uses_draws: ClassVar[bool] = True
    """False: spans do not depend on ``u``, which is then not drawn but zero."""

    live: ClassVar[bool] = False
    """True: the running model's own time is taken, so the passes run interleaved."""

    @property
    def max_batch(self) -> int | None:
        """The largest batch that the model knows of; ``None``: any."""
        return None

    @abstractmethod
    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        """Spans for batches of ``sizes`` [n] at the quantiles ``u`` in [0, 1) [n], int64 ns [n].

        Raises:
            UsageError: a size outside what the model knows.
        """

    def service(self, batch: Composition, u: float) -> int:
        """Service time of one batch, ns: its passes one after another, all at the same quantile."""
        sizes = np.asarray(batch.passes, dtype=np.int64)
        spans = self.spans(sizes, np.full(len(sizes), u))
        return sum(checked_spans(self, spans, len(sizes)).tolist())

    def feed(self, events: EventBatch, u: Float64Array) -> Int64Array:
        """Feed latency of each event, int64 ns [n]."""
        return self.spans(np.ones(len(events), dtype=np.int64), u)

    def table(self, u: Float64Array) -> SpanTable | None:
        """The same for batches that draw ``u`` [k], for the compiled server; ``None``: it cannot.

        Read only from the class that also defines ``spans`` and ``service``, so a subclass that
        changes one of them runs in plain Python unless it states its own table.
        """
        return None


@dataclass(frozen=True)
class RecordedService(LatencyModel):
    """Service times that were measured before, batch by batch, in one pass each.

    Attributes:
        times: by number of the batch, int64 ns [batches].
        largest: the most events in a batch; ``None``: any number.
    """

    times: Int64Array
    largest: int | None

    uses_draws: ClassVar[bool] = False

    @property
    def max_batch(self) -> int | None:
        return self.largest

    def spans(self, sizes: Int64Array, u: Float64Array) -> Int64Array:
        raise RunError("recorded service times belong to batches", place="latency model")

    def table(self, u: Float64Array) -> SpanTable:
        # A table of one row would be taken for that of all batches.
        return SpanTable(np.append(self.times, [0, 0]))


def message_latency(
    model: LatencyModel, seed: int, stream: OrderMessage, scale: float
) -> int | Callable[[int, int], Int64Array]:
    """Scaled latency of the messages that events lead to.

    Returns:
        ns, where it is the same for all; otherwise a function of ``first`` and ``stop``, which
        gives that of the events ``first`` to ``stop - 1``, int64 ns [stop - first].
    """
    if not model.uses_draws:
        return int(scaled(messages(model, seed, stream, 0, 1), scale)[0])
    return lambda first, stop: scaled(messages(model, seed, stream, first, stop), scale)


def messages(
    model: LatencyModel,
    seed: int,
    stream: Literal["feed"] | OrderMessage,
    first: int,
    last: int,
) -> Int64Array:
    """Unscaled spans of the messages of events ``first`` to ``last - 1``, int64 ns."""
    count = last - first
    spans = model.spans(np.ones(count, dtype=np.int64), _drawn(model, seed, stream, first, last))
    return checked_spans(model, spans, count)


def feed_spans(model: LatencyModel, events: EventBatch, seed: int, first: int = 0) -> Int64Array:
    """Unscaled feed latency of events, of which the first has the number ``first``, int64 ns [n].

    Raises:
        RunError: the model gave none.
    """
    u = _drawn(model, seed, "feed", first, first + len(events))
    return checked_spans(model, model.feed(events.read_only(), u), len(events))


def service_time(model: LatencyModel, batch: Composition, u: float) -> int:
    """Unscaled service time of a batch, ns.

    Raises:
        RunError: the model gave none.
    """
    span = model.service(batch, u)
    if not span >= 0:  # NaN is neither
        raise _no_span(model, f"a service time of {span} ns")
    return span


def checked_spans(model: LatencyModel, spans: Int64Array, count: int) -> Int64Array:
    """What a model gave for so many messages or passes, if it is spans: int64 ns [count].

    Raises:
        RunError: it is of another form, or negative.
    """
    if not isinstance(spans, np.ndarray):
        raise _no_span(model, f"a {type(spans).__name__}, not int64 [{count}]")
    if spans.shape != (count,) or spans.dtype.kind != "i":
        raise _no_span(model, f"{spans.dtype} {list(spans.shape)}, not int64 [{count}]")
    if count and spans.min() < 0:
        raise _no_span(model, f"a span of {spans.min()} ns")
    return spans


def checked_table(model: LatencyModel, table: SpanTable) -> SpanTable:
    """What a model gave for the compiled server, if no span in it is negative.

    Raises:
        RunError: one is.
    """
    least = min(table.base.min(initial=0), table.per_event, table.quantiles.min(initial=0))
    if not least >= 0:
        raise _no_span(model, f"a table with a span of {least} ns")
    return table


def _no_span(model: LatencyModel, what: str) -> RunError:
    return RunError(f"it gave {what}", place=f"latency model {type(model).__name__}")


def _drawn(
    model: LatencyModel,
    seed: int,
    stream: Stream,
    first: int,
    last: int,
) -> Float64Array:
    """The draws that a model needs; zeros where it needs none."""
    if not model.uses_draws:
        return np.zeros(last - first)
    return Draws(seed, stream).range(first, last)


def scaled(spans: Int64Array, scale: float) -> Int64Array:
    """Spans times the latency scale, rounded half to even to whole ns, ``LONGEST`` at most."""
    if scale == 1:
        return spans
    with np.errstate(over="ignore"):
        return np.minimum(np.rint(spans * scale), LONGEST).astype(np.int64)


def scaled_span(span: int, scale: float) -> int:
    """A single span times the latency scale, cut to ``LONGEST``."""
    return min(span, LONGEST) if scale == 1 else round(min(span * scale, LONGEST))


def pass_sizes(
    symbols: Sequence[int], duplicates: Literal["single", "rounds", "packed"]
) -> tuple[int, ...]:
    """Sizes of the model calls for one batch.

    With ``single`` each event has a pass of its own; with ``rounds`` the ``k``-th pass holds every
    symbol's ``k``-th event; with ``packed`` all events go in one.
    """
    if duplicates == "single":
        return (1,) * len(symbols)
    if duplicates == "packed" or len(symbols) == len(set(symbols)):
        return (len(symbols),)
    seen: dict[int, int] = {}
    sizes: list[int] = []
    for symbol in symbols:
        occurrence = seen.get(symbol, 0)
        seen[symbol] = occurrence + 1
        if occurrence == len(sizes):
            sizes.append(0)
        sizes[occurrence] += 1
    return tuple(sizes)
