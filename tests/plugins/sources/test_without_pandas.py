"""Without pandas, pyarrow makes no Python objects of nanoseconds: nothing asks for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

WITHOUT = """
import sys


class NoPandas:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, NoPandas())

from backtest.cli import main

main(sys.argv[1:])
"""


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    nanoseconds = pa.array([1_723_161_255_000_000_001, 1], pa.timestamp("ns"))
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"t": nanoseconds, "bid": [1, 2], "ask": [2, 3]}), path)
    return path


def command(*words: object) -> subprocess.CompletedProcess[str]:
    called = [sys.executable, "-c", WITHOUT, *map(str, words)]
    return subprocess.run(called, capture_output=True, text=True, timeout=120, check=False)


def test_guess_and_a_time_out_of_range(stamps: Path, tmp_path: Path) -> None:
    done = command("data", "ingest", "--guess", stamps)
    assert done.returncode == 0, done.stderr
    assert 'unit = "timestamp"' in done.stdout
    assert "2024-08-08 23:54:15.000000001" in done.stdout
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(done.stdout.replace('"?"', '"ONE"'))
    done = command("data", "ingest", f"parquet:mapping={mapping}", stamps, tmp_path / "out")
    assert done.returncode == 3
    assert "row 1 has the time 1970-01-01 00:00:00.000000001, which is not in" in done.stderr
