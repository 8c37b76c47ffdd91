"""Exceptions for what can go wrong, each with the process's exit code and a remedy."""

from __future__ import annotations

from functools import partial
from typing import Any


class BacktestError(Exception):
    """A failure that a user can fix.

    Args:
        problem: what is wrong, naming the thing itself.
        place: where it is wrong (a file, a row, a configuration key), or ``None``.
        remedy: what to do about it, or ``None``.
    """

    exit_code = 1

    def __init__(
        self, problem: str, *, place: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(problem, place, remedy)
        self.problem = problem
        self.place = place
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers send errors back; the arguments are keywords, which pickle would not restore.
        return partial(type(self), self.problem, place=self.place, remedy=self.remedy), ()

    def __str__(self) -> str:
        text = f"{self.place}: {self.problem}" if self.place else self.problem
        return f"{text}\n  {self.remedy}" if self.remedy else text


class RunError(BacktestError):
    """A run failed while it ran (exit code 1)."""


class UsageError(BacktestError):
    """A flag, a configuration value or a name is wrong (exit code 2)."""

    exit_code = 2


class DataError(BacktestError):
    """A file or a value in it cannot be used (exit code 3)."""

    exit_code = 3


class PluginError(UsageError):
    """A plugin could not be loaded, or asked for something that it may not (exit code 2)."""


class GateError(BacktestError):
    """A condition that was not to hold does (exit code 5)."""

    exit_code = 5
