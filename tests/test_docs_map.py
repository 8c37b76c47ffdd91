"""``docs/architecture.md`` is short, names files that exist, and lists the imports allowed."""

from __future__ import annotations

import re

import pytest

from docs.generate import FOLDER
from tests.test_imports import ALLOWED

pytestmark = pytest.mark.one_python

PAGE = (FOLDER / "architecture.md").read_text()
ROOT = FOLDER.parent

TASKS = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE.partition("| task |")[2], re.M))


def test_it_is_short() -> None:
    assert len(PAGE.splitlines()) < 60


def test_packages_and_what_they_may_import_are_those_of_the_import_test() -> None:
    rows = re.findall(
        r"^\| (`[^|]+) \| [^|]+ \| ?([^|]*)\|$", PAGE.partition("`tests/test_imp")[0], re.M
    )
    listed = {
        package: set(re.findall(r"`(\w+)`", below))
        for packages, below in rows
        for package in re.findall(r"`(\w+)`", packages)
    }
    allowed = {package: set(below) for package, below in ALLOWED.items()}
    del allowed["__main__"]
    assert listed == allowed


def test_a_newcomers_tasks_are_there() -> None:
    for task in ("fill rule", "data source", "queueing rule", "int8 variant", "wrong Sharpe"):
        assert any(task in listed for listed in TASKS), task


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"---"}))
def test_a_task_names_at_most_six_files_that_exist(task: str) -> None:
    files = re.findall(r"`([^`]+)`", TASKS[task])
    assert 1 <= len(files) <= 6
    for file in files:
        home = ROOT if file.startswith("tests/") else ROOT / "backtest"
        assert (home / file).exists() or "NAME" in file, file


def test_the_way_of_an_event_names_modules_that_exist() -> None:
    way = PAGE.partition("## The way of an event")[2].partition("\n## ")[0]
    folder = ""
    for name in re.findall(r"`([\w/]+(?:\.py|/))`", way):
        folder = name.rpartition("/")[0] or folder
        assert (ROOT / "backtest" / folder / name.rpartition("/")[2]).exists(), name
