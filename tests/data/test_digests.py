"""Files without checksums and digests are told, and get digests by a command."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from backtest.cli import main
from backtest.data.card import write_card
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.digests import add_digests
from backtest.data.parquet import has_checksums
from backtest.data.quality.validate import validate
from backtest.errors import DataError, UsageError
from tests.data.made import feature_dataset
from tests.data.quality.test_validate import CARD, clean

CARD_TEXT = """# My own data.
format = 1
name = "mine"  # as it is
symbols = ["AAA", "BBB"]
[features]
columns = ["f0", "f1"]
[notes]
by = "hand"
"""


def bare(folder: Path, *, checksums: bool = False, files: int = 2) -> Dataset:
    """Files and a card as a person may have written them."""
    folder.mkdir()
    for number in range(files):
        columns = clean()
        columns["ts_event"] = columns["ts_event"] + number * 10**12
        columns["ts_recv"] = columns["ts_recv"] + number * 10**12
        path = folder / f"{number}.parquet"
        pq.write_table(pa.table(columns), path, write_page_checksum=checksums)
    (folder / "dataset.toml").write_text(CARD_TEXT)
    return open_dataset(folder)


def test_a_file_without_checksums_and_digest_is_told(tmp_path: Path) -> None:
    dataset = bare(tmp_path / "d")
    (found,) = validate(dataset).findings
    assert (found.rule, found.severity, found.count) == ("unprotected", "warning", 2)
    assert "backtest data digest" in found.remedy
    assert validate(bare(tmp_path / "c", checksums=True)).findings == ()


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_checksums_are_found_in_any_kind_of_page(
    tmp_path: Path, version: str, dictionary: bool, compression: str
) -> None:
    table = pa.table({"x": [*range(10_000)], "y": ["text"] * 10_000})
    for checksums in (False, True):
        pq.write_table(
            table,
            tmp_path / "x.parquet",
            data_page_version=version,
            use_dictionary=dictionary,
            compression=compression,
            write_page_checksum=checksums,
        )
        with (tmp_path / "x.parquet").open("rb") as file:
            assert has_checksums(file) is checksums
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    with (tmp_path / "empty.parquet").open("rb") as file:
        assert has_checksums(file)


def test_digests_are_added_and_the_card_stays_as_it_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = bare(tmp_path / "d")
    with pytest.raises(SystemExit) as left:
        main(["data", "digest", str(tmp_path / "d")])
    assert left.value.code == 0
    assert "digests of 2 files added, of 0 files there already" in capsys.readouterr().out
    text = (tmp_path / "d" / "dataset.toml").read_text()
    assert text.startswith(CARD_TEXT)
    made = open_dataset(tmp_path / "d")
    assert made.card.sha256.keys() == made.card.footer_sha256.keys() == set(dataset.files)
    made.verify()
    assert validate(made).findings == ()
    with pytest.raises(SystemExit):
        main(["data", "digest", str(tmp_path / "d"), "--json"])
    assert json.loads(capsys.readouterr().out)["added"] == []
    assert (tmp_path / "d" / "dataset.toml").read_text() == text


def test_digests_that_are_missing_join_those_that_are_there(tmp_path: Path) -> None:
    feature_dataset(tmp_path / "d", 100)
    made = open_dataset(tmp_path / "d")
    write_card(tmp_path / "d", made.card.model_copy(update={"footer_sha256": {}}))
    digested = add_digests(open_dataset(tmp_path / "d"))
    assert digested.added == made.files
    assert open_dataset(tmp_path / "d").card == made.card


def test_no_changed_or_damaged_file_is_vouched_for(tmp_path: Path) -> None:
    made = feature_dataset(tmp_path / "d", 100)
    digests = {made.files[0]: "0" * 64}
    for table, problem in (("sha256", "its SHA-256 is"), ("footer_sha256", "footer")):
        write_card(tmp_path / "d", made.card.model_copy(update={table: digests}))
        with pytest.raises(DataError, match=problem):
            add_digests(open_dataset(tmp_path / "d"))
    dataset = bare(tmp_path / "e", checksums=True)
    path = tmp_path / "e" / "1.parquet"
    raw = bytearray(path.read_bytes())
    raw[120] ^= 4
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"1.parquet: the file cannot be read as Parquet"):
        add_digests(dataset)
    assert (tmp_path / "e" / "dataset.toml").read_text() == CARD_TEXT


def test_a_dataset_elsewhere_is_refused(tmp_path: Path) -> None:
    bare(tmp_path / "d")
    elsewhere = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    with pytest.raises(UsageError, match="no folder of this machine"):
        add_digests(open_dataset("d", filesystem=elsewhere))


def test_parquet_files_that_nobody_reads_are_told(tmp_path: Path) -> None:
    dataset = bare(tmp_path / "d", checksums=True)
    raw = (tmp_path / "d" / "0.parquet").read_bytes()
    for name in ("x.PARQUET", "sub/y.parquet", "quarantine/z.parquet", ".hidden.parquet", "a.txt"):
        (tmp_path / "d" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "d" / name).write_bytes(raw)
    (found,) = validate(dataset).findings
    assert (found.rule, found.count, found.severity) == ("unlisted", 2, "warning")
    assert found.file.endswith("sub/y.parquet")
    assert CARD.files == ("*.parquet",)
