"""Fuzzed cards over a sound file: the dataset is described, or refused with a ``BacktestError``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtest.data import toml
from backtest.data.card import read_card, write_card
from backtest.data.dataset import open_dataset
from backtest.data.quality.describe import describe
from backtest.data.quality.validate import validate
from backtest.data.reading.bus import read_events
from backtest.errors import BacktestError
from tests.data.quality.test_validate import clean

pytestmark = pytest.mark.slow
FUZZED = settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
CARD: dict[str, Any] = {
    "format": 1,
    "name": "raw",
    "description": "text",
    "files": ["*.parquet"],
    "symbols": ["AAA", "BBB"],
    "columns": {"bid": "bid", "ts_event": "ts_event"},
    "features": {"columns": ["f0", "f1"]},
    "targets": {"columns": ["y"]},
    "instruments": {"default": {"tick_size": "0.01"}, "AAA": {"currency": "EUR"}},
    "calendar": {"sessions": [["2023-11-14T00:00:00Z", "2023-11-15T00:00:00Z"]]},
    "sha256": {},
    "notes": {"by": "hand"},
}
PLACES = [
    *((key,) for key in CARD),
    *((key, inner) for key, table in CARD.items() if isinstance(table, dict) for inner in table),
    ("calendar", "session_breaks"),
    ("calendar", "sessions", 0, 1),
    ("features", "packed"),
    ("files", 0),
    ("footer_sha256", "events-00000.parquet"),
    ("instruments", "BBB"),
    *(
        ("instruments", symbol, key)
        for symbol in ("default", "AAA")
        for key in ("tick_size", "lot_size", "multiplier", "fee_rate", "fee_per_lot", "tradable")
    ),
    ("instruments", "AAA", "signed_prices"),
    ("symbols", 1),
    ("unknown",),
]
NUMBERS = [
    "1e-999999999",
    "1e999999999",
    "9" * 90,
    "0",
    "-1",
    "NaN",
    "1e-9",
    "0.1",
    "1e30",
    "½",
    "",
]
NAMES = [
    "AAA",
    "bid",
    "f0",
    "y",
    "symbol",
    "a b",
    "../x",
    "/etc/*",
    "**/*",
    "*",
    "[",
    "\x1b[2J",
    "\0",
]
VALUES = st.one_of(
    st.sampled_from([*NUMBERS, *NAMES]),
    st.sampled_from([0, 1, -1, 2**63 - 1, 2**63, 10**40, True, False, 0.5, float("inf")]),
    st.sampled_from([[], [[]], {}, {"a": {}}, [1], ["f0"], ["AAA", "AAA"], [["x", "y"]]]),
    st.sampled_from(["2023-11-14T22:13:20Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"]),
    st.text(max_size=4),
)


def put(table: Any, place: tuple[Any, ...], value: Any) -> None:
    """Set a value at a path, if there is a table or list to set it in."""
    for key in place[:-1]:
        if isinstance(table, dict):
            table = table.setdefault(key, {})
        elif isinstance(table, list) and isinstance(key, int) and key < len(table):
            table = table[key]
        else:
            return
    last = place[-1]
    if isinstance(table, dict) or (
        isinstance(table, list) and isinstance(last, int) and last < len(table)
    ):
        table[last] = value


def copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}
    return [copied(v) for v in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzzed")
    pq.write_table(pa.table(clean()), made / "events-00000.parquet", write_page_checksum=True)
    return made


@FUZZED
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
def test_cards_are_read_or_refused(folder: Path, changes: list[tuple[Any, Any]]) -> None:
    table = copied(CARD)
    for place, value in changes:
        put(table, place, copied(value))
    (folder / "dataset.toml").write_text(toml.dumps(table), encoding="utf-8")
    try:
        dataset = open_dataset(folder)
        found = validate(dataset)
        events = read_events(dataset, features=True)
        assert describe(dataset)["rows"] == len(events) == found.rows
    except BacktestError:
        pass
    try:
        card = read_card(folder / "dataset.toml")
    except BacktestError:
        return
    with tempfile.TemporaryDirectory() as name:
        assert read_card(write_card(Path(name), card)) == card
    assert len(card.resolved_instruments()) == len(card.symbols)


PIECES = [
    "[" * 5000,
    "{a=" * 3000,
    "a.",
    "a." * 200,
    '"',
    "'''",
    "=",
    "\n",
    "#",
    "\x00",
    "[[",
    "]]",
]
PIECES += ["9" * 5000, "1e999999", "2024-02-30", "nan", "\\ud800", "\ufeff", "[notes]", "= {", ","]


@FUZZED
@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 20), st.sampled_from(PIECES)),
        min_size=1,
        max_size=3,
    )
)
def test_edited_text_is_a_card_or_refused(edits: list[tuple[float, int, str]]) -> None:
    text = toml.dumps(CARD)
    for at, drop, piece in edits:
        place = int(at * len(text))
        text = text[:place] + piece + text[place + drop :]
    try:
        card = read_card("d/dataset.toml", text.encode())
    except BacktestError as error:
        shown = str(error)
    else:
        shown = card.name
    assert shown
