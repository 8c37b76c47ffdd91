"""The batching policies that come with the project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from backtest.core.parameters import Nanoseconds
from backtest.plugins.hookspecs import hookimpl
from backtest.timing.policies import BatchChoice, BatchingPolicy, CompiledPolicy, Waiting


@dataclass(frozen=True)
class One(BatchingPolicy):
    """One event at a time."""

    def select(self, waiting: Waiting, limit: int) -> BatchChoice:
        return BatchChoice([next(iter(waiting))])

    def compiled(self) -> CompiledPolicy:
        return CompiledPolicy("arrival", 1)


@dataclass(frozen=True)
class All(BatchingPolicy):
    """All waiting events."""

    def select(self, waiting: Waiting, limit: int) -> BatchChoice:
        return BatchChoice(list(islice(waiting, limit)))

    def compiled(self) -> CompiledPolicy:
        return CompiledPolicy("arrival")


@dataclass(frozen=True)
class AtMost(BatchingPolicy):
    """At most ``n`` waiting events, the oldest first."""

    n: int

    def __post_init__(self) -> None:
        _at_least_one(self.n)

    def select(self, waiting: Waiting, limit: int) -> BatchChoice:
        return BatchChoice(list(islice(waiting, min(self.n, limit))))

    def compiled(self) -> CompiledPolicy:
        return CompiledPolicy("arrival", self.n)


@dataclass(frozen=True)
class OnePerSymbol(BatchingPolicy):
    """The oldest event of each symbol."""

    def select(self, waiting: Waiting, limit: int) -> BatchChoice:
        oldest = [line[0] for line in waiting.lines.values() if line]
        return BatchChoice(waiting.by_arrival(oldest)[:limit])

    def compiled(self) -> CompiledPolicy:
        return CompiledPolicy("oldest")


@dataclass(frozen=True)
class NewestPerSymbol(BatchingPolicy):
    """The newest event of each symbol; older events of those symbols are dropped as conflated."""

    def select(self, waiting: Waiting, limit: int) -> BatchChoice:
        newest = waiting.by_arrival([line[-1] for line in waiting.lines.values() if line])[:limit]
        older = [event for n in newest for event in list(waiting.lines[waiting.symbol(n)])[:-1]]
        return BatchChoice(newest, older)

    def compiled(self) -> CompiledPolicy:
        return CompiledPolicy("newest")


@dataclass(frozen=True)
class Deadline(BatchingPolicy):
    """All waiting events, once ``n`` of them wait or the oldest has waited for ``d``."""

    n: int
    d: Nanoseconds

    def __post_init__(self) -> None:
        _at_least_one(self.n)
        if self.d < 0:
            raise ValueError(f"d is {self.d} ns, but a wait cannot be negative")

    def ready_at(self, waiting: Waiting) -> int:
        return waiting.oldest if len(waiting) >= self.n else waiting.deadline(self.d)

    def select(self, waiting: Waiting, limit: int) -> BatchChoice:
        return BatchChoice(list(islice(waiting, limit)))

    def compiled(self) -> CompiledPolicy:
        return CompiledPolicy("arrival", None, self.n, self.d)


@hookimpl
def backtest_register_batching_policies(
    register: Callable[[str, type[BatchingPolicy]], None],
) -> None:
    register("one", One)
    register("all", All)
    register("at-most", AtMost)
    register("one-per-symbol", OnePerSymbol)
    register("newest-per-symbol", NewestPerSymbol)
    register("deadline", Deadline)


def _at_least_one(n: int) -> None:
    if n < 1:
        raise ValueError(f"n is {n}, but a batch holds at least one event")
