"""The shipped strategies, registered through the same hook as anyone's. Loads no torch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from backtest.plugins.hookspecs import hookimpl
from backtest.strategies.batched import Batched
from backtest.strategies.compiled import Compiled
from backtest.strategies.eager import Eager
from backtest.strategies.fused.strategy import Fused
from backtest.strategies.imbalance import Imbalance
from backtest.strategies.last_write import LastWrite
from backtest.strategies.order_list import OrderListStrategy
from backtest.strategies.pruned import Pruned
from backtest.strategies.stateless import Stateless

NO_TRITON = "it needs the package triton, which is not installed"


@hookimpl
def backtest_register_strategies(register: Any) -> None:
    """Add the ensemble's variants and the quote rule."""
    register("eager", Eager)
    register("batched", Batched)
    register("compiled", Compiled)
    register("stateless", Stateless)
    register("pruned", Pruned)
    if find_spec("triton"):
        register("fused", Fused)
    else:
        register("fused", Fused, unavailable=NO_TRITON)
    register("last-write", LastWrite)
    register("imbalance", Imbalance)
    register("order-list", OrderListStrategy)
