"""A Ctrl-C that a library swallowed still ends the work at its next step."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from backtest.cli import main
from backtest.comparison.comparison import compare
from backtest.core.interrupts import noting_interrupts, raise_if_interrupted
from backtest.runs.scenario import resolve
from tests.sweep_files import write_sweep


def interrupt_and_swallow() -> None:
    """What a library does that catches everything."""
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_swallowed_interrupt_is_raised_when_it_is_asked_for() -> None:
    with noting_interrupts():
        raise_if_interrupted()
        interrupt_and_swallow()
        with pytest.raises(KeyboardInterrupt):
            raise_if_interrupted()
    raise_if_interrupted()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_is_raised_at_once_as_ever() -> None:
    with noting_interrupts(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("other", [signal.SIG_IGN, lambda number, frame: None])
def test_handlers_of_others_stay(other: signal.Handlers) -> None:
    before = signal.signal(signal.SIGINT, other)
    try:
        with noting_interrupts():
            signal.raise_signal(signal.SIGINT)
            raise_if_interrupted()
            assert signal.getsignal(signal.SIGINT) is other
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_sweep_ends_by_an_interrupt_that_was_swallowed(
    small_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = tmp_path / "runs"

    def swallowing(*arguments: object) -> object:
        interrupt_and_swallow()
        return compare(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("backtest.experiments.sweep.compare", swallowing)
    file = write_sweep(tmp_path / "good.toml", small_dataset, '["imbalance"]')
    with pytest.raises(SystemExit) as caught:
        main(["sweep", str(file), "--runs", str(runs), "--executor", "inline"])
    assert caught.value.code == 130
    assert "Interrupted with 1 of 4 runs done" in capsys.readouterr().err


def test_a_run_ends_by_an_interrupt_that_was_swallowed(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swallowing(*arguments: object) -> object:
        interrupt_and_swallow()
        return resolve(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("backtest.runs.engine.resolve", swallowing)
    words = ["--strategy", "imbalance", "--service", "constant:1ms", "--runs", str(tmp_path)]
    with pytest.raises(SystemExit) as caught:
        main(["run", "--dataset", str(small_dataset), *words])
    assert caught.value.code == 130
    assert not list(tmp_path.glob("[!.]*/manifest.json"))
