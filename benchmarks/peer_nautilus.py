"""NautilusTrader on the benchmark's ticks, with a trivial strategy. Run in its own environment."""

# ruff: noqa: T201
import json
import os
import sys
import time
from decimal import Decimal
from statistics import median

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

ticks = np.load(sys.argv[1])
repeats = int(sys.argv[2])
count = min(len(ticks["symbol"]), 300_000)
symbols = int(ticks["symbol"].max()) + 1


class Watching(Strategy):
    """Looks at every quote."""

    seen = 0

    def on_start(self):
        for symbol in range(symbols):
            self.subscribe_quote_ticks(InstrumentId(Symbol(f"S{symbol}"), Venue("X")))

    def on_quote_tick(self, tick):
        self.seen += 1


engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
engine.add_venue(
    Venue("X"), OmsType.NETTING, AccountType.MARGIN, [Money(1_000_000, USD)], base_currency=USD
)
names = []
for symbol in range(symbols):
    name = InstrumentId(Symbol(f"S{symbol}"), Venue("X"))
    names.append(name)
    engine.add_instrument(
        Equity(
            instrument_id=name,
            raw_symbol=name.symbol,
            currency=USD,
            price_precision=2,
            price_increment=Price(0.01, 2),
            lot_size=Quantity.from_int(1),
            margin_init=Decimal(0),
            margin_maint=Decimal(0),
            maker_fee=Decimal(0),
            taker_fee=Decimal(0),
            ts_event=0,
            ts_init=0,
        )
    )
columns = ("symbol", "bid", "ask", "bid_size", "ask_size", "ts_event")
engine.add_data(
    [
        QuoteTick(
            names[s], Price(bid / 100, 2), Price(ask / 100, 2), Quantity(b, 0), Quantity(a, 0), t, t
        )
        for s, bid, ask, b, a, t in zip(
            *(ticks[name][:count].tolist() for name in columns), strict=True
        )
    ]
)
strategy = Watching()
engine.add_strategy(strategy)
spent = []
for _ in range(repeats + 1):  # the first warms up
    strategy.seen = 0
    begun = time.perf_counter()
    engine.run()
    spent.append(time.perf_counter() - begun)
    if strategy.seen != count:
        raise SystemExit(f"saw {strategy.seen} of {count} quotes")
    engine.reset()
print(
    json.dumps(
        {
            "what": f"{symbols} instruments, a trivial strategy",
            "best": round(count / min(spent[1:]) / 1e6, 3),
            "median": round(count / median(spent[1:]) / 1e6, 3),
            "load": round(os.getloadavg()[0], 2),
        }
    )
)
