"""Stdout holds a command's output alone, and a stream that is lost ends the command."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from click import Group

from backtest.cli import app
from backtest.cli.command import Command
from backtest.cli.streams import READER_GONE
from tests.sweep_files import write_sweep

ROOT = Path(__file__).parents[2]

LOUD = '''
import atexit
import ctypes
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np

import backtest


def shout(where):
    print("print", where)
    sys.__stdout__.write(f"__stdout__ {where}\\n")
    os.write(1, f"write {where}\\n".encode())
    ctypes.CDLL(None).puts(f"puts {where}".encode())
    subprocess.run(["echo", "echo", where], check=True)


@dataclass
class Loud(backtest.Strategy):
    """Says so, wherever it is."""

    needs_features = False
    stateful = False

    def __post_init__(self):
        shout("made")

    def predict(self, batch):
        shout("predict")
        return np.zeros((len(batch), 1), np.float32)


@backtest.hookimpl
def backtest_register_strategies(register):
    shout("registered")
    register("loud", Loud)


shout("imported")
atexit.register(shout, "exit")
'''


def start(*words: object, **streams: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "backtest", *map(str, words)]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run(command, cwd=ROOT, text=True, check=False, timeout=300, **given)


@pytest.fixture
def loud(tmp_path: Path) -> Path:
    path = tmp_path / "loud.py"
    path.write_text(LOUD)
    return path


def leaves(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(command, Group) or hasattr(command, "commands"):
        for sub, inner in command.commands.items():
            yield from leaves(inner, f"{name} {sub}")
    else:
        yield name.strip(), command


ALL = dict(leaves(typer.main.get_command(app)))


def test_every_command_reserves_stdout() -> None:
    assert len(ALL) > 15
    assert {name for name, command in ALL.items() if not isinstance(command, Command)} == set()


@pytest.mark.parametrize(
    "command",
    [
        *("run", "compare"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("sweep", "sweep --dry-run", "tournament", "verify", "plugins")
        ),
    ],
)
def test_json_is_all_of_stdout_whatever_a_plugin_prints(
    command: str, loud: Path, small_dataset: Path, finished_runs: Path, tmp_path: Path
) -> None:
    runs = ["--runs", tmp_path / "runs"]
    file = write_sweep(tmp_path / "sweep.toml", small_dataset, '"loud"')
    words: dict[str, list[object]] = {
        "run": [*runs, "--dataset", small_dataset, "--strategy", "loud"],
        "sweep": [file, *runs, "--executor", "inline"],
        "tournament": [*runs, "--dataset", small_dataset, "--accountant", "market"],
        "verify": ["loud", "--dataset", small_dataset],
        "compare": [finished_runs, "--html", tmp_path / "page.html"],
        "plugins": [],
    }
    words["sweep --dry-run"] = words["sweep"]
    words["run"] += ["--service", "affine:1ms,0.1ms"]
    words["tournament"] += ["--team", "one=loud/all/affine:1ms,0.1ms"]
    done = start(*command.split(), *words[command], "--plugin", loud, "--json")
    assert json.loads(done.stdout)
    where = {"imported", "registered", "exit"}
    where |= set() if command in ("plugins", "compare") else {"made", "predict"}
    said = set(done.stderr.splitlines())
    for how in ("print", "__stdout__", "write", "puts", "echo"):
        assert {f"{how} {at}" for at in where} <= said, done.stderr


def test_a_table_is_all_of_stdout_too(loud: Path) -> None:
    quiet = start("plugins")
    done = start("plugins", "--plugin", loud)
    added = set(done.stdout.splitlines()) - set(quiet.stdout.splitlines())
    assert not [line for line in added if line.split()[-1] in ("imported", "registered", "exit")]


@contextmanager
def without_reader() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


@contextmanager
def full_disk() -> Iterator[int]:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        yield full
    finally:
        os.close(full)


def words_of(name: str, runs: Path, dataset: Path, tmp_path: Path) -> list[object]:
    """What makes a command print something, in little time."""
    file = write_sweep(tmp_path / "sweep.toml", dataset, '"imbalance"')
    run = ["--dataset", dataset, "--strategy", "imbalance", "--service", "affine:1ms,0.1ms"]
    team = ["--dataset", dataset, "--team", "one=imbalance/all/affine:1ms,0.1ms"]
    new = ["--runs", tmp_path / "runs"]
    market = tmp_path / "market"
    words: dict[str, list[object]] = {
        "run": [*run, *new],
        "compare": [runs],
        "compare --csv": [runs],
        "sweep": [file, "--executor", "inline", *new],
        "report": [runs, "-o", "/proc/self/fd/1"],
        "tournament": [*team, "--accountant", "market", *new],
        "verify": ["imbalance", "--dataset", dataset],
        "plugins": [],
        "predictions prune": ["--json", *new],
        "data describe": [dataset],
        "data validate": [dataset],
        "data generate": [market, "--events", 200],
        "data features": [dataset, market, "--builder", "imbalance"],
    }
    return [*name.split(), *words[name]]


COMMANDS = [
    *("run", "compare", "report", "plugins"),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "compare --csv", "sweep", "tournament", "verify", "predictions prune",
            "data describe", "data validate", "data generate", "data features",
        )
    ),
]  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_below_stdout_is_an_error(
    name: str, finished_runs: Path, small_dataset: Path, tmp_path: Path
) -> None:
    with full_disk() as full:
        done = start(*words_of(name, finished_runs, small_dataset, tmp_path), stdout=full)
    assert done.returncode == 3, done.stderr
    assert "cannot be written: No space left on device\n  The disk is full" in done.stderr
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_whose_reader_has_left_ends_quietly(
    name: str, finished_runs: Path, small_dataset: Path, tmp_path: Path
) -> None:
    words = words_of(name, finished_runs, small_dataset, tmp_path)
    with without_reader() as closed:
        done = start(*words, stdout=closed)
    assert done.returncode == READER_GONE, done.stderr
    for unwanted in ("Error", "Traceback", "ignored", "Broken"):
        assert unwanted not in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "run",
        "data describe",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("sweep", "verify")),
    ],
)
def test_nor_does_one_fail_whose_messages_nobody_reads(
    name: str, finished_runs: Path, small_dataset: Path, tmp_path: Path
) -> None:
    words = words_of(name, finished_runs, small_dataset, tmp_path)
    with without_reader() as closed:
        done = start(*words, stderr=closed, stdout=subprocess.PIPE)
    says_nothing = name.startswith("data")
    assert done.returncode == (0 if says_nothing else READER_GONE), done.stdout


@pytest.mark.parametrize("word", ["--help", "--version", "run --help", "data --help"])
def test_help_without_a_reader_or_a_disk(word: str) -> None:
    with without_reader() as closed:
        done = start(*word.split(), stdout=closed)
    assert (done.returncode, done.stderr) == (READER_GONE, "")
    if Path("/dev/full").exists():
        with full_disk() as full:
            done = start(*word.split(), stdout=full)
        assert done.returncode == 3
        assert done.stderr.startswith(
            "Error: stdout: it cannot be written: No space left on device"
        )


def test_a_failure_keeps_its_code_whoever_reads(tmp_path: Path) -> None:
    with without_reader() as closed:
        assert start("run", tmp_path / "absent.toml", stdout=closed).returncode == 2
        assert start("compare", tmp_path, stdout=closed).returncode == 3
        assert start("no-such-command", stdout=closed).returncode == 2


@pytest.mark.parametrize(("closed", "code"), [(1, 3), (2, 0)])
def test_a_stream_that_is_closed_from_the_start(closed: int, code: int) -> None:
    command = f'exec "$0" -m backtest plugins {closed}>&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert ("Loaded plugins" in done.stdout) == (closed == 2)
    assert ("Error: stdout: it cannot be written" in done.stderr) == (closed == 1)
    assert "Traceback" not in done.stderr


def test_a_drawn_table_whose_terminal_closes(finished_runs: Path) -> None:
    ours, theirs = pty.openpty()
    os.close(ours)
    try:
        done = start("compare", finished_runs, stdout=theirs)
    finally:
        os.close(theirs)
    assert done.returncode == 3
    assert done.stderr.startswith("Error: stdout: it cannot be written")
    assert "Traceback" not in done.stderr


def test_a_plugins_own_broken_connection_is_its_failure(
    small_dataset: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(LOUD.replace('shout("predict")', "raise BrokenPipeError(32, 'Broken pipe')"))
    words = ["run", "--dataset", small_dataset, "--strategy", "loud", "--plugin", plugin]
    done = start(*words, "--service", "constant:1ms", "--runs", tmp_path / "runs")
    assert done.returncode == 1
    assert "a plugin failed: ConnectionError: [Errno 32] Broken pipe (" in done.stderr
    assert "broken.py, line " in done.stderr


def test_a_lost_stream_ends_the_command_where_it_prints_next_and_no_plugin(
    small_dataset: Path, tmp_path: Path
) -> None:
    plugin, log = tmp_path / "loud.py", tmp_path / "log"
    body, _, rest = LOUD.partition("def shout(where):")
    _, _, rest = rest.partition("\n\n")
    told = f"    print(flush=True); open({str(log)!r}, 'a').write(where)"
    plugin.write_text(f"{body}def shout(where):\n{told}\n{rest}")
    words = ["run", "--dataset", small_dataset, "--strategy", "loud", "--plugin", plugin]
    with without_reader() as closed:
        done = start(
            *words, "--service", "constant:1ms", "--runs", tmp_path / "runs", stderr=closed
        )
    assert (done.returncode, done.stdout) == (READER_GONE, "")
    assert log.read_text().startswith("importedregisteredmade"), "printing has failed"
