"""A queue model that the compiled loops have no rule for is refused, when loaded or when chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from backtest.api import run
from backtest.errors import PluginError, UsageError
from backtest.plugins.manager import load_plugins
from backtest.trading.order_layout import POWER
from backtest.trading.queue_models import Exact, Power, QueueModel, Trades, check_known

FILE = """
import backtest
from backtest.trading.queue_models import QueueModel

class Mine(QueueModel):
    {body}

@backtest.hookimpl
def backtest_register_queue_models(register):
    register("mine", Mine)
"""


@pytest.mark.parametrize("body", ["'''No code.'''", "code = 99", "code = None", "code = 'trades'"])
def test_a_plugin_with_a_rule_of_its_own_is_refused(tmp_path: Path, body: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE.format(body=body))
    with pytest.raises(PluginError, match="no rule for the queue model 'Mine'") as caught:
        load_plugins([path], entry_points=False)
    assert str(path) in str(caught.value)
    assert "Derive it from" in str(caught.value)


@dataclass(frozen=True)
class Steep(Power):
    """Another default is no other rule."""

    n: int = 4


class Renumbered(Trades):
    """Its code is known, its number is not."""

    @property
    def number(self) -> int:
        return 77


class Bare(QueueModel):
    """A power without an exponent."""

    code: ClassVar[int] = POWER


def choose(model: type, dataset: Path, runs: Path) -> Any:
    return run(
        dataset=str(dataset),
        strategy="imbalance",
        quoting="two-sided",
        fills={"queue": model.__name__.lower()},
        latency={"service": "constant:1ms"},
        plugins=[model],
        runs=runs,
        limit=100,
    )


def test_a_shipped_rule_with_other_defaults_is_taken(small_dataset: Path, tmp_path: Path) -> None:
    done = choose(Steep, small_dataset, tmp_path)
    assert done.manifest["config"]["fills"]["queue"] == {"name": "steep", "n": 4}


@pytest.mark.parametrize("model", [Renumbered, Bare])
def test_a_number_that_is_not_known_is_refused(
    model: type, small_dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=rf"fills\.queue.*no rule for '{model.__name__}'"):
        choose(model, small_dataset, tmp_path)
    assert not list(tmp_path.glob("*/manifest.json"))


def test_l3_is_refused_without_depth(small_dataset: Path, tmp_path: Path) -> None:
    class Precise(Exact):
        pass

    with pytest.raises(UsageError, match=r"fills\.queue.*l3 needs depth that tells of every"):
        choose(Precise, small_dataset, tmp_path)


def test_what_is_no_queue_model_is_refused() -> None:
    with pytest.raises(UsageError, match="no rule for 'int'"):
        check_known(3)
