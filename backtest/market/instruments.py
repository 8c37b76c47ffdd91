"""What one traded symbol is: its grid of prices and sizes, its money, its fees."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

MONEY_UNIT = Decimal("1e-9")
"""Money is counted in whole billionths of the currency where that is fine enough."""

COARSE_UNIT = Decimal("1e-6")
"""The unit of currencies that come in large numbers: 64 bits of billionths of a won hold no more
than seven million dollars, less than a hundred index futures are worth."""

COARSE_CURRENCIES = (
    *("CLP", "COP", "HUF", "IDR", "IQD", "IRR", "JPY", "KHR"),
    *("KRW", "LAK", "LBP", "MMK", "MNT", "UGX", "VND"),
)

_UNITS = (COARSE_UNIT, *(Decimal(1).scaleb(-places) for places in range(9, 19)))
"""Units that are taken by default, the first that does."""

_MONEY_LIMIT = 2**62


@dataclass(frozen=True, slots=True)
class Instrument:
    """A linear contract.

    Attributes:
        tick_size: price of one tick, in currency.
        lot_size: units of the contract in one lot.
        multiplier: currency earned by one unit when the price rises by 1.
        currency: what prices and fees are in.
        fee_rate: fraction of the notional charged for each fill (0.0001 is one basis point); below
            0, it is paid to us.
        fee_per_lot: currency charged for each lot filled.
        maker_fee_rate, maker_fee_per_lot: the same for fills of orders that rested; ``None``: as
            for all others.
        tradable: false for what the accountant cannot account for, such as inverse contracts.
        signed_prices: prices may be 0 or negative, as those of spreads and some energy contracts;
            otherwise such a price counts as absent.
        money_unit: what money is counted in whole numbers of, in currency: a power of ten, 1 at
            most. By default ``COARSE_UNIT`` for ``COARSE_CURRENCIES``, else ``MONEY_UNIT``, or the
            first finer one of which half a tick of a lot is worth a whole number.
    """

    tick_size: Decimal = Decimal("0.01")
    lot_size: Decimal = Decimal(1)
    multiplier: Decimal = Decimal(1)
    currency: str = "USD"
    fee_rate: Decimal = Decimal(0)
    fee_per_lot: Decimal = Decimal(0)
    maker_fee_rate: Decimal | None = None
    maker_fee_per_lot: Decimal | None = None
    tradable: bool = True
    signed_prices: bool = False
    money_unit: Decimal | None = None

    @property
    def unit(self) -> Decimal:
        """What money is counted in whole numbers of, in currency."""
        if self.money_unit is not None:
            return self.money_unit
        coarse = self.currency in COARSE_CURRENCIES
        for unit in _UNITS if coarse else _UNITS[1:]:
            if (self._half_tick_worth / Fraction(unit)).denominator == 1:
                return unit
        return MONEY_UNIT

    @property
    def half_tick_lot(self) -> int:
        """Money, in units of ``unit``, earned by one lot when the price rises half a tick.

        Raises:
            ValueError: it is not a whole, positive number of them, or it is 2^62 or more.
        """
        unit = self.unit
        value = self._half_tick_worth / Fraction(unit)
        shown = f"half a tick of one lot is worth {{}} times {unit.normalize():f} {self.currency}"
        if value <= 0 or value.denominator != 1:
            worth = Decimal(value.numerator) / value.denominator
            raise ValueError(
                f"{shown.format(f'{worth.normalize():f}')}, which must be a whole number above 0: "
                "choose a larger lot_size, or a finer money_unit"
            )
        if value >= _MONEY_LIMIT:
            raise ValueError(
                f"{shown.format(f'{Decimal(value.numerator):.3g}')}, more than 64 bits can count: "
                "choose a smaller lot_size"
            )
        return int(value)

    @property
    def _half_tick_worth(self) -> Fraction:
        """The same in currency; decimals would round a product to 28 digits."""
        return Fraction(self.tick_size) * Fraction(self.lot_size) * Fraction(self.multiplier) / 2

    def fees(self, *, maker: bool) -> tuple[Fraction, Fraction]:
        """What a fill costs: the part of its notional, and money a lot."""
        rate, per_lot = self.fee_rate, self.fee_per_lot
        if maker:
            rate = rate if self.maker_fee_rate is None else self.maker_fee_rate
            per_lot = per_lot if self.maker_fee_per_lot is None else self.maker_fee_per_lot
        return Fraction(rate), Fraction(per_lot) / Fraction(self.unit)

    def fee(self, lots: int, half_ticks: int, *, maker: bool = False) -> int:
        """Money charged for a fill of ``lots`` (either sign), price in half ticks, rounded up."""
        rate, per_lot = self.fees(maker=maker)
        notional = abs(lots * half_ticks) * self.half_tick_lot
        return -int(-(rate * notional + per_lot * abs(lots)) // 1)
