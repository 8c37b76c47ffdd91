"""Replay ticks through trading models and charge them for their latency.

Importing this loads neither torch nor polars, pyarrow or numpy: each public name is imported from
its module when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from backtest.core.version import __version__

if TYPE_CHECKING:
    from backtest.api import compare, run, sweep
    from backtest.market.events import NO_PRICE, EventBatch
    from backtest.plugins.hookspecs import hookimpl
    from backtest.strategies.base import Session, Strategy
    from backtest.strategies.messages import Messages
    from backtest.strategies.module import ModuleStrategy


__all__ = [
    "NO_PRICE",
    "EventBatch",
    "Messages",
    "ModuleStrategy",
    "Session",
    "Strategy",
    "__version__",
    "compare",
    "hookimpl",
    "run",
    "sweep",
]

_HOMES = {
    "NO_PRICE": "backtest.market.events",
    "EventBatch": "backtest.market.events",
    "Messages": "backtest.strategies.messages",
    "ModuleStrategy": "backtest.strategies.module",
    "Session": "backtest.strategies.base",
    "Strategy": "backtest.strategies.base",
    "compare": "backtest.api",
    "hookimpl": "backtest.plugins.hookspecs",
    "run": "backtest.api",
    "sweep": "backtest.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
