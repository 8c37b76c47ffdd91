"""Runs on slices of real files against the oracle: timing, fills and money, to the tick."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from math import exp
from pathlib import Path

import pytest

import backtest
from tests.oracle import Policy
from tests.real_runs import (
    Scenario,
    fill_rows,
    imbalance,
    market_of,
    money,
    money_by_symbol,
    read_card,
    read_targets,
    run_fill_rows,
    run_money,
    run_timing_rows,
    timing_rows,
)

FILES = Path(__file__).parents[2] / "shared" / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FILES.is_dir(), reason="the recorded files lie beside the repository"),
]

S = 10**9
CRYPTO = 1_723_161_400 * S  # amid the recording: about 400 events a second
OPEN = 1_381_152_600 * S  # 2013-10-07T13:30:00Z
CLOSE = OPEN + 23_400 * S
NEXT_OPEN = OPEN + 86_400 * S
START = 1_756_684_800 * S  # of the challenge's stream, by its source's default

CASES = {
    # Crypto carries receipts for part of its rows; its trades repeat the quote that they met.
    "crypto": ("crypto", Scenario(CRYPTO, CRYPTO + 30 * S, threshold=0.25)),
    "crypto, beyond the size": (
        "crypto",
        Scenario(
            CRYPTO, CRYPTO + 30 * S, lots=20_000, impact=Fraction(1, 2), response=3_000_000, band=3
        ),
    ),
    "crypto, overload": (
        "crypto",
        Scenario(
            CRYPTO + 20 * S, CRYPTO + 60 * S, Policy("newest-per-symbol"), base=20_000_000,
            lots=50, threshold=0.5, max_batch=3, line=20, max_age=90_000_000,
        ),
    ),
    "crypto, one at a time and late": (
        "crypto",
        Scenario(
            CRYPTO + 40 * S, CRYPTO + 80 * S, Policy("one"), base=2_000_000, lots=7, limit=5,
            scale=1.5, line=30, warmup=100, entry=20_000_000,
        ),
    ),
    "crypto, no latency": (
        "crypto", Scenario(CRYPTO, CRYPTO + 30 * S, lots=3_000, scale=0.0, impact=Fraction(1, 4)),
    ),
    "equities, morning": (
        "equities",
        Scenario(
            OPEN, OPEN + 300 * S, Policy("deadline", 8, 5_000_000), lots=700, feed=2_000_000,
            entry=30_000_000, response=30_000_000, impact=Fraction(1, 3),
        ),
    ),
    # Orders that arrive after the close, quotes of the next day, a position held overnight.
    "equities, overnight": (
        "equities",
        Scenario(
            CLOSE - 30 * S, NEXT_OPEN + 60 * S, Policy("one-per-symbol"), lots=300,
            feed=5_000_000, entry=400_000_000, response=100_000_000, threshold=0.25,
        ),
    ),
    # The window goes on after the session: the last quote closes what is held, an hour late.
    "equities, evening": (
        "equities",
        Scenario(
            CLOSE - 30 * S, CLOSE + 3_600 * S, Policy("at-most", 2), lots=2_000, feed=10_000_000,
            entry=50_000_000, line=5, base=60_000_000,
        ),
    ),
}  # fmt: skip


def ingested(source: str, files: str, folder: Path) -> Path:
    """A dataset made by ``backtest data ingest``."""
    command = [sys.executable, "-m", "backtest", "data", "ingest", source]
    subprocess.run([*command, str(FILES / files), str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("datasets")
    return {
        "crypto": ingested("binance-stream", "crypto-2024", folder / "crypto"),
        "equities": ingested("us-equities-ticks", "us-equities-2013", folder / "equities"),
        "challenge": ingested("challenge", "hackathon/small.parquet", folder / "challenge"),
    }


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_the_oracles(case: str, datasets: dict[str, Path], tmp_path: Path) -> None:
    name, scenario = CASES[case]
    folder = datasets[name]
    symbols = read_card(folder)["symbols"]
    run = backtest.run(runs=tmp_path, dataset=str(folder), **scenario.settings())
    market = market_of(folder, scenario)
    assert len(market.events) > 500

    timing = market.timing()
    assert run_timing_rows(run.table("timing").to_arrow(), scenario.scale) == timing_rows(timing)

    predictions = run.table("predictions")
    answers = imbalance(market.events)
    answered = [i for i, status in enumerate(timing.status) if status == "answered"]
    assert predictions["event"].to_list() == answered
    assert predictions["forecast"].to_list() == [answers[i] for i in answered]

    account = market.account(timing)
    assert len(account.fills) > 10
    assert run_fill_rows(run.table("fills").to_arrow()) == fill_rows(account.fills, symbols)
    figures = run.metrics["account"]
    assert run_money(figures) == money(account.total)
    by_symbol = {symbol: run_money(figures["by_symbol"][symbol]) for symbol in symbols}
    assert by_symbol == money_by_symbol(account, symbols)


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(START, START + 10**12, base=20_000_000, composition="rounds", feed=0),
        Scenario(
            START, START + 10**12, Policy("newest-per-symbol"), base=90_000_000,
            composition="rounds", feed=3_000_000, line=2, max_batch=4,
        ),
    ],
    ids=["all", "overload"],
)  # fmt: skip
def test_points_of_the_challenge(
    scenario: Scenario, datasets: dict[str, Path], tmp_path: Path
) -> None:
    """The stream has no prices: timing is compared, and what each answer earns by its formula."""
    folder = datasets["challenge"]
    settings = scenario.settings() | {"strategy": "batched", "accountant": "challenge"}
    del settings["sizing"]
    run = backtest.run(runs=tmp_path, dataset=str(folder), **settings)
    timing = market_of(folder, scenario).timing()
    assert len(timing.status) > 500
    assert run_timing_rows(run.table("timing").to_arrow(), scenario.scale) == timing_rows(timing)

    truth = read_targets(folder)
    outputs = run.table("predictions").select(f"output_{k}" for k in range(len(truth[0]))).rows()
    answers = iter(outputs)
    points = []
    for i, status in enumerate(timing.status):
        t3 = timing.t3[i]
        if status != "answered" or t3 is None:
            points.append(-1.0)
            continue
        errors = [abs(a - b) for a, b in zip(next(answers), truth[i], strict=True)]
        error = sum(errors) / len(errors)
        points.append(exp(-error / 0.1) - (t3 - timing.t1[i]) / S)
    assert next(answers, None) is None
    assert run.table("points")["points"].to_list() == pytest.approx(points, rel=1e-5, abs=1e-6)
