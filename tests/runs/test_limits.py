"""Limits of whole runs: settings, tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import backtest
from backtest.comparison.comparison import compare
from backtest.errors import UsageError
from backtest.market.calendar import MarketHours
from backtest.market.instruments import Instrument
from backtest.plugins.manager import load_plugins
from backtest.report.page import render_report
from backtest.runs.folder import Run
from backtest.runs.limit_terms import day_starts, limits_of
from backtest.runs.run_config import Limits, parse_config

HOUR = 3_600 * 10**9
DAY = 24 * HOUR
LATENCY = {"service": "constant:1ms", "entry": "constant:250us", "response": "constant:500ms"}


def run(folder: Path, limits: dict[str, Any] | None = None, **settings: Any) -> Run:
    if limits is not None:
        settings["limits"] = limits
    given = {"dataset": "sample", "strategy": "imbalance", "latency": LATENCY, "limit": 2000}
    return backtest.run(runs=folder, **{**given, **settings})


WAYS: list[dict[str, Any]] = [{"sizing": "sign:lots=5"}, {"quoting": "two-sided:lots=5"}]


@pytest.mark.parametrize("way", WAYS, ids=["targets", "quotes"])
def test_a_position_stays_within_its_limit(tmp_path: Path, way: dict[str, Any]) -> None:
    free, within = run(tmp_path, **way), run(tmp_path, {"position": 3}, **way)
    assert largest(free) > 3
    assert 0 < largest(within) <= 3
    breaches = within.table("breaches")
    assert set(breaches["limit"]) == {"position"}
    assert (breaches["lots"] > 0).all()
    assert within.metrics["limits"] == {"breaches": {"position": len(breaches)}, "kept_out": 0}
    assert not free.has_table("breaches")
    assert "limits" not in free.metrics


def largest(run: Run) -> int:
    """The largest position, without what the end closes."""
    fills = run.table("fills").filter((pl.col("event") >= 0) | (pl.col("order") != -1))
    held = fills.with_columns(pl.col("lots").cum_sum().over(pl.col("symbol").cast(pl.String)))
    most = held["lots"].abs().max()
    assert isinstance(most, int)
    return most


@pytest.mark.parametrize("way", WAYS, ids=["targets", "quotes"])
@pytest.mark.parametrize("switch", ["daily_loss", "drawdown"])
def test_a_loss_ends_trading(tmp_path: Path, way: dict[str, Any], switch: str) -> None:
    ended = run(tmp_path, {switch: 2.0}, **way)
    breaches = ended.table("breaches").to_dicts()
    assert [breach["limit"] for breach in breaches] == [switch]
    fills = ended.table("fills")
    after = fills.filter(pl.col("ts_venue") > breaches[0]["ts"])
    assert (after["event"] == -1).all()
    assert (after["order"] == -2).any()
    assert ended.metrics["limits"]["kept_out"] > 0
    account = ended.metrics["account"]
    costs = ("feed", "queueing", "service", "entry", "rest", "spread", "impact", "fees")
    assert account["net"] == account["decision"] - sum(account[name] for name in costs)
    assert account["net"] == fills["cash"].sum()
    rendered = render_report(compare([ended]), load_plugins(entry_points=False), ["limits"])
    assert rendered.failures == ()
    assert f"Trading was ended by {switch}" in rendered.html


def test_messages_keep_their_distance(tmp_path: Path) -> None:
    made = run(tmp_path, {"orders_per_second": 3}, quoting="two-sided:lots=2")
    answered = made.table("orders").filter(pl.col("report").is_in(["accepted", "replaced"]))
    sent = np.sort(answered["ts_ended"].cast(pl.Int64).to_numpy())
    assert len(sent) > 3
    assert (sent[3:] - sent[:-3] >= 10**9).all()


def test_the_report_says_what_limits_did(tmp_path: Path) -> None:
    made = run(tmp_path, {"position": 3, "drawdown": 1e9}, sizing="sign:lots=5")
    page = render_report(compare([made]), load_plugins(entry_points=False), ["limits"]).html
    count = made.metrics["limits"]["breaches"]["position"]
    assert f"{count:,}" in page
    assert "Trading was ended" not in page


def test_runs_without_limits_keep_their_id(tmp_path: Path) -> None:
    assert run(tmp_path, {}).folder == run(tmp_path).folder
    assert run(tmp_path, {"position": 3}).folder != run(tmp_path).folder


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"position": {"NONE": 1}}, "no symbol 'NONE'"),
        ({"gross_by_symbol": {"NONE": 1.0}}, "no symbol 'NONE'"),
        ({"groups": {"a": {"symbols": ["NONE"], "gross": 1.0}}}, "no symbol 'NONE'"),
        ({"groups": {"a": {"gross": 1.0}}}, "symbols"),
        ({"gross": -1}, "gross"),
        ({"orders_per_second": 0}, "orders_per_second"),
        ({"daily_loss": 0}, "daily_loss"),
    ],
)
def test_what_cannot_be_a_limit_is_said(tmp_path: Path, limits: Any, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        run(tmp_path, limits)


def test_limits_need_an_accountant_that_trades(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="trades nothing"):
        run(tmp_path, {"position": 3}, accountant="challenge")


def test_limits_can_be_swept(tmp_path: Path) -> None:
    swept = backtest.sweep(
        {
            "dataset": "sample", "strategy": "imbalance", "latency": LATENCY, "limit": 500,
            "limits": {"position": [1, 2]},
        },
        runs=tmp_path,
    )  # fmt: skip
    most = [point.config.limits.position for point in swept.points]
    assert most == [1, 2]


def test_money_is_counted_in_units_and_symbols_are_found() -> None:
    symbols, instruments = ("A", "B", "C"), [Instrument() for _ in range(3)]
    asked = Limits(
        position={"B": 4},
        gross=1.5,
        gross_by_symbol=0.1,
        groups={"some": {"symbols": ("A", "C"), "net": 2}},  # type: ignore[dict-item]
        drawdown=0.25,
    )
    made = limits_of(asked, symbols, instruments, MarketHours(), 0, 10)
    assert made is not None
    assert made.position is not None
    assert made.position.tolist() == [2**62, 4, 2**62]
    assert made.gross_by_symbol is not None
    assert made.gross_by_symbol.tolist() == [10**8] * 3
    assert [(g.name, g.gross, g.net) for g in made.groups] == [
        ("", 15 * 10**8, None),
        ("some", None, 2 * 10**9),
    ]
    assert made.groups[1].member.tolist() == [True, False, True]
    assert made.drawdown == 25 * 10**7
    assert [name for name, is_set in zip(made.names, made.set, strict=True) if is_set] == [
        *("position", "gross_by_symbol", "drawdown", "gross", "groups.some.net"),
    ]
    assert limits_of(Limits(), symbols, instruments, MarketHours(), 0, 10) is None


def test_days_begin_at_midnight_or_at_the_first_session_of_a_date() -> None:
    always = day_starts(MarketHours(), 5 * HOUR, 2 * DAY + HOUR)
    assert always.tolist() == [DAY, 2 * DAY]
    sessions = np.array(
        [[9 * HOUR, 11 * HOUR], [13 * HOUR, 17 * HOUR], [DAY + 9 * HOUR, DAY + 17 * HOUR]]
    )
    hours = MarketHours.of_sessions("UTC", sessions)
    assert day_starts(hours, 0, 3 * DAY).tolist() == [9 * HOUR, DAY + 9 * HOUR]
    assert day_starts(hours, 9 * HOUR, 3 * DAY).tolist() == [DAY + 9 * HOUR]
    # Twelve hours before midnight in Tokyo is 03:00 UTC; a long session has its midnights too.
    long = MarketHours.of_sessions("Asia/Tokyo", np.array([[3 * HOUR, 3 * HOUR + 2 * DAY]]))
    assert day_starts(long, 0, 4 * DAY).tolist() == [3 * HOUR, 15 * HOUR, DAY + 15 * HOUR]


def test_limits_are_read_from_toml(tmp_path: Path) -> None:
    table = {"dataset": "d", "strategy": "s", "latency": {"service": "constant:1ms"}}
    groups = {"tech": {"symbols": ["A"], "net": 3}}
    made = parse_config({**table, "limits": {"groups": groups}}, place="file")
    assert made.limits.groups["tech"].net == 3
    assert made.limits.groups["tech"].symbols == ("A",)
