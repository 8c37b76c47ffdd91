"""Messages and what a strategy knows of its orders: how they are made, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backtest.errors import RunError, UsageError
from backtest.market.order_codes import ACTIONS, POST_ONLY, REPORTS, TIMES_IN_FORCE
from backtest.strategies import Messages, Reports, WorkingOrders
from backtest.strategies.reacting import check_methods, timer_of


def rows(messages: Messages) -> list[tuple[int, ...]]:
    columns = (getattr(messages, name).tolist() for name in Messages.__slots__)
    return [*zip(*columns, strict=True)]


def test_each_kind_of_message() -> None:
    prices = np.array([100, 101])
    made = Messages.new([0, 1], [1, -1], prices, 3, post_only="slide")
    new, cancel, every, replace = ACTIONS.values()
    gtc, ioc, slide = TIMES_IN_FORCE["gtc"], TIMES_IN_FORCE["ioc"], POST_ONLY["slide"]
    assert rows(made) == [(new, 0, -1, 1, 100, 3, gtc, slide), (new, 1, -1, -1, 101, 3, gtc, slide)]
    assert rows(Messages.new(2, 1, 7, 1, id=5, tif="ioc")) == [(new, 2, 5, 1, 7, 1, ioc, 0)]
    assert rows(Messages.cancel(1, [3, 4])) == [(cancel, 1, n, 0, 0, 0, 0, 0) for n in (3, 4)]
    assert rows(Messages.cancel_all([0, 2], -1)) == [(every, s, 0, -1, 0, 0, 0, 0) for s in (0, 2)]
    assert rows(Messages.replace(1, 3, 99, 0)) == [(replace, 1, 3, 0, 99, 0, 0, 0)]
    assert len(Messages.none()) == len(Messages.cancel([], [])) == len(Messages.join([])) == 0
    both = made + Messages.cancel(1, 3)
    assert rows(both) == [*rows(made), (cancel, 1, 3, 0, 0, 0, 0, 0)]
    assert rows(Messages.join([both, Messages.none()])) == rows(both)


def test_they_cannot_be_changed() -> None:
    prices = np.array([100, 101])
    made = Messages.new(0, 1, prices, 3)
    prices[0] = 7
    assert made.price.tolist() == [100, 101]
    with pytest.raises(ValueError, match="read-only"):
        made.price[0] = 7
    with pytest.raises(AttributeError):
        made.price = prices  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Messages.new(0, [1, 2], 100, 1), "row 1: side is 2"),
        (lambda: Messages.new(0, 0, 100, 1), "row 0: side is 0"),
        (lambda: Messages.new([0, -3], 1, 100, 1), "row 1: symbol is -3"),
        (lambda: Messages.new(0, 1, 100, [1, 1, 0]), "row 2: total is 0"),
        (lambda: Messages.new(0, 1, 100, 2**53 + 1), "row 0: total is 9,007,199,254,740,993"),
        (lambda: Messages.new(0, 1, [2**60 + 1], 1), "row 0: price is 1,152,921,504,606,846,977"),
        (lambda: Messages.new(0, 1, 100, 1, id=[-1]), "row 0: id is -1"),
        (lambda: Messages.new(0, 1, 100.5, 1), r"price is float64 \[\], not whole numbers"),
        (lambda: Messages.new(0, True, 100, 1), r"side is bool \[\], not whole numbers"),
        (lambda: Messages.new(0, 1, [[100]], 1), r"price is int64 \[1, 1\]"),
        (lambda: Messages.new(0, 1, 100, 1, tif="day"), "tif is 'day'"),
        (lambda: Messages.new(0, 1, 100, 1, post_only="yes"), "post_only is 'yes'"),
        (lambda: Messages.new([0, 1], 1, [1, 2, 3], 1), "different lengths: symbol 2, price 3"),
        (lambda: Messages.cancel(0, [1, -2]), "row 1: id is -2"),
        (lambda: Messages.cancel_all(0, 2), "row 0: side is 2"),
        (lambda: Messages.replace(0, 1, 100, -1), "row 0: total is -1"),
        (lambda: Messages(9, 0, 0, 0, 0, 0, 0, 0), "row 0: action is 9"),  # type: ignore[arg-type]
        (lambda: Messages(1, 0, 0, 1, 0, 1, 3, 0), "row 0: tif is 3"),  # type: ignore[arg-type]
        (lambda: Messages(1, 0, 0, 1, 0, 1, 0, -1), "row 0: post_only is -1"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_message_is_refused_by_row(make: Callable[[], Messages], problem: str) -> None:
    with pytest.raises(RunError, match=problem):
        make()


def test_symbols_are_those_that_trade() -> None:
    made = Messages.cancel([0, 1, 2], 1)
    made.check_symbols(np.array([True, True, True]))
    with pytest.raises(RunError, match="row 2: symbol is 2"):
        made.check_symbols(np.array([True, True]))
    with pytest.raises(RunError, match="row 1: symbol is 1") as told:
        made.check_symbols(np.array([True, False, True]))
    assert told.value.remedy == "The dataset card says that it does not trade."


def test_reports_by_kind() -> None:
    columns: list[Any] = [np.arange(8)] * 8
    reports = Reports(*columns)
    assert len(reports) == 8
    assert [REPORTS[k] for k in reports.select(reports.fills).kind] == ["filled", "took"]
    assert np.flatnonzero(reports.are("late", "accepted")).tolist() == [0, 7]
    with pytest.raises(ValueError, match="not in"):
        reports.are("fill")


def test_what_is_open_of_working_orders() -> None:
    working = WorkingOrders(
        *(np.array(c) for c in ([0, 1], [5, 6], [1, -1], [9, 9], [4, 3], [1, 3]))
    )
    assert working.open.tolist() == [3, 0]
    assert working.select(working.side < 0).id.tolist() == [6]


def made_of(**named: Any) -> Any:
    return type("Made", (), named)()


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ({"decide": 1, "on_fills": 1}, "it has decide and on_fills"),
        ({"decide": 1, "messages": 1}, "it has decide and messages"),
        ({"on_reports": 1}, "it has on_reports, but no decide"),
        ({"timer": "1s"}, "it has a timer, but no decide"),
    ],
)
def test_methods_that_do_not_go_together_are_refused(named: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as told:
        check_methods(made_of(**named), "strategy 'made'")
    assert told.value.remedy
    assert told.value.place == "strategy 'made'"


def test_methods_that_go_together() -> None:
    for named in ({}, {"decide": 1, "on_reports": 1, "timer": "1s"}, {"on_fills": 1}):
        check_methods(made_of(**named), "here")


def test_timers() -> None:
    for timer, span in ((None, None), ("1s", 10**9), (5, 5), ("250us", 250_000)):
        assert timer_of(made_of(timer=timer), "here") == span
    assert timer_of(object(), "here") is None
    for wrong in ("soon", "0s", 0, -1, 1.5, True, "1"):
        with pytest.raises(UsageError, match="timer"):
            timer_of(made_of(timer=wrong), "strategy 'made'")
