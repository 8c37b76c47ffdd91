"""Failures leave the process with their code and a message, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backtest import cli
from backtest.cli import main
from backtest.core.version import __version__
from backtest.errors import BacktestError, DataError, RunError, UsageError
from backtest.plugins import manager

ROOT = Path(__file__).parents[2]

FAILING = """
import sys
import backtest

class Failing(backtest.Strategy):
    stateful = False
    needs_features = False

    def predict(self, batch):
        return {}

@backtest.hookimpl
def backtest_register_strategies(register):
    register("failing", Failing)
"""


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def load_plugins(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(manager, "load_plugins", load_plugins)


def code_of(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code


@pytest.mark.parametrize("error", [RunError, UsageError, DataError])
def test_a_mendable_failure(
    error: type[BacktestError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, error("no such \x1b thing", place="a.toml", remedy="Make one."))
    assert code_of("plugins") == error.exit_code
    captured = capsys.readouterr()
    assert captured.err == "Error: a.toml: no such \\x1b thing\n  Make one.\n"
    assert captured.out == ""


def test_a_bug_is_one_line_until_asked_for_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKTEST_DEBUG", "")
    fail_with(monkeypatch, ZeroDivisionError("by zero"))
    assert code_of("plugins") == 1
    assert "this is a bug: ZeroDivisionError: by zero" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "plugins"])


@pytest.mark.parametrize(
    ("does", "message"),
    [("1 / 0", "ZeroDivisionError: division by zero"), ("sys.exit(0)", "SystemExit: 0")],
)
def test_a_plugins_failure_is_reported_as_such_with_its_line(
    does: str, message: str, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "failing.py"
    plugin.write_text(FAILING.format(does))
    words = ["--dataset", str(small_dataset), "--service", "affine:1ms,0.1ms"]
    words += ["--strategy", "failing", "--plugin", str(plugin), "--runs", str(tmp_path / "runs")]
    assert code_of("run", *words) == 1
    assert f"a plugin failed: {message} ({plugin}, line 10)\n" in capsys.readouterr().err


def test_torch_may_be_given_a_column(small_dataset: Path, tmp_path: Path) -> None:
    """Its warning that writing is not supported would be shown to who writes nothing."""
    plugin = tmp_path / "reading.py"
    plugin.write_text(
        FAILING.format("__import__('torch').from_numpy(batch.bid)[:, None].float().numpy()")
    )
    words = ["--dataset", str(small_dataset), "--service", "affine:1ms,0.1ms", "--limit", "20"]
    words += ["--strategy", "failing", "--plugin", str(plugin), "--runs", str(tmp_path / "runs")]
    command = [sys.executable, "-m", "backtest", "run", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "writable" not in done.stderr


def test_the_cause_of_a_failure_is_shown_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKTEST_DEBUG", "")
    error = UsageError("the module raises ZeroDivisionError")
    error.__cause__ = ZeroDivisionError("by zero")
    fail_with(monkeypatch, error)
    assert code_of("plugins") == 2
    assert capsys.readouterr().err == "Error: the module raises ZeroDivisionError\n"
    assert code_of("--debug", "plugins") == 2
    assert capsys.readouterr().err.startswith("ZeroDivisionError: by zero\nError: the module")


def test_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    assert code_of("plugins") == 130


def test_an_interrupt_ends_a_process_by_its_exit_code(tmp_path: Path) -> None:
    """An interrupt within ``exec`` of a string, which CPython remembers, is like any other."""
    plugin = tmp_path / "interrupted.py"
    plugin.write_text('exec("raise KeyboardInterrupt")\n')
    command = [sys.executable, "-m", "backtest", "plugins", "--plugin", str(plugin)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_interrupt_before_the_command_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def app(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", app)
    assert code_of("plugins") == 130


@pytest.mark.parametrize("arguments", [["plugin"], ["plugins", "--jsn"], ["--nonsense"], []])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(*arguments) == 2
    captured = capsys.readouterr()
    assert "Usage: backtest" in captured.out + captured.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("--version") == 0
    assert capsys.readouterr().out == f"backtest {__version__}\n"
