"""The TOML writer against the standard library's reader."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.data.toml import dumps

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


def test_refuses_what_toml_cannot_say() -> None:
    with pytest.raises(TypeError, match="None"):
        dumps({"x": None})
