"""Limits of the oracle as the engine has them, and breaches of the engine as the oracle's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.trading import limit_layout as ll
from backtest.trading.limits import Exposure, Limits
from tests.limits_oracle import Breach, LimitRules


def limits_of(rules: LimitRules, symbols: int) -> Limits:
    """The engine's."""

    def by_symbol(given: dict[int, int]) -> Int64Array | None:
        most = [given.get(s, 2**62) for s in range(symbols)]
        return np.array(most, dtype=np.int64) if given else None

    groups = []
    for group in rules.groups:
        member = np.array([s in group.symbols for s in range(symbols)], dtype=np.bool_)
        groups.append(Exposure(group.name, member, group.gross, group.net))
    return Limits(
        by_symbol(rules.position),
        by_symbol(rules.gross_by_symbol),
        groups,
        rules.orders_per_second,
        rules.daily_loss,
        rules.drawdown,
        np.array(rules.days, dtype=np.int64),
    )


def breaches_of(pieces: Sequence[Int64Array], limits: Limits) -> list[Breach]:
    """The oracle's form."""
    rows = np.concatenate([*pieces, np.empty((0, ll.BREACH_SIZE), dtype=np.int64)])
    return [
        Breach(
            row[ll.B_TIME], limits.names[row[ll.B_LIMIT]],
            None if row[ll.B_SYMBOL] < 0 else row[ll.B_SYMBOL],
            row[ll.B_ORDER], row[ll.B_SIDE], row[ll.B_LOTS],
        )
        for row in rows.tolist()
    ]  # fmt: skip
