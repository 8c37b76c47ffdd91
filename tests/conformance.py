"""Properties that every strategy must have, whatever it computes.

Each ``check_*`` takes a ``Case`` and a seed and raises AssertionError where the property fails.
They hold for strategies of symbol scope; a market-wide one claims only ``check_no_look_ahead``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from backtest.events import NO_PRICE, EventBatch, Float32Array
from backtest.strategies.base import Session, Strategy


@dataclass(frozen=True)
class Case:
    """A strategy under test, and events to test it on.

    Attributes:
        make: a new, unbound strategy.
        session: what it is bound to.
        events: at least 40 events, every symbol several times.
        tolerance: how far answers may differ when only the grouping differs, as a fraction of the
            answers' scale (their largest magnitude, at least 1). For float32 models 5e-5: one step
            rounds at 6e-8 and about 100 chained products, norms and recurrences amplify that to
            1e-6..1e-5. For plain Python rules 0.
    """

    make: Callable[[], Strategy]
    session: Session
    events: EventBatch
    tolerance: float = 5e-5

    def bound(self, **changes: object) -> Strategy:
        """A new strategy, bound to the session with some of it changed."""
        strategy = self.make()
        strategy.bind(replace(self.session, **changes))  # type: ignore[arg-type]
        return strategy

    def alone(self) -> Float32Array:
        """The answers when every event comes in a call of its own: the reference here."""
        return answers(self.bound(), self.events, range(1, len(self.events)))

    def assert_same(self, found: Float32Array, wanted: Float32Array, what: str) -> None:
        """Equal within the tolerance."""
        scale = max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0)))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=self.tolerance * scale, err_msg=what)


def random_events(
    n: int, *, symbols: int, features: int, seed: int, persistence: float = 0.9
) -> EventBatch:
    """Events with quotes and autocorrelated features; symbols come in bursts of their own."""
    rng = np.random.default_rng(seed)
    symbol = np.repeat(rng.integers(0, symbols, n), rng.integers(1, 4, n))[:n].astype(np.int32)
    symbol[:symbols] = np.arange(symbols)
    last = rng.standard_normal((symbols, features))
    rows = np.empty((n, features), dtype=np.float32)
    for i, s in enumerate(symbol):
        noise = rng.standard_normal(features)
        last[s] = persistence * last[s] + np.sqrt(1 - persistence**2) * noise
        rows[i] = last[s]
    bid = rng.integers(900, 1000, n)
    return EventBatch(
        symbol=symbol,
        ts_event=np.cumsum(rng.integers(0, 1000, n)),
        bid=bid,
        ask=bid + rng.integers(0, 3, n),
        bid_size=rng.integers(0, 50, n),
        ask_size=rng.integers(0, 50, n),
        features=rows,
    )


def answers(strategy: Strategy, events: EventBatch, cuts: Sequence[int]) -> Float32Array:
    """Predictions for all events, ``predict`` being called on the pieces between the cuts."""
    edges = [0, *cuts, len(events)]
    pieces = [strategy.predict(events.select(slice(a, b))) for a, b in pairwise(edges)]
    return np.concatenate(pieces)


def random_cuts(n: int, rng: np.random.Generator) -> list[int]:
    """Sorted cuts, some equal: empty pieces are legal calls."""
    return sorted(rng.integers(0, n + 1, rng.integers(1, n // 4)).tolist())


def check_batching(case: Case, seed: int) -> None:
    """However events are grouped into calls, the answers are the same."""
    rng = np.random.default_rng(seed)
    wanted = case.alone()
    n = len(case.events)
    for cuts in ([], random_cuts(n, rng), random_cuts(n, rng)):
        case.assert_same(answers(case.bound(), case.events, cuts), wanted, f"cut at {cuts}")


def check_symbol_permutation(case: Case, seed: int) -> None:
    """Renumbering the symbols changes no answer."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(case.session.symbols)).astype(np.int32)
    names = [""] * len(order)
    for old, new in enumerate(order):
        names[new] = case.session.symbols[old]
    renamed = replace(case.events, symbol=order[case.events.symbol])
    cuts = random_cuts(len(renamed), rng)
    found = answers(case.bound(symbols=tuple(names)), renamed, cuts)
    case.assert_same(found, answers(case.bound(), case.events, cuts), "symbols renumbered")


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
    """A reset symbol answers like one never seen; the others do not notice."""
    rng = np.random.default_rng(seed)
    half = len(case.events) // 2
    before, after = case.events.select(slice(0, half)), case.events.select(slice(half, None))
    symbols = len(case.session.symbols)
    chosen = rng.choice(symbols, size=max(1, symbols // 2), replace=False).tolist()

    undisturbed = answers(case.bound(), case.events, [half])[half:]
    fresh = answers(case.bound(), after, [])
    strategy = case.bound()
    strategy.predict(before)
    strategy.reset(chosen)
    found = strategy.predict(after)
    is_reset = np.isin(after.symbol, chosen)
    case.assert_same(found[is_reset], fresh[is_reset], f"reset {chosen}")
    case.assert_same(found[~is_reset], undisturbed[~is_reset], f"not reset, when {chosen} were")


def check_eviction(case: Case, seed: int) -> None:
    """Room for fewer symbols than there are changes no answer and no state."""
    rng = np.random.default_rng(seed)
    cuts = random_cuts(len(case.events), rng)
    roomy = case.bound()
    wanted = answers(roomy, case.events, cuts)
    everyone = range(len(case.session.symbols))
    for capacity in (1, len(case.session.symbols) - 1):
        tight = case.bound(capacity=capacity)
        case.assert_same(answers(tight, case.events, cuts), wanted, f"capacity {capacity}")
        kept = roomy.snapshot(everyone)
        for name, leaf in tight.snapshot(everyone).items():
            case.assert_same(leaf, kept[name], f"{name} at capacity {capacity}")


def check_snapshot(case: Case, seed: int) -> None:
    """What ``snapshot`` gives, ``restore`` brings back, in another instance and in any order."""
    rng = np.random.default_rng(seed)
    half = len(case.events) // 2
    first, second = case.bound(), case.bound()
    first.predict(case.events.select(slice(0, half)))
    second.predict(case.events.select(slice(0, half // 2)))  # to be overwritten
    order = rng.permutation(len(case.session.symbols)).tolist()
    taken = first.snapshot(order)
    second.restore(order, taken)
    for name, leaf in second.snapshot(order).items():
        np.testing.assert_array_equal(leaf, taken[name], err_msg=name)
    kept = {name: leaf.copy() for name, leaf in taken.items()}
    rest = case.events.select(slice(half, None))
    wanted = first.predict(rest)
    case.assert_same(second.predict(rest), wanted, "after restore")
    for name, leaf in taken.items():
        np.testing.assert_array_equal(leaf, kept[name], err_msg=f"{name}: not a copy")


def check_isolation(case: Case, seed: int) -> None:
    """Rubbish in one symbol leaves every other symbol's answers and state bit-identical."""
    rng = np.random.default_rng(seed)
    victim = int(rng.integers(0, len(case.session.symbols)))
    hit = case.events.symbol == victim
    spoilt = case.events.select(np.arange(len(case.events)))
    if spoilt.features is not None:
        spoilt.features[hit] = np.nan
    if spoilt.bid is not None:
        spoilt.bid[hit] = NO_PRICE
    cuts = random_cuts(len(case.events), rng)
    clean, dirty = case.bound(), case.bound()
    wanted = answers(clean, case.events, cuts)
    np.testing.assert_array_equal(answers(dirty, spoilt, cuts)[~hit], wanted[~hit])
    others = [s for s in range(len(case.session.symbols)) if s != victim]
    kept = clean.snapshot(others)
    for name, leaf in dirty.snapshot(others).items():
        np.testing.assert_array_equal(leaf, kept[name], err_msg=name)


CHECKS: dict[str, Callable[[Case, int], None]] = {
    "batching": check_batching,
    "symbol permutation": check_symbol_permutation,
    "no look-ahead": check_no_look_ahead,
    "reset": check_reset,
    "eviction": check_eviction,
    "snapshot": check_snapshot,
    "isolation": check_isolation,
}
