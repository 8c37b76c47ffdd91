"""What the report says of queues depends on what the data tell of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import backtest
from backtest.comparison.comparison import compare
from backtest.data.synthetic.orders import OrderMarket, generate_orders
from backtest.plugins.manager import load_plugins
from backtest.report.page import render_report


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("orders") / "market"
    generate_orders(OrderMarket(), folder, actions=4_000)
    return folder


@pytest.mark.parametrize(
    ("queue", "said", "not_said"),
    [("l3", "tell of every order", "No data tell"), ("trades", "No data tell", "every order")],
)
def test_text(market: Path, tmp_path: Path, queue: str, said: str, not_said: str) -> None:
    run = backtest.run(
        dataset=str(market),
        strategy="imbalance",
        quoting="two-sided",
        latency={"service": "constant:1ms", "entry": "constant:250us"},
        fills={"queue": queue},
        limits={"drawdown": 0.01},
        runs=tmp_path,
    )
    found = render_report(compare([run]), load_plugins(entry_points=False), ("resting-orders",))
    assert found.failures == ()
    assert said in found.html
    assert not_said not in found.html
    assert run.metrics["orders"]["flattened"]["lots"] > 0
    assert ">flattened<" in found.html
