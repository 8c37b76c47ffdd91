"""Strategies: what answers events. Importing this loads no torch."""

from backtest.strategies.base import Session, Strategy
from backtest.strategies.desk import Desk, Reports, WorkingOrders
from backtest.strategies.messages import Messages
from backtest.strategies.module import ModuleStrategy

__all__ = [
    "Desk",
    "Messages",
    "ModuleStrategy",
    "Reports",
    "Session",
    "Strategy",
    "WorkingOrders",
]
