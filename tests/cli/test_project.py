"""The project file: what it sets, what wins over it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backtest.cli import main
from backtest.cli.project import NAME, find_project

PLUGIN = """
from dataclasses import dataclass
import numpy as np
import backtest

@dataclass
class Steady(backtest.Strategy):
    value: float = 1.0
    stateful = False
    needs_features = False

    def predict(self, batch):
        return np.full((len(batch), 1), self.value, dtype=np.float32)

@backtest.hookimpl
def backtest_register_strategies(register):
    register("{name}", Steady)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own, which is the current folder."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def code_of(*arguments: object) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    code = code_of(*arguments, "--json")
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


def run(capsys: pytest.CaptureFixture[str], dataset: Path, *arguments: object) -> Any:
    words = ("run", *arguments, "--dataset", dataset, "--limit", 50)
    return printed(capsys, *words)


def test_plugins_runs_and_defaults_count(
    project: Path,
    small_dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (project / "steady.py").write_text(PLUGIN.format(name="steady"))
    (project / NAME).write_text(
        'plugins = ["steady.py"]\nruns = "results"\n'
        '[defaults]\nstrategy = "steady:2"\nseed = 7\nset = ["server.line_limit=9"]\n'
        '[defaults.run]\nservice = ["constant:3ms"]\nundropped = false\n'
    )
    inner = project / "deep" / "er"
    inner.mkdir(parents=True)
    for folder in (project, inner):
        monkeypatch.chdir(folder)
        done = run(capsys, small_dataset)
        config = done["manifest"]["config"]
        assert Path(done["folder"]).resolve().parent == project / "results"
        assert done["manifest"]["labels"]["strategy"] == "steady:2.0"
        assert done["manifest"]["labels"]["service"] == "constant:3ms"
        assert [config["seed"], config["undropped"]] == [7, False]
        assert config["server"]["line_limit"] == 9
    # The command line wins.
    other = ("--seed", 1, "--service", "constant:1ms", "--runs", project / "mine", "--undropped")
    done = run(capsys, small_dataset, *other)
    config = done["manifest"]["config"]
    assert done["manifest"]["labels"]["service"] == "constant:1ms"
    assert [config["seed"], config["undropped"]] == [1, True]
    assert Path(done["folder"]).parent == project / "mine"


def test_a_configuration_file_wins_over_the_project(
    project: Path, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / NAME).write_text(
        '[defaults]\nseed = 7\nservice = ["constant:3ms"]\nentry = "constant:1ms"\n'
    )
    (project / "run.toml").write_text(
        'seed = 5\nstrategy = "imbalance"\n[latency]\nservice = "constant:2ms"\n'
    )
    done = run(capsys, small_dataset, "run.toml")["manifest"]
    assert done["config"]["seed"] == 5
    assert done["labels"]["service"] == "constant:2ms"
    assert done["labels"]["entry"] == "constant:1ms"
    again = run(capsys, small_dataset, "run.toml", "--seed", 3)["manifest"]
    assert again["config"]["seed"] == 3


def test_plugins_of_the_command_line_come_to_those_of_the_project(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        (project / f"{name}.py").write_text(PLUGIN.format(name=name))
    (project / NAME).write_text('plugins = ["one.py"]\n')
    for named in ((), ("--plugin", "two.py"), ("--plugin", "two.py", "--plugin", "./one.py")):
        listed = printed(capsys, "plugins", *named)
        names = {part["name"] for part in listed["parts"]}
        assert "one" in names
        assert ("two" in names) == bool(named)


def test_folders_below_the_runs_lie_below_those_of_the_project(
    project: Path, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / NAME).write_text('runs = "results"\n')
    team = "one=imbalance/one/constant:1ms"
    words = ("tournament", "--dataset", small_dataset, "--team", team, "--accountant", "market")
    printed(capsys, *words)
    assert list((project / "results" / "tournament").glob("*/manifest.json"))
    (project / NAME).write_text('runs = "results/tournament"\n')
    assert len(printed(capsys, "runs", "list")) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plugin = []", "backtest.toml: no setting 'plugin'\n  Set 'plugins' at the top"),
        ("run = 'x'", "no setting 'run'\n  Did you mean 'runs'?"),
        ("device = 'cpu'", "no setting 'device'\n  Did you mean 'defaults.device'?"),
        ("[defaults]\ndevise = 'cpu'", "defaults: no setting 'devise'\n  Did you mean 'device'?"),
        ("[defaults.run]\nsedd = 1", "defaults.run: no setting 'sedd'\n  Did you mean 'seed'?"),
        ("[defaults.run]\nepochs = 1", "defaults.run: no setting 'epochs'"),
        (
            "[defaults.data.ingst]\nset = []",
            "defaults.data: no setting 'ingst'\n  Did you mean",
        ),
        ("[defaults]\nruns = 'x'", "no setting 'runs'\n  Set 'runs' at the top of the file"),
        ("plugins = 'a.py'", "'plugins' has to be a list of files"),
        ("plugins = [1]", "'plugins' has to be a list of files"),
        ("runs = 3", "'runs' has to be a folder"),
        ("defaults = 3", "'defaults' has to be a table"),
        ("[defaults]\nrun = 3", "defaults: no setting 'run'"),
        ("[defaults.rum]\nseed = 3", "defaults: no setting 'rum'\n  Did you mean 'run'?"),
        ("[defaults.data]\ningest = 3", "defaults.data: 'ingest' has to be a table"),
        ("[defaults]\nseed = [1]", "'seed' has to be text or a number"),
        ("[defaults]\nseed = true", "'seed' has to be text or a number"),
        ("[defaults]\nset = 'a=1'", "'set' has to be a list"),
        ("[defaults]\njson = 'yes'", "'json' has to be true or false"),
        ("plugins = [", "is not valid TOML"),
    ],
)
def test_what_does_not_fit_is_refused(
    text: str, message: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / NAME).write_text(text)
    assert code_of("plugins") == 2
    assert message in capsys.readouterr().err


def test_it_is_found_up_to_the_repository_or_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    inner = home / "repository" / "deep"
    inner.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / NAME).touch()
    assert find_project(inner) is None
    (home / NAME).touch()
    assert find_project(inner) == home / NAME
    (home / "repository" / ".git").mkdir()
    assert find_project(inner) is None
    (home / "repository" / NAME).touch()
    assert find_project(inner) == home / "repository" / NAME
    (inner / NAME).touch()
    assert find_project(inner) == inner / NAME


def test_outside_of_both_only_the_folder_itself_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    (tmp_path / "in").mkdir()
    (tmp_path / NAME).touch()
    assert find_project(tmp_path / "in") is None
    assert find_project(tmp_path) == tmp_path / NAME
