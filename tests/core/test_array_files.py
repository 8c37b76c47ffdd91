"""Arrays in files: what is not there is not taken from memory that was used before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backtest.core.array_files import ArrayReader, Unusable, read_named, write_named


def test_arrays_are_read_back_by_name(tmp_path: Path) -> None:
    given = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "b": np.array([0.5, np.inf])}
    with (tmp_path / "f").open("wb") as file:
        entry = write_named(file, given)
    with (tmp_path / "f").open("rb") as file:
        found = read_named(file, entry)
    assert entry["bytes"] == 28
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


@pytest.mark.parametrize("left", [0, 1, 799])
def test_a_file_that_ends_too_early_is_refused(left: int, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(left))
    with path.open("rb") as file, pytest.raises(Unusable, match="f ends too early"):
        ArrayReader(file).get((10, 10), np.int64)
