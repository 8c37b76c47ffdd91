"""A run's frames: each value is that of the tables, worked out plainly, and old runs are read."""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtest.api import run
from backtest.data.card import Card
from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import read_events
from backtest.errors import DataError
from backtest.runs.folder import Run
from backtest.trading.layout import COSTS
from docs.generate import FOLDER
from tests.stored import table, without_prices

UNIT = 10**9


@pytest.fixture(scope="module")
def finished(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in odd ticks and lots, with fees, that holds more than a lot and goes through zero."""
    folder = tmp_path_factory.mktemp("frames")
    shutil.copytree(small_dataset, folder / "data")
    card = (folder / "data" / "dataset.toml").read_text()
    terms = {"tick_size": "0.025", "lot_size": "10", "multiplier": "2", "fee_rate": "0.0001"}
    table = "\n".join(f'{name} = "{value}"' for name, value in terms.items())
    assert "[instruments" not in card
    (folder / "data" / "dataset.toml").write_text(f"{card}\n[instruments.default]\n{table}\n")
    return run(
        runs=folder / "runs",
        dataset=str(folder / "data"),
        strategy="imbalance",
        sizing="proportional:gain=9",
        latency={"service": "affine:1ms,0.1ms", "entry": "constant:50us"},
    )


def rows_of(frame: pl.LazyFrame) -> list[dict[str, Any]]:
    """A frame's rows, instants in ns."""
    return frame.with_columns(pl.col(pl.Datetime, pl.Duration).cast(pl.Int64)).collect().to_dicts()


def test_fills(finished: Run) -> None:
    stored, found = table(finished, "fills"), rows_of(finished.fills)
    assert len(found) == len(stored) > 100
    for row, fill in zip(found, stored, strict=True):
        money = {name: fill[name] for name in ("cash", "decision", *COSTS)}
        money["notional"] = abs(fill["cash"] + fill["fees"])
        money["net"] = fill["decision"] - sum(fill[name] for name in COSTS)
        price = float(Fraction(fill["price_half_ticks"]) * Fraction("0.0125"))
        assert row == fill | {"price": price} | {k: v / UNIT for k, v in money.items()}
        assert row["notional"] == pytest.approx(abs(row["lots"]) * row["price"] * 20)
    total = sum(round(row["net"] * UNIT) for row in found)
    assert total == finished.metrics["account"]["net"]
    assert (
        sum(round(row["notional"] * UNIT) for row in found)
        == (finished.metrics["account"]["turnover"])
    )
    instants = finished.fills.collect_schema()
    assert instants["ts_venue"] == pl.Datetime("ns", "UTC")
    assert instants["symbol"] == pl.String


def test_positions_and_equity(finished: Run) -> None:
    stored, found = table(finished, "equity"), rows_of(finished.positions)
    totals: dict[int, dict[str, Any]] = defaultdict(lambda: defaultdict(int))
    for row, of in zip(found, stored, strict=True):
        mid = Fraction(of["mid_half_ticks"] or 0) * Fraction("0.0125")
        value = of["position"] * mid * 20
        assert (row["symbol"], row["ts"], row["lots"]) == (of["symbol"], of["ts"], of["position"])
        assert row["value"] == pytest.approx(float(value), abs=1e-12)
        assert row["mid"] == (None if of["mid_half_ticks"] is None else float(mid))
        total = totals[of["ts"]]
        for name in ("net", "decision", *COSTS):
            assert row[name] == of[name] / UNIT
            total[name] += of[name]
        total["gross"] += abs(value)
        total["exposure"] += value
    assert any(row["lots"] and row["value"] for row in found)
    peak = 0
    equity = rows_of(finished.equity)
    assert [row["ts"] for row in equity] == sorted(totals)
    for row in equity:
        total = totals[row["ts"]]
        peak = max(peak, total["net"])
        for name in ("net", "decision", *COSTS):
            assert row[name] == total[name] / UNIT
        assert row["drawdown"] == pytest.approx((peak - total["net"]) / UNIT)
        for name in ("gross", "exposure"):
            assert row[name] == pytest.approx(float(total[name]))
    assert equity[-1]["net"] == finished.metrics["account"]["net"] / UNIT
    assert max(row["drawdown"] for row in equity) == pytest.approx(
        finished.metrics["account"]["max_drawdown"] / UNIT
    )


def test_mids_are_those_of_the_quotes(finished: Run) -> None:
    dataset = open_dataset(finished.manifest["config"]["dataset"])
    events = read_events(dataset)
    assert events.bid is not None
    assert events.ask is not None
    quotes = list(zip(events.symbol, events.ts_event, events.bid, events.ask, strict=True))
    seen = set()
    for row in table(finished, "equity"):
        number = dataset.symbols.index(row["symbol"])
        before = [bid + ask for s, ts, bid, ask in quotes if s == number and ts <= row["ts"]]
        assert row["mid_half_ticks"] == (before[-1] if before else None)
        seen.add(row["mid_half_ticks"])
    assert None in seen
    assert len(seen) > 10


def test_a_mid_is_absent_until_there_is_one(finished: Run) -> None:
    """What is marked before a symbol's first quote is a position of nothing."""
    for row in rows_of(finished.positions):
        assert (row["mid"] is None) == (row["mid_half_ticks"] is None)
        assert row["mid"] is None or row["mid"] > 0
        assert row["mid"] is not None or not row["lots"]


def test_round_trips_add_up_to_the_account(finished: Run) -> None:
    account = finished.metrics["account"]
    found = rows_of(finished.round_trips)
    assert sum(round(row["net"] * UNIT) for row in found) == account["net"]
    assert sum(round(row["fees"] * UNIT) for row in found) == account["fees"]
    for symbol, of in account["by_symbol"].items():
        nets = [round(row["net"] * UNIT) for row in found if row["symbol"] == symbol]
        assert sum(nets) == of["net"]
    assert any(row["peak_lots"] > 1 for row in found)
    fills = defaultdict(list)
    for fill in table(finished, "fills"):
        fills[fill["symbol"]].append(fill)
    for row in found:
        sign = 1 if row["side"] == "long" else -1
        within = [f for f in fills[row["symbol"]]
                  if row["ts_entry"] <= f["ts_venue"] <= row["ts_exit"]]  # fmt: skip
        assert len(within) >= row["fills"] >= 2
        assert row["holding"] == row["ts_exit"] - row["ts_entry"]
        assert row["net"] == pytest.approx(row["gross"] - row["fees"])
        earned = sign * (row["exit_price"] - row["entry_price"]) * row["lots"] * 20
        assert row["gross"] == pytest.approx(earned)
        prices = [f["price"] for f in within]
        assert min(prices) - 1e-9 <= row["entry_price"] <= max(prices) + 1e-9


def test_round_trips_are_read_as_far_as_they_are_needed(finished: Run) -> None:
    whole = finished.round_trips.collect()
    assert finished.round_trips.head(3).collect().equals(whole.head(3))
    longs = finished.round_trips.filter(pl.col("side") == "long").select("net", "symbol")
    assert longs.collect(engine="streaming").equals(
        whole.filter(pl.col("side") == "long").select("net", "symbol")
    )
    assert whole.schema == finished.round_trips.collect_schema()


def test_an_old_run_has_neither_prices_nor_values(finished: Run, tmp_path: Path) -> None:
    old = without_prices(finished, tmp_path)
    for name, absent in (
        ("fills", ["price"]),
        ("equity", ["gross", "exposure"]),
        ("positions", ["mid", "mid_half_ticks", "value"]),
        ("round_trips", ["entry_price", "exit_price"]),
    ):
        before, now = (getattr(of, name).collect() for of in (old, finished))
        assert before.equals(now.drop(absent)), name


def test_a_run_that_trades_nothing_says_so(small_dataset: Path, tmp_path: Path) -> None:
    paid = run(
        runs=tmp_path,
        dataset=str(small_dataset),
        strategy="imbalance",
        accountant="challenge",
        latency={"service": "constant:1ms"},
    )
    for name in ("fills", "equity", "positions", "round_trips"):
        with pytest.raises(DataError, match="its accountant trades nothing"):
            getattr(paid, name)


def test_the_instruments_are_those_of_the_card(finished: Run) -> None:
    dataset = open_dataset(finished.manifest["config"]["dataset"])
    assert isinstance(dataset.card, Card)
    for row, instrument in zip(table(finished, "instruments"), dataset.instruments, strict=True):
        for name in ("tick_size", "lot_size", "multiplier", "fee_rate", "fee_per_lot"):
            assert Decimal(repr(row[name])) == getattr(instrument, name)
        assert Decimal(repr(row["money_unit"])) == instrument.unit
        assert row["currency"] == instrument.currency
    assert [row["symbol"] for row in table(finished, "instruments")] == [*dataset.symbols]


def test_the_example_in_the_docs_works_when_pasted(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (FOLDER / "runs.md").read_text().partition("## Tables as frames")[2]
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert example is not None
    shutil.copytree(finished.folder, tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example[1], names)
    by_symbol = json.loads((finished.folder / "metrics.json").read_text())["account"]["by_symbol"]
    shown = dict(zip(names["by_symbol"]["symbol"], names["by_symbol"]["net"], strict=True))
    traded = {name: of["net"] / UNIT for name, of in by_symbol.items() if of["fills"]}
    assert shown == pytest.approx(traded)
    assert len(names["worst"]) == 10
