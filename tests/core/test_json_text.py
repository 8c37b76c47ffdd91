"""JSON from outside: what no reader could take in is refused with its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.core.json_text import loads, read_json_table
from backtest.errors import DataError


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 100_000, "nests deeper than 64 levels"),
        ('{"a":' * 100 + "1" + "}" * 100, "nests deeper than 64 levels"),
        ("[" * 65 + "]" * 65, "nests deeper than 64 levels"),
        ('{"a": 1e400}', "1e400 is not a finite number"),
        ('{"a": NaN}', "NaN is not a finite number"),
        ('{"a": -Infinity}', "-Infinity is not a finite number"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
        ('{"a": "\\ud800"}', "surrogates not allowed"),
        ('{"\\udfff": 1}', "surrogates not allowed"),
        ("{", "line 1"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        loads(text)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json: it is not JSON: ") as caught:
        read_json_table(tmp_path / "a.json", remedy="Mend it.")
    assert caught.value.remedy == "Mend it."


def test_the_rest_is_read_as_it_is(tmp_path: Path) -> None:
    table = {"a": [1, -0.5, 10**300, None, True, "é\u202e\x00"], "b": {"c": [[[]]]}}
    (tmp_path / "a.json").write_text(json.dumps(table))
    assert read_json_table(tmp_path / "a.json") == table
    assert loads("[" * 64 + "]" * 64)
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(DataError, match="holds no table"):
        read_json_table(tmp_path / "a.json")
    with pytest.raises(DataError, match="No such file"):
        read_json_table(tmp_path / "gone.json")
    (tmp_path / "a.json").write_bytes(b"\xff")
    with pytest.raises(DataError, match="is not JSON"):
        read_json_table(tmp_path / "a.json")
