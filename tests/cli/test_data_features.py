"""``backtest data features`` end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.cli import main
from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import read_events
from tests.data.made import quote_dataset

CHEAT = """
from dataclasses import dataclass

import polars as pl

import backtest
from backtest.data.features.builders import FeatureBuilder


@dataclass
class Oracle(FeatureBuilder):
    rows: int = 1

    def expressions(self):
        return [pl.col("bid").shift(-self.rows).alias("next_bid")]


@backtest.hookimpl
def backtest_register_feature_builders(register):
    register("oracle", Oracle)
"""


def run(*arguments: object) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        main(["data", "features", *map(str, arguments)])
    return caught.value.code


def test_features_are_written_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quote_dataset(tmp_path / "in", 500)
    builders = ["--builder", "returns:1+5,ticks", "--builder", "imbalance"]
    assert run(tmp_path / "in", tmp_path / "out", *builders, "--json") == 0
    output = json.loads(capsys.readouterr().out)
    made = open_dataset(tmp_path / "out")
    assert (
        output["features"]
        == list(made.features)
        == ["return_1_ticks", "return_5_ticks", "imbalance"]
    )
    assert output["rows"] == len(read_events(made, features=True)) == 500
    assert output["unknown"]["return_5_ticks"] >= 15
    assert made.card.notes["features"]["builders"] == builders[1::2]
    assert run(tmp_path / "in", tmp_path / "out", *builders) == 3
    assert run(tmp_path / "in", tmp_path / "out", *builders, "--overwrite") == 0
    assert "return_5_ticks" in capsys.readouterr().out


def test_a_builder_that_looks_ahead_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quote_dataset(tmp_path / "in", 500)
    plugin = tmp_path / "cheat.py"
    plugin.write_text(CHEAT)
    asked = ["--builder", "oracle:rows=3", "--plugin", plugin]
    assert run(tmp_path / "in", tmp_path / "out", *asked) == 2
    error = capsys.readouterr().err
    assert "feature builder 'oracle:rows=3': it looks ahead: 'next_bid' of row" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "code", "problem"),
    [
        (["no-such"], 2, "no feature builder is called 'no-such'"),
        (["returns:lags=0"], 2, "lags must be above 0"),
        (["spread:unit=euros"], 2, "'euros' is not one of bp, ticks"),
        (["spread", "spread"], 2, "a feature builder is given twice"),
        (["spread", "spread:unit=bp"], 2, "the feature 'spread_bp' is defined twice"),
    ],
)
def test_what_cannot_be_asked_for(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    asked: list[str],
    code: int,
    problem: str,
) -> None:
    quote_dataset(tmp_path / "in", 50)
    options = [text for spec in asked for text in ("--builder", spec)]
    assert run(tmp_path / "in", tmp_path / "out", *options) == code
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
