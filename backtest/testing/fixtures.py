"""Fixtures for the tests of plugins; a ``conftest.py`` or a test module takes them by

pytest_plugins = ["backtest.testing.fixtures"]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest

from backtest import api
from backtest.runs.folder import Run


class RunBacktest(Protocol):
    """Runs a backtest in a folder of the test's own."""

    def __call__(self, strategy: Any, **settings: Any) -> Run:
        """As ``backtest.run``, on the first 2,000 events of the sample and with answers after 1 ms.

        Args:
            strategy: a name with parameters, a class, or an instance of a dataclass.
            **settings: as for ``backtest.run``; they replace the defaults.
        """


@pytest.fixture
def run_backtest(tmp_path: Path) -> RunBacktest:
    """A function that runs a strategy on a piece of the sample and returns the run."""

    def run(strategy: Any, **settings: Any) -> Run:
        defaults: dict[str, Any] = {
            "dataset": "sample",
            "latency": {"service": "constant:1ms"},
            "runs": tmp_path / "runs",
        }
        if "dataset" not in settings:
            defaults["limit"] = 2000
        return api.run(strategy=strategy, **(defaults | settings))

    return run
