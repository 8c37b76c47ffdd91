"""The accountants that come with the project."""

from __future__ import annotations

from collections.abc import Callable

from backtest.plugins.accountants.challenge import ChallengeAccountant
from backtest.plugins.accountants.market import MarketAccountant
from backtest.plugins.hookspecs import hookimpl
from backtest.trading.accountant import Accountant


@hookimpl
def backtest_register_accountants(register: Callable[[str, type[Accountant]], None]) -> None:
    register("market", MarketAccountant)
    register("challenge", ChallengeAccountant)
