"""Service times as the server's loop takes them: from a table where the latency model states one,
else one by one from the caller."""

from __future__ import annotations

import numpy as np

from backtest.core.arrays import Int32Array
from backtest.errors import RunError
from backtest.timing import layout as at
from backtest.timing.draws import Draws
from backtest.timing.latency import (
    Composition,
    SpanTable,
    checked_table,
    pass_sizes,
    scaled_span,
    service_time,
)
from backtest.timing.server_rules import ServerRules

_DRAWS = 1 << 14
_PASSES = {"packed": at.PACKED, "rounds": at.ROUNDS, "single": at.SINGLE}


class Service:
    """How long batches are served.

    Args:
        rules: of the server.
        tabled: whether the latency model may be asked for a table.
        distinct: whether a batch holds each symbol once.

    Attributes:
        scale: latency scale.
        tabled: whether the loop computes service times; otherwise it is given each.
        passes: how a batch is split into passes.
        first: number of the batch that the table begins with.
        per_event: ns.
        arrays: ``base``, ``sizes`` and ``quantiles`` of the table, the last row by row.

    Raises:
        RunError: the model gives what is no span.
    """

    def __init__(self, rules: ServerRules, *, tabled: bool, distinct: bool) -> None:
        self._model, self._duplicates = rules.latency, rules.duplicates
        self.scale = rules.scale
        self._draws = Draws(rules.seed, "service") if rules.latency.uses_draws else None
        self.tabled = tabled and stated(rules.latency, "table", "spans", "service")
        self.passes = _PASSES[rules.duplicates]
        if distinct and self.passes == at.ROUNDS:
            self.passes = at.PACKED  # there is a single round
        self.draw(0)

    def draw(self, first: int) -> None:
        """Go on to the batches from number ``first`` on."""
        table = None
        if self.tabled:
            draws = self._draws
            u = np.zeros(1) if draws is None else draws.range(first, first + _DRAWS)
            table = self._model.table(u)
        self.tabled = table is not None
        table = checked_table(self._model, table or SpanTable(np.zeros(1, dtype=np.int64)))
        base, per_event = np.require(table.base, np.int64, ["C", "W"]), int(table.per_event)
        if self.passes == at.SINGLE and len(base) == 1 and not len(table.sizes):
            # Each event has a pass of its own, so what a pass costs is a cost of the event.
            per_event, base = per_event + int(base[0]), np.zeros(1, dtype=np.int64)
            self.passes = at.PACKED
        self.first, self.per_event = first, min(per_event, at.LONGEST)
        self.arrays = (
            base,
            np.require(table.sizes, np.int64, ["C", "W"]),
            np.require(table.quantiles, np.float64, ["C", "W"]).reshape(-1),
        )

    def is_simple(self, largest: int) -> bool:
        """Whether a batch of at most ``largest`` takes ``base`` and ``per_event`` for each event,
        and no longer than can be counted."""
        base, sizes, _ = self.arrays
        longest = int(base.max()) + self.per_event * largest
        plain = self.scale == 1 and self.passes == at.PACKED and not len(sizes)
        return plain and longest < at.LONGEST

    def time(self, symbols: Int32Array, number: int) -> int:
        """Scaled service time of a batch that the model in Python is asked for, ns.

        Args:
            symbols: of its events in order of arrival, int32 [k].
            number: of the batch.

        Raises:
            RunError: the model gives what is no span.
        """
        passes = pass_sizes(symbols.tolist(), self._duplicates)
        u = 0.0 if self._draws is None else self._draws[number]
        return scaled_span(service_time(self._model, Composition(symbols, passes), u), self.scale)

    def refuse(self, size: int) -> None:
        """Let the model say what is wrong with the size of a pass.

        Raises:
            UsageError: what it says.
            RunError: it finds nothing wrong.
        """
        self._model.spans(np.array([size], dtype=np.int64), np.zeros(1))
        raise RunError(
            f"its table has no size {size}", place=f"latency model {type(self._model).__name__}"
        )


def stated(part: object, name: str, *others: str) -> bool:
    """Whether the class that last defines one of some methods also states the compiled twin.

    Args:
        part: a policy or a latency model.
        name: the method that states the twin.
        others: the methods that it stands for.
    """
    for kind in type(part).__mro__:
        if any(method in vars(kind) for method in (name, *others)):
            return name in vars(kind)
    return False
