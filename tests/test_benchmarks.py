"""Benchmarks that replace parts of the package still find those parts."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_python

ROOT = Path(__file__).parents[1]
OWN = [path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py") if "peer_" not in path.name]
"""All but those that run in environments of their own."""


@pytest.mark.parametrize(
    ("script", "texts"),
    [
        ("orders", ("the loops ", "commands made ", "optimistic", "three venues ")),
        ("depth", ("L2, trades ", "L3, l3 ", " M rows/s in the loops")),
        ("stages", ("what is read", "pass 2: the strategy", "its answers stored", "wall")),
        (
            "writers",
            ("as they are ", "differences, zstd-1 ", "bytes an event: equity", "the digest"),
        ),
    ],
)
def test_it_runs(script: str, texts: tuple[str, ...], tmp_path: Path) -> None:
    options = ("--events", "3000", "--repeats", "1", "--scratch", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{script}", *options],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for text in texts:
        assert text in done.stdout


def test_a_recording_that_is_not_there_is_skipped_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    makers = importlib.import_module("benchmarks.makers")
    monkeypatch.setattr("sys.argv", ["makers", str(tmp_path / "none.gz")])
    makers.main()
    assert capsys.readouterr().out.startswith("skipped: there is no ")


@pytest.mark.parametrize("name", sorted(OWN))
def test_it_finds_what_it_imports(name: str) -> None:
    if name in {"fused", "lstm", "sequences"}:
        pytest.importorskip("torch")
    assert importlib.import_module(f"benchmarks.{name}").__doc__


def test_stated_rules_of_hftbacktest_and_ours_differ_where_they_are_said_to() -> None:
    from benchmarks.order_rules import Fate, Message, Rules, Tick, fates

    def fate(rules: Rules, message: Message, *ticks: Tick) -> Fate:
        first = Tick(0, 10, 12, 5, 5, 0, 0, 0)
        last = Message(90, message.id, 1, 0, 0)
        return fates([first, *ticks], [message, last], rules)[message.id]

    theirs, ours = Rules(False, False, False), Rules(True, True, True)
    behind = Message(1, 1, 1, 9, 1)
    print_there = Tick(2, 10, 12, 5, 5, 9, 1, -1)
    assert fate(theirs, behind, print_there) == Fate(1, 2, "filled")
    assert fate(ours, behind, print_there) == Fate(0, 0, "cancelled")
    at_touch = Message(1, 1, 1, 10, 8)
    beyond = Tick(2, 10, 12, 5, 5, 10, 7, -1)
    assert fate(theirs, at_touch, beyond) == Fate(8, 2, "filled")
    assert fate(ours, at_touch, beyond) == Fate(2, 2, "cancelled")
