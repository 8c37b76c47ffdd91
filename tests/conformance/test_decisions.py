"""Verification of strategies that send their own orders."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar

import numpy as np
import pytest

from backtest.conformance.decisions import check_decisions
from backtest.conformance.inputs import random_events
from backtest.conformance.properties import Case
from backtest.conformance.trials import make_trials
from backtest.conformance.verification import Verification
from backtest.core.arrays import Float32Array
from backtest.core.parts import Origin
from backtest.errors import UsageError
from backtest.market.events import EventBatch
from backtest.market.order_codes import REPORTS
from backtest.plugins.hookspecs import Register, hookimpl
from backtest.plugins.manager import load_plugins
from backtest.strategies import Desk, Messages, Reports, Session, Strategy

_calls = count()
_kinds: set[str] = set()


@dataclass
class Sender(Strategy):
    """Sends, replaces and cancels orders; ``flaw`` says what is wrong with it."""

    flaw: str = ""

    needs_features: ClassVar[bool] = False
    stateful: ClassVar[bool] = False
    timer = "1s"

    def bind(self, session: Session) -> None:
        self._turn = 0

    def predict(self, batch: EventBatch) -> Float32Array:
        return np.zeros((len(batch), 1), dtype=np.float32)

    def on_reports(self, reports: Reports) -> None:
        assert len(reports)
        _kinds.update(REPORTS[kind] for kind in reports.kind)
        if self.flaw == "report":
            raise ValueError("what is a report?")

    def decide(self, now: int, batch: EventBatch, desk: Desk) -> Any:
        self._turn += 1
        own = desk.working
        if self.flaw == "draws":
            return Messages.new(0, 1, 100 + next(_calls), 1)
        if self.flaw == "writes":
            desk.position[:] = 0
        if self.flaw == "list":
            return [1]
        if self.flaw == "symbol":
            return Messages.cancel(len(desk.position), 1)
        if self.flaw == "side":
            return Messages.new(0, 0, 100, 1)
        messages = Messages.new(np.unique(batch.symbol), (-1) ** self._turn, 100, 2)
        messages += Messages.replace(own.symbol[:1], own.id[:1], own.price[:1] + 1, own.total[:1])
        messages += Messages.cancel(own.symbol[1:2], own.id[1:2]) + Messages.cancel(0, 9999)
        return messages + Messages.cancel_all(1) if self._turn % 7 == 0 else messages


@dataclass
class Both(Sender):
    """Has methods that do not go together."""

    def on_fills(self, fills: Any) -> None:
        pass


def case_of(kind: type[Sender], flaw: str = "") -> Case:
    session = Session(("A", "B", "C"))
    return Case(lambda: kind(flaw), session, random_events(200, symbols=3, features=1, seed=3))


def test_one_that_sends_orders_holds() -> None:
    _kinds.clear()
    for seed in range(5):
        check_decisions(case_of(Sender), seed)
    assert _kinds == {*REPORTS} - {"took"}


@pytest.mark.parametrize(
    ("flaw", "problem"),
    [
        ("draws", "call 0 of decide: other messages for the same events and reports"),
        ("list", "decide gave a list, not Messages or None"),
        ("symbol", "decide: row 0: symbol is 3"),
        ("side", "decide: row 0: side is 0"),
    ],
)
def test_what_it_may_not_send_fails(flaw: str, problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        check_decisions(case_of(Sender, flaw), 1)


def test_what_it_knows_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        check_decisions(case_of(Sender, "writes"), 1)


def test_methods_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(UsageError, match="decide and on_fills"):
        check_decisions(case_of(Both), 1)


class _Plugin:
    @hookimpl
    def backtest_register_strategies(self, register: Register[Strategy]) -> None:
        register("sender", Sender)


def test_verify_covers_decisions() -> None:
    plugins = load_plugins(entry_points=False)
    plugins.add(_Plugin(), Origin("test"))
    trials = make_trials("quick", device="cpu", dataset="sample", seed=5)
    verification = Verification(plugins, trials, on_step=lambda text: None)
    good = verification.verify("sender")
    assert good.holds
    assert "decisions" in [check.name for check in good.checks]
    bad = verification.verify("sender:report")
    assert [check.name for check in bad.failures] == ["decisions"]
    assert "what is a report?" in bad.failures[0].detail
    plain = verification.verify("imbalance")
    assert "decisions" not in [check.name for check in plain.checks]
