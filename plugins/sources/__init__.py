"""The dataset sources that ship with the project."""

from __future__ import annotations

from collections.abc import Callable

from backtest.data.sources import Source
from backtest.plugins.hookspecs import hookimpl
from backtest.plugins.sources.binance import BinanceStream
from backtest.plugins.sources.challenge import Challenge
from backtest.plugins.sources.equities import UsEquitiesTicks
from backtest.plugins.sources.hftbacktest import HftBacktest
from backtest.plugins.sources.kaggle import JaneStreetKaggle
from backtest.plugins.sources.lobster import Lobster
from backtest.plugins.sources.mapped import MappedCsv, MappedParquet
from backtest.plugins.sources.tardis import Tardis


@hookimpl
def backtest_register_sources(register: Callable[[str, type[Source]], None]) -> None:
    """Register them."""
    register("binance-stream", BinanceStream)
    register("challenge", Challenge)
    register("csv", MappedCsv)
    register("hftbacktest", HftBacktest)
    register("jane-street-kaggle", JaneStreetKaggle)
    register("lobster", Lobster)
    register("parquet", MappedParquet)
    register("tardis", Tardis)
    register("us-equities-ticks", UsEquitiesTicks)
