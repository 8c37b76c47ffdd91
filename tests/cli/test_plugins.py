"""``backtest plugins`` lists every part, whoever provides it, and what failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.cli import main
from backtest.cli.plugins import _TITLES
from backtest.core.parts import KINDS
from backtest.plugins import manager
from backtest.plugins.hooktable import hooks

PLUGIN = """
from dataclasses import dataclass
from pathlib import Path

import backtest
from backtest.core.parameters import Nanoseconds


@dataclass
class Rule:
    '''Answers by rule.

    And more.
    '''

    table: Path
    wait: Nanoseconds = 5_000_000
    conformance = "exact"


@dataclass
class Bare:
    n: int | None = None


@backtest.hookimpl
def backtest_register_strategies(register):
    register("rule", Rule)
    register("heavy", Rule, unavailable="it needs [bold]more[/bold]")


@backtest.hookimpl
def backtest_register_sources(register):
    register("bare", Bare)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(manager, "SHIPPED", ("no_such_shipped_module", "left_out"))
    path = tmp_path / "rule.py"
    path.write_text(PLUGIN)
    return str(path)


def run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        main(["plugins", "--no-plugin", "left_out", *arguments])
    return caught.value.code


def test_json(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "--plugin", plugin) == 0
    listed = json.loads(capsys.readouterr().out)
    parts = {part["name"]: part for part in listed["parts"] if part["plugin"] == plugin}
    assert list(parts) == ["heavy", "rule", "bare"]
    rule = parts["rule"]
    assert rule["kind"] == "strategy"
    assert rule["doc"] == "Answers by rule."
    assert rule["conformance"] == "exact"
    assert rule["component"].endswith(":Rule")
    assert len(rule["sha256"]) == 64
    assert rule["parameters"] == [
        {"name": "table", "type": "a path", "required": True, "default": None},
        {"name": "wait", "type": "a time span", "required": False, "default": "5ms"},
    ]
    assert parts["heavy"]["unavailable"] == "it needs [bold]more[/bold]"
    assert parts["bare"]["doc"] == ""
    assert parts["bare"]["parameters"][0]["default"] == "none"
    assert "no_such_shipped_module" in [failure["plugin"] for failure in listed["failures"]]
    assert listed["disabled"] == ["left_out"]
    assert [hook["name"] for hook in listed["hooks"]] == [hook.name for hook in hooks()]
    mine = [loaded for loaded in listed["plugins"] if loaded["plugin"] == plugin]
    assert mine[0]["hooks"] == ["backtest_register_sources", "backtest_register_strategies"]


def test_text(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--plugin", plugin) == 0
    lines = capsys.readouterr().out.splitlines()
    rule = next(line for line in lines if line.startswith("rule "))
    for expected in ("exact", "table: a path; wait: a time span = 5ms", plugin, "Answers by rule."):
        assert expected in rule
    heavy = next(line for line in lines if line.startswith("heavy "))
    assert "UNAVAILABLE: it needs [bold]more[/bold]." in heavy
    assert any("no_such_shipped_module" in line and "fails to import" in line for line in lines)
    assert "left_out" in lines


@pytest.mark.usefixtures("plugin")
def test_a_broken_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import no_such_thing")
    assert run("--plugin", str(path)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "broken.py" in captured.err


def test_every_kind_has_a_title(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(_TITLES) == set(KINDS)
    with pytest.raises(SystemExit) as left:
        main(["plugins"])
    assert left.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for title, shipped in (("Quoting rules", "two-sided "), ("Queue models", "trades ")):
        below = lines[lines.index(title) :]
        assert any(line.startswith(shipped) for line in below[: below.index("")])
