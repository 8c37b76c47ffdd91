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
        "        if order[ol.AWAY] or ",
        "        if order[ol.AWAY]:\n            order[ol.AHEAD] = displayed * ol.FRACTION\n"
        "        if order[ol.AWAY] or ",
    ),
    "the mid is that after the row that fills": (
        "order_loops.py",
        "ticks.mid[before]\n            fill_resting(s, place, filled",
        "ticks.mid[row]\n            fill_resting(s, place, filled",
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


OF_DEPTH = {
    "what a snapshot says is credited like a fall": (
        "depth_place_loops.py",
        "            if restates:\n",
        "            if False:\n",
    ),
    "a snapshot leaves those that it does not name": (
        "depth_place_loops.py",
        "        if by_order or size == dl.NOT_LISTED:\n",
        "        if by_order:\n",
    ),
    "after a clear, no level means that nobody is there": (
        "depth_level_loops.py",
        "    of[dl.COUNT] = of[dl.COMPLETE] = 0\n",
        "    of[dl.COUNT] = 0\n",
    ),
    "a touch leaves better levels": (
        "depth_loops.py",
        "            drop_better(of, depth.levels, side * price)\n",
        "",
    ),
    "a side that is gone leaves its levels": (
        "depth_loops.py",
        "            of[dl.COUNT] = 0\n",
        "            pass\n",
    ),
    "a quote that is repeated is news": (
        "depth_loops.py",
        "        if price == of[dl.STATED_PRICE] and (size",
        "        if price == NO_PRICE and price == of[dl.STATED_PRICE] and (size",
    ),
    "a quote without a bid says nothing of its level": (
        "depth_place_loops.py",
        "        if price != NO_PRICE and side * order[ol.PRICE] < side * price:\n",
        "        if price == NO_PRICE or side * order[ol.PRICE] < side * price:\n",
    ),
    "rows of depth come after the event that they lie before": (
        "depth_loops.py",
        "    return place if row[dl.R_FOLLOWS] <= event and",
        "    return place if row[dl.R_FOLLOWS] < event and",
    ),
    "takers get levels better than the touch": (
        "depth_taking_loops.py",
        "    place = _best(of, levels, -side * touch)\n    gap",
        "    place = of[dl.START] + of[dl.COUNT] - 1\n    gap",
    ),
    "what was taken is there again for the next": (
        "depth_taking_loops.py",
        "            level[dl.TAKEN] += here\n",
        "",
    ),
    "the same size once more is new lots": (
        "depth_level_loops.py",
        "    elif size != levels[place, dl.SIZE]:\n",
        "    else:\n",
    ),
    "what a quote through the price fills is still on its level": (
        "order_loops.py",
        "        if taken_a > 0:\n",
        "        if taken_a < 0:\n",
    ),
    "orders of a level that is not whole are all that is there": (
        "depth_taking_loops.py",
        "max(displayed, 0) if complete else 0, complete\n",
        "max(displayed, 0), True\n",
    ),
    "each order of a snapshot is its whole level": (
        "depth_order_loops.py",
        "of[dl.COMPLETE] and row[dl.R_MARKS] & SNAPSHOT == 0:",
        "of[dl.COMPLETE]:",
    ),
    "own orders of a level do not share an execution": (
        "depth_order_loops.py",
        "                budget -= filled\n",
        "                budget -= 0\n",
    ),
    "an order that grows stays before those behind it": (
        "depth_order_loops.py",
        "        entry[dl.E_MOMENT], entry[dl.E_RESTATED] = number, restated\n",
        "        entry[dl.E_RESTATED] = restated\n",
    ),
    "an execution behind an order passes it by": (
        "depth_order_loops.py",
        "        elif price == key and moment < order[ol.MOMENT]:\n",
        "        elif price == key:\n",
    ),
    "whoever cancels after a snapshot stood before": (
        "depth_place_loops.py",
        "            if moment < order[ol.MOMENT]:\n",
        "            if restated or moment < order[ol.MOMENT]:\n",
    ),
    "trades of the events fill what executions fill": (
        "order_loops.py",
        "    if rules[ol.MODEL] == ol.L3:\n        return",
        "    if rules[ol.MODEL] == ol.L3 and lots <= 0:\n        return",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_at_least_two_tests_fail(name: str, tmp_path: Path) -> None:
    chosen = ("tests/test_orders_against_oracle.py", "-k", "case or random")
    assert failed(*MUTANTS[name], chosen, tmp_path) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_DEPTH)
def test_at_least_two_tests_of_depth_fail(name: str, tmp_path: Path) -> None:
    chosen = ("tests/test_depth_against_oracle.py", "-k", "case")
    assert failed(*OF_DEPTH[name], chosen, tmp_path) >= 2


def failed(module: str, text: str, changed: str, chosen: tuple[str, ...], tmp_path: Path) -> int:
    """How many of the chosen tests fail where a module says something else."""
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
        [*command, *chosen],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    found = re.search(r"(\d+) failed", done.stdout)
    assert found is not None, done.stdout[-2000:]
    return int(found[1])
