"""Text from outside reaches a terminal as text."""

from __future__ import annotations

import json
import logging
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.cli import console, main
from backtest.cli.console import escape_text, print_error, print_json
from backtest.cli.progress import reporting
from backtest.cli.tables import print_table
from backtest.core.text import escape_lines

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


def steering(text: str) -> set[str]:
    """Characters in a text that steer what shows it."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")}


STEERING = "\x1b[31m\x00\x07\x08\r\x7f\x9b\u202e\u2066\u200b\u200f\u2028\u2029\ufeff\u00ad\udcff"


def test_no_console_and_no_log_is_steered(capfd: pytest.CaptureFixture[str]) -> None:
    printing: list[Any] = [console.out.print, console.err.print, print_error]
    for print_line in printing:
        print_line(f"a{STEERING}b", **{} if print_line is print_error else {"soft_wrap": True})
        done = capfd.readouterr()
        shown = done.out + done.err
        assert escape_text(STEERING) in shown
        assert not steering(shown)
    with pytest.raises(SystemExit):
        main(["--help"])  # sets logging up
    assert logging.lastResort is not None
    record = logging.LogRecord("x", logging.WARNING, "x", 1, f"a{STEERING}b\nc", (), None)
    text = logging.lastResort.format(record)
    assert text == escape_lines(f"a{STEERING}b\nc")
    assert not steering(text)


def test_progress_is_not_steered(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(f"[1/2] {STEERING}") as report:
        report("time", 0, 1)
        report(STEERING, 0, 1)
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 2
    assert shown.count(escape_text(STEERING)) == 3
    assert not steering(shown)


NAMES = ("\x1b[31m", "\u202e", "\u2028", "\x9b")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "words",
    [
        ["run", "NAME.toml"],
        ["run", "--dataset", "NAME", "--strategy", "imbalance", "--service", "constant"],
        ["run", "--dataset", "sample", "--strategy", "NAME", "--service", "constant"],
        ["run", "--dataset", "sample", "--strategy", "imbalance", "--service", "NAME:NAME=NAME"],
        ["run", "--dataset", "sample", "--strategy", "imbalance", "--set", "NAME=NAME"],
        ["run", "--plugin", "NAME.py"],
        ["run", "--no-plugin", "NAME"],
        ["run", "--NAME"],
        ["NAME"],
        ["compare", "NAME"],
        ["compare", ".", "--sweep", "NAME"],
        ["data", "describe", "NAME"],
        ["data", "validate", "NAME"],
        ["data", "ingest", "NAME", "x", "y"],
        ["data", "ingest", "csv:mapping=NAME", "NAME", "y"],
        ["data", "features", "NAME", "y", "--builder", "NAME"],
        ["verify", "NAME"],
        ["profile", "NAME"],
        ["train", "NAME", "x.safetensors"],
        ["sweep", "NAME"],
    ],
)
def test_no_error_is_steered(
    words: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([word.replace("NAME", name) for word in words])
    assert caught.value.code in (2, 3)
    done = capsys.readouterr()
    assert not steering(done.out + done.err)


def test_a_run_in_a_folder_of_a_hostile_name_is_not_steering(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "\x1b[31m\u202e"
    words = ["run", "--dataset", "sample", "--strategy", "imbalance", "--limit", "200"]
    with pytest.raises(SystemExit) as caught:
        main([*words, "--service", "constant:1ms", "--runs", str(runs)])
    assert not caught.value.code
    done = capsys.readouterr()
    assert escape_text(runs.name) in done.err
    assert not steering(done.out + done.err)
