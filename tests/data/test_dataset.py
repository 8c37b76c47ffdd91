"""Datasets: found, described, hashed."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from backtest.data import dataset as dataset_module
from backtest.data.canonical import write_canonical
from backtest.data.dataset import Dataset, open_dataset, packaged_datasets
from backtest.errors import DataError
from tests.parquet_files import SYMBOLS, card_of, dataset_of, random_events


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_canonical(tmp_path / "d", card_of(targets=1), [(random_events(50), TARGETS)])
    return tmp_path / "d"


TARGETS = np.ones((50, 1), dtype=np.float32)


def test_a_dataset_describes_its_contents(folder: Path) -> None:
    dataset = open_dataset(folder)
    assert dataset.name == "test"
    assert dataset.symbols == SYMBOLS
    assert dataset.features == ("f0", "f1", "f2")
    assert dataset.targets == ("t0",)
    assert dataset.files == ("events-00000.parquet",)
    assert dataset.has_quotes
    assert dataset.has_targets
    assert dataset.sessions is None
    assert dataset.session_breaks == "carry"
    assert [i.tick_size for i in dataset.instruments] == [Decimal("0.01")] * 3


def test_sessions_are_intervals_of_nanoseconds(tmp_path: Path) -> None:
    sessions = [
        ["1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z"],
        ["1970-01-01T00:00:02Z", "1970-01-01T00:00:03Z"],
    ]
    dataset = dataset_of(
        tmp_path,
        {"a.parquet": {"ts_event": [1], "symbol": ["A"]}},
        calendar={"sessions": sessions},
    )
    assert dataset.sessions is not None
    assert dataset.sessions.dtype == np.int64
    assert dataset.sessions.tolist() == [[0, 10**9], [2 * 10**9, 3 * 10**9]]
    assert not dataset.has_quotes
    assert not dataset.has_targets


def test_opens_a_folder_or_its_card_in_any_spelling(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    spellings: list[str | Path] = [
        folder,
        f"{folder}/",
        folder / "dataset.toml",
        ".",
        "dataset.toml",
        "../d",
    ]
    hashes = {open_dataset(source).data_hash() for source in spellings}
    assert len(hashes) == 1


def test_a_packaged_dataset_is_opened_by_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_module, "_datasets_folder", lambda: folder.parent)
    assert packaged_datasets() == ("d",)
    assert open_dataset("d").data_hash() == open_dataset(folder).data_hash()
    with pytest.raises(DataError, match=r"nothing: not a dataset.*\n.*\(d\)"):
        open_dataset("nothing")


def test_a_folder_without_a_card_or_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no dataset"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="there is no dataset"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no file matches '\*.parquet'"):
        dataset_of(tmp_path, {})
    with pytest.raises(DataError, match="no-such-scheme"):
        open_dataset("no-such-scheme://bucket/d")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.parquet", ["a.parquet"]),
        ("*/*.parquet", ["x/b.parquet"]),
        ("**/*.parquet", ["a.parquet", "x/b.parquet", "x/y/c.parquet"]),
        ("x/**", ["x/b.parquet", "x/y/c.parquet"]),
        ("x/?/c.parquet", ["x/y/c.parquet"]),
        (".h/*.parquet", [".h/d.parquet"]),
    ],
)
def test_globs_stay_within_their_segments(tmp_path: Path, pattern: str, found: list[str]) -> None:
    for name in ("a.parquet", "x/b.parquet", "x/y/c.parquet", ".h/d.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(dataset_of(tmp_path, {}, files=[pattern]).files) == found


def test_the_hash_follows_card_names_and_bytes(folder: Path) -> None:
    first = open_dataset(folder).data_hash()
    assert first == open_dataset(folder).data_hash()
    card = folder / "dataset.toml"
    card.write_text(card.read_text().replace('name = "test"', 'name = "other"'))
    assert open_dataset(folder).data_hash() != first


def test_the_hash_notices_a_file_that_is_not_the_cards(folder: Path) -> None:
    dataset = open_dataset(folder)
    dataset.data_hash()
    file = folder / "events-00000.parquet"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(1, 1))
    with pytest.raises(DataError, match=r"events-00000\.parquet: its SHA-256 is"):
        dataset.data_hash()


def test_files_are_hashed_once_while_they_stay_the_same(folder: Path) -> None:
    opened: list[str] = []
    dataset = open_dataset(folder)
    original = dataset.filesystem

    class Spy:
        type_name = "spy"

        def get_file_info(self, path: str) -> object:
            return original.get_file_info(path)

        def open_input_stream(self, path: str) -> object:
            opened.append(path)
            return original.open_input_stream(path)

    spied = Dataset(
        dataset.card, dataset.location, Spy(), dataset.root, dataset.files, dataset.card_digest
    )
    assert spied.data_hash() == spied.data_hash() == dataset.data_hash()
    assert len(opened) == 1


def test_verify_names_missing_files(folder: Path) -> None:
    open_dataset(folder).verify()
    (folder / "events-00000.parquet").rename(folder / "renamed.parquet")
    with pytest.raises(DataError, match=r"missing: 'events-00000\.parquet'"):
        open_dataset(folder).verify()
