"""The dataset sources that ship with the project."""

from __future__ import annotations

from importlib.util import find_spec

from backtest.data.sources import Source
from backtest.plugins.hookspecs import Register, hookimpl
from backtest.plugins.sources.binance import BinanceStream
from backtest.plugins.sources.binance_vision import BinanceVision
from backtest.plugins.sources.challenge import Challenge
from backtest.plugins.sources.databento import DatabentoDbn
from backtest.plugins.sources.equities import UsEquitiesTicks
from backtest.plugins.sources.hftbacktest import HftBacktest
from backtest.plugins.sources.kaggle import JaneStreetKaggle
from backtest.plugins.sources.lobster import Lobster
from backtest.plugins.sources.mapped import MappedCsv, MappedParquet
from backtest.plugins.sources.nautilus import NautilusCatalog
from backtest.plugins.sources.tardis import Tardis


@hookimpl
def backtest_register_sources(register: Register[Source]) -> None:
    """Register them."""
    register("binance-stream", BinanceStream)
    register("binance-vision", BinanceVision)
    register("challenge", Challenge)
    register("csv", MappedCsv)
    missing = "the package databento-dbn is not installed; pip install 'ticktoll[databento]'"
    there = find_spec("databento_dbn") is not None
    register("databento", DatabentoDbn, unavailable=None if there else missing)
    register("hftbacktest", HftBacktest)
    register("jane-street-kaggle", JaneStreetKaggle)
    register("lobster", Lobster)
    register("nautilus", NautilusCatalog)
    register("parquet", MappedParquet)
    register("tardis", Tardis)
    register("us-equities-ticks", UsEquitiesTicks)
