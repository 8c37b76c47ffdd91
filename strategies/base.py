"""What a strategy is: answers for events, in order, with a state for each symbol.

Nothing here needs torch. A strategy's parameters are the fields of its dataclass: declared, typed,
and therefore settable from a configuration file, a flag or a sweep.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import Float32Array
from backtest.market.calendar import MarketHours
from backtest.market.events import EventBatch
from backtest.market.instruments import Instrument

if TYPE_CHECKING:
    from backtest.data.training_data import TrainingData
    from backtest.strategies.plain_steps import PlainSteps

Conformance: TypeAlias = Literal["exact", "close", "approximate"]
ERROR_BOUNDS: Mapping[str, float] = {"exact": 5e-5, "close": 1e-2}
"""Root mean square of the error of answers, over their standard deviation, that a class allows.

For ``exact``, where no float64 reference shows what float32 loses: one step rounds at 6e-8; about
100 chained products, norms and recurrences make 1e-6 to 1e-5 of it.
"""

Duplicates: TypeAlias = Literal["single", "rounds", "packed"]
StateArrays: TypeAlias = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Session:
    """What a strategy is bound to, once, before its first event.

    Attributes:
        symbols: the dataset's symbol table; an event's ``symbol`` indexes it.
        features: names of the feature columns, in the order of ``EventBatch.features``.
        device: a torch device name, such as ``cpu`` or ``cuda:0``.
        capacity: symbols whose state is kept on the device at once; ``None`` for all that there is
            memory for.
        seed: for strategies that draw; the same seed gives the same answers.
        instruments: of each symbol: tick, lot, multiplier, currency, fees; by default those of a
            share in cents.
        hours: when the market is open, and the zone of its clocks; by default always, and UTC.
    """

    symbols: tuple[str, ...]
    features: tuple[str, ...] = ()
    device: str = "cpu"
    capacity: int | None = None
    seed: int = 0
    instruments: tuple[Instrument, ...] = ()
    hours: MarketHours = field(default_factory=MarketHours)

    def __post_init__(self) -> None:
        if not self.instruments:
            object.__setattr__(self, "instruments", (Instrument(),) * len(self.symbols))


def check_device(name: str) -> None:
    """Refuse the name of no device, which a strategy that does without torch would not notice.

    Raises:
        UsageError: no such device on this machine, or in this build of torch.
    """
    if name != "cpu":
        from backtest.strategies.device import find_device

        find_device(name)


class Strategy(ABC):
    """Predictions for events of many symbols; subclass it as a dataclass of parameters.

    ``predict`` is given any number of events, several of one symbol in order. How events are
    grouped into calls must not change the answers (within the conformance class), unless
    ``batch_invariant`` is false.
    """

    conformance: Conformance | None = None
    """The class it claims against its reference; ``None`` if it defines its own function.

    A class attribute, or set by an instance whose parameters decide it.
    """

    reference: ClassVar[str | None] = None
    """The registered strategy whose answers to every event judge its own; ``None``: itself."""

    duplicates: ClassVar[Duplicates] = "packed"
    """How many model calls serve a batch, which is what the simulated server charges for.

    ``single``: one for each event. ``rounds``: one for each round of distinct symbols, so that a
    symbol's second event waits for the second call. ``packed``: one, whatever is in the batch.
    """

    batch_invariant: ClassVar[bool] = True
    """False: answers depend on the batches, so it is run in exactly the simulated ones."""

    bitwise_invariant: ClassVar[bool] = False
    """True: not a bit of an answer depends on how events are grouped into calls, so that answers to
    the first events of each symbol may be taken from those to all of them."""

    no_opinion: ClassVar[bool] = False
    """True: NaN in a prediction says that it has no opinion, and the standing target or quotes stay
    as they are; an infinite one is refused as ever."""

    stateful: ClassVar[bool] = True
    """False: an answer depends on its own event alone."""

    needs_features: ClassVar[bool] = True
    """False: ``batch.features`` is never read, so the bus need not decode them."""

    scope: ClassVar[Literal["symbol", "market"]] = "symbol"
    """``market``: state is shared across symbols, so events are fed in strict bus order.

    ``snapshot`` does not cover what is shared, so a pass that was stopped starts over.
    """

    outputs: int = 1
    """Predictions an event; may be set by ``bind``."""

    def bind(self, session: Session) -> None:
        """Prepare for a dataset: load weights, allocate state. Called once, before ``predict``."""

    def fit(self, data: TrainingData) -> dict[str, NDArray[Any]]:
        """Learn from a stretch of a dataset; see ``backtest.data.training_data``.

        Called on a strategy that is not bound and answers nothing afterwards. The same parameters,
        data and seed should give the same weights, which are kept and used again.

        Args:
            data: features and targets of the stretch.

        Returns:
            What was learnt as arrays of numbers by name, for ``load_weights``.
        """
        raise NotImplementedError

    def shared_fit(self) -> dict[str, Any] | None:
        """What ``fit`` depends on, where strategies of other names and classes learn the same.

        Those that give the same share what is learnt. ``None``: the weights are this strategy's
        own, and depend on its name, its source and all of its parameters.
        """
        return None

    def load_weights(self, weights: StateArrays) -> None:
        """Take what ``fit`` returned. Called before ``bind``; implement it along with ``fit``.

        ``bind`` is also called without it, to find out what a run would do: then nothing is
        predicted.
        """
        raise NotImplementedError

    @abstractmethod
    def predict(self, batch: EventBatch) -> Float32Array:
        """Answer every event of the batch and advance state.

        Args:
            batch: ``n`` events in time order. Its columns cannot be written to: they are the run's
                own.

        Returns:
            float32 [n, outputs], in the batch's order; finite, or NaN where ``no_opinion`` is true.
        """

    def snapshot(self, symbols: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Copies of all of the symbols' state, ``{canonical name: array [len(symbols), ...]}``.

        An interrupted pass continues from these. A strategy with state that does not implement
        this and ``restore`` is started from its first event.
        """
        return {}

    def restore(self, symbols: Sequence[int], state: StateArrays) -> None:
        """Set the symbols' state to what ``snapshot`` returned."""

    def reset(self, symbols: Sequence[int]) -> None:
        """Give the symbols the state of one never seen."""

    def forecast(self, predictions: Float32Array) -> Float32Array:
        """Fold predictions [n, outputs] to the one number an event that sizing reads: the mean."""
        if predictions.shape[1] == 1:
            return predictions[:, 0]
        return predictions.mean(axis=1, dtype=np.float32)

    def training_window(self) -> tuple[int, int] | None:
        """The half-open window of ts_event, int64 ns, that its weights were fitted to.

        A run that overlaps it is marked in-sample. ``None``: nothing was fitted, or it is not
        known. Called after ``bind``.
        """
        return None

    def plain_steps(self, session: Session, *, double: bool) -> PlainSteps | None:
        """The plain model that defines the right answers, apart from this strategy's own machinery.

        Args:
            session: as for ``bind``, which need not have been called.
            double: in float64 rather than in the model's own precision.

        Returns:
            ``None`` where there is none, or none in float64.
        """
        return None

    def memory_traffic(self) -> tuple[int, int] | None:
        """The bytes of weights that a batch reads, and those it moves for each of its symbols.

        Reads and writes both count, on average over many batches; most often the second is twice
        the size of a symbol's state. Called after ``bind``; ``None`` where it is not known.
        """
        return None

    def fingerprint(self) -> dict[str, str]:
        """What determines the answers beyond the parameters, such as ``{"weights": sha256}``.

        Called after ``bind``.
        """
        return {}


def can_fit(strategy: Strategy | type[Strategy]) -> bool:
    """Whether the strategy is one that can be trained."""
    kind = strategy if isinstance(strategy, type) else type(strategy)
    return kind.fit is not Strategy.fit


def form_problem(predictions: object, events: int, outputs: int) -> str | None:
    """What is wrong with the form of what ``predict`` gave for some events; ``None``: nothing."""
    wanted = (events, outputs)
    if isinstance(predictions, np.ndarray):
        if predictions.shape == wanted and predictions.dtype == np.float32:
            return None
        form = f"{predictions.dtype} {list(predictions.shape)}"
    else:
        form = f"a {type(predictions).__name__}"
    return f"predict gave {form}, not float32 {list(wanted)}"
