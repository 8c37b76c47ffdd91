"""Rows on disk that one pass writes and a later one reads."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.core.arrays import Float32Array
from backtest.core.spool import Spool
from backtest.errors import DataError

ROWS, WIDTH = 500, 3


def numbers(count: int = ROWS) -> Float32Array:
    return np.random.default_rng(0).normal(size=(count, WIDTH)).astype(np.float32)


def test_rows_are_zero_until_they_are_written(tmp_path: Path) -> None:
    with Spool(tmp_path, ROWS, WIDTH) as spool:
        assert len(spool) == ROWS
        assert not spool.read(0, ROWS).any()
        spool.write(100, numbers(50))
        found = spool.read(90, 170)
        np.testing.assert_array_equal(found[10:60], numbers(50))
        assert not found[:10].any()
        assert not found[60:].any()
        assert spool.read(7, 7).shape == (0, WIDTH)


@pytest.mark.parametrize(
    "places",
    [[], [4], [4, 5, 6], [6, 4, 5], [4, 6, 5, 7], [9, 4, 30, 12], [0, 499]],
    ids=str,
)
def test_places_in_any_order(places: list[int], tmp_path: Path) -> None:
    where = np.array(places, dtype=np.int64)
    wanted = numbers()
    given = numbers(len(places)) + 1
    with Spool(tmp_path, ROWS, WIDTH) as spool:
        spool.write(0, wanted)
        spool.put(where, given)
        wanted[where] = given
        np.testing.assert_array_equal(spool.read(0, ROWS), wanted)
        np.testing.assert_array_equal(spool.take(where), given)


def test_there_is_nothing_beyond_the_last_row(tmp_path: Path) -> None:
    with Spool(tmp_path, ROWS, WIDTH) as spool, pytest.raises(IndexError, match="row 500 of 500"):
        spool.read(ROWS - 1, ROWS + 1)


def test_values_of_any_layout_in_memory(tmp_path: Path) -> None:
    wide = np.random.default_rng(1).normal(size=(WIDTH, ROWS)).astype(np.float32).T
    with Spool(tmp_path, ROWS, WIDTH) as spool:
        spool.write(0, wide)
        np.testing.assert_array_equal(spool.read(0, ROWS), wide)


def test_the_system_may_move_less_than_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv, pwrite = os.preadv, os.pwrite

    def read_some(file: int, buffers: Any, at: int) -> int:
        return preadv(file, [buffers[0][:101]], at)

    monkeypatch.setattr(os, "preadv", read_some)
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:77], at))
    with Spool(tmp_path, ROWS, WIDTH) as spool:
        spool.write(3, numbers(400))
        np.testing.assert_array_equal(spool.read(3, 403), numbers(400))


def test_the_folder_is_made_and_shows_no_file(tmp_path: Path) -> None:
    with Spool(tmp_path / "a" / "b", ROWS, WIDTH) as spool:
        spool.write(0, numbers())
        assert list((tmp_path / "a" / "b").iterdir()) == []


def test_nothing_is_left_of_a_killed_process(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
import numpy as np
from backtest.core.spool import Spool
spool = Spool(Path({str(tmp_path)!r}), 10, 1)
spool.write(0, np.ones((10, 1), dtype=np.float32))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode < 0
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with (
        Spool(tmp_path, ROWS, WIDTH) as spool,
        pytest.raises(DataError, match="No space left on device"),
    ):
        spool.write(0, numbers())
