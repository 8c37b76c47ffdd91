"""Errors state the problem, the place and the remedy, and carry the exit code."""

import pickle

import pytest

from backtest.errors import BacktestError, DataError, PluginError, RunError, UsageError


@pytest.mark.parametrize(
    ("error", "code"), [(RunError, 1), (UsageError, 2), (PluginError, 2), (DataError, 3)]
)
def test_exit_codes(error: type[BacktestError], code: int) -> None:
    assert error("x").exit_code == code


def test_text_has_place_problem_and_remedy() -> None:
    assert str(DataError("no such column")) == "no such column"
    full = DataError("no such column 'bid'", place="a.parquet", remedy="Add it.")
    assert str(full) == "a.parquet: no such column 'bid'\n  Add it."


def test_errors_come_back_from_another_process_as_they_were() -> None:
    sent = DataError("no such column", place="a.parquet", remedy="Add it.")
    back = pickle.loads(pickle.dumps(sent))
    assert (type(back), str(back)) == (DataError, str(sent))
