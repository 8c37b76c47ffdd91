"""What a verdict says of a server, and what it must not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backtest.api import run
from backtest.comparison.comparison import Comparison, compare
from backtest.comparison.fields import Field, fields
from backtest.comparison.verdict import verdict
from backtest.runs.folder import Run
from tests.changed_runs import changed

BEHIND = "falls behind the market"


@pytest.fixture(scope="module")
def served(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Runs on a server that needs 5 ms a call, while events come every ms."""
    folder = tmp_path_factory.mktemp("served")
    settings: dict[str, dict[str, Any]] = {
        "skipping": {"policy": "newest-per-symbol"},
        "batching": {"policy": "all"},
        "growing": {"policy": "one", "server": {"line_limit": 10_000}},
        "dropping": {"policy": "one", "server": {"line_limit": 3}},
        "expiring": {"policy": "one", "server": {"max_age": 3_000_000}},
    }
    return {
        name: run(
            runs=folder,
            dataset=str(small_dataset),
            strategy="imbalance",
            latency={"service": "constant:5ms"},
            **chosen,
        )
        for name, chosen in settings.items()
    }


def said(*runs: Run) -> tuple[Comparison, str]:
    compared = compare(runs)
    members = tuple(range(len(runs)))
    return compared, " ".join(verdict(compared, Field({}, members, ())).lines())


def test_skipping_by_design_is_not_falling_behind(served: dict[str, Run]) -> None:
    compared, text = said(served["batching"], served["skipping"])
    row = compared.rows[1]
    assert row["response_rate"] < 0.9
    assert row["conflated_rate"] > 0.1
    assert row["lost_rate"] == 0
    assert BEHIND not in text
    _, text = said(served["skipping"])
    assert f"skips {100 * row['conflated_rate']:.1f} % for newer ones of their symbols" in text


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("growing", "ms later with each second"),
        ("dropping", "found its line full"),
        ("expiring", "waited too long"),
    ],
)
def test_growing_lines_are_falling_behind(served: dict[str, Run], name: str, how: str) -> None:
    for runs in ((served["batching"], served[name]), (served[name],)):
        _, text = said(*runs)
        assert BEHIND in text
        assert how in text


def test_a_run_without_the_newer_figures_is_still_judged(
    served: dict[str, Run], tmp_path: Path
) -> None:
    new = served["dropping"]
    timing = {k: v for k, v in new.metrics["timing"].items() if k != "sojourn_growth"}
    accuracy = {
        "reference": new.metrics["accuracy"]["reference"],
        "targets": {"correlation": 0.5, "rmse": 1.0},
    }
    old = changed(new, tmp_path / "old", metrics__timing=timing, metrics__accuracy=accuracy)
    compared, text = said(old)
    assert BEHIND in text
    assert "IC" not in text
    assert (compared.rows[0]["ic"], compared.rows[0]["sojourn_growth"]) == (None, None)
    missing = changed(old, tmp_path / "older", metrics__accuracy={"reference": None})
    assert said(missing)[0].rows[0]["agreement"] is None


def test_agreement_is_not_called_accuracy(served: dict[str, Run]) -> None:
    compared, text = said(served["batching"])
    row = compared.rows[0]
    targets = served["batching"].metrics["accuracy"]["targets"]
    assert row["agreement"] == 1
    assert row["ic"] == targets["ic"] == targets["by_target"]["target"]["outputs"][0]["ic"]
    assert abs(row["ic"]) < 0.2
    assert f"IC of {row['ic']:.3f} against the dataset's targets" in text
    assert "agree with its own to every event at a correlation of 1.000" in text
    assert "accuracy" not in compared.rows[0]


def test_training_is_no_condition_of_the_market(served: dict[str, Run], tmp_path: Path) -> None:
    other = served["skipping"]
    settings = {**other.manifest["config"], "training": {"start": None, "end": 5, "purge": 0}}
    data = other.manifest["determined_by"]["data"]
    trained = changed(other, tmp_path / "trained", data=data, config=settings)
    assert "training.end" in [
        name for name, _ in compare([served["batching"], trained]).differences()
    ]
    (field,) = fields(compare([served["batching"], trained]))
    assert len(field.members) == 2
