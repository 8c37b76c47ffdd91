"""A guessed mapping reads as one, says what it saw, and ingests what it was guessed from."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import read_events
from backtest.data.sources import ingest
from backtest.errors import DataError
from backtest.market.events import EventBatch
from backtest.plugins.sources.mapped import MappedCsv, MappedParquet
from backtest.plugins.sources.mapped.guess import guessed_mapping
from backtest.plugins.sources.mapped.mapping import read_mapping

SHARED = Path(os.environ.get("BACKTEST_SHARED", Path(__file__).parents[4] / "shared"))
T0 = 1_723_161_255  # s


def ingested(path: Path, **replaced: str) -> EventBatch:
    """The events of a file by the mapping that was guessed, perhaps corrected."""
    text = guessed_mapping(path)
    for old, new in replaced.items():
        assert f'"{old}"' in text
        text = text.replace(f'"{old}"', f'"{new}"')
    mapping = path.parent / "guessed.toml"
    mapping.write_text(text)
    read_mapping(mapping)
    kind = MappedParquet if path.suffix == ".parquet" else MappedCsv
    ingest("mapped", kind(mapping=mapping), path, path.parent / "out", overwrite=True)
    return read_events(open_dataset(path.parent / "out"), features=True)


@pytest.mark.parametrize(
    ("unit", "times"),
    [
        ("s", [T0, T0 + 1]),
        ("ms", [T0 * 10**3, (T0 + 1) * 10**3]),
        ("us", [T0 * 10**6, (T0 + 1) * 10**6]),
        ("ns", [T0 * 10**9, (T0 + 1) * 10**9]),
        ("text", ["2024-08-08T23:54:15Z", "2024-08-08T23:54:16Z"]),
        ("text", ["08.08.2024 23:54:15", "08.08.2024 23:54:16"]),
        ("text", ["08/13/2024 23:54:15.25", "08/13/2024 23:54:16.25"]),
    ],
)
def test_times(tmp_path: Path, unit: str, times: list[object]) -> None:
    path = tmp_path / "my quotes.csv"
    path.write_text("time,bid,ask\n" + "".join(f"{time},10.25,10.5\n" for time in times))
    assert f'unit = "{unit}"' in guessed_mapping(path)
    events = ingested(path, **{"?": "ONE"})
    assert events.bid is not None
    assert events.bid.tolist() == [41, 41]  # quarters
    assert (events.ts_event[1] - events.ts_event[0]) == 10**9


def test_a_date_and_a_clock_with_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_bytes(
        "Datum: heute\nDate;Time;Symbol;Price;Volume;Side;Größe\n"
        "08.08.2024;23:54:15,5;X;1.234,50;3;B;1,5\n".replace("15,5", "15.5").encode("cp1252")
        + "08.08.2024;23:54:16.0;X;1.234,75;NA;S;2,5\n".encode("cp1252")
    )
    text = guessed_mapping(path)
    for line in (
        'event = ["Date", "Time"]',
        'format = "%d.%m.%Y %H:%M:%S%.f"',
        'tick_size = "0.25"',
        'aggressor = "Side"',
        'columns = ["Größe"]',
        'separator = ";"',
        "skip = 1",
        'decimal = ","',
        'thousands = "."',
        'null = ["NA"]',
        'encoding = "cp1252"',
    ):
        assert line in text, line
    events = ingested(path)
    assert events.trade_price is not None
    assert events.trade_price.tolist() == [4938, 4939]
    assert events.aggressor is not None
    assert events.aggressor.tolist() == [1, -1]
    assert events.features is not None
    assert events.features.tolist() == [[1.5], [2.5]]


def test_a_file_without_names(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"{T0},10.01,10.02\n{T0 + 1},10.02,10.03\n")
    text = guessed_mapping(path)
    assert 'columns = ["column0", "column1", "column2"]' in text
    assert 'event = "column0"' in text
    events = ingested(path, **{"?": "ONE"})
    assert events.features is not None
    assert events.features.shape == (2, 2)


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    table = {
        "timestamp": pa.array([datetime(2024, 8, 8)], pa.timestamp("us", "UTC")),
        "ticker": ["X"],
        "best_bid_price": [1.5],
        "best_ask_price": [2.0],
        "momentum": [0.25],
    }
    pq.write_table(pa.table(table), path)
    events = ingested(path)
    assert events.bid is not None
    assert events.bid.tolist() == [3]
    assert events.features is not None
    assert events.features.tolist() == [[0.25]]


SAMPLES = sorted((SHARED / "data" / "tardis").glob("*.csv"))


@pytest.mark.skipif(not SAMPLES, reason="the samples are not here")
def test_vendors_files() -> None:
    texts = {path.name: guessed_mapping(path) for path in SAMPLES}
    quotes = texts["huobi-dm-swap_quotes_BTC-USD.csv"]
    for line in ('bid = "bid_price"', 'ask = "ask_price"', 'bid = "bid_amount"', 'unit = "us"'):
        assert line in quotes
    trades = texts["bitmex_trades_XBTUSD.csv"]
    for line in ('trade = "price"', 'tick_size = "0.5"', 'buyer = ["buy"]', 'seller = ["sell"]'):
        assert line in trades


def test_what_cannot_be_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    for text in ("", "time,bid,ask\n"):
        path.write_text(text)
        with pytest.raises(DataError, match="no rows"):
            guessed_mapping(path)
    with pytest.raises(DataError, match="no file"):
        guessed_mapping(tmp_path)
    path.write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(DataError):
        guessed_mapping(path)


def test_names_cannot_break_out_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text('time,"bid\n[x]",ask,"c ""d"""\n' + f"{T0},1,2,3\n")
    mapping = tmp_path / "guessed.toml"
    mapping.write_text(guessed_mapping(path).replace('"?"', '"ONE"'))
    assert read_mapping(mapping).floats()


def test_the_command_prints_and_ingests_nothing(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("in.csv", f"time,bid,ask\n{T0},1,2\n")
    command = [sys.executable, "-m", "backtest", "data", "ingest", "--guess"]
    done = subprocess.run(
        [*command, "in.zip"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert 'bid = "bid"' in done.stdout
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.zip"]
    done = subprocess.run(
        [*command, "none.csv"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "none.csv: it is no file" in done.stderr
