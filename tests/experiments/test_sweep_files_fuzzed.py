"""Fuzzed sweep files and configurations: runs that can be asked for, or a ``BacktestError``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.core import toml
from backtest.core.hashing import sha256_of
from backtest.core.settings import override, read_table
from backtest.errors import BacktestError
from backtest.experiments.matrix import parse_matrix
from backtest.plugins.manager import Plugins
from backtest.runs.run_config import PARTS, parse_config
from tests.mutations import (
    EDITS,
    PLAIN_VALUES,
    Edit,
    Place,
    changed,
    changes,
    edited,
    places,
    refusal,
    tries,
)

SWEEP: dict[str, Any] = {
    "name": "night",
    "dataset": "sample",
    "strategy": ["batched", {"name": "imbalance", "smoothing": [0.5, 1.0]}],
    "policy": ["one", "at-most:8", {"name": "deadline", "n": [4, 8], "d": "5ms"}],
    "latency": {
        "service": ["affine:35.8ms,0.5ms", {"name": "constant", "span": ["1ms", "2ms"]}],
        "entry": "constant:250us",
        "scale": [0, 1.0],
    },
    "accountant": {"name": "market", "position_limit": 5, "impact": 0.5, "bucket": "1s"},
    "sizing": ["sign", "proportional:2.5"],
    "window": {"start": "2025-09-01T00:00:00Z", "end": 1_800_000_000_000_000_000},
    "symbols": ["SYM_000"],
    "server": {"line_limit": 10, "max_batch": 64, "max_age": "1s"},
    "seed": [0, 1],
    "warmup": 5,
    "limit": 100,
    "exclude": [{"policy": "one", "seed": 1}],
    "include": [{"policy": "all", "latency": {"scale": 2.0}}],
}
CONFIG: dict[str, Any] = SWEEP | {
    "strategy": {"name": "imbalance", "smoothing": 0.5},
    "policy": "at-most:8",
    "latency": {"service": "affine:35.8ms,0.5ms", "entry": "constant:250us", "scale": 1.0},
    "sizing": "sign",
    "seed": 0,
}
for _key in ("name", "exclude", "include"):
    del CONFIG[_key]

PARTS_ASKED = [
    "affine", "affine:1ms", "constant:9e9h", "exponential:1ns,1ns", "measured", "recorded",
    "profile:sample", "profile:..", "at-most:99999999999999999999", "deadline:1,2500000h", "one:",
    "market:bucket=1ns", "sign:lots=-1", "proportional:1e308", "imbalance:smoothing=1e-300", ":",
    "[", "a:[", 'a:"', "a:" + "[" * 3000, "a:" + "[" * 3000 + "]" * 3000, "pruned:towers=[]",
]  # fmt: skip
ASKED = PLAIN_VALUES | st.sampled_from(PARTS_ASKED)
SETTINGS = st.lists(
    st.builds(
        "{}={}".format,
        st.sampled_from(
            ["seed", "latency.scale", "policy.n", "strategy.smoothing", "x", "a." * 99 + "a", ""]
        ),
        st.sampled_from(
            ["1", "[1,2]", "1e400", "nan", "{a=1}", "[" * 3000, "{a=" * 3000, "'", "9" * 5000]
        ),
    ),
    max_size=2,
)


def check(path: Path, text: bytes, settings: list[str], plugins: Plugins) -> None:
    path.write_bytes(text)

    def sweep() -> None:
        table = read_table(path)
        matrix = parse_matrix(table, plugins, name="night", place=str(path), settings=settings)
        ids = {sha256_of(config.model_dump(mode="json")) for config in matrix.configs}
        assert len(ids) == len(matrix.configs) > 0
        _ = matrix.differences(), matrix.id

    def configuration() -> None:
        table = override(read_table(path), settings, plugins.declared(PARTS))
        config = parse_config(table, place=str(path))
        assert parse_config(config.model_dump(), place="again") == config

    for attempt in (sweep, configuration):
        refused = refusal(attempt)
        assert refused is None or refused.exit_code in (2, 3)


@tries(60)
@given(changes([*places(SWEEP)], ASKED), SETTINGS)
def test_sweeps(
    tmp_path: Path, plugins: Plugins, made: list[tuple[Place, Any]], settings: list[str]
) -> None:
    check(tmp_path / "s.toml", toml.dumps(changed(SWEEP, made)).encode(), settings, plugins)


@pytest.mark.slow
@tries(800)
@given(changes([*places(SWEEP)], ASKED), SETTINGS)
def test_sweeps_at_length(
    tmp_path: Path, plugins: Plugins, made: list[tuple[Place, Any]], settings: list[str]
) -> None:
    check(tmp_path / "s.toml", toml.dumps(changed(SWEEP, made)).encode(), settings, plugins)


@tries(100)
@given(changes([*places(CONFIG)], ASKED), SETTINGS)
def test_configurations(
    tmp_path: Path, plugins: Plugins, made: list[tuple[Place, Any]], settings: list[str]
) -> None:
    check(tmp_path / "s.toml", toml.dumps(changed(CONFIG, made)).encode(), settings, plugins)


@pytest.mark.slow
@tries(800)
@given(changes([*places(CONFIG)], ASKED), SETTINGS)
def test_configurations_at_length(
    tmp_path: Path, plugins: Plugins, made: list[tuple[Place, Any]], settings: list[str]
) -> None:
    check(tmp_path / "s.toml", toml.dumps(changed(CONFIG, made)).encode(), settings, plugins)


@tries(100)
@given(EDITS)
def test_text(tmp_path: Path, plugins: Plugins, edits: list[Edit]) -> None:
    check(tmp_path / "s.toml", edited(toml.dumps(SWEEP).encode(), edits), [], plugins)


def test_more_combinations_than_can_be_run_are_refused_at_once(
    tmp_path: Path, plugins: Plugins
) -> None:
    many = [*range(1, 1001)]
    policy = {"name": "deadline", "n": many, "d": [f"{k}ns" for k in many]}
    table = {"strategy": "imbalance", "dataset": "sample", "latency": {"service": "constant"}}
    with pytest.raises(BacktestError, match="policy: there are more than 100,000 combinations"):
        parse_matrix(table | {"policy": policy}, plugins, name="n", place="n.toml")
    table |= {"seed": many, "warmup": many, "limit": many}
    with pytest.raises(BacktestError, match="more than 100,000 combinations"):
        parse_matrix(table, plugins, name="n", place="n.toml")
