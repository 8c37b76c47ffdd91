"""The code in ``docs/strategies.md`` runs, and what it defines conforms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from backtest.strategies.base import Session, Strategy
from tests.conformance_inputs import CHECKS, Case, random_events

pytestmark = pytest.mark.one_python

PAGE = Path(__file__).parents[2] / "docs" / "strategies.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
EVENTS = random_events(60, symbols=4, features=3, seed=6)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    for number, block in enumerate(BLOCKS):
        # Without this module's own __future__ import, which readers do not have.
        exec(compile(block, f"{PAGE.name}, block {number}", "exec", dont_inherit=True), names)
    return names


def test_the_page_registers_what_it_defines(page: dict[str, Any]) -> None:
    found: dict[str, type[Strategy]] = {}
    page["backtest_register_strategies"](found.__setitem__)
    assert list(found) == ["momentum", "averages"]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("Momentum", 0), ("AveragesStrategy", 5e-5), ("RecurrentStrategy", 5e-5)],
)
def test_the_pages_strategies_conform(
    page: dict[str, Any], name: str, tolerance: float, check: str
) -> None:
    session = Session(tuple("ABCD"), tuple("fgh"))
    CHECKS[check](Case(page[name], session, EVENTS, tolerance), 3)
