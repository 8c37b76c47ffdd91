"""The dataset sources that ship with the project."""

from __future__ import annotations

from collections.abc import Callable

from backtest.data.sources import Source
from backtest.plugins.hookspecs import hookimpl
from backtest.plugins.sources.challenge import Challenge


@hookimpl
def backtest_register_sources(register: Callable[[str, type[Source]], None]) -> None:
    """Register them."""
    register("challenge", Challenge)
