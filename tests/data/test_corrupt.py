"""Damaged files: found, named, never read as something else."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from backtest.data.canonical import write_canonical
from backtest.data.card import Card, write_card
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import read_events
from backtest.errors import DataError
from tests.parquet_files import assert_same, card_of, random_events

EVENTS = random_events(1500, features=2)


@pytest.fixture(scope="module", params=["wide", "packed"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corrupt") / "d"
    write_canonical(folder, card_of(request.param, features=2), [EVENTS])
    return folder


def replaced(folder: Path, data: bytes) -> Dataset:
    """The dataset with other bytes in its one file, and the card as it was."""
    (folder / "events-00000.parquet").write_bytes(data)
    return open_dataset(folder)


@pytest.fixture
def good(folder: Path) -> bytes:
    """The file's bytes; every test starts from the undamaged file."""
    copy = folder.parent / "good"
    if not copy.exists():
        copy.write_bytes((folder / "events-00000.parquet").read_bytes())
    return copy.read_bytes()


def test_bit_flips_are_never_read_as_other_events(folder: Path, good: bytes) -> None:
    rng = random.Random(11)
    refused = 0
    for _ in range(150):
        data = bytearray(good)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            found = read_events(replaced(folder, bytes(data)), features=True)
        except DataError as error:
            refused += "events-00000.parquet" in str(error)
        else:
            assert_same(found, EVENTS)  # it hit a byte that nothing depends on
    assert refused > 140


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("with_digests", [True, False])
def test_truncated_files_are_refused(
    folder: Path, good: bytes, fraction: float, with_digests: bool, tmp_path: Path
) -> None:
    dataset = replaced(folder, good[: int(len(good) * fraction)])
    if not with_digests:
        card = dataset.card.model_copy(update={"sha256": {}, "footer_sha256": {}})
        write_card(tmp_path, card)
        (tmp_path / dataset.files[0]).write_bytes((folder / dataset.files[0]).read_bytes())
        dataset = open_dataset(tmp_path)
    with pytest.raises(DataError, match=r"events-00000\.parquet: ") as caught:
        read_events(dataset)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"PAR1PAR1", b"ts_event,symbol\n1,A\n", b"\x00" * 4096, b"PAR1" * 99]
)
def test_what_is_not_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    write_card(tmp_path, Card(name="x", symbols=("A",)))
    (tmp_path / "a.parquet").write_bytes(content)
    problem = "empty" if not content else "cannot be read as Parquet"
    with pytest.raises(DataError, match=rf"a\.parquet: .*{problem}"):
        read_events(open_dataset(tmp_path))


def test_a_folder_or_a_dangling_link_is_no_file(tmp_path: Path) -> None:
    write_card(tmp_path, Card(name="x", symbols=("A",)))
    (tmp_path / "a.parquet").mkdir()
    with pytest.raises(DataError, match="no file matches"):
        open_dataset(tmp_path)
    (tmp_path / "b.parquet").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match="no file matches"):
        open_dataset(tmp_path)


def test_a_footer_of_another_file_is_found(folder: Path, good: bytes) -> None:
    other = folder.parent / "other.parquet"
    replaced(folder, good)
    pq.write_table(pq.read_table(folder / "events-00000.parquet").slice(1), other)
    with pytest.raises(DataError, match="its footer is not the one"):
        read_events(replaced(folder, other.read_bytes()))


def test_bounds_that_the_rows_do_not_keep_are_found(tmp_path: Path) -> None:
    """Without a digest of the footer, wrong statistics must not move or hide rows."""
    write_canonical(tmp_path / "d", card_of(features=2), [EVENTS])
    dataset = open_dataset(tmp_path / "d")
    write_card(tmp_path / "d", dataset.card.model_copy(update={"sha256": {}, "footer_sha256": {}}))
    file = tmp_path / "d" / dataset.files[0]
    last = int(EVENTS.ts_event[-1]).to_bytes(8, "little")
    data = file.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert data.count(last, start) == 2  # max and max_value: an old and a new name of one bound
    wrong = (int(EVENTS.ts_event[-1]) - 1).to_bytes(8, "little")
    file.write_bytes(data[:start] + data[start:].replace(last, wrong))
    with pytest.raises(
        DataError, match=r"row \d+ has ts_event \d+, outside the times \d+ to \d+ that"
    ):
        read_events(open_dataset(tmp_path / "d"))
