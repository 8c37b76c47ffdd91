"""``backtest init``: what it writes works at once, and nothing is overwritten."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from backtest.cli import main
from backtest.cli.init import StartingPoint

pytestmark = pytest.mark.one_python

ROOT = Path(__file__).parents[2]
KINDS = [kind.value for kind in StartingPoint]


def init(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(["init", *arguments])
    return left.value.code


def python(*arguments: str, folder: Path, path: str = str(ROOT)) -> str:
    command = [sys.executable, "-m", *arguments]
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=KINDS)
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, list[str]]:
    """A kind, the folder that a plugin of this kind was written to, and the commands printed."""
    folder = tmp_path_factory.mktemp("written")
    printed = python(
        "backtest", "init", "my-alpha", "--kind", request.param, folder=folder
    ).splitlines()
    return request.param, folder, [line.strip() for line in printed]


def test_it_passes_its_own_tests(written: tuple[str, Path, list[str]]) -> None:
    _, folder, commands = written
    (tests,) = [command for command in commands if command.startswith("python -m pytest")]
    strict = ["-W", "error", "-p", "no:cacheprovider"]
    assert "2 passed" in python(*shlex.split(tests)[2:], *strict, folder=folder)


def test_it_is_linted_and_formatted(written: tuple[str, Path, list[str]]) -> None:
    kind, folder, _ = written
    own = ["--isolated"] if kind != "package" else []
    rules = ["--select", "B,C4,E,F,I,PT,RUF,SIM,UP,W", "--line-length", "100", "--no-cache"]
    home = folder / "my-alpha" if kind == "package" else folder
    python("ruff", "check", *own, *rules, ".", folder=home)
    python("ruff", "format", *own, "--check", *rules[2:], ".", folder=home)


def test_the_commands_that_it_names_work(written: tuple[str, Path, list[str]]) -> None:
    kind, folder, commands = written
    path = str(ROOT)
    if kind == "package":
        assert commands.pop(0) == "pip install --editable './my-alpha[test]'"
        site = folder / "site"
        offline = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-cache-dir"]
        python("pip", "install", *offline, "--target", str(site), "./my-alpha", folder=folder)
        path = os.pathsep.join([str(site), path])
    if kind == "source":
        (folder / "FILE").write_text("10 A 99 101\n20 A 98 100\n")
    done = [shlex.split(command) for command in commands if command.startswith("backtest ")]
    assert [words[1] for words in done] == (["data"] if kind == "source" else ["run", "verify"])
    for words in done:
        short = ["--limit", "500"] if words[1] == "run" else []
        python(*words, *short, folder=folder, path=path)
    if kind == "package":
        listed = json.loads(python("backtest", "plugins", "--json", folder=folder, path=path))
        (part,) = [part for part in listed["parts"] if part["name"] == "my-alpha"]
        assert part["distribution"] == "my-alpha"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_overwritten(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    last = tmp_path / ("mine" if kind == "package" else "test_mine.py")
    last.write_text("precious")
    assert init("mine", "--kind", kind) == 3
    assert "already exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [last.name]
    assert last.read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("batched", "a strategy called 'batched' is registered already"),
        ("json", "'json' is the name of an installed Python module"),
        ("numpy", "'numpy' is the name of an installed Python module"),
        ("two words", "cannot be the name of a plugin"),
        ("../up", "cannot be the name of a plugin"),
        ("class", "cannot be the name of a plugin"),
        ("3d", "cannot be the name of a plugin"),
    ],
)
def test_a_name_that_would_not_work_is_refused(
    name: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init(name) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
