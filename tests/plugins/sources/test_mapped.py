"""CSV and Parquet through a mapping: units are stated, and what contradicts them is refused."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable
from csv import DictReader
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.core.times import parse_utc
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.quality.validate import validate
from backtest.data.reading.bus import read_events, read_targets
from backtest.data.sources import IngestReport, ingest
from backtest.errors import DataError
from backtest.market.events import NO_PRICE, NO_TIME
from backtest.plugins.sources.mapped import MappedCsv, MappedParquet
from backtest.plugins.sources.mapped.mapping import read_mapping

SHARED = Path(os.environ.get("BACKTEST_SHARED", Path(__file__).parents[4] / "shared"))
REAL = SHARED / "data"
T0 = 1_723_161_255  # s
NS = 10**9

QUOTES = """
name = "mine"
[time]
event = "when"
receive = "seen"
unit = "us"
zone = "UTC"
[symbol]
column = "sym"
[price]
unit = "0.0001"
tick_size = "0.01"
bid = "b"
ask = "a"
trade = "p"
[size]
unit = "100"
lot_size = "1"
bid = "bs"
ask = "as"
trade = "q"
[features]
columns = ["x", "y"]
[targets]
columns = ["z"]
[instrument]
currency = "EUR"
fee_rate = "0.0002"
"""

TRADE = """
[trade]
aggressor = "side"
buyer = ["buy", 1]
"""

TIMES = """
name = "mine"
[time]
event = "when"
unit = "{unit}"
zone = "{zone}"
[symbol]
value = "ONE"
[features]
columns = ["x"]
"""


def columns() -> dict[str, list[Any]]:
    return {
        "z": [0.5, -0.5, 0.25],
        "when": [T0 * 10**6, T0 * 10**6, T0 * 10**6 + 5],
        "seen": [T0 * 10**6 + 9, None, T0 * 10**6 + 3],
        "sym": ["B", "A", "B"],
        "b": [1_000_100, None, 1_000_200],
        "a": [1_000_300, None, 1_000_400],
        "p": [None, 1_000_200, None],
        "bs": [2, None, 3],
        "as": [4, None, 5],
        "q": [None, 1, None],
        "x": [1.5, 2.5, -3.5],
        "y": [0.0, 1.0, 2.0],
        "unused": ["u", "v", "w"],
    }


def csv(path: Path, table: dict[str, list[Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    lines = [",".join(table)]
    lines += [
        ",".join("" if v is None else str(v) for v in row)
        for row in zip(*table.values(), strict=True)
    ]
    text = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def parquet(path: Path, table: dict[str, list[Any]], **arrays: pa.Array) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({**table, **arrays}), path)
    return path


def mapping(folder: Path, text: str = QUOTES) -> Path:
    (folder / "mapping.toml").write_text(text)
    return folder / "mapping.toml"


def ingested(
    path: Path, toml: Path, out: Path, kind: type[Any] = MappedCsv, **parameters: Any
) -> tuple[Dataset, IngestReport]:
    report = ingest("mapped", kind(mapping=toml, **parameters), path, out)
    return open_dataset(out), report


def refused(path: Path, toml: Path, kind: type[Any] = MappedCsv, **parameters: Any) -> str:
    out = toml.parent / "refused"
    with pytest.raises(DataError) as caught:
        ingest("mapped", kind(mapping=toml, **parameters), path, out)
    assert not out.exists()
    assert not [p for p in out.parent.iterdir() if p.name.startswith(".")]
    return str(caught.value)


def check_quotes(dataset: Dataset, report: IngestReport) -> None:
    events = read_events(dataset, features=True)
    assert dataset.symbols == ("A", "B")
    assert events.symbol.tolist() == [1, 0, 1]
    assert events.ts_event.tolist() == [T0 * NS, T0 * NS, T0 * NS + 5_000]
    assert events.ts_recv is not None
    assert events.ts_recv.tolist() == [T0 * NS + 9_000, NO_TIME, T0 * NS + 5_000]
    assert [*report.repaired.values()] == [1]  # the last one was received before it happened
    for name, values in {
        "bid": [10_001, NO_PRICE, 10_002],
        "ask": [10_003, NO_PRICE, 10_004],
        "bid_size": [200, 0, 300],
        "ask_size": [400, 0, 500],
        "trade_price": [NO_PRICE, 10_002, NO_PRICE],
        "trade_size": [0, 100, 0],
    }.items():
        assert getattr(events, name).tolist() == values, name
    assert events.features is not None
    assert events.features.tolist() == [[1.5, 0], [2.5, 1], [-3.5, 2]]
    assert read_targets(dataset).tolist() == [[0.5], [-0.5], [0.25]]
    assert dataset.instruments[0].currency == "EUR"


@pytest.mark.parametrize("name", ["in.csv", "in.csv.gz"])
def test_csv(tmp_path: Path, name: str) -> None:
    check_quotes(*ingested(csv(tmp_path / name, columns()), mapping(tmp_path), tmp_path / "out"))


def test_parquet(tmp_path: Path) -> None:
    toml = mapping(tmp_path)
    path = parquet(tmp_path / "in.parquet", columns())
    check_quotes(*ingested(path, toml, tmp_path / "out", MappedParquet))
    floats = {n: pa.array(columns()[n], pa.float64()) for n in ("b", "a", "p", "bs", "as", "q")}
    path = parquet(tmp_path / "in.parquet", columns(), **floats)
    check_quotes(*ingested(path, toml, tmp_path / "out2", MappedParquet))


def test_files_of_a_folder_are_merged_whatever_their_names(tmp_path: Path) -> None:
    rows = []
    for number, names in enumerate((("a", "b"), ("b", "a"))):
        folder = tmp_path / f"in{number}"
        for i, name in enumerate(names):
            table = {k: v[i::2] for k, v in columns().items()}
            csv(folder / f"{name}.csv", dict(reversed(table.items())) if i else table)
        dataset, _ = ingested(folder, mapping(tmp_path), tmp_path / f"out{number}")
        events = read_events(dataset, features=True)
        rows.append((events.ts_event.tolist(), events.symbol.tolist(), events.bid_size))
    assert rows[0][:2] == rows[1][:2] == ([T0 * NS, T0 * NS, T0 * NS + 5_000], [0, 1, 1])


TEXT = ["2024-08-08 23:54:15", "2024-08-08 23:54:15.25"]


@pytest.mark.parametrize(
    ("unit", "zone", "times", "first"),
    [
        ("s", "UTC", [str(T0), f"{T0}.25"], "2024-08-08T23:54:15Z"),
        ("ms", "UTC", [T0 * 1000, T0 * 1000 + 250], "2024-08-08T23:54:15Z"),
        ("us", "UTC", [T0 * 10**6, T0 * 10**6 + 250_000], "2024-08-08T23:54:15Z"),
        ("ns", "UTC", [T0 * NS, T0 * NS + 250_000_000], "2024-08-08T23:54:15Z"),
        ("text", "UTC", TEXT, "2024-08-08T23:54:15Z"),
        ("text", "America/New_York", TEXT, "2024-08-09T03:54:15Z"),
        ("text", "America/New_York", [f"{t}Z" for t in TEXT], "2024-08-08T23:54:15Z"),
        ("text", "UTC", [f"{t}+02:00" for t in TEXT], "2024-08-08T21:54:15Z"),
        ("s", "Asia/Tokyo", [str(T0), f"{T0}.25"], "2024-08-08T14:54:15Z"),
    ],
)
def test_time_units_and_zones(
    tmp_path: Path, unit: str, zone: str, times: list[Any], first: str
) -> None:
    toml = mapping(tmp_path, TIMES.format(unit=unit, zone=zone))
    path = csv(tmp_path / "in.csv", {"when": times, "x": [1, 2]})
    dataset, _ = ingested(path, toml, tmp_path / "out")
    start = parse_utc(first)
    assert read_events(dataset).ts_event.tolist() == [start, start + 250_000_000]
    assert (dataset.hours.zone, dataset.hours.always) == (zone, True)
    if unit in ("ms", "us", "ns"):
        path = parquet(tmp_path / "in.parquet", {"when": times, "x": [1, 2]})
        dataset, _ = ingested(path, toml, tmp_path / "out2", MappedParquet)
        assert read_events(dataset).ts_event.tolist() == [start, start + 250_000_000]


@pytest.mark.parametrize(("zone", "utc"), [(None, "T12:00:00Z"), ("Asia/Tokyo", "T08:00:00Z")])
def test_parquet_timestamps(tmp_path: Path, zone: str | None, utc: str) -> None:
    toml = mapping(tmp_path, TIMES.format(unit="timestamp", zone="America/New_York"))
    instant = parse_utc("2024-08-08T08:00:00Z") // 1000
    stamps = pa.array([instant], pa.int64()).view(pa.timestamp("us", zone))
    path = parquet(tmp_path / "in.parquet", {"x": [1.0]}, when=stamps)
    dataset, _ = ingested(path, toml, tmp_path / "out", MappedParquet)
    assert read_events(dataset).ts_event.tolist() == [parse_utc(f"2024-08-08{utc}")]


def one_bad(times: Iterable[Any], unit: str, folder: Path, zone: str = "UTC") -> str:
    toml = mapping(folder, TIMES.format(unit=unit, zone=zone))
    times = [*times]
    return refused(csv(folder / "in.csv", {"when": times, "x": [1] * len(times)}), toml)


@pytest.mark.parametrize(
    ("unit", "times"),
    [
        ("ms", [T0 * 1000, T0 * 10**6]),  # microseconds from here on, as Binance's since 2025
        ("ns", [T0 * 10**6]),
        ("s", [T0 * NS]),
        ("us", [T0 * 10**6, T0 * 1000]),
        ("ns", [2**63 - 1]),
    ],
)
def test_a_thousandfold_jump_is_an_error(tmp_path: Path, unit: str, times: list[Any]) -> None:
    assert f"which is not in {unit}" in one_bad(times, unit, tmp_path)


@pytest.mark.parametrize("time", ["2024-11-03 01:30:00", "2024-03-10 02:30:00"])
def test_local_times_that_clocks_skip_or_repeat_are_errors(tmp_path: Path, time: str) -> None:
    problem = one_bad([time], "text", tmp_path, "America/New_York")
    assert "America/New_York" in problem


def test_unsorted_rows_are_refused_or_sorted_on_request(tmp_path: Path) -> None:
    toml = mapping(tmp_path, TIMES.format(unit="s", zone="UTC"))
    path = csv(tmp_path / "in.csv", {"when": [T0 + 2, T0, T0 + 2, T0], "x": [1, 2, 3, 4]})
    assert "row 1 is earlier than the row before" in refused(path, toml)
    dataset, report = ingested(path, toml, tmp_path / "out", unsorted="sort")
    features = read_events(dataset, features=True).features
    assert features is not None
    assert features[:, 0].tolist() == [2, 4, 1, 3]
    assert [*report.repaired.values()] == [2]


def test_nan_and_infinity_follow_the_policy(tmp_path: Path) -> None:
    toml = mapping(tmp_path, TIMES.format(unit="s", zone="UTC"))
    path = csv(tmp_path / "in.csv", {"when": [T0] * 4, "x": [1, "nan", "inf", 1e300]})
    assert "row 1 has nan in 'x'" in refused(path, toml)
    dataset, report = ingested(path, toml, tmp_path / "out", nonfinite="zero")
    assert [*report.repaired.values()] == [3]
    features = read_events(dataset, features=True).features
    assert features is not None
    assert np.count_nonzero(features) == 1


BAD_CELLS = {
    "row 2 cannot be converted: 'b': 1000150.0 × 0.0001 is not a multiple of 0.01": (
        "b",
        1_000_150,
    ),
    "row 2 has no time": ("when", None),
    "row 2 has no 'sym'": ("sym", None),
    "row 2 has a time that 'soon' is not a decimal number": ("when", "soon"),
    "row 2 has the time 1723161255, which is not in us": ("seen", T0),
    "row 2 cannot be read: 'b': 'much' is not a number": ("b", "much"),
    "row 2 cannot be converted: 'bs': 'inf' is more than can be told": ("bs", "inf"),
    "row 2 has nan in 'y'": ("y", "nan"),
    "row 2 has nan in 'z'": ("z", None),
}


@pytest.mark.parametrize("problem", BAD_CELLS)
def test_bad_cells_are_named(tmp_path: Path, problem: str) -> None:
    name, value = BAD_CELLS[problem]
    table = columns()
    table[name][2] = value
    text = refused(csv(tmp_path / "in.csv", table), mapping(tmp_path))
    assert problem in text
    assert "in.csv" in text


def test_schema_drift_is_reported_exactly(tmp_path: Path) -> None:
    toml = mapping(tmp_path)
    parquet(tmp_path / "in" / "a.parquet", columns())
    parquet(tmp_path / "in" / "b.parquet", columns(), bs=pa.array([1.0, 2.0, 3.0]))
    text = refused(tmp_path / "in", toml, MappedParquet)
    assert "b.parquet" in text
    assert "'bs' is a number, not a whole number" in text
    table = columns()
    del table["bs"], table["x"]
    text = refused(csv(tmp_path / "c.csv", table), toml)
    assert "no column 'bs', 'x'" in text
    words = parquet(tmp_path / "d.parquet", columns(), x=pa.array(["a", "b", "c"]))
    assert "'x' is string, not a number" in refused(words, toml, MappedParquet)


def test_empty_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    toml = mapping(tmp_path)
    (tmp_path / "in.csv").write_bytes(b"")
    assert "in.csv" in refused(tmp_path / "in.csv", toml)
    assert "no rows" in refused(csv(tmp_path / "in.csv", {k: [] for k in columns()}), toml)
    packed = csv(tmp_path / "in.csv.gz", columns()).read_bytes()
    (tmp_path / "in.csv.gz").write_bytes(packed[:-12])
    assert "in.csv.gz" in refused(tmp_path / "in.csv.gz", toml)
    whole = parquet(tmp_path / "in.parquet", columns()).read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"not Parquet at all"):
        (tmp_path / "in.parquet").write_bytes(damaged)
        assert "in.parquet" in refused(tmp_path / "in.parquet", toml, MappedParquet)
    (tmp_path / "none").mkdir()
    assert "no .csv" in refused(tmp_path / "none", toml)


def test_a_flipped_bit_in_a_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    options = {"write_page_checksum": True, "compression": "none", "use_dictionary": False}
    pq.write_table(pa.table(columns()), path, **options)
    whole = path.read_bytes()
    at = whole.index(np.float64(1.5).tobytes())  # neither least nor largest: in no statistics
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert "checksum" in refused(path, mapping(tmp_path), MappedParquet).lower()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('unit = "us"\n', "", "time.unit"),
        ('unit = "us"', 'unit = "minutes"', "time.unit"),
        ('zone = "UTC"', 'zone = "Mars"', "'Mars' is not a time zone"),
        ('zone = "UTC"', 'zone = "../UTC"', "is not a time zone"),
        ('tick_size = "0.01"', "tick_size = 0.01", "write it as text"),
        ('lot_size = "1"', 'lot_size = "0"', "must be above 0"),
        ('ask = "a"\n', "", "must be given together"),
        ('trade = "q"\n', "", "must be given together"),
        ('column = "sym"', 'column = "sym"\nvalue = "X"', "either column or value"),
        ('name = "mine"', 'name = "../mine"', "name"),
        ("[instrument]", '[instrument]\ntick_size = "1"', "tick_size belongs in [price]"),
        ("[targets]", "[goals]", "goals"),
        ('columns = ["z"]', 'columns = ["x"]', "features and targets name 'x' twice"),
        ('columns = ["x", "y"]', 'columns = ["x", "x"]', "features and targets name 'x' twice"),
        ('columns = ["x", "y"]', 'columns = ["bid"]', "columns 'bid' of its own"),
        ('columns = ["x", "y"]', 'columns = ["sym"]', "'sym' holds times or symbols"),
        ('tick_size = "0.01"', 'tick_size = "1e-999999999"', "not between 1e-30 and 1e30"),
        ('tick_size = "0.01"', 'tick_size = "1e-20"', "the card that it would have: instruments"),
        ('fee_rate = "0.0002"', 'fee_rate = "1e999999999"', "not between 1e-30 and 1e30"),
        ("[targets]", f"{TRADE}[targets]", "trade.seller"),
        ("[targets]", f"{TRADE}seller = []\n[targets]", "trade.seller"),
        ("[targets]", f"{TRADE}seller = [1.5]\n[targets]", "write it as text, a whole number"),
        ("[targets]", f"{TRADE}seller = [[1]]\n[targets]", "write it as text, a whole number"),
        ("[targets]", f"{TRADE}seller = [' BUY']\n[targets]", "'buy' cannot mean two things"),
        ("[targets]", f"{TRADE}seller = [1, 'x', true]\n[targets]", "'1' cannot mean two things"),
        ("[targets]", f"{TRADE.replace('side', 'x')}seller = ['s']\n[targets]", "'x' holds times"),
        ('name = "mine"', f"name = {'[' * 5000}", "nests deeper than 64 levels"),
        ('name = "mine"', "name = ", "not TOML"),
    ],
)
def test_a_mapping_is_checked(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in QUOTES
    toml = mapping(tmp_path, QUOTES.replace(old, new, 1))
    assert problem in refused(csv(tmp_path / "in.csv", columns()), toml)


def test_a_missing_mapping_is_said(tmp_path: Path) -> None:
    path = csv(tmp_path / "in.csv", columns())
    assert "cannot be read" in refused(path, tmp_path / "mapping.toml")


def test_the_mapping_in_the_docs_is_one(tmp_path: Path) -> None:
    docs = (Path(__file__).parents[3] / "docs" / "mapping.md").read_text()
    blocks = [block.split("```")[0] for block in docs.split("```toml\n")[1:]]
    (example,) = [block for block in blocks if "[symbol]" in block]
    found = read_mapping(mapping(tmp_path, example))
    assert found.time.unit == "us"
    trade = {"trade_price", "trade_size"}
    assert found.numbers().keys() == {"bid", "ask", "bid_size", "ask_size", *trade}
    assert found.trade is not None
    assert found.trade.sides() == {
        "buy": 1, "b": 1, "1": 1, "sell": -1, "s": -1, "-1": -1, "none": 0
    }  # fmt: skip


PRICES = """
name = "mine"
[time]
event = "when"
unit = "s"
zone = "UTC"
[symbol]
value = "ONE"
[price]
unit = "1"
tick_size = "0.01"
bid = "b"
ask = "a"
trade = "p"
absent = ["-1", "999999"]
[size]
unit = "1"
lot_size = "1"
bid = "bs"
ask = "as"
trade = "q"
[instrument]
signed_prices = SIGNED
"""
LARGEST = 1.7976931348623157e308
NONE: list[tuple[Any, int, int]] = [  # as it is written; in ticks, and where prices are signed
    (10.01, 1001, 1001),
    (0, NO_PRICE, 0),
    (-0.0, NO_PRICE, 0),
    (-2.5, NO_PRICE, -250),
    (-1, NO_PRICE, NO_PRICE),
    (999_999, NO_PRICE, NO_PRICE),
    (9_999_999_999, NO_PRICE, NO_PRICE),
    (-9_999_999_999, NO_PRICE, NO_PRICE),
    (2**63 - 1, NO_PRICE, NO_PRICE),
    (LARGEST, NO_PRICE, NO_PRICE),
    (-LARGEST, NO_PRICE, NO_PRICE),
    ("nan", NO_PRICE, NO_PRICE),
    ("-inf", NO_PRICE, NO_PRICE),
    (None, NO_PRICE, NO_PRICE),
    (0.00001, NO_PRICE, 0),  # no price in ticks
]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("side", ["b", "a", "p"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_is_no_price_is_absent_on_its_side_and_counted(
    tmp_path: Path, signed: bool, side: str, kind: str
) -> None:
    rows = len(NONE)
    table: dict[str, list[Any]] = {"when": [T0 + i for i in range(rows)]}
    table |= {name: [20.0] * rows for name in "bap"}
    table |= {name: [5] * rows for name in ("bs", "as", "q")}
    table["b"] = [1.0] * rows  # never crossed
    table[side] = [value for value, *_ in NONE]
    toml = mapping(tmp_path, PRICES.replace("SIGNED", str(signed).lower()))
    if kind == "csv":
        dataset, report = ingested(csv(tmp_path / "in.csv", table), toml, tmp_path / "out")
    else:
        floats = [None if v is None else float(v) for v in table[side]]
        path = parquet(tmp_path / "in.parquet", table | {side: floats})
        dataset, report = ingested(path, toml, tmp_path / "out", MappedParquet)
    names = {"b": "bid", "a": "ask", "p": "trade_price"}
    sizes = {"b": "bid_size", "a": "ask_size", "p": "trade_size"}
    wanted = [ticks[signed] for _, *ticks in NONE]
    events = read_events(dataset)
    for own, canonical in names.items():
        found = getattr(events, canonical).tolist()
        assert found == (wanted if own == side else [100 if own == "b" else 2000] * rows)
        lots = [0 if ticks == NO_PRICE else 5 for ticks in found]
        assert getattr(events, sizes[own]).tolist() == lots
    assert sum(report.repaired.values()) == wanted.count(NO_PRICE) - 1  # null was none before
    assert report.repaired[f"{names[side]} that is NaN or infinite: that side absent"] == 2
    assert all(what.startswith(names[side]) for what in report.repaired)


def test_negative_and_unknown_sizes_are_never_written(tmp_path: Path) -> None:
    table: dict[str, list[Any]] = {
        "when": [T0, T0, T0],
        "b": [1.0] * 3,
        "a": [2.0] * 3,
        "p": [2.0] * 3,
    }
    table |= {"bs": [-1, 2, 3], "as": [1, "nan", 3], "q": [1, 2, -3]}
    toml = mapping(tmp_path, PRICES.replace("SIGNED", "false"))
    dataset, report = ingested(csv(tmp_path / "in.csv", table), toml, tmp_path / "out")
    events = read_events(dataset)
    for name, values in {
        "bid": [NO_PRICE, 100, 100],
        "ask": [200] * 3,
        "ask_size": [1, 0, 3],
        "trade_price": [200, 200, NO_PRICE],
        "trade_size": [1, 2, 0],
    }.items():
        assert getattr(events, name).tolist() == values, name
    assert report.repaired == {
        "ask_size that is NaN, taken for 0": 1,
        "bid with a negative size: that side absent": 1,
        "trade_price with a negative size: that side absent": 1,
    }
    assert validate(dataset).usable


SIDED = """
name = "mine"
[time]
event = "when"
unit = "s"
zone = "UTC"
[symbol]
value = "ONE"
[price]
unit = "1"
tick_size = "0.01"
trade = "p"
[size]
unit = "1"
lot_size = "1"
trade = "q"
[trade]
aggressor = "side"
LISTS
"""


def sided(folder: Path, lists: str, side: list[Any]) -> tuple[dict[str, list[Any]], Path]:
    """Trades at 1.00, but for the second row, which is none, and the last, which is refused."""
    rows = len(side)
    table: dict[str, list[Any]] = {"when": [T0] * rows, "p": [1.0] * rows, "q": [1] * rows}
    table["p"][1] = table["q"][1] = None
    table["q"][-1] = -1
    return table | {"side": side}, mapping(folder, SIDED.replace("LISTS", lists))


@pytest.mark.parametrize(
    ("lists", "side", "kind"),
    [
        (
            'buyer = ["buy"]\nseller = ["sell"]',
            [" Buy ", "what", "SELL", None, "sell", "buy"],
            "string",
        ),
        (
            'buyer = ["B"]\nseller = ["S"]\nunknown = ["N"]',
            ["B", "S", "S", "n", "s", "B"],
            "string",
        ),
        ("buyer = [1]\nseller = [-1]\nunknown = [0]", [1, 7, -1, 0, -1, 1], "int8"),
        ("buyer = [1]\nseller = [-1, 2]", [1, 7, -1, None, 2, 1], "double"),
        ("buyer = [false]\nseller = [true]", [False, True, True, None, True, False], "bool_"),
        ('buyer = ["0"]\nseller = ["1"]', ["0", "1", "1", "", "1", "0"], "string"),
    ],
)
def test_who_initiated_a_trade_is_read_by_the_values_that_are_listed(
    tmp_path: Path, lists: str, side: list[Any], kind: str
) -> None:
    table, toml = sided(tmp_path, lists, side)
    arrow = pa.array(side, getattr(pa, kind if kind != "double" else "float64")())
    coded = arrow.dictionary_encode() if kind == "string" else arrow
    made = [
        ingested(csv(tmp_path / "in.csv", table), toml, tmp_path / "a"),
        ingested(
            parquet(tmp_path / "b.parquet", table, side=arrow), toml, tmp_path / "b", MappedParquet
        ),
        ingested(
            parquet(tmp_path / "c.parquet", table, side=coded), toml, tmp_path / "c", MappedParquet
        ),
    ]
    for dataset, report in made:
        events = read_events(dataset)
        assert events.aggressor is not None
        assert events.aggressor.tolist() == [1, 0, -1, 0, -1, 0]
        assert events.trade_price is not None
        assert events.trade_price.tolist() == [100, NO_PRICE, 100, 100, 100, NO_PRICE]
        assert report.repaired == {"trade_price with a negative size: that side absent": 1}
        assert validate(dataset).usable
        assert dataset.card.sha256 == made[0][0].card.sha256


@pytest.mark.parametrize("value", ["both", "buyer", "1.5", "-", "\x1b[31m", "ß" * 200])
def test_a_value_that_is_not_listed_is_refused_by_its_row(tmp_path: Path, value: str) -> None:
    side = ["buy", "x", "sell", value, "sell", "buy"]
    table, toml = sided(tmp_path, 'buyer = ["buy"]\nseller = ["sell"]', side)
    told = refused(csv(tmp_path / "in.csv", table), toml)
    assert "row 3 has " in told
    assert "in 'side', which [trade] does not list" in told
    assert "\x1b" not in told
    assert len(told) < 400
    path = parquet(tmp_path / "in.parquet", table)
    assert "row 3 has " in refused(path, toml, MappedParquet)


def test_a_column_of_no_text_says_nothing(tmp_path: Path) -> None:
    table, toml = sided(tmp_path, 'buyer = ["buy"]\nseller = ["sell"]', ["buy"] * 3)
    for cells in (pa.array([b"buy", b"\xff", b"buy"], pa.binary()), pa.array([[1]] * 3)):
        path = parquet(tmp_path / "in.parquet", table, side=cells)
        assert "cannot be read: 'side'" in refused(path, toml, MappedParquet)


def test_an_aggressor_needs_trades(tmp_path: Path) -> None:
    toml = SIDED.replace("LISTS", "buyer = [1]\nseller = [2]")
    for line in ('trade = "p"', 'trade = "q"'):
        toml = toml.replace(line, "")
    toml = toml.replace("[trade]", '[features]\ncolumns = ["p"]\n[trade]')
    path = csv(tmp_path / "in.csv", sided(tmp_path, "", [1, 1])[0])
    assert "trade.aggressor needs price.trade" in refused(path, mapping(tmp_path, toml))


def test_the_last_row_of_zeros_closes_nothing(tmp_path: Path) -> None:
    table: dict[str, list[Any]] = {
        "when": [T0, T0 + 1],
        "b": [100.0, 0],
        "a": [100.01, 0],
        "p": [None, 0],
    }
    table |= {"bs": [100, 0], "as": [100, 0], "q": [None, 0]}
    toml = mapping(tmp_path, PRICES.replace("SIGNED", "false"))
    dataset, _ = ingested(csv(tmp_path / "in.csv", table), toml, tmp_path / "out")
    assert read_events(dataset).valid_quote().tolist() == [True, False]


@pytest.mark.parametrize(
    ("kind", "column", "value", "problem"),
    [
        (pa.uint64(), "bs", 2**64 - 1, "row 2 cannot be converted: 'bs'"),
        (pa.int64(), "b", 2**62, "row 2 cannot be converted: 'b': 461168601842738.7904 is not a"),
        (pa.string(), "b", "much", "row 2 cannot be read: 'b'"),
        (pa.int64(), "seen", -5, "row 2 has the time -5, which is not in us"),
        (pa.binary(), "sym", b"\xff", "row 2 cannot be read: 'sym'"),
    ],
)
def test_bad_cells_of_parquet_are_named_by_row(
    tmp_path: Path, kind: pa.DataType, column: str, value: Any, problem: str
) -> None:
    table = columns()
    given = table[column][:2] if kind != pa.binary() else [b"A", b"B"]
    cells = [None if v is None else str(v) if kind == pa.string() else v for v in given]
    made = pa.array([*cells, value], kind)
    path = parquet(tmp_path / "in.parquet", table, **{column: made})
    assert problem in refused(path, mapping(tmp_path), MappedParquet)


def test_a_row_is_named_far_into_a_file_and_past_absent_ones(tmp_path: Path) -> None:
    rows = 70_000
    table: dict[str, list[Any]] = {"when": [T0 * 10**6 + i for i in range(rows)], "x": [0.5] * rows}
    times = TIMES.format(unit="us", zone="UTC").replace(
        'event = "when"', 'event = "when"\nreceive = "r"'
    )
    received: list[Any] = [None if i % 3 else T0 * 10**6 + i for i in range(rows)]
    received[66_000] = T0
    path = csv(tmp_path / "in.csv", table | {"r": received})
    problem = refused(path, mapping(tmp_path, times))
    assert f"row 66000 has the time {T0}, which is not in us" in problem


def test_times_with_and_without_a_zone_may_alternate(tmp_path: Path) -> None:
    toml = mapping(tmp_path, TIMES.format(unit="text", zone="Asia/Tokyo"))
    times = ["2024-08-08 09:00:00", "2024-08-08 00:00:01Z", "2024-08-08 09:00:02"]
    path = csv(tmp_path / "in.csv", {"when": times, "x": [1, 2, 3]})
    start = parse_utc("2024-08-08T00:00:00Z")
    dataset, _ = ingested(path, toml, tmp_path / "out")
    assert read_events(dataset).ts_event.tolist() == [start, start + NS, start + 2 * NS]


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    toml = mapping(tmp_path, TIMES.format(unit="s", zone="UTC"))
    (tmp_path / "in.csv").write_text(f"when,x,x\n{T0},1,2\n")
    assert "the column 'x' is there twice" in refused(tmp_path / "in.csv", toml)
    names = ["when", "x", "x"]
    table = pa.table([pa.array([T0]), pa.array([1.0]), pa.array([2.0])], names=names)
    pq.write_table(table, tmp_path / "in.parquet")
    assert "the column 'x' is there twice" in refused(tmp_path / "in.parquet", toml, MappedParquet)


TARDIS = """
name = "tardis"
[time]
event = "timestamp"
receive = "local_timestamp"
unit = "us"
zone = "UTC"
[symbol]
column = "symbol"
[price]
unit = "1"
tick_size = "0.1"
bid = "bid_price"
ask = "ask_price"
[size]
unit = "1"
lot_size = "1"
bid = "bid_amount"
ask = "ask_amount"
[instrument]
tradable = false
"""


@pytest.mark.skipif(not REAL.is_dir(), reason="the vendor's files are not here")
def test_real_quotes_are_those_of_a_plain_reading(tmp_path: Path) -> None:
    path = REAL / "tardis" / "huobi-dm-swap_quotes_BTC-USD.csv"
    dataset, report = ingested(path, mapping(tmp_path, TARDIS), tmp_path / "out")
    with path.open(newline="") as file:
        rows = [*DictReader(file)]
    events = read_events(dataset)
    assert report == IngestReport(len(rows), len(rows))
    assert events.ts_event.tolist() == [int(row["timestamp"]) * 1000 for row in rows]
    for name, column, unit in (("bid", "bid_price", 10), ("ask_size", "ask_amount", 1)):
        wanted = [int(Decimal(row[column]) * unit) for row in rows]
        assert getattr(events, name).tolist() == wanted
    assert validate(dataset).usable


@pytest.mark.skipif(not REAL.is_dir(), reason="the vendor's files are not here")
def test_other_formats_of_vendors_are_refused(tmp_path: Path) -> None:
    toml = mapping(tmp_path, TARDIS)
    assert "which this source does not read" in refused(REAL, toml)
    for path in sorted((REAL / "dbn").glob("*.zst")):
        assert path.name in refused(path, toml)
    for path in sorted((REAL / "nautilus").glob("*.parquet")):
        assert "no column" in refused(path, toml, MappedParquet)
    trades = REAL / "tardis" / "bitmex_trades_XBTUSD.csv"
    assert "no column 'bid_price', 'ask_price'" in refused(trades, toml)
