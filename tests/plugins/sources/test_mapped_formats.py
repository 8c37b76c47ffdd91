"""Mapped files as they are met: separators, decimal commas, split times, folders, instruments."""

from __future__ import annotations

import zipfile
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import read_events
from backtest.data.sources import ingest
from backtest.errors import BacktestError
from backtest.market.events import NO_PRICE, EventBatch
from backtest.plugins.sources.mapped import MappedCsv, MappedParquet

NS = 10**9
START = 1_723_161_255 * NS  # 2024-08-08 23:54:15 UTC


def toml(folder: Path, text: str) -> Path:
    path = folder / "mapping.toml"
    path.write_text(text)
    return path


def quotes(
    *,
    time: str = 'event = "t"\nunit = "ms"\nzone = "UTC"',
    symbol: str = 'value = "ONE"',
    price: str = 'unit = "1"\ntick_size = "0.01"\nbid = "b"\nask = "a"',
    more: str = "",
) -> str:
    return f'name = "mine"\n[time]\n{time}\n[symbol]\n{symbol}\n[price]\n{price}\n{more}'


def made(path: Path, text: str, kind: type[Any] = MappedCsv, **options: Any) -> Dataset:
    out = path.parent / "out"
    mapping = toml(path.parent, text)
    ingest("mapped", kind(mapping=mapping, **options), path, out, overwrite=True)
    return open_dataset(out)


def events(path: Path, text: str, kind: type[Any] = MappedCsv, **options: Any) -> EventBatch:
    return read_events(made(path, text, kind, **options), features=True)


def refused(path: Path, text: str, kind: type[Any] = MappedCsv) -> str:
    with pytest.raises(BacktestError) as caught:
        made(path, text, kind)
    return str(caught.value)


def listed(batch: EventBatch, name: str) -> list[int]:
    found: list[int] = getattr(batch, name).tolist()
    return found


EUROPEAN = """Exported by hand
8 August 2024
t;b;a;x
1723161255000;1.234,50;1.234,51;1.000,5
1723161255001;NA;1.234,52;-0,25
"""
EUROPEAN_CSV = """
[features]
columns = ["x"]
[csv]
separator = ";"
decimal = ","
thousands = "."
skip = 2
null = ["NA"]
"""


def test_separator_decimal_comma_thousands_and_skipped_lines(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(EUROPEAN)
    found = events(path, quotes(more=EUROPEAN_CSV))
    assert listed(found, "bid") == [123450, NO_PRICE]
    assert listed(found, "ask") == [123451, 123452]
    assert found.features is not None
    assert found.features.tolist() == [[1000.5], [-0.25]]


def test_marks_of_thousands_must_part_threes(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(EUROPEAN.replace("1.234,52", "12.34,52"))
    text = refused(path, quotes(more=EUROPEAN_CSV))
    assert "row 1 cannot be read: 'a': '12.34,52' is not written in groups of three" in text


def test_a_decimal_point_among_commas_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("t;b;a\n1723161255000;1234.5;1234,6\n")
    text = refused(path, quotes(more='[csv]\nseparator = ";"\ndecimal = ","'))
    assert "row 0 cannot be read: 'b': '1234.5' has a decimal point, not ','" in text


def test_quoted_numbers_hold_the_separator(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text('t,b,a\n1723161255000,"1,234.50","12,345,678.01"\n')
    found = events(path, quotes(more='[csv]\nthousands = ","'))
    assert (listed(found, "bid"), listed(found, "ask")) == ([123450], [1234567801])


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u202f"])
def test_blanks_between_thousands(tmp_path: Path, blank: str) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"t;b;a\n1723161255000;1{blank}234,5;1{blank}234,6\n")
    written = '[csv]\nseparator = ";"\ndecimal = ","\nthousands = " "'
    found = events(path, quotes(more=written))
    assert (listed(found, "bid"), listed(found, "ask")) == ([123450], [123460])


def test_files_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("1723161255000\t7\t8\n1723161255001\t8\t9\n")
    written = '[csv]\nheader = false\nseparator = "\\t"\ncolumns = ["t", "b", "a"]'
    found = events(path, quotes(more=written))
    assert listed(found, "bid") == [700, 800]
    text = refused(path, quotes(more='[csv]\nheader = false\nseparator = "\\t"'))
    assert "columns names the columns of files without a header" in text


def test_byte_order_marks_and_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b"\xef\xbb\xbft,b,a,s\r\n1723161255000,7,8,\xc3\x89\r\n")
    by_name = quotes(symbol='column = "s"')
    assert made(path, by_name).symbols == ("É",)
    path.write_bytes("t,b,a,s\n1723161255000,7,8,É\n".encode("latin-1"))
    assert made(path, by_name + '[csv]\nencoding = "latin-1"').symbols == ("É",)
    assert "cannot be read" in refused(path, by_name)
    assert "convert the files to utf-8" in refused(path, by_name + '[csv]\nencoding = "utf-16"')
    assert "no text encoding" in refused(path, by_name + '[csv]\nencoding = "latin-99"')


@pytest.mark.parametrize(
    ("columns", "cells", "form"),
    [
        ('["d", "c"]', "2024-08-08,23:54:15.000000001", None),
        ('["d", "c"]', "20240808,235415000000001", "%Y%m%d %H%M%S%9f"),
        ('["d", "c"]', "08/08/2024,11:54:15.000000001 PM", "%m/%d/%Y %I:%M:%S%.f %p"),
        ('"d"', "8 Aug 2024 23:54:15.000000001,", "%d %b %Y %H:%M:%S%.f"),
        ('["d", "c"]', "2024-08-09 01:54:15.000000001,+0200", "%Y-%m-%d %H:%M:%S%.f %z"),
    ],
)
def test_times_in_several_columns_and_formats(
    tmp_path: Path, columns: str, cells: str, form: str | None
) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"d,c,b,a\n{cells},7,8\n")
    stated = f'event = {columns}\nunit = "text"\nzone = "UTC"\n'
    stated += "" if form is None else f'format = "{form}"\n'
    assert listed(events(path, quotes(time=stated)), "ts_event") == [START + 1]


def test_a_time_of_another_format_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("t,b,a\n08.08.2024 10:00:00,7,8\n2024-08-08 10:00:01,7,8\n")
    stated = 'event = "t"\nunit = "text"\nzone = "UTC"\nformat = "%d.%m.%Y %H:%M:%S"'
    text = refused(path, quotes(time=stated))
    assert "row 1 has a time that is '2024-08-08 10:00:01', which is not written as" in text
    text = refused(path, quotes(time='event = ["t", "b"]\nunit = "ms"\nzone = "UTC"'))
    assert 'are of text: unit = "text"' in text


def test_the_repeated_hour_is_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("t,b,a\n2024-11-03 01:30:00,7,8\n")
    stated = 'event = "t"\nunit = "text"\nzone = "America/New_York"\n'
    assert "row 0 has a time" in refused(path, quotes(time=stated))
    for choice, offset in (("earlier", 4), ("later", 5)):
        chosen = stated + f'repeated = "{choice}"'
        instant = datetime(2024, 11, 3, 1 + offset, 30, tzinfo=UTC)
        expected = int(instant.timestamp()) * NS
        assert listed(events(path, quotes(time=chosen)), "ts_event") == [expected]


def test_folders_are_columns(tmp_path: Path) -> None:
    for symbol, price in (("A%2FB", 7), ("C", 9)):
        folder = tmp_path / "in" / f"symbol={symbol}" / "date=2024-08-08"
        folder.mkdir(parents=True)
        table = {"clock": ["23:54:15", "23:54:16"], "b": [price, price], "a": [price + 1] * 2}
        pq.write_table(pa.table(table), folder / "part-0.parquet")
    stated = 'event = ["date", "clock"]\nunit = "text"\nzone = "UTC"'
    text = quotes(time=stated, symbol='column = "symbol"')
    dataset = made(tmp_path / "in", text, MappedParquet)
    assert dataset.symbols == ("A/B", "C")
    found = read_events(dataset)
    assert listed(found, "bid") == [700, 900, 700, 900]
    assert listed(found, "ts_event") == [START, START, START + NS, START + NS]
    nothing = tmp_path / "in" / "symbol=__HIVE_DEFAULT_PARTITION__" / "date=2024-08-08"
    nothing.mkdir(parents=True)
    pq.write_table(pa.table(table), nothing / "part-0.parquet")
    assert "row 0 has no 'symbol'" in refused(tmp_path / "in", text, MappedParquet)


def test_a_column_in_the_file_and_in_its_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "b=1"
    folder.mkdir(parents=True)
    (folder / "in.csv").write_text("t,b,a\n1723161255000,7,8\n")
    assert "'b' is there twice: in the file and in the names" in refused(tmp_path / "in", quotes())


def test_folders_of_archives_are_columns(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("sym=X/in.csv", "t,b,a\n1723161255000,7,8\n")
    assert made(tmp_path / "in.zip", quotes(symbol='column = "sym"')).symbols == ("X",)


WIDTHS = {
    "b": [pa.decimal128(12, 4), pa.decimal256(40, 8), pa.float32(), pa.int16(), pa.uint64()],
    "s": [pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.string_view()],
}


@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_arrow_types_of_every_width(tmp_path: Path, name: str) -> None:
    for kind in WIDTHS[name]:
        values: list[Any] = ["X", "Y"] if name == "s" else [Decimal(7), Decimal(8)]
        if name == "b" and not pa.types.is_decimal(kind):
            values = [7, 8]
        table = {
            "t": pa.array([START // 10**6, START // 10**6 + 1]),
            "s": pa.array(["X", "Y"]),
            "b": pa.array([7, 8]),
            "a": pa.array([9, 9]),
        }
        table[name] = pa.array(values).cast(kind)
        pq.write_table(pa.table(table), tmp_path / "in.parquet")
        found = events(tmp_path / "in.parquet", quotes(symbol='column = "s"'), MappedParquet)
        assert listed(found, "bid") == [700, 800], kind
        assert listed(found, "symbol") == [0, 1], kind


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_and_dates_of_every_unit(tmp_path: Path, unit: str) -> None:
    instant = datetime(2024, 8, 8, 23, 54, 15)
    table: dict[str, Any] = {"b": [7], "a": [8], "t": pa.array([instant], pa.timestamp(unit))}
    table["d"] = pa.array([date(2024, 8, 8)])
    wide = pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    table["c"] = pa.array([time(23, 54, 15)], wide)
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    for stated in (
        'event = "t"\nunit = "timestamp"\nzone = "UTC"',
        'event = ["d", "c"]\nunit = "text"\nzone = "UTC"',
    ):
        found = events(tmp_path / "in.parquet", quotes(time=stated), MappedParquet)
        assert listed(found, "ts_event") == [START]


def test_whole_floats_are_times_if_they_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    table = {"t": [START / 10**6], "b": [7], "a": [8]}
    pq.write_table(pa.table(table), path)
    assert listed(events(path, quotes(), MappedParquet), "ts_event") == [START]
    pq.write_table(pa.table(table | {"t": [START / 10**6 + 0.5]}), path)
    assert "does not hold ms exactly" in refused(path, quotes(), MappedParquet)
    pq.write_table(pa.table(table | {"t": [float(START)]}), path)
    stated = 'event = "t"\nunit = "ns"\nzone = "UTC"'
    assert "does not hold ns exactly" in refused(path, quotes(time=stated), MappedParquet)


LOTS = '[size]\nunit = "1"\nlot_size = "0.00000001"\nbid = "bs"\nask = "as"'


def test_every_digit_of_text_counts(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    sizes = ["12345678901.23456789", "1e5", "-0", "123456789.00000001", "+3", "0.00000001"]
    rows = [f"1723161255000,7,8,{size},1" for size in sizes]
    path.write_text("t,b,a,bs,as\n" + "\n".join(rows) + "\n")
    dataset = made(path, quotes(more=LOTS))
    found = read_events(dataset)
    assert listed(found, "bid_size") == [int(Decimal(size).scaleb(8)) for size in sizes]
    # Half a tick of a lot is 5e-11 USD, of which money is counted in tenths.
    assert dataset.instruments[0].unit == Decimal("1e-11")
    for wrong in ("1e999999", "12345678901.234567891"):
        path.write_text(f"t,b,a,bs,as\n1723161255000,7,8,{wrong},1\n")
        assert "row 0 cannot be converted: 'bs'" in refused(path, quotes(more=LOTS))


def test_decimals_of_parquet_count_whole(tmp_path: Path) -> None:
    size = Decimal("12345678901.23456789")
    table: dict[str, Any] = {"t": [START // 10**6], "b": [7], "a": [8], "as": [1]}
    table["bs"] = pa.array([size], pa.decimal128(38, 8))
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    found = events(tmp_path / "in.parquet", quotes(more=LOTS), MappedParquet)
    assert listed(found, "bid_size") == [1234567890123456789]


TWO = "t,s,b,a\n1723161255000,ES,5000.25,5000.5\n1723161255001,NQ,18000.4,18000.6\n"
OWN = """
[instrument]
currency = "USD"
[instruments.ES]
tick_size = "0.25"
multiplier = "50"
"""


def test_symbols_have_ticks_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(TWO)
    price = 'unit = "1"\ntick_size = "0.1"\nbid = "b"\nask = "a"'
    dataset = made(path, quotes(symbol='column = "s"', price=price, more=OWN))
    assert listed(read_events(dataset), "bid") == [20_001, 180_004]
    es, nq = dataset.instruments
    assert (es.tick_size, es.multiplier, es.currency) == (Decimal("0.25"), Decimal(50), "USD")
    assert (nq.tick_size, nq.multiplier, nq.currency) == (Decimal("0.1"), Decimal(1), "USD")
    path.write_text(TWO.replace("5000.5\n", "5000.4\n"))
    text = refused(path, quotes(symbol='column = "s"', price=price, more=OWN))
    assert "row 0 cannot be converted: 'a': 5000.4 × 1 is not a multiple of 0.25" in text


def test_instruments_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(TWO)
    table = tmp_path / "instruments.csv"
    table.write_text(
        "symbol,tick_size,multiplier,tradable\nES,0.25,50,true\nNQ,0.2,20,false\nCL,0.01,,\n"
    )
    price = 'unit = "1"\nbid = "b"\nask = "a"'
    text = 'instrument_file = "instruments.csv"\n' + quotes(symbol='column = "s"', price=price)
    dataset = made(path, text)
    assert listed(read_events(dataset), "bid") == [20_001, 90_002]
    assert [i.tradable for i in dataset.instruments] == [True, False]
    own = text + '[instruments.NQ]\ntick_size = "0.1"\n'
    assert listed(read_events(made(path, own)), "bid") == [20_001, 180_004]
    for wrong, problem in (
        ("symbol,tick_size\nES,0.25\n", "'NQ' has no tick_size"),
        ("symbol,tick_size\nES,-1\n", "row 0, 'ES': tick_size: must be above 0"),
        ("symbol,ticks\nES,1\n", "row 0, 'ES': ticks: no such key"),
        ("symbol,tick_size\nES,1\nES,2\n", "row 1 has other cells than the header"),
        ("sym,tick_size\nES,1\n", "and 'symbol'"),
    ):
        table.write_text(wrong)
        assert problem in refused(path, text)
    table.unlink()
    assert "instruments cannot be read" in refused(path, text)
    unknown = quotes(symbol='column = "s"', more='[instruments.EX]\nmultiplier = "50"\n')
    assert "[instruments] names 'EX', of which the input has no row" in refused(path, unknown)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pandas' own, of the calendars
def test_sessions_of_an_exchange(tmp_path: Path) -> None:
    pytest.importorskip("exchange_calendars")
    path = tmp_path / "in.csv"
    # Thanksgiving 2023, and the half day after it.
    days = ["2023-11-22 15:00:00", "2023-11-24 15:00:00"]
    path.write_text("t,b,a\n" + "".join(f"{day},7,8\n" for day in days))
    stated = 'event = "t"\nunit = "text"\nzone = "America/New_York"'
    dataset = made(path, quotes(time=stated, more='[calendar]\nexchange = "XNYS"'))
    sessions = np.array(dataset.card.calendar.sessions)
    clock = sessions.astype("datetime64[ns]").astype("datetime64[m]").astype(str).tolist()
    assert clock == [
        ["2023-11-22T14:30", "2023-11-22T21:00"],
        ["2023-11-24T14:30", "2023-11-24T18:00"],
    ]
    stated = 'event = "t"\nunit = "text"\nzone = "Asia/Hong_Kong"'
    path.write_text("t,b,a\n2023-11-22 10:00:00,7,8\n")
    dataset = made(path, quotes(time=stated, more='[calendar]\nexchange = "XHKG"'))
    sessions = np.array(dataset.card.calendar.sessions)
    hours = (sessions // (3600 * NS) % 24).tolist()
    assert hours == [[1, 4], [5, 8]]  # with its break
    text = refused(path, quotes(time=stated, more='[calendar]\nexchange = "XNYZ"'))
    assert "exchange-calendars knows no 'XNYZ'" in text
