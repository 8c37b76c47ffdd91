"""Fuzzed cards over a sound file: the dataset is described, or refused with a ``BacktestError``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.core import toml
from backtest.data.card import read_card, write_card
from backtest.data.dataset import open_dataset
from backtest.data.quality.describe import describe
from backtest.data.quality.validate import validate
from backtest.data.reading.bus import read_events
from backtest.errors import BacktestError
from tests.data.quality.test_validate import clean
from tests.mutations import PLAIN_VALUES, Place, changed, changes, tries

pytestmark = pytest.mark.slow
FUZZED = tries(500)
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
PLACES: list[Place] = [
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzzed")
    pq.write_table(pa.table(clean()), made / "events-00000.parquet", write_page_checksum=True)
    return made


@FUZZED
@given(changes(PLACES, PLAIN_VALUES))
def test_cards_are_read_or_refused(folder: Path, made: list[tuple[Place, Any]]) -> None:
    text = toml.dumps(changed(CARD, made))
    (folder / "dataset.toml").write_text(text, encoding="utf-8")
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
