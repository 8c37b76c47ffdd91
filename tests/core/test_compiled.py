"""Machine code is kept between processes, but never beyond the source that it was made from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import backtest.core.compiled as module
from backtest.core.compiled import sources_sha256, writable

PROGRAM = """
import logging
logging.basicConfig(level=logging.INFO, format="%(message)s")
from backtest.outer_loops import outer
print(outer(10))
"""

FILES = {
    "__init__.py": "",
    "core/__init__.py": "",
    "core/compiled.py": Path(module.__file__).read_text(),
    "rates.py": "RATE = 3\n",
    "inner_loops.py": (
        "from backtest.core.compiled import compiled\n"
        "from backtest.rates import RATE\n"
        "@compiled\ndef inner(x):\n    return x * RATE + 1\n"
    ),
    "outer_loops.py": (
        "from backtest.core.compiled import compiled\n"
        "from backtest.inner_loops import inner\n"
        "@compiled\ndef outer(x):\n    return inner(x)\n"
    ),
    "other.py": "VALUE = 1\n",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with a loop that calls one of another file, which has its rate from a third."""
    folder = tmp_path / "checkout" / "backtest"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def run(package: Path, cache: Path) -> tuple[str, bool]:
    """What the loop computes in a process of its own, and whether it was compiled for that."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")
    }
    environment |= {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(package.parent)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment, cwd=package.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip(), "compiling the loops, once for this machine" in done.stderr


def test_an_edit_of_any_file_changes_what_is_computed(package: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert run(package, cache) == ("31", True)
    assert run(package, cache) == ("31", False)
    inner = package / "inner_loops.py"
    inner.write_text(inner.read_text().replace("+ 1", "+ 2"))
    assert run(package, cache) == ("32", True)
    (package / "rates.py").write_text("RATE = 4\n")
    assert run(package, cache) == ("42", True)
    (package / "other.py").write_text("VALUE = 2\n")
    assert run(package, cache) == ("42", False)


def test_checkouts_with_the_same_source_share_what_is_compiled(
    package: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    assert run(package, cache) == ("31", True)
    moved = tmp_path / "elsewhere" / "backtest"
    moved.parent.mkdir()
    package.rename(moved)
    os.utime(moved / "inner_loops.py", (1, 1))
    assert run(moved, cache) == ("31", False)


def test_only_the_latest_states_of_the_source_are_kept(package: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    kept = cache / "ticktoll" / "compiled"
    for age in range(6):
        (kept / f"old{age}").mkdir(parents=True)
        os.utime(kept / f"old{age}", (100 - age, 100 - age))
    run(package, cache)
    names = {path.name for path in kept.iterdir()}
    assert len(names) == 4
    assert {"old0", "old1", "old2"} < names


def test_what_is_kept_may_be_unreadable_or_nowhere(package: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run(package, cache)
    for path in cache.rglob("backtest.outer_loops*"):
        path.write_bytes(path.read_bytes()[:100])
    assert run(package, cache) == ("31", True)
    assert run(package, cache) == ("31", False)
    nowhere = tmp_path / "file"
    nowhere.write_text("no folder")
    assert run(package, nowhere) == ("31", True)


def test_the_hash_goes_by_the_files_that_matter(package: Path) -> None:
    before = sources_sha256(package)
    sources_sha256.cache_clear()
    (package / "other.py").write_text("VALUE = 3\n")
    assert sources_sha256(package) == before
    sources_sha256.cache_clear()
    (package / "rates.py").write_text("RATE = 5\n")
    assert sources_sha256(package) != before
    sources_sha256.cache_clear()


def test_columns_become_contiguous_and_writable() -> None:
    column = np.arange(6)[::2]
    column.flags.writeable = False
    made = writable(column)
    assert made.flags.carray
    assert made.tolist() == [0, 2, 4]
    assert writable(made) is made
