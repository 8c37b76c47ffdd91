"""Misspelt names, and methods of other arguments, are refused when parts are registered."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtest.errors import PluginError
from backtest.plugins.manager import load_plugins

STRATEGY = """
from dataclasses import dataclass

import numpy as np

import backtest


@dataclass
class Tried(backtest.Strategy):
    BODY

    def predict(self, batch):
        return np.zeros((len(batch), 1), dtype=np.float32)


@backtest.hookimpl
def backtest_register_strategies(register):
    register("tried", Tried)
"""

MODULE = """
import backtest


class Tried(backtest.ModuleStrategy):
    BODY

    def module(self, features):
        raise NotImplementedError


@backtest.hookimpl
def backtest_register_strategies(register):
    register("tried", Tried)
"""

QUOTING = """
from dataclasses import dataclass

import backtest
from backtest.trading.quoting import QuotingRule


@dataclass(frozen=True)
class Tried(QuotingRule):
    BODY


@backtest.hookimpl
def backtest_register_quoting_rules(register):
    register("tried", Tried)
"""

ACCOUNTANT = """
import backtest
from backtest.trading.accountant import Accountant


class Tried(Accountant):
    BODY

    def open(self, terms):
        raise NotImplementedError


@backtest.hookimpl
def backtest_register_accountants(register):
    register("tried", Tried)
"""


def refusal(folder: Path, source: str, body: str) -> PluginError:
    (folder / "tried.py").write_text(source.replace("BODY", body))
    with pytest.raises(PluginError) as told:
        load_plugins([folder / "tried.py"], entry_points=False)
    return told.value


@pytest.mark.parametrize(
    ("source", "body", "found", "meant"),
    [
        (STRATEGY, "def on_fill(self, fills): ...", "on_fill", "on_fills"),
        (STRATEGY, "def onFills(self, fills): ...", "onFills", "on_fills"),
        (STRATEGY, "def message(self): ...", "message", "messages"),
        (STRATEGY, "def decides(self, now, batch, desk): ...", "decides", "decide"),
        (STRATEGY, "def on_report(self, reports): ...", "on_report", "on_reports"),
        (STRATEGY, "def onReports(self, reports): ...", "onReports", "on_reports"),
        (STRATEGY, "timers = '1s'", "timers", "timer"),
        (STRATEGY, "def forcast(self, predictions): ...", "forcast", "forecast"),
        (STRATEGY, "def snapshots(self, symbols): ...", "snapshots", "snapshot"),
        (STRATEGY, "def resett(self, symbols): ...", "resett", "reset"),
        (STRATEGY, "def finerprint(self): ...", "finerprint", "fingerprint"),
        (STRATEGY, "def load_weigths(self, weights): ...", "load_weigths", "load_weights"),
        (STRATEGY, "need_features = False", "need_features", "needs_features"),
        (STRATEGY, "statefull = False", "statefull", "stateful"),
        (MODULE, "def on_fill(self, fills): ...", "on_fill", "on_fills"),
        (MODULE, "batch_dims = 1", "batch_dims", "batch_dim"),
        (ACCOUNTANT, "def joins(self, accounts, shares): ...", "joins", "join"),
        (ACCOUNTANT, "def order_rule(self, sessions, end): ...", "order_rule", "order_rules"),
        (ACCOUNTANT, "needs_quote = True", "needs_quote", "needs_quotes"),
        (
            QUOTING,
            "def quote(self, predictions, quotes): ...\n    post_onyl = 'no'",
            "post_onyl",
            "post_only",
        ),
    ],
)
def test_a_misspelt_name_is_refused_with_the_one_that_was_meant(
    tmp_path: Path, source: str, body: str, found: str, meant: str
) -> None:
    error = refusal(tmp_path, source, body)
    assert f"'tried' has {found!r}, which nothing asks for, instead of {meant!r}" in error.problem
    assert error.remedy is not None
    assert f"Call it {meant!r}" in error.remedy


def test_a_misspelt_method_that_must_be_there_is_named_beside_what_is_missing(
    tmp_path: Path,
) -> None:
    error = refusal(tmp_path, QUOTING, "def quotes(self, predictions, quotes): ...")
    assert "the quoting rule 'tried' does not implement quote" in error.problem
    assert error.remedy == "It has 'quotes' for 'quote': is that misspelt?"


@pytest.mark.parametrize(
    ("source", "body", "form"),
    [
        (ACCOUNTANT, "def bucket_ends(self, start, end): ...", "bucket_ends(start, end, hours)"),
        (ACCOUNTANT, "def order_rules(self): ...", "order_rules(sessions, end)"),
        (STRATEGY, "def reset(self): ...", "reset(symbols)"),
        (STRATEGY, "def decide(self, batch, desk): ...", "decide(now, batch, desk)"),
        (STRATEGY, "def on_reports(self): ...", "on_reports(reports)"),
        (STRATEGY, "def on_fills(self): ...", "on_fills(fills)"),
        (STRATEGY, "def messages(self, symbols): ...", "messages()"),
        (
            STRATEGY,
            "def plain_steps(self, session): ...",
            "plain_steps(session, double=...)",
        ),
    ],
)
def test_a_method_of_other_arguments_is_refused(
    tmp_path: Path, source: str, body: str, form: str
) -> None:
    error = refusal(tmp_path, source, body)
    assert f"which cannot be called as {form}" in error.problem


@pytest.mark.parametrize(
    "body",
    [
        "output: int = 1",  # a parameter
        "def find(self): ...",  # one letter from `bind`
        "def predict_one(self, event): ...",
        "def _on_fill(self, fills): ...",
        "def on_fills(self, fills): ...",
        "def messages(self): ...",
        "def decide(self, now, batch, desk): ...",
        "timer = '1s'",
        "def reset(self, *symbols): ...",
        "def reset(self, symbols, again=False): ...",
    ],
)
def test_names_of_its_own_are_a_strategys_business(tmp_path: Path, body: str) -> None:
    (tmp_path / "tried.py").write_text(STRATEGY.replace("BODY", body))
    plugins = load_plugins([tmp_path / "tried.py"], entry_points=False)
    assert plugins.names("strategy").count("tried") == 1
