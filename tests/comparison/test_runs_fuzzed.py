"""Fuzzed run folders: compared and reported, or refused with a ``BacktestError``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.comparison.comparison import compare
from backtest.comparison.run_selection import runs_at, runs_of_sweep
from backtest.errors import BacktestError
from backtest.plugins.manager import Plugins
from backtest.report.page import render_report
from backtest.runs.folder import MANIFEST, open_run
from tests.mutations import (
    EDITS,
    TABLE_CHANGES,
    VALUES,
    Edit,
    Place,
    changed,
    changes,
    edited,
    places,
    refusal,
    tries,
    write_changed,
)

METRICS = "metrics.json"
TABLES = ("timing", "predictions", "fills", "equity", "points", "orders")


@pytest.fixture(scope="module")
def paid(finished_runs: Path, small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs to damage, one paid in money, one in points, and one whose orders rest."""
    from backtest.api import run

    runs = tmp_path_factory.mktemp("fuzzed")
    asked: dict[str, Any] = {"dataset": str(small_dataset), "strategy": "imbalance"}
    asked |= {"latency": {"service": "affine:1ms,0.1ms"}}
    run(runs=runs, **asked)
    run(runs=runs, **asked, accountant="challenge")
    run(runs=runs, **asked, quoting="two-sided")
    return sorted(path.parent for path in runs.glob(f"*/{MANIFEST}"))


def damaged(folder: Path) -> Path:
    """A copy of a run beside it, which can be damaged; the stored predictions are found."""
    copy = folder.parent / f"damaged-{folder.name}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    return copy


def read(folder: Path, other: Path, plugins: Plugins) -> None:
    """Make everything that is made of a run folder."""

    def attempt() -> None:
        compared = compare([open_run(folder), open_run(other)])
        json.dumps([compared.rows, compared.grouped_by("strategy")], allow_nan=False)
        assert compared.frame().height == 2
        _ = compared.labels, compared.differences()
        rendered = render_report(compared, plugins)
        rendered.html.encode()
        for section, failure in rendered.failures:
            assert failure.startswith(("DataError: ", "UsageError: ")), (section, failure)

    refused = refusal(attempt)
    assert refused is None or refused.place


def check_values(
    paid: list[Path], plugins: Plugins, name: str, number: int, seed: int, values: list[Any]
) -> None:
    folder = damaged(paid[number])
    tree = json.loads((folder / name).read_text())
    found = [*places(tree)]
    made = [(found[(seed + 7919 * k) % len(found)], value) for k, value in enumerate(values)]
    (folder / name).write_text(json.dumps(changed(tree, made)), "utf-8", "surrogatepass")
    read(folder, paid[(number + 1) % 3], plugins)


FILES = st.sampled_from([MANIFEST, METRICS])
SOME = st.lists(VALUES, min_size=1, max_size=2)


@tries(40)
@given(FILES, st.integers(0, 2), st.integers(0, 10**6), SOME)
def test_values(
    paid: list[Path], plugins: Plugins, name: str, number: int, seed: int, values: list[Any]
) -> None:
    check_values(paid, plugins, name, number, seed, values)


@pytest.mark.slow
@tries(400)
@given(FILES, st.integers(0, 2), st.integers(0, 10**6), SOME)
def test_values_at_length(
    paid: list[Path], plugins: Plugins, name: str, number: int, seed: int, values: list[Any]
) -> None:
    check_values(paid, plugins, name, number, seed, values)


def check_tables(
    paid: list[Path], plugins: Plugins, name: str, number: int, made: list[tuple[int, str]]
) -> None:
    folder = damaged(paid[number])
    path = folder / f"{name}.parquet"
    if not path.exists():
        return
    write_changed(path, pq.read_table(path), made)
    read(folder, paid[(number + 1) % 3], plugins)


@tries(40)
@given(st.sampled_from(TABLES), st.integers(0, 2), TABLE_CHANGES)
def test_tables(
    paid: list[Path], plugins: Plugins, name: str, number: int, made: list[tuple[int, str]]
) -> None:
    check_tables(paid, plugins, name, number, made)


@pytest.mark.slow
@tries(600)
@given(st.sampled_from(TABLES), st.integers(0, 2), TABLE_CHANGES)
def test_tables_at_length(
    paid: list[Path], plugins: Plugins, name: str, number: int, made: list[tuple[int, str]]
) -> None:
    check_tables(paid, plugins, name, number, made)


SWEEP: dict[str, Any] = {
    "name": "night",
    "runs": [
        {"id": None, "state": "failed", "error": "why", "config": {"strategy": "x"}},
        {"id": "gone-0123456789ab", "state": "planned", "error": None, "config": {"strategy": "y"}},
    ],
}


@tries(150)
@given(changes([*places(SWEEP)]), EDITS | st.just([]))
def test_sweeps_of_runs(tmp_path: Path, made: list[tuple[Place, Any]], edits: list[Edit]) -> None:
    (tmp_path / "sweeps").mkdir(exist_ok=True)
    text = json.dumps(changed(SWEEP, made)).encode("utf-8", "surrogatepass")
    (tmp_path / "sweeps" / "0123.json").write_bytes(edited(text, edits))
    try:
        done, failed = runs_of_sweep(tmp_path, "0123")
    except BacktestError:
        return
    assert not done
    for run in failed:
        f"{run.id} {run.state} {run.error}".encode()


@tries(60)
@given(st.sampled_from([MANIFEST, METRICS]), EDITS)
def test_text(paid: list[Path], plugins: Plugins, name: str, edits: list[Edit]) -> None:
    folder = damaged(paid[0])
    (folder / name).write_bytes(edited((folder / name).read_bytes(), edits))
    read(folder, paid[1], plugins)
    refused = refusal(lambda: runs_at([folder]))
    assert refused is None or refused.exit_code == 3
