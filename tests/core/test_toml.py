"""TOML: the writer against the standard library's reader, and what the reader refuses."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from datetime import UTC, date, datetime, time
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.core.toml import dumps, loads

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    text
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)
tables = st.recursive(
    st.dictionaries(text, values, max_size=4),
    lambda inner: st.dictionaries(text, values | inner, max_size=4),
    max_leaves=6,
)


@given(tables)
def test_is_read_back_unchanged(table: dict[str, Any]) -> None:
    assert tomllib.loads(dumps(table)) == table


def test_long_lists_take_a_line_for_each_item() -> None:
    names = [f"feature_{i:02d}" for i in range(20)]
    written = dumps({"names": names})
    assert max(map(len, written.splitlines())) < 97
    assert tomllib.loads(written) == {"names": names}


def test_refuses_what_toml_cannot_express() -> None:
    with pytest.raises(TypeError, match="None"):
        dumps({"x": None})


def test_dates_times_and_tables_in_lists_are_written() -> None:
    table = {
        "when": datetime(2025, 1, 2, 3, 4, 5, 600, UTC),
        "day": date(2025, 1, 2),
        "clock": time(9, 30),
        "list": [{"a b": 1, "empty": {}}, []],
    }
    assert tomllib.loads(dumps(table)) == table


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = " + "[" * 100_000, "nests deeper than 64 levels"),
        ("a = " + "[" * 65 + "]" * 65, "nests deeper than 64 levels"),
        ("a = " + "{a = " * 5_000, "nests deeper than 64 levels"),
        (".".join(["a"] * 100_000) + " = 1", "a key has more than 64 parts"),
        ("[" + " . ".join(['"a"'] * 65) + "]", "a key has more than 64 parts"),
        ("a = " + "9" * 5_000, "5000 digits"),
        ("a = 2024-13-01", "line 1"),
    ],
)
def test_what_no_reader_could_take_in_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        loads(text)


def test_what_nests_less_is_read() -> None:
    text = "a = " + "[" * 63 + "]" * 63
    assert loads(text) == tomllib.loads(text)


@pytest.mark.parametrize("piece", ["9", "a.", '"', "a ", "'a'.", "a. ", '"a" . ', "-"])
def test_a_long_text_takes_no_more_than_its_length(piece: str) -> None:
    text = "# " + piece * 200_000
    began = perf_counter()
    with suppress(ValueError):
        loads(text)
    assert perf_counter() - began < 5
