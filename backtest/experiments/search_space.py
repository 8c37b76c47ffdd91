"""Search spaces: which values of which settings a study tries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from backtest.core.grammar import parse_spec
from backtest.core.parameters import Nanoseconds, convert, format_value
from backtest.core.parts import Parts
from backtest.core.text import suggestion
from backtest.core.times import format_duration
from backtest.errors import UsageError
from backtest.runs.run_config import PARTS

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_KEYS = ("low", "high", "step", "log", "choices")


@dataclass(frozen=True, slots=True)
class Dimension:
    """The values of one setting.

    Attributes:
        key: the setting, dotted.
        kind: the type of its values; spans of time are ``Nanoseconds``.
        choices: what is chosen from; empty: a range.
        low, high: the range, both inclusive.
        step: between values; ``None``: 1 for whole numbers and spans, else none.
        log: whether orders of magnitude are equally likely rather than values.
    """

    key: str
    kind: Any
    choices: tuple[Any, ...] = ()
    low: Any = None
    high: Any = None
    step: Any = None
    log: bool = False

    @property
    def first(self) -> Any:
        """A value of it."""
        return self.choices[0] if self.choices else self.low

    def distribution(self) -> BaseDistribution:
        """The same as optuna has it."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if self.choices:
            return CategoricalDistribution(self.choices)
        if self.kind is float:
            return FloatDistribution(self.low, self.high, log=self.log, step=self.step)
        return IntDistribution(self.low, self.high, log=self.log, step=self.step or 1)

    def setting(self, value: Any) -> str:
        """``KEY=VALUE`` for one of its values."""
        return f"{self.key}={_quoted(value, self.kind)}"

    def text(self, value: Any) -> str:
        """One of its values as a table shows it."""
        if _is_span(value, self.kind):
            return format_duration(value)
        return f"{value:.6g}" if isinstance(value, float) else format_value(value, self.kind)


def parse_space(
    table: Mapping[str, Any], settings: Mapping[str, Any], plugins: Parts
) -> tuple[Dimension, ...]:
    """The dimensions of the table ``[search]``.

    Args:
        table: from dotted keys to ``low``, ``high``, ``step``, ``log`` or ``choices``; a choice
            between true and false or named values needs neither.
        settings: those of the file's runs, which name the parts whose parameters are meant.
        plugins: where parts declare their parameters.

    Raises:
        UsageError: an unknown parameter, or a space that is none.
    """
    if not table:
        raise UsageError(
            "nothing is to be searched",
            place="search",
            remedy='Name settings: "strategy.rate" = { low = 1e-4, high = 0.01, log = true }.',
        )
    found = []
    for key, given in table.items():
        place = f"search, {key!r}"
        if not isinstance(given, Mapping):
            raise UsageError(
                "it is no table", place=place, remedy="Write { low = 1, high = 10 }, for example."
            )
        for name in given:
            if name not in _KEYS:
                near = suggestion(name, _KEYS)
                raise UsageError(f"no key {name!r}", place=place, remedy=near)
        try:
            found.append(_dimension(key, _kind(key, settings, plugins, place), given))
        except ValueError as error:
            raise UsageError(str(error), place=place) from None
    return tuple(found)


def _kind(key: str, settings: Mapping[str, Any], plugins: Parts, place: str) -> Any:
    """The type that a part declares for its parameter; ``Any`` for other settings."""
    part, _, name = key.rpartition(".")
    if part not in PARTS:
        return Any
    given: Any = settings
    for step in part.split("."):
        given = given.get(step) if isinstance(given, Mapping) else None
    if not isinstance(given, str | Mapping):
        raise UsageError(f"{part} is not one part", place=place, remedy=f"Set {part} in the file.")
    spec = parse_spec(given, place=place)
    declared = plugins.parameters(PARTS[part], spec.name, place=place)
    if name not in declared:
        raise UsageError(
            f"{spec.name!r} has no parameter {name!r}",
            place=place,
            remedy=suggestion(name, declared) or f"Its parameters: {', '.join(declared)}.",
        )
    return declared[name].type


def _plain(kind: Any) -> Any:
    """A type without the alternative None, where that leaves one type."""
    if kind == Nanoseconds or get_origin(kind) in (Annotated, Literal):
        return kind
    inner = [one for one in get_args(kind) if one is not type(None)]
    return inner[0] if len(inner) == 1 and type(None) in get_args(kind) else kind


def _dimension(key: str, kind: Any, given: Mapping[str, Any]) -> Dimension:
    if "choices" in given:
        if len(given) > 1:
            raise ValueError("choices exclude every other key")
        values = given["choices"]
        if not isinstance(values, list) or not values:
            raise ValueError("choices are a list of values")
        return Dimension(key, kind, tuple(_value(value, kind) for value in values))
    if not given:
        options = (False, True) if kind is bool else get_args(kind)
        if kind is not bool and get_origin(kind) is not Literal:
            raise ValueError("give low and high, or choices")
        return Dimension(key, kind, tuple(options))
    if "low" not in given or "high" not in given:
        raise ValueError("low and high are given together")
    low, high = given["low"], given["high"]
    kind = _guessed(low, high) if kind is Any else _plain(kind)
    if kind not in (int, float) and kind != Nanoseconds:
        raise ValueError("only numbers and spans of time have a range; give choices")
    low, high = _value(low, kind), _value(high, kind)
    step = _value(given["step"], kind) if "step" in given else None
    log = given.get("log", False)
    if not isinstance(log, bool):
        raise ValueError(f"log is true or false, not {log!r}")
    if low >= high:
        raise ValueError(f"low ({given['low']}) is not below high ({given['high']})")
    if step is not None and (log or step <= 0):
        raise ValueError("step is above 0, and there is none with log")
    if log and low <= 0:
        raise ValueError("with log, low is above 0")
    return Dimension(key, kind, (), low, high, step, log)


def _guessed(low: Any, high: Any) -> Any:
    """The type of a setting that is no part's, by the ends of its range."""
    if isinstance(low, str) or isinstance(high, str):
        return Nanoseconds
    return float if isinstance(low, float) or isinstance(high, float) else int


def _value(value: Any, kind: Any) -> Any:
    return convert(float(value) if kind is float and type(value) is int else value, kind)


def _is_span(value: Any, kind: Any) -> bool:
    return type(value) is int and Nanoseconds in (kind, *get_args(kind))


def _quoted(value: Any, kind: Any) -> str:
    if _is_span(value, kind):
        return f"'{value}ns'"
    if isinstance(value, str):
        return f"'{value}'" if "'" not in value else f'"{value}"'
    return repr(value) if isinstance(value, float) else format_value(value, kind)
