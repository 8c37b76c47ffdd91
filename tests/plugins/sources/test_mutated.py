"""Damaged inputs of the sources: read, or refused with a reason; no traceback, no remnant."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.data.sources import Source, ingest
from backtest.errors import DataError
from backtest.plugins.sources.binance import BinanceStream
from backtest.plugins.sources.equities import UsEquitiesTicks
from backtest.plugins.sources.mapped import MappedCsv, MappedParquet

MUTANTS = 60
MAPPING = """
name = "mine"
[time]
event = "when"
unit = "us"
zone = "UTC"
[symbol]
column = "sym"
[price]
unit = "1"
tick_size = "0.01"
bid = "b"
ask = "a"
[features]
columns = ["x"]
"""
WHEN = 1_723_161_255_000_000


def binance(folder: Path) -> tuple[bytes, Source]:
    lines = []
    for i in range(20):
        data = f'"T":{WHEN // 1000 + i},"s":"BTCUSDT"'
        quote = f'{{"u":{i},{data},"b":"10.{i}","B":"1.5","a":"11.{i}","A":"2"}}'
        trade = f'{{"t":{i},{data},"p":"10.{i}","q":"0.5","m":true,"M":true}}'
        update = f'{{"U":{i},"u":{i},"pu":{i - 1},{data},"b":[["10.{i}","1.5"],["9","0"]],"a":[]}}'
        for stream, text in (("bookTicker", quote), ("trade", trade), ("depth", update)):
            lines.append(f'{(WHEN + i) * 1000} {{"stream":"btcusdt@{stream}","data":{text}}}\n')
    book = '"bids":[["10.9","1.5"],["10.5","2"]],"asks":[["11.9","2"]]'
    lines.append(f'{(WHEN + 30) * 1000} {{"lastUpdateId":19,"T":{WHEN // 1000},{book}}}\n')
    return "".join(lines).encode(), BinanceStream()


def equities(folder: Path) -> tuple[bytes, Source]:
    rows = []
    for i in range(20):
        rows.append(f"{34_200_000 + i},{1_000_000 + i * 100},100,0,0,N,1,0\n")
        rows.append(f"{34_200_000 + i},0,0,{1_000_100 + i * 100},200,P,1,0\n")
    return "".join(rows).encode(), UsEquitiesTicks()


def csv(folder: Path) -> tuple[bytes, Source]:
    (folder / "mapping.toml").write_text(MAPPING)
    rows = [f"{WHEN + i},AB,{10 + i}.01,{10 + i}.02,0.{i}\n" for i in range(20)]
    return ("when,sym,b,a,x\n" + "".join(rows)).encode(), MappedCsv(folder / "mapping.toml")


def parquet(folder: Path) -> tuple[bytes, Source]:
    (folder / "mapping.toml").write_text(MAPPING)
    table = {
        "when": [WHEN + i for i in range(20)],
        "sym": ["A", "B"] * 10,
        "b": [10.01 + i for i in range(20)],
        "a": [10.02 + i for i in range(20)],
        "x": [0.5 * i for i in range(20)],
    }
    pq.write_table(pa.table(table), folder / "made", write_page_checksum=True)
    return (folder / "made").read_bytes(), MappedParquet(folder / "mapping.toml")


def mutant(whole: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(whole)
    at = draw.randrange(len(damaged))
    what = draw.randrange(5)
    if what == 0:
        damaged[at] ^= 1 << draw.randrange(8)
    elif what == 1:
        del damaged[at : at + draw.randrange(1, 9)]
    elif what == 2:
        del damaged[at:]
    elif what == 3:
        damaged[at] = draw.choice(b"0123456789")
    else:
        pieces = (b'"', b",", b"\n", b"{", b"9" * 20, b"-", b"\0", b"\xff", b"1e5", b"null", b" ")
        damaged[at:at] = draw.choice(pieces)
    return bytes(damaged)


@pytest.mark.parametrize("make", [binance, equities, csv, parquet])
def test_damage_is_read_or_refused_and_leaves_nothing(
    tmp_path: Path, make: Callable[[Path], tuple[bytes, Source]]
) -> None:
    whole, source = make(tmp_path)
    draw = random.Random(11)
    path = tmp_path / "ibm_20131007_quote.zip"
    out = tmp_path / "out" / "dataset"
    refused = 0
    for number in range(MUTANTS + 1):
        damaged = mutant(whole, draw) if number else whole
        path.write_bytes(damaged)
        if make is equities:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("20131007_ibm_Quote_Tick.csv", damaged)
        before = {p: p.stat().st_mtime_ns for p in out.glob("*")}
        problem = None
        try:
            ingest("mutated", source, path, out, overwrite=True)
        except DataError as error:
            problem = error
        assert number or problem is None  # what is whole is read
        if problem is not None:
            refused += 1
            assert problem.place
            assert {p: p.stat().st_mtime_ns for p in out.glob("*")} == before
        assert [p.name for p in out.parent.iterdir()] == ["dataset"]
    assert refused > MUTANTS // 5
