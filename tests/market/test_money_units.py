"""The unit of money is as fine as half a tick of a lot needs, and one for all of a currency."""

from __future__ import annotations

from decimal import Decimal

import pytest

from backtest.data.card import Card, InstrumentTable
from backtest.market.instruments import Instrument


@pytest.mark.parametrize(
    ("tick", "lot", "unit", "worth"),
    [
        ("0.01", "1", "1e-9", 5_000_000),
        ("0.01", "0.0000001", "1e-10", 5),
        ("0.01", "0.00000001", "1e-11", 5),
        ("0.00000001", "0.00000001", "1e-17", 5),
    ],
)
def test_unit(tick: str, lot: str, unit: str, worth: int) -> None:
    instrument = Instrument(tick_size=Decimal(tick), lot_size=Decimal(lot))
    assert (instrument.unit, instrument.half_tick_lot) == (Decimal(unit), worth)


def test_what_is_too_fine_is_refused() -> None:
    instrument = Instrument(tick_size=Decimal("1e-12"), lot_size=Decimal("1e-8"))
    with pytest.raises(ValueError, match="larger lot_size, or a finer money_unit"):
        _ = instrument.half_tick_lot


def test_those_of_one_currency_share_the_finest() -> None:
    tables = {
        "fine": InstrumentTable(lot_size=Decimal("1e-8")),
        "other": InstrumentTable(currency="EUR"),
        "stated": InstrumentTable(money_unit=Decimal("1e-9")),
        "closed": InstrumentTable(tradable=False),
    }
    card = Card(
        name="x", symbols=("fine", "plain", "other", "stated", "closed"), instruments=tables
    )
    units = [instrument.unit for instrument in card.resolved_instruments()]
    assert units == [Decimal(text) for text in ("1e-11", "1e-11", "1e-9", "1e-9", "1e-9")]
