"""The market accountant: orders filled at recorded quotes, and where the money went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from backtest.core.arrays import Int64Array
from backtest.core.parameters import Nanoseconds
from backtest.core.times import format_duration, format_span
from backtest.errors import DataError, UsageError
from backtest.market.calendar import MarketHours
from backtest.trading.account_tables import drawdown, equity_table, figures
from backtest.trading.accountant import Account, Accountant, RunTerms, Settlement
from backtest.trading.orders import OrderRules
from backtest.trading.venue import Venue

_MOST_BUCKETS = 1_000_000


@dataclass(frozen=True)
class MarketAccountant(Accountant):
    """Trades every answer at the quotes that prevail when its order arrives.

    Attributes:
        position_limit: maximum position in a symbol, in lots, long or short; ``None``: no limit.
        no_trade_band: a change of at most this many lots is not traded.
        impact: c in i = ceil(c x spread x filled / displayed) half ticks a lot.
        bucket: open time of a bucket of the equity table; none: about a 500th of the window's.
    """

    position_limit: int | None = None
    no_trade_band: int = 0
    impact: float = 0.0
    bucket: Nanoseconds | None = None

    needs_quotes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("position_limit", "no_trade_band", "impact", "bucket"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} is {value}, but it cannot be negative")
        if self.bucket == 0:
            raise ValueError("bucket is 0 ns, but must be above 0")

    def order_rules(self, sessions: Sequence[tuple[int, int]] | None, end: int) -> OrderRules:
        impact = Fraction(str(self.impact))
        return OrderRules(self.position_limit, self.no_trade_band, impact, sessions, end)

    def bucket_ends(self, start: int, end: int, hours: MarketHours) -> Int64Array:
        span = hours.span(start, end) or end - start
        if self.bucket is not None and span > _MOST_BUCKETS * self.bucket:
            raise UsageError(
                f"bucket is {format_duration(self.bucket)}, of which the window has more than"
                f" {_MOST_BUCKETS:,}",
                place="accountant 'market'",
                remedy=f"Choose {format_span(-(-span // _MOST_BUCKETS))} or more.",
            )
        return hours.bucket_ends(start, end, self.bucket)

    def join(
        self, accounts: Sequence[Mapping[str, Any]], shares: Sequence[float]
    ) -> Mapping[str, Any]:
        symbols = [account["by_symbol"] for account in accounts]
        return _sums(accounts, shares) | {
            "by_symbol": {
                name: _sums([of_each[name] for of_each in symbols], shares) for name in symbols[0]
            }
        }

    def open(self, terms: RunTerms) -> Settlement:
        if self.impact and not terms.has_sizes:
            raise UsageError(
                "impact needs displayed sizes, which the dataset lacks",
                place="accountant 'market', parameter 'impact'",
                remedy="Leave impact at 0.",
            )
        currencies = {i.currency for i in terms.instruments if i.tradable}
        if len(currencies) > 1:
            raise DataError(
                f"tradable symbols in several currencies: {', '.join(sorted(currencies))}",
                place="dataset card, [instruments]",
                remedy="Mark all but one currency's symbols tradable = false.",
            )
        units = {i.unit for i in terms.instruments if i.tradable}
        if len(units) > 1:
            raise DataError(
                f"money counted in several units: {', '.join(map(str, sorted(units)))}",
                place="dataset card, [instruments]",
                remedy="Give all tradable symbols the same money_unit.",
            )
        assert terms.venue is not None  # order_rules
        return _MarketSettlement(terms.venue)


def _sums(accounts: Sequence[Mapping[str, Any]], shares: Sequence[float]) -> dict[str, Any]:
    """Sums of the figures; means over time are weighted, and texts are the first one's."""
    found: dict[str, Any] = {}
    for name, value in accounts[0].items():
        values = [account[name] for account in accounts]
        if name in ("by_symbol", "max_drawdown"):
            continue
        if isinstance(value, str):
            found[name] = value
        elif None in values:
            found[name] = None
        elif name == "exposure":
            found[name] = round(sum(v * Fraction(s) for v, s in zip(values, shares, strict=True)))
        else:
            found[name] = sum(values)
    return found


class _MarketSettlement(Settlement):
    """The venue trades and keeps the sums."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def finish(self) -> Account:
        terms, books = self._venue.terms, self._venue.books
        equity = equity_table(terms, books)
        metrics = {**figures(terms, books), "max_drawdown": drawdown(equity)}
        return Account(metrics, {"equity": equity})
