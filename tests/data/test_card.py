"""Dataset cards: their contents, and every way in which one can be wrong."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backtest.data.card import Card, read_card, write_card
from backtest.errors import DataError
from backtest.market.instruments import Instrument

FULL = """
format = 1
name = "full"
description = "Everything a card can say."
files = ["part-*.parquet", "more/**/*.parquet"]
symbols = ["ES", "a.b", "]<x>"]

[columns]
ts_event = "time"

[features]
columns = ["f0", "f1"]

[targets]
columns = ["y"]

[instruments.default]
tick_size = "0.25"
currency = "EUR"
[instruments."a.b"]
fee_rate = "0.0001"
tradable = false

[calendar]
zone = "Europe/Berlin"
sessions = [["2024-08-08T09:00:00Z", "2024-08-08T17:30:00.5Z"]]
session_breaks = "reset"

[sha256]
"part-0.parquet" = "0000000000000000000000000000000000000000000000000000000000000000"

[notes]
anything = ["goes", "here"]
"""


def card(text: str) -> Card:
    return read_card("d/dataset.toml", text.encode())


def test_a_full_card_becomes_typed_values() -> None:
    full = card(FULL)
    assert full.symbols == ("ES", "a.b", "]<x>")
    assert full.columns.ts_event == "time"
    assert full.columns.bid == "bid"
    assert full.features is not None
    assert full.features.all == ("f0", "f1")
    euro = Instrument(tick_size=Decimal("0.25"), currency="EUR")
    other = Instrument(
        tick_size=Decimal("0.25"), currency="EUR", fee_rate=Decimal("0.0001"), tradable=False
    )
    assert full.resolved_instruments() == (euro, other, euro)
    opened = 1_723_107_600_000_000_000
    assert full.calendar.sessions == ((opened, opened + 30_600_500_000_000),)
    assert full.calendar.zone == "Europe/Berlin"
    assert full.without_zone().calendar == full.calendar.model_copy(update={"zone": "UTC"})
    assert full.notes == {"anything": ["goes", "here"]}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    for written in (card(FULL), card('format = 1\nname = "x"\nsymbols = ["A"]')):
        write_card(tmp_path, written)
        assert read_card(tmp_path / "dataset.toml") == written


def test_cards_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        card(FULL).name = "other"


SMALL = {"format": "1", "name": '"x"', "symbols": '["A", "B"]'}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": "2"}, "format: should be 1"),
        ({"name": '"../x"'}, "name: "),
        ({"symbols": "[]"}, "symbols: "),
        ({"symbols": '["A", "A"]'}, "symbols: named more than once: 'A'"),
        ({"symbols": '["A", 1]'}, "symbols[1]: should be a valid string"),
        ({"files": '["../secrets/*.parquet"]'}, "files[0]: '../secrets/*.parquet' must be a path"),
        ({"files": '["/etc/*"]'}, "files[0]: '/etc/*' must be a path"),
        ({"files": '["a/./b"]'}, "files[0]: "),
        ({"files": "[]"}, "files: "),
        ({"symbls": '["A"]'}, "symbls: no such key"),
        ({"columns": '{ bidd = "b" }'}, "columns.bidd: no such key"),
        (
            {"columns": '{ aggressor = "aggressor" }', "features": '{ columns = ["aggressor"] }'},
            "features: 'aggressor' is already used by another table",
        ),
        ({"columns": '{ bid = "x", ask = "x" }'}, "columns: named more than once: 'x'"),
        ({"features": "{}"}, "features: give either columns, or packed and names"),
        ({"features": '{ columns = ["a"], packed = "f", names = ["a"] }'}, "features: give either"),
        ({"features": '{ packed = "f" }'}, "features: give either"),
        ({"features": '{ columns = ["a", "a"] }'}, "features: named more than once: 'a'"),
        ({"features": '{ columns = ["bid"] }'}, "features: 'bid' is already used by another table"),
        (
            {"features": '{ columns = ["a"] }', "targets": '{ columns = ["a"] }'},
            "targets: 'a' is already used by another table",
        ),
        ({"instruments": "{ C = {} }"}, "instruments: C is not among the symbols"),
        (
            {"instruments": "{ A = { tick_size = 0.01 } }"},
            'instruments.A.tick_size: write it as text, "0.01"',
        ),
        ({"instruments": '{ A = { tick_size = "x" } }'}, "'x' is not a decimal number"),
        ({"instruments": '{ A = { tick_size = "NaN" } }'}, "'NaN' is not a decimal number"),
        ({"instruments": '{ A = { lot_size = "0" } }'}, "lot_size: must be above 0"),
        ({"instruments": '{ A = { tick_size = "1e-999999999" } }'}, "not between 1e-30 and 1e30"),
        ({"instruments": '{ A = { fee_rate = "1e999999999" } }'}, "not between 1e-30 and 1e30"),
        ({"instruments": '{ A = { lot_size = "1e99999999999999999999" } }'}, "not a decimal"),
        ({"instruments": f'{{ A = {{ lot_size = "{"9" * 99}" }} }}'}, "99 characters is too long"),
        ({"instruments": "{ A = { tick_size = true } }"}, "True is not a decimal number"),
        ({"instruments": '{ A = { fee_per_lot = "1e10" } }'}, "must be at most 1000000000"),
        (
            {"instruments": '{ A = { tick_size = "1e9", lot_size = "1e9" } }'},
            "worth 5.00e+26 times 0.000000001 USD, more than 64 bits can count",
        ),
        (  # a product of 28 digits is not exact in decimals
            {
                "instruments": '{ A = { tick_size = "1000000000000.000000001", '
                'lot_size = "1.00000000000000000000001" } }'
            },
            "must be a whole number above 0",
        ),
        ({"notes": "[" * 5_000}, "not valid TOML: it nests deeper than 64 levels"),
        (
            {"instruments": '{ default = { tick_size = "1e-18" } }'},
            "instruments: A: half a tick of one lot is worth 0.0000000005",
        ),
        ({"calendar": "{ sessions = [[1, 2]] }"}, "calendar.sessions[0][0]: 1 is not an instant"),
        (
            {"calendar": '{ sessions = [["2024-01-02T00:00:00Z", "2024-01-01T00:00:00Z"]] }'},
            "calendar.sessions: session 0 must open before it closes",
        ),
        (
            {
                "calendar": '{ sessions = [["2024-01-01T00:00:00Z", "2024-01-03T00:00:00Z"],'
                ' ["2024-01-02T00:00:00Z", "2024-01-04T00:00:00Z"]] }'
            },
            "session 1 opens before",
        ),
        ({"calendar": '{ zone = "Mars" }'}, "calendar.zone: 'Mars' is not a time zone, such as"),
        ({"calendar": "{ zone = 2 }"}, "calendar.zone: "),
        ({"calendar": '{ session_breaks = "keep" }'}, "calendar.session_breaks: should be 'carry'"),
        ({"sha256": '{ "a.parquet" = "xyz" }'}, 'sha256."a.parquet": '),
    ],
)
def test_every_problem_is_named_by_its_path(change: dict[str, str], problem: str) -> None:
    text = "\n".join(f"{key} = {value}" for key, value in (SMALL | change).items())
    with pytest.raises(DataError) as caught:
        card(text)
    assert str(caught.value).startswith("d/dataset.toml: ")
    assert problem in str(caught.value)
    assert caught.value.exit_code == 3


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(DataError) as caught:
        card('name = "a b"\nfiles = ["/x"]\n[instruments."Q"]\ntick_size = 1.5\nlots = 1')
    problem = str(caught.value)
    for path in ("format", "name", "symbols", "files[0]", "instruments.Q.tick_size"):
        assert f"\n  {path}: " in problem
    assert "\n  instruments.Q.lots: no such key" in problem


def test_untradable_instruments_need_no_whole_half_tick() -> None:
    tiny: dict[str, Any] = {"tick_size": "1e-9", "tradable": False}
    made = Card.model_validate({"name": "x", "symbols": ["A"], "instruments": {"A": tiny}})
    assert made.resolved_instruments()[0].tradable is False


@pytest.mark.parametrize("text", [b"name = ", b"\xff\xfe", b"\x00"])
def test_what_is_not_toml_is_refused(text: bytes) -> None:
    with pytest.raises(DataError, match="not valid TOML"):
        read_card("d/dataset.toml", text)


def test_a_mistake_in_many_tables_is_told_once_with_its_count() -> None:
    symbols = [f"S{k}" for k in range(1000)]
    text = f'format = 1\nname = "a"\nsymbols = {symbols}\n'
    with pytest.raises(DataError) as caught:
        card(text + "".join(f"[instruments.{s}]\nlotsize = '1'\n" for s in symbols))
    assert caught.value.problem == (
        "instruments.S0.lotsize: no such key. Did you mean 'lot_size'? (and in 999 more like it)"
    )
    with pytest.raises(DataError) as caught:
        card(text + "".join(f"[instruments.X{s}]\nlot_size = '1'\n" for s in symbols))
    assert caught.value.problem.endswith(" and 995 more")


@pytest.mark.parametrize(
    ("table", "value"),
    [
        ('[instruments.default]\nmultiplier = "-3"', "-3"),
        ('[instruments.default]\nmoney_unit = "0.2"', "0.2"),
        ('[instruments.default]\nfee_rate = "2000000000"', "2000000000"),
        ("[instruments.default]\ntradable = 7", "7"),
        ('[calendar]\nsessions = [["2024-01-02T03:00:00Z", "2024-01-01T00:00:00Z"]]', "02T03:00"),
    ],
)
def test_a_refused_value_is_quoted(table: str, value: str) -> None:
    with pytest.raises(DataError) as caught:
        card(f'format = 1\nname = "a"\nsymbols = ["A"]\n{table}')
    assert value in caught.value.problem
