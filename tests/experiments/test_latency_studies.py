"""Scenarios off one inference, break-even latency, and the symbols that a device carries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backtest.cli import main
from backtest.errors import UsageError
from backtest.experiments.latency_studies import (
    break_even,
    carried,
    run_all,
    unscaled,
    variants,
)
from backtest.plugins.manager import load_plugins
from backtest.runs.engine import Engine
from backtest.runs.run_config import parse_config


@pytest.fixture
def settings(small_dataset: Path) -> dict[str, Any]:
    return {
        "dataset": str(small_dataset),
        "strategy": "imbalance",
        "latency": {"service": "constant:1ms"},
    }


def test_every_combination_once(settings: dict[str, Any]) -> None:
    config = parse_config(settings, place="test")
    assert variants(config) == [config]
    many = variants(config, scales=[0, 1, 2], policies=["one", "all"], services=["constant:1ms"])
    assert len(many) == 6
    assert [c.latency.scale for c in many] == [0, 1, 2, 0, 1, 2]
    assert [c.policy for c in unscaled(many)] == ["one", "all"]
    assert {c.latency.scale for c in unscaled(many)} == {1}


def test_scenarios_share_an_inference(settings: dict[str, Any], tmp_path: Path) -> None:
    engine = Engine(load_plugins(entry_points=False), tmp_path)
    config = parse_config(settings, place="test")
    runs = run_all(engine, variants(config, scales=[0, 0.1, 0.2]))
    assert runs[0].metrics["timing"]["response_rate"] == 1
    first, *others = (run.manifest["predictions"] for run in runs)
    notes = [note for by_role in others for note in by_role.values()]
    assert len(notes) >= 2
    assert all(note["reused"] for note in notes)
    assert {note["key"] for note in notes} == {first["answers"]["key"]}
    turns = break_even(runs)
    assert [turn.policy for turn in turns] == ["all"]
    assert break_even(runs[:1]) == []


def test_symbols_that_a_device_carries(settings: dict[str, Any], tmp_path: Path) -> None:
    engine = Engine(load_plugins(entry_points=False), tmp_path)
    # Three symbols, an event a millisecond: one at a time and 0.3 ms each, three clones fill it.
    settings["latency"] = {"service": "constant:0.3ms", "feed": "constant:0ns"}
    configs = variants(parse_config(settings, place="test"), policies=["one", "all"])
    one, batched = carried(engine, configs, 100_000_000, most_events=20_000)
    assert 2 <= one.clones <= 4
    assert one.symbols == 3 * one.clones
    assert not one.bounded
    # All at once the time does not depend on how many there are.
    assert batched.bounded
    assert batched.clones == 20_000 // 600
    (none,) = carried(engine, configs[:1], 10)
    assert none.clones == 0
    settings["latency"] = {"service": "measured"}
    with pytest.raises(UsageError, match="profile"):
        carried(engine, [parse_config(settings, place="test")], 1)


def test_events_skipped_by_design_are_carried(settings: dict[str, Any], tmp_path: Path) -> None:
    engine = Engine(load_plugins(entry_points=False), tmp_path)
    # Three events come in the time of one call, so that older ones of a symbol are skipped.
    settings["latency"] = {"service": "constant:3ms", "feed": "constant:0ns"}
    policies = ["newest-per-symbol", "one"]
    configs = variants(parse_config(settings, place="test"), policies=policies)
    newest, one = carried(engine, configs, 100_000_000, most_events=5_000)
    assert (newest.clones, newest.bounded) == (5_000 // 600, True)
    assert one.clones == 0


def test_the_command(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "run", "--dataset", settings["dataset"], "--strategy", "imbalance", "--service",
        "affine:100us,400us", "--policy", "all", "--policy", "one", "--latency-scale", "0,1",
        "--runs", str(tmp_path / "runs"),
    ]  # fmt: skip
    with pytest.raises(SystemExit) as left:
        main([*words, "--carries-within", "5ms"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "Break-even, all, affine:100us,400us" in shown
    assert "Carried, one, affine:100us,400us" in shown
    with pytest.raises(SystemExit):
        main([*words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert len(found["runs"]) == 4
    assert [turn["policy"] for turn in found["break_even"]] == ["all", "one"]
    assert set(found["break_even"][0]) == {"policy", "service", "scale", "low", "high"}
    for wrong in (["--latency-scale", "1,x"], ["--carries-within", "5"]):
        with pytest.raises(SystemExit) as left:
            main([*words, *wrong])
        assert left.value.code == 2


def test_pruning(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine(load_plugins(entry_points=False), tmp_path)
    engine.run(parse_config(settings, place="test"))
    stored = list((tmp_path / "predictions").iterdir())
    assert stored
    folder = ["predictions", "prune", "--runs", str(tmp_path)]
    for words, left in (
        (["--unused-for", "1h"], len(stored)), (["--keep", "1"], len(stored)), ([], 0)
    ):  # fmt: skip
        with pytest.raises(SystemExit) as code:
            main([*folder, *words])
        assert code.value.code == 0
        assert len(list((tmp_path / "predictions").iterdir())) == left
    assert f"Removed {len(stored)} stored" in capsys.readouterr().err
