"""``docs/reliability.md`` names tests that exist."""

from __future__ import annotations

import re

import pytest

from docs.generate import FOLDER

pytestmark = pytest.mark.one_python

TESTS = FOLDER.parent / "tests"
ROWS = re.findall(
    r"^\| (\d+) \|(.*)\|(.*)\|$", (FOLDER / "reliability.md").read_text(encoding="utf-8"), re.M
)


def test_all_faults_are_there() -> None:
    assert [int(number) for number, _, _ in ROWS] == [*range(1, 31)]


@pytest.mark.parametrize("row", ROWS, ids=[number for number, _, _ in ROWS])
def test_its_tests_exist(row: tuple[str, str, str]) -> None:
    _, promise, listed = row
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", listed)
    assert named or "there is no" in promise
    for path, name in named:
        assert f"def {name}(" in (TESTS / path).read_text(encoding="utf-8"), f"{path}::{name}"
