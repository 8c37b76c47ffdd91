"""What one traded symbol is: its grid of prices and sizes, its money, its fees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

MONEY_UNIT = Decimal("1e-9")
"""Money is counted in whole billionths of the currency."""

_MONEY_LIMIT = 2**62


@dataclass(frozen=True, slots=True)
class Instrument:
    """A linear contract.

    Attributes:
        tick_size: price of one tick, in currency.
        lot_size: units of the contract in one lot.
        multiplier: currency earned by one unit when the price rises by 1.
        currency: what prices and fees are in.
        fee_rate: fraction of the notional charged for each fill (0.0001 is one basis point).
        fee_per_lot: currency charged for each lot filled.
        tradable: false for what the accountant cannot account for, such as inverse contracts.
        signed_prices: prices may be 0 or negative, as those of spreads and some energy contracts;
            otherwise such a price counts as absent.
    """

    tick_size: Decimal = Decimal("0.01")
    lot_size: Decimal = Decimal(1)
    multiplier: Decimal = Decimal(1)
    currency: str = "USD"
    fee_rate: Decimal = Decimal(0)
    fee_per_lot: Decimal = Decimal(0)
    tradable: bool = True
    signed_prices: bool = False

    @property
    def half_tick_lot(self) -> int:
        """Money (billionths of the currency) earned by one lot when the price rises half a tick.

        Raises:
            ValueError: it is not a whole, positive number of billionths, or 2^62 of them or more.
        """
        # Fractions, because decimals would round a product to 28 digits.
        parts = (self.tick_size, self.lot_size, self.multiplier, 1 / (2 * MONEY_UNIT))
        value = math.prod(map(Fraction, parts))
        if value <= 0 or value.denominator != 1:
            shown = Decimal(value.numerator) / value.denominator
            raise ValueError(
                f"half a tick of one lot is worth {shown.normalize():f} billionths of a "
                f"{self.currency}, which must be a whole number above 0: choose a larger lot_size"
            )
        if value >= _MONEY_LIMIT:
            raise ValueError(
                f"half a tick of one lot is worth {Decimal(value.numerator):.3g} billionths of a "
                f"{self.currency}, more than 64 bits can count: choose a smaller lot_size"
            )
        return int(value)

    def fee(self, lots: int, half_ticks: int) -> int:
        """Money charged for a fill of ``lots`` (either sign), price in half ticks, rounded up."""
        notional = abs(lots * half_ticks) * self.half_tick_lot
        per_lot = Fraction(self.fee_per_lot) / Fraction(MONEY_UNIT) * abs(lots)
        return -int(-(Fraction(self.fee_rate) * notional + per_lot) // 1)
