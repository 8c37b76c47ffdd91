"""Strategies: what answers events. Importing this loads no torch."""

from backtest.strategies.base import Session, Strategy
from backtest.strategies.module import ModuleStrategy

__all__ = ["ModuleStrategy", "Session", "Strategy"]
