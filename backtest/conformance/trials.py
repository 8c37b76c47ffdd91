"""The events that a verification tries strategies on: fresh, random, and real ones."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtest.conformance.inputs import InputSet, at_most_each, random_events, uneven_cuts
from backtest.errors import UsageError
from backtest.market.events import EventBatch, concatenate
from backtest.strategies.base import Session, check_device


@dataclass(frozen=True, slots=True)
class TrialSizes:
    """How much is tried.

    Attributes:
        symbols: of the wide set, and in the session.
        each: events a symbol, at most, in the wide and the real set.
        wide: events in the wide set.
        long: events a symbol in the long set; 0 for none.
        shown: symbols whose state is compared.
    """

    symbols: int
    each: int
    wide: int
    long: int
    shown: int


LEVELS = {
    "quick": TrialSizes(symbols=128, each=32, wide=500, long=0, shown=8),
    "full": TrialSizes(symbols=128, each=32, wide=2500, long=2000, shown=4),
}
_LONG_SYMBOLS = 8
_SMALL_SYMBOLS, _SMALL_EVENTS = 8, 100
_CROWD = 0.45
"""So that one symbol has more than 32 events in a call: what is made for many is tried, too."""

_REAL_ROWS = 20_000
_FEATURES = 79
"""Number of features without a dataset: that of the public ensemble."""


@dataclass(frozen=True)
class Trials:
    """Input sets of one session, and a small one for the invariances.

    Attributes:
        level: its name.
        session: what the input sets' strategies are bound to.
        sets: wide, real and long.
        small_session, small_events: a few symbols with several events each, one with many.
        notes: what could not be done.
    """

    level: str
    seed: int
    session: Session
    sets: list[InputSet]
    small_session: Session
    small_events: EventBatch
    notes: tuple[str, ...]


def make_trials(
    level: str, *, device: str, dataset: str, seed: int, symbols: Sequence[str] = ()
) -> Trials:
    """Trials drawn with a seed.

    Args:
        level: ``quick`` or ``full``.
        dataset: gives the number of features, and real ones.
        symbols: names of the first symbols, for strategies that know some by name.

    Raises:
        DataError: the dataset cannot be read.
        UsageError: there is no such device, or a symbol is named twice.
    """
    check_device(device)
    sizes = LEVELS[level]
    rng = np.random.default_rng(seed)
    names, real, note = _read(dataset)
    session = Session(named_symbols(sizes.symbols, symbols), names, device, seed=seed)
    features = len(names)

    def drawn(n: int, symbols: int, crowd: float = 0.0) -> EventBatch:
        return random_events(
            n, symbols=symbols, features=features, seed=int(rng.integers(2**31)), crowd=crowd
        )

    wide = at_most_each(drawn(sizes.wide, len(session.symbols)), sizes.each)
    sets = [_input_set("random features", wide, sizes, rng)]
    if real is not None:
        known = real.select(real.symbol < sizes.symbols)
        sets.append(_input_set("real features", at_most_each(known, sizes.each), sizes, rng))
    if sizes.long:
        # A fifth more than needed, since symbols come by chance; what is too much is cut off.
        many = drawn(sizes.long * _LONG_SYMBOLS * 6 // 5, _LONG_SYMBOLS)
        sets.append(_input_set("long run", at_most_each(many, sizes.long), sizes, rng))
    small = Session(named_symbols(_SMALL_SYMBOLS, symbols), names, device, seed=seed)
    events = drawn(_SMALL_EVENTS + 4 * len(symbols), len(small.symbols), _CROWD)
    return Trials(level, seed, session, sets, small, events, () if note is None else (note,))


def fresh_seed() -> int:
    """A seed that nobody has seen."""
    return secrets.randbelow(2**31)


def _input_set(
    name: str, events: EventBatch, sizes: TrialSizes, rng: np.random.Generator
) -> InputSet:
    cuts = tuple(uneven_cuts(len(events), rng))
    shown = np.unique(events.symbol)[: sizes.shown]
    return InputSet(name, events, cuts, tuple(shown.tolist()))


def named_symbols(count: int, named: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of so many symbols, or of as many as are named, which come first.

    Raises:
        UsageError: one is named twice.
    """
    twice = [name for k, name in enumerate(named) if name in named[:k]]
    if twice:
        raise UsageError(f"{twice[0]!r} is named twice", place="symbols", remedy="Name it once.")
    others = [f"S{i:03}" for i in range(count + len(named))]
    unnamed = [name for name in others if name not in named]
    return (*named, *unnamed[: max(count - len(named), 0)])


def _read(dataset: str) -> tuple[tuple[str, ...], EventBatch | None, str | None]:
    """Feature names, the dataset's first events, and why there are none of them."""
    try:
        from backtest.data.dataset import open_dataset
        from backtest.data.reading.bus import EventBus
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pydantic":
            raise
        names = tuple(f"f{i}" for i in range(_FEATURES))
        return names, None, "without pydantic no dataset can be read: random features only"
    opened = open_dataset(dataset)
    if not opened.features:
        return (), None, f"the dataset {opened.name!r} has no features: random quotes only"
    batches, rows = [], 0
    for batch in EventBus(opened, features=True, nonfinite="zero"):
        batches.append(batch)
        rows += len(batch)
        if rows >= _REAL_ROWS:
            break
    return opened.features, concatenate(batches) if batches else None, None
