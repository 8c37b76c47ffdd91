"""Ingest: whatever the source does, the dataset appears whole or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Card
from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import read_events
from backtest.data.sources import IngestReport, Source, ingest
from backtest.errors import DataError
from tests.parquet_files import assert_same, card_of, random_events


@dataclass(frozen=True)
class Counting(Source):
    """Writes as many seeded events as the input's text says, then may fail."""

    fail: bool = False
    limit: int | None = None

    def ingest(self, input: Path, output: Path) -> IngestReport:
        rows = int(input.read_text())
        with CanonicalWriter(output, card_of()) as writer:
            writer.write(random_events(rows))
            if self.fail:
                raise DataError("the input ends early", place=str(input))
        return IngestReport(rows + 2, writer.rows, refused={"crossed quotes": 2})


@pytest.fixture
def source_file(tmp_path: Path) -> Path:
    (tmp_path / "in.txt").write_text("100")
    return tmp_path / "in.txt"


def test_the_report_is_returned_and_noted_in_the_card(source_file: Path, tmp_path: Path) -> None:
    report = ingest("counting", Counting(), source_file, tmp_path / "out")
    assert report == IngestReport(102, 100, {"crossed quotes": 2})
    dataset = open_dataset(tmp_path / "out")
    assert dataset.card.notes == {
        "ingest": {
            "source": {"name": "counting", "fail": False},
            "input": "in.txt",
            "read": 102,
            "written": 100,
            "refused": {"crossed quotes": 2},
            "repaired": {},
            "ignored": {},
        }
    }
    dataset.verify()
    assert_same(read_events(dataset, features=True), random_events(100))


def test_a_source_that_fails_leaves_nothing(source_file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ends early"):
        ingest("counting", Counting(fail=True), source_file, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def test_a_dataset_that_is_there_is_replaced_only_on_request(
    source_file: Path, tmp_path: Path
) -> None:
    ingest("counting", Counting(), source_file, tmp_path / "out")
    source_file.write_text("7")
    with pytest.raises(DataError, match="already exists"):
        ingest("counting", Counting(), source_file, tmp_path / "out")
    assert len(read_events(open_dataset(tmp_path / "out"))) == 100
    ingest("counting", Counting(), source_file, tmp_path / "out", overwrite=True)
    assert len(read_events(open_dataset(tmp_path / "out"))) == 7


def test_the_same_input_gives_the_same_dataset(source_file: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        ingest("counting", Counting(), source_file, tmp_path / name)
    one, two = (open_dataset(tmp_path / name).data_hash() for name in ("one", "two"))
    assert one == two


def test_an_input_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such file"):
        ingest("counting", Counting(), tmp_path / "nowhere", tmp_path / "out")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"pipe: the input is no regular file"):
        ingest("counting", Counting(), tmp_path / "pipe", tmp_path / "out")


@dataclass(frozen=True)
class Careless(Source):
    """Makes a card of whatever the input says."""

    def ingest(self, input: Path, output: Path) -> IngestReport:
        Card.model_validate({"name": input.read_text(), "symbols": []})
        raise AssertionError


def test_a_card_that_cannot_be_is_no_bug(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a b")
    with pytest.raises(DataError, match="the card that it would have") as caught:
        ingest("careless", Careless(), tmp_path / "in.txt", tmp_path / "out")
    assert "name: " in str(caught.value)
    assert "symbols: " in str(caught.value)
