"""The executors that come with the project."""

from __future__ import annotations

from importlib.util import find_spec

from backtest.experiments.executors import Executor
from backtest.plugins.executors.cluster import Ray
from backtest.plugins.executors.inline import Inline
from backtest.plugins.executors.local import Local
from backtest.plugins.hookspecs import Register, hookimpl


@hookimpl
def backtest_register_executors(register: Register[Executor]) -> None:
    register("inline", Inline)
    register("local", Local)
    missing = "the package ray is not installed; pip install 'ticktoll[ray]'"
    register("ray", Ray, unavailable=None if find_spec("ray") else missing)
