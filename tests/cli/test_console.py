"""Text from outside reaches a terminal as text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.cli import console
from backtest.cli.console import escape_text, print_error, print_json
from backtest.cli.tables import print_table

HOSTILE = ["[/x]", "[bold]", "\x1b[2J", "a\nb", ":smile:", "\u202egnp.exe", "\udcff", "\x9b31m"]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.out, "_force_terminal", True)
    monkeypatch.setattr(console.out, "_color_system", None)
    monkeypatch.setattr(console.out, "_width", 60)


@given(st.text(st.characters()))
def test_escaped_text_can_be_printed_and_holds_no_control(text: str) -> None:
    escaped = escape_text(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in escaped)
    assert escaped.encode().decode() == escaped


def test_what_is_harmless_stays() -> None:
    assert escape_text("BTC-USDT [x] µs 日本") == "BTC-USDT [x] µs 日本"
    assert escape_text("\x1b[31m") == "\\x1b[31m"
    assert escape_text(None) == "None"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_a_plain_table(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["symbol", "net"], [[name, 1], ["ok", 22]], title=name, right={"net"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == escape_text(name)
    assert lines[2].split()[0] == escape_text(name)
    assert [line[-2:] for line in lines[2:]] == [" 1", "22"]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.usefixtures("terminal")
def test_hostile_names_in_a_drawn_table(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["symbol", "net"], [[name, 1]], right={"net"})
    drawn = capsys.readouterr().out
    assert escape_text(name) in drawn
    assert "─" in drawn


def test_a_plain_table_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["a", "b"], [["x" * 300, "y" * 300]])
    assert capsys.readouterr().out == f"{'a':300}  b\n{'x' * 300}  {'y' * 300}\n"


def test_a_table_may_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["a", "b"], [])
    assert capsys.readouterr().out == "a  b\n"


def test_errors_keep_their_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(f"no symbol '\x1b[2J[bold]' {'x' * 200}\n  Remove it.")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"Error: no symbol '\\x1b[2J[bold]' {'x' * 200}\n  Remove it.\n"


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "\x1b"})
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert json.loads(text) == {"name": "\x1b"}
    with pytest.raises(ValueError, match="JSON"):
        print_json(float("nan"))
