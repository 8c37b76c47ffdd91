"""Search spaces take the types of their values from what parts declare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backtest.core.parameters import Nanoseconds
from backtest.errors import UsageError
from backtest.experiments.search_space import Dimension, parse_space
from backtest.plugins.manager import load_plugins
from tests.fitted_strategies import write_plugin

SETTINGS = {
    "strategy": "net",
    "policy": {"name": "deadline", "n": 8, "d": "5ms"},
    "latency": {"service": "affine:2ms,0.1ms", "scale": 1.0},
}


@pytest.fixture
def parse(tmp_path: Path) -> Any:
    plugins = load_plugins([write_plugin(tmp_path)], entry_points=False)
    return lambda **table: parse_space(table, SETTINGS, plugins)


def one(parse: Any, key: str, **given: Any) -> Dimension:
    (dimension,) = parse(**{key: given})
    assert isinstance(dimension, Dimension)
    return dimension


@pytest.mark.parametrize(
    ("key", "given", "kind", "ends", "setting"),
    [
        ("strategy.rate", {"low": 1e-4, "high": 1}, float, (1e-4, 1.0), "strategy.rate=0.0001"),
        ("strategy.epochs", {"low": 1, "high": 9}, int, (1, 9), "strategy.epochs=1"),
        ("strategy.fit_seed", {"low": 0, "high": 3}, int, (0, 3), "strategy.fit_seed=0"),
        ("policy.d", {"low": "1ms", "high": "1s"}, Nanoseconds, (10**6, 10**9),
         "policy.d='1000000ns'"),
        ("latency.service.base", {"low": "0ns", "high": "1ms"}, Nanoseconds, (0, 10**6),
         "latency.service.base='0ns'"),
        ("latency.scale", {"low": 0.5, "high": 2}, float, (0.5, 2.0), "latency.scale=0.5"),
        ("server.line_limit", {"low": 1, "high": 5}, int, (1, 5), "server.line_limit=1"),
        ("server.max_age", {"low": "1s", "high": "2s"}, Nanoseconds, (10**9, 2 * 10**9),
         "server.max_age='1000000000ns'"),
    ],
)  # fmt: skip
def test_ranges_have_declared_types(
    parse: Any, key: str, given: Any, kind: Any, ends: Any, setting: str
) -> None:
    dimension = one(parse, key, **given)
    assert dimension.kind == kind
    assert (dimension.low, dimension.high) == ends
    assert type(dimension.low) is type(dimension.high) is (float if kind is float else int)
    assert dimension.setting(dimension.first) == setting


def test_choices_have_declared_types(parse: Any) -> None:
    assert one(parse, "strategy.loss").choices == ("squared", "huber", "absolute")
    assert one(parse, "strategy.epochs", choices=[3, 5]).choices == (3, 5)
    assert one(parse, "policy", choices=["one", "all"]).setting("one") == "policy='one'"
    assert one(parse, "policy.d", choices=["1ms"]).choices == (1_000_000,)
    assert one(parse, "strategy.fit_seed", choices=["none", 3]).choices == (None, 3)


@pytest.mark.parametrize(
    ("key", "given", "problem"),
    [
        ("strategy.rat", {"low": 1, "high": 2}, "'net' has no parameter 'rat'"),
        ("strategy.rate", {"low": 1.0}, "low and high are given together"),
        ("strategy.rate", {"low": 2.0, "high": 1.0}, "is not below high"),
        ("strategy.rate", {"low": 0.0, "high": 1.0, "log": True}, "with log, low is above 0"),
        ("strategy.rate", {"low": 0.1, "high": 1.0, "log": 1}, "log is true or false"),
        ("strategy.rate", {"low": 0.1, "high": 1.0, "step": 0.0}, "step is above 0"),
        ("strategy.rate", {"low": "x", "high": 1.0}, "'x' is not a number"),
        ("strategy.rate", {"high": 1.0, "lwo": 1}, "no key 'lwo'"),
        ("strategy.rate", {}, "give low and high, or choices"),
        ("strategy.loss", {"choices": ["cubed"]}, "'cubed' is not one of"),
        ("strategy.loss", {"low": 1, "high": 2}, "only numbers and spans"),
        ("strategy.loss", {"choices": []}, "choices are a list"),
        ("strategy.epochs", {"low": 1.5, "high": 2}, "1.5"),
        ("latency.entry.span", {"low": 1, "high": 2}, "is not one part"),
    ],
)
def test_what_is_no_space_is_refused(
    parse: Any, key: str, given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        parse(**{key: given})


def test_an_empty_space_and_one_that_is_no_table_are_refused(parse: Any) -> None:
    with pytest.raises(UsageError, match="nothing is to be searched"):
        parse()
    with pytest.raises(UsageError, match="it is no table"):
        parse(**{"strategy.rate": 3})
