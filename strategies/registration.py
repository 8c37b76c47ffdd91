"""The shipped strategies, registered through the same hook as anyone's. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable

from backtest.plugins.hookspecs import hookimpl
from backtest.strategies.base import Strategy
from backtest.strategies.batched import Batched
from backtest.strategies.eager import Eager
from backtest.strategies.imbalance import Imbalance
from backtest.strategies.last_write import LastWrite
from backtest.strategies.stateless import Stateless


@hookimpl
def backtest_register_strategies(register: Callable[[str, type[Strategy]], None]) -> None:
    """Add the ensemble's variants and the quote rule."""
    register("eager", Eager)
    register("batched", Batched)
    register("stateless", Stateless)
    register("last-write", LastWrite)
    register("imbalance", Imbalance)
