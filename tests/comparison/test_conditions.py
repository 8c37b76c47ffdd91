"""Conditions on fields: what they mean, and that nothing else gets through."""

from __future__ import annotations

from typing import Any

import pytest

from backtest.comparison.conditions import MissingValue, parse_expression
from backtest.errors import UsageError

ROW: dict[str, Any] = {"strategy": "batched", "scale": 1.0, "net": 90.0, "rmse": None}


def holds(text: str, baseline: dict[str, Any] | None = None) -> bool:
    expression = parse_expression(text, ROW, place="--where", aliases={"net_pnl": "net"})
    return expression.holds(ROW, baseline)


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ('strategy == "batched" and scale <= 1', True),
        ('strategy == "eager" or not scale > 1', True),
        ("0 < scale < 1", False),
        ('strategy in ("eager", "batched")', True),
        ('strategy not in ["batched"]', False),
        ('"batch" in strategy', True),
        ("net - 2 * scale == 88", True),
        ("net / 9 == 10", True),
        ("max(net, 100) == 100", True),
        ("abs(-net) == net_pnl", True),
        ("rmse == None", True),
        ("+scale > -scale", True),
    ],
)
def test_conditions(text: str, true: bool) -> None:
    assert holds(text) is true


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("net_pnl < 0.95 * baseline", True),
        ("net < 0.9 * baseline", False),
        ("net < baseline.net", True),
        ("scale * 50 > baseline.net_pnl", False),
        ("scale == baseline and net < baseline", True),
    ],
)
def test_the_baseline(text: str, true: bool) -> None:
    assert holds(text, {"net": 100.0, "scale": 1.0}) is true


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "strategy.__class__",
        "baseline.__class__",
        "(lambda: 1)()",
        "[x for x in (1,)]",
        "net ** 99999999",
        "'a' * 999999999 == strategy",
        "net if scale else 1",
        "f'{net}'",
        "net := 1",
        "abs(net, key=1)",
        "min()",
        "b'x' == strategy",
        "~scale",
        "strategy['x']",
        "nett > 1",
        "net >",
        "",
        "net\0",
        "(" * 500 + "net" + ")" * 500,
        "net + " * 999 + "1",
        "strategy < 3",
        "net / 0 > 1",
        "max(strategy) == 'x' * 3",
        "net < baseline",
        "baseline > 1",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        holds(text)
    assert "--where" in str(caught.value)


def test_a_likely_field_is_suggested() -> None:
    with pytest.raises(UsageError, match="Did you mean 'net'"):
        holds("nett > 1")


@pytest.mark.parametrize("text", ["rmse > 1", "rmse + 1 > 0", "-rmse > 0", "abs(rmse) < 1"])
def test_a_missing_figure_decides_nothing(text: str) -> None:
    with pytest.raises(MissingValue):
        holds(text)
