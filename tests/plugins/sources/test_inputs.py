"""Every file of an input is read, or ignored with a reason; what unpacks to too much is refused."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import read_events
from backtest.data.sources import Source, ingest
from backtest.errors import DataError, UsageError
from backtest.plugins.sources.binance import BinanceStream
from backtest.plugins.sources.equities import UsEquitiesTicks
from backtest.plugins.sources.kaggle import JaneStreetKaggle
from backtest.plugins.sources.mapped import MappedCsv, MappedParquet
from backtest.plugins.sources.mapped import files as mapped_files
from backtest.plugins.sources.mapped.files import CsvFile
from backtest.plugins.sources.shared import packed
from backtest.plugins.sources.shared.inputs import input_files
from backtest.plugins.sources.shared.packed import Packed, unpacked
from tests.cli.test_data import run

T0 = 1_723_161_255
MAPPING = """
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
"""


def day(number: int) -> bytes:
    """A day's file of two quotes."""
    first = T0 + 86_400 * number
    return f"when,b,a\n{first},10.01,10.02\n{first + 1},10.02,10.03\n".encode()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in members.items():
            made.writestr(name, text)
    return path


def seven_days(folder: Path) -> Path:
    folder.mkdir()
    (folder / "a.csv").write_bytes(day(0))
    (folder / "b.CSV").write_bytes(day(1))
    (folder / "c.csv.gz").write_bytes(gzip.compress(day(2)))
    (folder / "d.csv.zst").write_bytes(pa.compress(day(3), "zstd", asbytes=True))
    archive(folder / "e.zip", {"e.csv": day(4), "__MACOSX/._e.csv": b"?"})
    (folder / "f.txt").write_bytes(day(5))
    (folder / "g.gz").write_bytes(gzip.compress(day(6)))
    (folder / "sub").mkdir()
    (folder / "sub" / "h.csv.bz2").write_bytes(bz2.compress(day(7)))
    (folder / "sub" / "i.csv.XZ").write_bytes(lzma.compress(day(8)))
    (folder / ".DS_Store").write_bytes(b"?")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.csv").write_bytes(b"?")
    return folder


def mapping(folder: Path, text: str = MAPPING) -> Path:
    (folder / "mapping.toml").write_text(text)
    return folder / "mapping.toml"


def test_every_file_of_a_folder_is_read(tmp_path: Path) -> None:
    folder = seven_days(tmp_path / "in")
    report = ingest("csv", MappedCsv(mapping(tmp_path)), folder, tmp_path / "out")
    assert (report.read, report.written) == (18, 18)
    assert report.ignored == {"hidden": 3}
    events = read_events(open_dataset(tmp_path / "out"))
    expected = [(T0 + 86_400 * number + i) * 10**9 for number in range(9) for i in range(2)]
    assert events.ts_event.tolist() == expected


def test_other_files_are_an_error_unless_they_are_named(tmp_path: Path) -> None:
    folder = seven_days(tmp_path / "in")
    (folder / "sub" / "notes.pdf").write_bytes(b"?")
    (folder / "README").write_bytes(b"?")
    out = tmp_path / "out"
    source = MappedCsv(mapping(tmp_path))
    with pytest.raises(DataError, match=r"holds 'README', 'sub/notes.pdf', which") as caught:
        ingest("csv", source, folder, out)
    assert caught.value.remedy is not None
    assert "--ignore 'README'" in caught.value.remedy
    assert not out.exists()
    words = ["ingest", f"csv:mapping={tmp_path / 'mapping.toml'}", str(folder), str(out)]
    run(*words, "--ignore", "*.pdf", "--ignore", "README")
    notes = open_dataset(out).card.notes["ingest"]
    assert notes["ignored"] == {"hidden": 3, "named by --ignore": 2}
    assert notes["source"]["ignore"] == ["*.pdf", "README"]
    with pytest.raises(UsageError, match="is given twice"):
        run(words[0], words[1] + ",ignore=x", *words[2:], "--ignore", "y")


def test_patterns_reach_the_source_as_they_are_written(tmp_path: Path) -> None:
    folder, out = seven_days(tmp_path / "in"), tmp_path / "out"
    words = ["ingest", f"csv:{mapping(tmp_path)}", str(folder), str(out), "--set", "unsorted=sort"]
    patterns = ["[Ss]ub/*", "*.pdf", "a,b", "x=1", 'it\'s "so"', "c:\\d", ""]
    run(*words, *(word for pattern in patterns for word in ("--ignore", pattern)))
    notes = open_dataset(out).card.notes["ingest"]
    assert notes["source"]["ignore"] == patterns
    assert notes["source"]["unsorted"] == "sort"
    assert notes["ignored"]["named by --ignore"] == 2
    with pytest.raises(UsageError, match="is given twice"):
        run(*words, "--set", "ignore=[x]", "--ignore", "y")
    with pytest.raises(UsageError, match="no parameter 'ignore'"):
        run("ingest", "challenge", str(folder), str(out), "--ignore", "y")


def test_what_was_ignored_is_in_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = seven_days(tmp_path / "in")
    words = ["ingest", f"csv:mapping={mapping(tmp_path)}", str(folder), str(tmp_path / "out")]
    run(*words, "--ignore", "sub/*")
    assert "14 rows read, 14 events written, 3 ignored (hidden), 2 ignored (named by --ignore)" in (
        capsys.readouterr().out
    )
    run(*words, "--ignore", "sub/*", "--overwrite", "--json")
    assert json.loads(capsys.readouterr().out)["ignored"] == {"hidden": 3, "named by --ignore": 2}


SOURCES: dict[str, Callable[[Path], Source]] = {
    "parquet": lambda folder: MappedParquet(mapping(folder)),
    "us-equities-ticks": lambda folder: UsEquitiesTicks(),
    "jane-street-kaggle": lambda folder: JaneStreetKaggle(),
}


@pytest.mark.parametrize("name", SOURCES)
def test_no_source_passes_over_a_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "data.bin").write_bytes(b"?")
    with pytest.raises(
        DataError, match=r"in: the input holds 'data.bin', which this source does not read"
    ):
        ingest(name, SOURCES[name](tmp_path), folder, tmp_path / "out")


def test_a_recorded_stream_is_read_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "2024").mkdir(parents=True)
    for number, name in enumerate(("2024/btc", "2024/btc.log.gz", "README.md")):
        quote = f'{{"u":{number},"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}'
        line = f'{T0 * 10**9} {{"stream":"btcusdt@bookTicker","data":{quote}}}\n'.encode()
        (folder / name).write_bytes(gzip.compress(line) if name.endswith("gz") else line)
    report = ingest("binance", BinanceStream(clock="keep"), folder, tmp_path / "out")
    assert report.written == 3
    (folder / "README.md").write_text("What this is")
    with pytest.raises(DataError, match=r"README.md: line 1 is not local_ns JSON"):
        ingest("binance", BinanceStream(clock="keep"), folder, tmp_path / "no")
    source = BinanceStream(clock="keep", ignore=("*.md",))
    assert ingest("binance", source, folder, tmp_path / "some").ignored == {"named by --ignore": 1}


def test_links_are_followed_and_no_file_is_read_twice(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far.csv").write_bytes(day(0))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "near.csv").write_bytes(day(1))
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    (folder / "latest.csv").symlink_to(folder / "near.csv")
    found = input_files(folder, (".csv",), (), noun="files")
    assert [path.name for path in found.paths] == ["latest.csv", "far.csv"]
    assert found.ignored == {"a link to a file that is read anyway": 1}
    (folder / "broken.csv").symlink_to(folder / "nowhere")
    with pytest.raises(DataError, match=r"'broken.csv'"):
        input_files(folder, (".csv",), (), noun="files")
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(DataError, match=r"'pipe.csv'"):
        input_files(folder, (".csv",), ("broken*",), noun="files")


def test_files_in_an_archive_are_those_of_a_folder(tmp_path: Path) -> None:
    path = archive(tmp_path / "in.zip", {"x/a.csv": day(0), "b.TXT": day(1), "c.json": b"{}"})
    with pytest.raises(DataError, match=r"in.zip: the input holds 'c.json', which"):
        unpacked(path, (".csv", ".txt"), (), Counter())
    ignored: Counter[str] = Counter()
    found = unpacked(path, (".csv", ".txt"), ("*.json",), ignored)
    assert [file.member for file in found] == ["b.TXT", "x/a.csv"]
    assert ignored == {"named by --ignore": 1}
    with pytest.raises(DataError, match="no file to read"):
        unpacked(archive(tmp_path / "none.zip", {}), None, (), ignored)


def encrypted(path: Path) -> Path:
    archive(path, {"a.csv": day(0)})
    raw = bytearray(path.read_bytes())
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(sign) + at] |= 1
    path.write_bytes(raw)
    return path


def test_encrypted_and_damaged_archives_are_refused(tmp_path: Path) -> None:
    source, out = MappedCsv(mapping(tmp_path)), tmp_path / "out"
    with pytest.raises(DataError, match=r"in.zip: the archive is encrypted"):
        ingest("csv", source, encrypted(tmp_path / "in.zip"), out)
    with pytest.raises(DataError, match="is encrypted"):
        UsEquitiesTicks().ingest(encrypted(tmp_path / "ibm_20131007_quote.zip"), out)
    whole = archive(tmp_path / "w.zip", {"a.csv": day(0) * 50}).read_bytes()
    for damaged in (whole[:60], whole[:-30], whole[:70] + b"\0\1\2" + whole[73:]):
        (tmp_path / "d.zip").write_bytes(damaged)
        with pytest.raises(DataError, match=r"d.zip.*truncated or damaged"):
            ingest("csv", source, tmp_path / "d.zip", out)
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        (tmp_path / "d.csv").write_bytes(pack(day(0) * 50)[:-9])
        with pytest.raises(DataError, match=r"d.csv.*truncated or damaged"):
            ingest("csv", source, tmp_path / "d.csv", out)
    zst = pa.compress(day(0) * 50, "zstd", asbytes=True)
    (tmp_path / "d.csv").write_bytes(zst[: len(zst) // 2])
    with pytest.raises(DataError, match=r"d.csv.*truncated or damaged"):
        ingest("csv", source, tmp_path / "d.csv", out)


def test_what_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "_ALWAYS", 1 << 20)
    monkeypatch.setattr(packed, "MOST_LINE_BYTES", 1 << 19)
    lines = b"1,2,3\n" * (1 << 19)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(lines))
    with pytest.raises(DataError, match="unpack to more than 400 times as many"):
        list(Packed(tmp_path / "bomb.gz").lines())
    member = Packed(archive(tmp_path / "bomb.zip", {"a.csv": lines}), "a.csv")
    with pytest.raises(DataError, match=r"bomb.zip/a.csv: \d+ bytes unpack to more than 400"):
        list(member.lines())
    (tmp_path / "plain").write_bytes(lines)  # a file is never larger than itself
    assert sum(map(len, Packed(tmp_path / "plain").lines())) == len(lines)
    (tmp_path / "line").write_bytes(b"x" * ((1 << 19) + 1))
    with pytest.raises(DataError, match="a line has more than 524288 bytes"):
        list(Packed(tmp_path / "line").lines(1 << 18))
    (tmp_path / "wide.csv").write_bytes(b"a," * mapped_files.MOST_COLUMNS + b"a\n")
    with pytest.raises(DataError, match="16385 columns, more than 16384"):
        CsvFile(Packed(tmp_path / "wide.csv")).types()


@pytest.mark.parametrize("size", [3, 7, 64, 1 << 20])
def test_pieces_end_where_lines_do(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b'a,b\n1,"two\nlines"\r\n3,4\n\n5,"x"\n7,8'
    (tmp_path / "x").write_bytes(text)
    pieces = list(Packed(tmp_path / "x").lines(size))
    assert b"".join(pieces) == text
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])
    assert all(piece.count(b'"') % 2 == 0 for piece in pieces)
    monkeypatch.setattr(packed, "MOST_LINE_BYTES", 64)
    text = b'5" pipe,1\n' + b"6,2\n" * 99
    (tmp_path / "y").write_bytes(text)
    pieces = list(Packed(tmp_path / "y").lines(size))
    assert b"".join(pieces) == text
    assert all(piece.endswith(b"\n") for piece in pieces)


def test_a_file_of_carriage_returns_is_read(tmp_path: Path) -> None:
    (tmp_path / "mac.csv").write_bytes(day(0).replace(b"\n", b"\r"))
    report = ingest("csv", MappedCsv(mapping(tmp_path)), tmp_path / "mac.csv", tmp_path / "out")
    assert report.written == 2


@pytest.mark.parametrize("row", [0, 1, 70_000, 199_999])
def test_a_bad_row_of_a_compressed_file_ends_with_exit_code_3(tmp_path: Path, row: int) -> None:
    lines = [f"{T0 + i},10.01,10.02" for i in range(200_000)]
    lines[row] = f"{T0 + row},much,10.02"
    text = "\n".join(["when,b,a", *lines, ""]).encode()
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(text, 1))
    source = f"csv:mapping={mapping(tmp_path)}"
    command = [sys.executable, "-m", "backtest", "data", "ingest", source]
    command += [str(tmp_path / "in.csv.gz"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr
    assert f"row {row} cannot be read: 'b': 'much' is not a number" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "out"))] == []
