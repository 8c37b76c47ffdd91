"""The queue models that come with the project."""

from __future__ import annotations

from collections.abc import Callable

from backtest.plugins.hookspecs import hookimpl
from backtest.trading.queue_models import Exact, Optimistic, Power, QueueModel, Through, Trades


@hookimpl
def backtest_register_queue_models(register: Callable[[str, type[QueueModel]], None]) -> None:
    register("through", Through)
    register("trades", Trades)
    register("power", Power)
    register("l3", Exact)
    register("optimistic", Optimistic)
