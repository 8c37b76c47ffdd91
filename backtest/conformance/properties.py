"""Properties that every strategy must have, whatever it computes.

Each ``check_*`` takes a ``Case`` and a seed and raises AssertionError where the property fails.
They hold for strategies of symbol scope; a market-wide one claims only ``check_no_look_ahead``.
At most one bound strategy is in use at a time, since one may take all of a device's memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.conformance.comparison import WITHOUT_DOUBLE, distance
from backtest.conformance.inputs import answers, random_cuts, uneven_cuts
from backtest.core.arrays import Float32Array
from backtest.market.events import NO_PRICE, EventBatch
from backtest.strategies.base import Session, Strategy


@dataclass
class Case:
    """A strategy under test, and events to test it on.

    Attributes:
        make: a new, unbound strategy.
        session: what it is bound to.
        events: at least 40 events, every symbol several times.
        tolerance: how far answers may differ when only the grouping differs, as a fraction of the
            largest answer. For plain Python rules 0.
        rms: the same for the root mean square of the differences; ``None``: not bounded.
        reuse: whether a strategy is made as new by resetting all its symbols, where binding
            another takes long. ``check_reset`` is what entitles to this.
    """

    make: Callable[[], Strategy]
    session: Session
    events: EventBatch
    tolerance: float = WITHOUT_DOUBLE
    rms: float | None = None
    reuse: bool = False
    _kept: tuple[Session, Strategy] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.events = self.events.read_only()

    def bound(self, **changes: Any) -> Strategy:
        """A new instance of the strategy, bound to the session with some settings changed."""
        session = replace(self.session, **changes)
        if self._kept is not None and self._kept[0] == session:
            strategy = self._kept[1]
            strategy.reset(range(len(session.symbols)))
            return strategy
        self._kept = None  # before the next is bound, for the device's memory
        strategy = self.make()
        strategy.bind(session)
        if self.reuse:
            self._kept = session, strategy
        return strategy

    def fresh(self) -> Strategy:
        """An instance that was never called, bound to the session."""
        self._kept = None
        strategy = self.make()
        strategy.bind(self.session)
        return strategy

    def alone(self) -> Float32Array:
        """The answers with one event per call, which the other groupings are compared with."""
        return answers(self.bound(), self.events, range(1, len(self.events)))

    def assert_same(self, found: NDArray[Any], wanted: NDArray[Any], what: str) -> None:
        """Equal within the tolerance."""
        assert found.shape == wanted.shape, f"{what}: shape {found.shape}, not {wanted.shape}"
        finite = wanted[np.isfinite(wanted)]
        scale = float(np.abs(finite).max(initial=0)) or 1.0
        apart = distance(found, wanted) / scale
        most = float(apart.max(initial=0))
        assert most <= self.tolerance, (
            f"{what}: {_example(apart > self.tolerance, found, wanted)}"
            + (f", and the worst is off by {most:.1e} of the largest" if most < np.inf else "")
        )
        if self.rms is not None and apart.size:
            rms = float(np.sqrt(np.mean(apart**2)))
            assert rms <= self.rms, f"{what}: off by {rms:.1e} of the largest on average"

    def distrust_reset(self) -> None:
        """Bind a new instance wherever one is needed."""
        self.reuse, self._kept = False, None


def check_batching(case: Case, seed: int) -> None:
    """The answers do not depend on how events are grouped into calls."""
    rng = np.random.default_rng(seed)
    wanted = case.alone()
    n = len(case.events)
    for cuts in ([], random_cuts(n, rng), uneven_cuts(n, rng)):
        found = answers(case.bound(), case.events, cuts)
        case.assert_same(found, wanted, f"cut at {_short(cuts)}" if cuts else "all in one call")


def check_symbol_permutation(case: Case, seed: int) -> None:
    """Renumbering the symbols changes no answer."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(case.session.symbols)).astype(np.int32)
    names = [""] * len(order)
    for old, new in enumerate(order):
        names[new] = case.session.symbols[old]
    renamed = replace(case.events, symbol=order[case.events.symbol])
    cuts = random_cuts(len(renamed), rng)
    wanted = answers(case.bound(), case.events, cuts)
    found = answers(case.bound(symbols=tuple(names)), renamed, cuts)
    case.assert_same(found, wanted, "symbols renumbered")


def check_no_look_ahead(case: Case, seed: int) -> None:
    """Changing all later events, in the same call, changes no earlier answer."""
    rng = np.random.default_rng(seed)
    n = len(case.events)
    now = int(rng.integers(1, n - 1))
    changed = case.events.select(np.concatenate([np.arange(now), now + rng.permutation(n - now)]))
    if changed.features is not None:
        changed.features[now:] *= -3
    wanted = answers(case.bound(), case.events, [])[:now]
    case.assert_same(answers(case.bound(), changed, [])[:now], wanted, f"changed from {now} on")


def check_reset(case: Case, seed: int) -> None:
    """A symbol that was reset answers like a new one, and the others are not affected."""
    rng = np.random.default_rng(seed)
    half = len(case.events) // 2
    before, after = case.events.select(slice(0, half)), case.events.select(slice(half, None))
    symbols = len(case.session.symbols)
    chosen = rng.choice(symbols, size=max(1, symbols // 2), replace=False).tolist()

    fresh = answers(replace(case).bound(), after, [])  # never a strategy that was reset
    undisturbed = answers(case.bound(), case.events, [half])[half:]
    strategy = case.bound()
    strategy.predict(before)
    strategy.reset(chosen)
    found = strategy.predict(after)
    is_reset = np.isin(after.symbol, chosen)
    case.assert_same(found[is_reset], fresh[is_reset], f"reset {_short(chosen)}")
    case.assert_same(
        found[~is_reset], undisturbed[~is_reset], f"not reset, when {_short(chosen)} were"
    )


def check_slot_reuse(case: Case, seed: int) -> None:
    """A symbol that gets another one's slot sees nothing of its state, even if it is garbage."""
    rng = np.random.default_rng(seed)
    symbols = len(case.session.symbols)
    chosen = rng.choice(symbols, size=max(1, symbols // 2), replace=False)
    cuts = random_cuts(len(case.events), rng)
    wanted = answers(case.bound(), case.events, cuts)
    strategy = case.bound()
    strategy.predict(_spoilt(case.events, chosen).select(np.isin(case.events.symbol, chosen)))
    strategy.reset(chosen.tolist())
    found = answers(strategy, case.events, cuts)
    case.assert_same(found, wanted, f"after garbage in {_short(chosen.tolist())} and a reset")


def check_eviction(case: Case, seed: int) -> None:
    """Capacity for fewer symbols than there are changes no answer and no state."""
    rng = np.random.default_rng(seed)
    cuts = random_cuts(len(case.events), rng)
    roomy = case.bound()
    wanted = answers(roomy, case.events, cuts)
    everyone = range(len(case.session.symbols))
    kept = roomy.snapshot(everyone)
    del roomy
    for capacity in (1, len(case.session.symbols) - 1):
        tight = case.bound(capacity=capacity)
        case.assert_same(answers(tight, case.events, cuts), wanted, f"capacity {capacity}")
        for name, leaf in tight.snapshot(everyone).items():
            case.assert_same(leaf, kept[name], f"{name} at capacity {capacity}")
        del tight


def check_snapshot(case: Case, seed: int) -> None:
    """``restore`` recreates what ``snapshot`` saved, in another instance and in any order."""
    rng = np.random.default_rng(seed)
    half = len(case.events) // 2
    rest = case.events.select(slice(half, None))
    order = rng.permutation(len(case.session.symbols)).tolist()
    first = case.bound()
    first.predict(case.events.select(slice(0, half)))
    taken = first.snapshot(order)
    kept = {name: leaf.copy() for name, leaf in taken.items()}
    wanted = first.predict(rest)
    for name, leaf in taken.items():
        _assert_identical(leaf, kept[name], f"snapshot of {name}, not a copy, after later events")
    del first
    second = case.bound()
    second.predict(case.events.select(slice(0, half // 2)))  # to be overwritten
    second.restore(order, taken)
    for name, leaf in second.snapshot(order).items():
        _assert_identical(leaf, kept[name], f"{name} after restore")
    case.assert_same(second.predict(rest), wanted, "answers after restore")


def check_isolation(case: Case, seed: int) -> None:
    """Garbage in one symbol leaves every other symbol's answers and state bit-identical."""
    rng = np.random.default_rng(seed)
    victim = int(rng.integers(0, len(case.session.symbols)))
    _check_untouched(case, case.events, victim, random_cuts(len(case.events), rng))


def check_padding(case: Case, seed: int) -> None:
    """A small batch reads nothing that an earlier, larger one left behind: bit-identical.

    A device's buffers keep the rows of the last batch; here those rows are garbage.
    """
    rng = np.random.default_rng(seed)
    victim = int(rng.integers(0, len(case.session.symbols)))
    is_victim = case.events.symbol == victim
    first, last = np.flatnonzero(is_victim), np.flatnonzero(~is_victim)
    others = last[: len(last) // 2]
    ordered = case.events.select(np.concatenate([others, first, last]))
    large = len(others) + len(first)
    small = uneven_cuts(len(last), rng, largest=max(2, len(last) // 4))
    _check_untouched(case, ordered, victim, [large, *(large + cut for cut in small)])


def check_finite(case: Case, seed: int) -> None:
    """Answers to finite events are finite, or NaN if the strategy may have no opinion."""
    strategy, rng = case.bound(), np.random.default_rng(seed)
    found = answers(strategy, case.events, random_cuts(len(case.events), rng))
    bad = np.argwhere(np.isinf(found) if strategy.no_opinion else ~np.isfinite(found))
    assert not len(bad), (
        f"{len(bad)} of {found.size}; at {bad[0].tolist()} is {found[tuple(bad[0])]}"
    )


CHECKS: dict[str, Callable[[Case, int], None]] = {
    "reset": check_reset,  # first: the others may rely on it
    "finite answers": check_finite,
    "batching": check_batching,
    "no look-ahead": check_no_look_ahead,
    "slot reuse": check_slot_reuse,
    "snapshot": check_snapshot,
    "isolation": check_isolation,
    "padding": check_padding,
    "symbol permutation": check_symbol_permutation,  # this and the next bind again
    "eviction": check_eviction,
}


def _check_untouched(case: Case, events: EventBatch, victim: int, cuts: list[int]) -> None:
    others = [s for s in range(len(case.session.symbols)) if s != victim]
    hit = events.symbol == victim
    clean = case.bound()
    wanted = answers(clean, events, cuts)
    kept = clean.snapshot(others)
    del clean
    dirty = case.bound()
    found = answers(dirty, _spoilt(events, np.array([victim])), cuts)
    _assert_identical(found[~hit], wanted[~hit], "answers of the other symbols")
    for name, leaf in dirty.snapshot(others).items():
        _assert_identical(leaf, kept[name], f"{name} of the other symbols")


def _spoilt(events: EventBatch, symbols: NDArray[np.int64]) -> EventBatch:
    """A copy whose events of the symbols are NaN, and without a bid."""
    spoilt = events.select(np.arange(len(events)))
    hit = np.isin(events.symbol, symbols)
    if spoilt.features is not None:
        spoilt.features[hit] = np.nan
    if spoilt.bid is not None:
        spoilt.bid[hit] = NO_PRICE
    return spoilt


def _short(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return f"[{shown}, ...]" if len(numbers) > 8 else f"[{shown}]"


def _assert_identical(found: NDArray[Any], wanted: NDArray[Any], what: str) -> None:
    """Equal to the last bit; NaN is NaN."""
    assert found.shape == wanted.shape, f"{what}: shape {found.shape}, not {wanted.shape}"
    different = distance(found, wanted) > 0
    assert not different.any(), f"{what}: {_example(different, found, wanted)}"


def _example(wrong: NDArray[np.bool_], found: NDArray[Any], wanted: NDArray[Any]) -> str:
    """How many values are wrong, and the first of them."""
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"{np.count_nonzero(wrong)} of {wrong.size} differ; at {list(at)} is {found[at]:.6g}, "
        f"not {wanted[at]:.6g}"
    )
