"""Faults that other engines have, put into the loops: the tests of resting orders notice each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_python

ROOT = Path(__file__).parents[1]

MUTANTS = {
    "a print counts what quotes have taken off the place already": (
        "queue_loops.py",
        "    paid = min(order[ol.PAID], lots * ol.FRACTION)\n",
        "    paid = 0\n",
    ),
    "orders at a price do not share what was printed": (
        "order_loops.py",
        "lots), left, budget)\n            budget -= filled\n",
        "lots), left, budget)\n",
    ),
    "a level that returns resets the place": (
        "queue_loops.py",
        "        ahead = min(ahead, displayed * ol.FRACTION)\n",
        "        ahead = displayed * ol.FRACTION if order[ol.AWAY] else "
        "min(ahead, displayed * ol.FRACTION)\n",
    ),
    "the mid is that after the row that fills": (
        "order_loops.py",
        "    fill[at.MF] = ticks.mid[before]\n",
        "    fill[at.MF] = ticks.mid[row]\n",
    ),
    "a message arrives before the rows of its instant": (
        "order_venue_loops.py",
        "        elif time <= arrival and time <= until:\n",
        "        elif time < arrival and time <= until:\n",
    ),
    "what a quote through the price fills is not gone for others": (
        "order_loops.py",
        "            if taken > 0:\n                take_at_touch(book, True",
        "            if taken < 0:\n                take_at_touch(book, True",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_at_least_two_tests_fail(name: str, tmp_path: Path) -> None:
    module, text, changed = MUTANTS[name]
    for folder in ("backtest", "plugins", "strategies", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True)
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "backtest" / "trading" / module
    source = path.read_text()
    assert source.count(text) == 1
    path.write_text(source.replace(text, changed))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "tests/test_orders_against_oracle.py", "-k", "case or random"],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    found = re.search(r"(\d+) failed", done.stdout)
    assert found is not None, done.stdout[-2000:]
    assert int(found[1]) >= 2
